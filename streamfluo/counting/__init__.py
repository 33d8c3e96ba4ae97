"""Floor 2: the number of fluorophores in a spot, from its blinking trace. It may import core and pixels.

count/          the operator                     estimate        the batch functions
parameters      of the model, and their ranges   traces, report  traces from a file, the table and plots of a result
fit, fit_alone  maximum likelihood               batched_bfgs    BFGS for many small problems at once
initial_values  method of moments                bounds, viterbi
checks          what makes a trace doubtful      half_lit        frames within which an emitter switched
exposure        a model of such frames

The names below are for notebooks and load on first use.
"""

from ..core.lazy import lazy_names
from . import count

__getattr__, _names = lazy_names(
    {
        "counting.estimate": ("Counts", "estimate_parameters", "estimate_y", "log_likelihood"),
        "counting.parameters": ("HyperParameters", "ParameterRanges", "Parameters", "TraceModel"),
    }
)
__all__ = ["count", *_names]


def __dir__() -> list[str]:
    return __all__
