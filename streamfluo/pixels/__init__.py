"""Floor 1: pixel statistics that the sciences share: power sums, medians, binning, interpolation.

Operators: `moments`, `bin`, `interpolate`. `two_state` has the formulas of two-state emitters, for SOFI and counting.
It may import core.
"""

from . import bin, interpolate, moments

__all__ = ["bin", "interpolate", "moments"]
