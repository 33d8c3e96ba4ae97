"""Floor 1: what every science needs of pixels: power sums, medians, binning, interpolation.

Operators: `moments`, `bin`, `interpolate`. `two_state` has the formulas of an emitter with two states, which SOFI and
counting share. It may import core.
"""

from . import bin, interpolate, moments

__all__ = ["bin", "interpolate", "moments"]
