"""Floor 2: motion correction, rigid and piecewise-rigid. It may import core and pixels.

motion                   the operator
template                 the template, and shifts measured against it by Gauss–Newton steps
search                   integer shifts by cross-correlation, for frames far from the last one
repeats                  places where the template looks the same, as a regular lattice does
patches                  one rigid shift, or a displacement field through the shifts of patches
shift_prior              the Kalman filter of the shift
hot_pixels               hot pixels of the camera, and cosmic rays
interpolation_weights    six- and four-point interpolation
"""

from . import motion

__all__ = ["motion"]
