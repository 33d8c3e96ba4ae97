"""The operators' science as batch functions on arrays and images, for notebooks. Names load on first use.

May import core and kernels. To add one: a function in the file of its subject, its name in the table below.
"""

import importlib
from typing import Any

_HOMES = {
    "bleaching": ("bleaching_segments", "debleach", "filter_time"),
    "statistics": (
        "cross_cumulants", "cumulants", "cumulants_from_moments", "k_statistics", "lagged_cumulants", "moments",
    ),
    "deconvolution": ("richardson_lucy", "shrinking_kernel_deconvolve", "wiener"),
    "images": (
        "average_image", "balance", "fourier_interpolate", "ldrc", "linearise", "minimum_image", "total_signal",
    ),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [*sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'streamfluo.analysis' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"streamfluo.analysis.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
