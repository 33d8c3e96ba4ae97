"""Floor 2: motion correction, rigid and piecewise-rigid. It may import core and pixels.

motion                   the operator
template                 the template, and shifts measured against it by Gauss–Newton steps
search                   integer shifts by cross-correlation, for frames far from the last one
patches                  one shift, or a displacement field through the shifts of patches
shift_prior              the Kalman filter's prior on a shift
hot_pixels               pixels of the camera that stand out, and cosmic rays
interpolation_weights    six-tap interpolation
"""

from . import motion

__all__ = ["motion"]
