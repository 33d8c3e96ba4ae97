"""Floor 2: gain, offset and read noise by photon transfer. It may import core and pixels.

gain          the operator             sums, dark, sample    what it keeps
results       its snapshots            fit, levels, pixel_noise    the photon transfer fit
calibrate     calibration from stacks of several light levels, and dark frames
detect_gain   the peer-compatible batch function
report        a calibration's page and plot
"""

from . import gain

__all__ = ["gain"]
