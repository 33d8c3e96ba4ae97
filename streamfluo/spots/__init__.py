"""Floor 2: spots: found, fitted and integrated. It may import core and pixels.

spots               the operator; params: its parameters, and what they say of camera, PSF and method
places              where spots are known to be
detection_passes    spots found on running means, at one false-alarm rate over all passes
histogram           photon counts of all spots so far
find_spots, fit_spots, integrate_crops      batch functions
localisations       tables of spots in the columns of other programs
"""

from . import spots

__all__ = ["spots"]
