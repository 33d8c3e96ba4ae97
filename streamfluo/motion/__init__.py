"""Floor 2: motion correction, rigid and piecewise-rigid. It may import core and pixels.

motion                   the operator
template                 the template, and shifts measured against it by Gauss–Newton steps
template_information     what a template tells of a shift, and what its own noise seems to
frozen_template          the same, learned from a sample for all parts of a recording
card_template            the same on a card
raw_frames               frames as they come: usable or not, repaired, high-passed, resampled
card_frames              the same on a card
card_search              the same as search, on a card
search                   integer shifts by cross-correlation, for frames far from the last one
repeats                  places where the template looks the same, as a regular lattice does
patches                  one rigid shift, or a displacement field through the shifts of patches
shift_prior              the Kalman filter of the shift
hot_pixels               hot pixels of the camera, and cosmic rays
interpolation_weights    six- and four-point interpolation
"""

from . import motion

__all__ = ["motion"]
