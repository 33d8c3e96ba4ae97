"""Floor 2: how many fluorophores a spot has, from its blinking trace. It may import core and pixels.

count/          the operator                    estimate        the batch functions
parameters      of the model, and their bounds  report          a page for traces of a file
fit, fit_alone  maximum likelihood              batched_bfgs    many small BFGS minimisations side by side
initial_values, bounds, viterbi

The names below are for notebooks and load on first use.
"""

from ..core.lazy import lazy_names
from . import count

__getattr__, _names = lazy_names(
    {
        "counting.estimate": ("Counts", "estimate_parameters", "estimate_y", "log_likelihood"),
        "counting.parameters": ("HyperParameters", "ParameterRanges", "Parameters"),
    }
)
__all__ = ["count", *_names]


def __dir__() -> list[str]:
    return __all__
