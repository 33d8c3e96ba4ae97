"""How many fluorophores a spot has, from its blinking trace: batch functions; live, the operator `count` does it."""

from .analysis.counting import Counts, estimate_parameters, estimate_y, log_likelihood
from .analysis.counting_settings import HyperParameters, ParameterRanges, Parameters

__all__ = [
    "Counts",
    "HyperParameters",
    "ParameterRanges",
    "Parameters",
    "estimate_parameters",
    "estimate_y",
    "log_likelihood",
]
