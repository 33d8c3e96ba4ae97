"""Floor 2: the operators' science as batch functions on arrays and images, for notebooks. May import core and kernels.

Names load on first use; to add one, write its module here and name it in the table.
"""

import importlib
from typing import Any

_HOMES = {
    "bleaching": ("bleaching_segments", "debleach", "filter_time"),
    "deconvolution": ("richardson_lucy", "shrinking_kernel_deconvolve", "wiener"),
    "detection": ("FoundSpots", "find_spots"),
    "fitting": ("FitErrors", "SpotFits", "fit_spots"),
    "gain": ("GainResult", "detect_gain"),
    "images": (
        "average_image", "balance", "fourier_interpolate", "ldrc", "linearise", "minimum_image", "total_signal",
    ),
    "integration": ("SpotPhotons", "integrate_crops"),
    "spikes": ("Deconvolved", "deconvolve"),
    "statistics": (
        "cross_cumulants", "cumulants", "cumulants_from_moments", "k_statistics", "lagged_cumulants", "moments",
    ),
    "summary_images": ("local_correlation", "masks_from_structure", "peak_to_noise"),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'streamfluo.analysis' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
