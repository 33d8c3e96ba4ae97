"""Floor 2: gain, offset and read noise by photon transfer. It may import core and pixels.

gain          the operator             sums, shared_noise, dark, sample    what it keeps
results       its snapshots            fit, line, levels, pixel_noise, transfer    the photon transfer fit
doubts        tests of what the fit takes for granted
calibrate     calibration from stacks of several light levels, and dark frames
detect_gain   the peer-compatible batch function
report        a calibration's page and plot
"""

from . import gain

__all__ = ["gain"]
