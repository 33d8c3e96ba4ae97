"""Checks of the arrays that batch functions take."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import FrameError


def as_stack(stack: Any, what: str) -> np.ndarray:
    """Return a movie (t, y, x) of numbers as it is. Raises FrameError."""
    array = np.asarray(stack)
    if array.ndim != 3 or 0 in array.shape or array.dtype.kind not in "biuf":
        raise FrameError(f"{what}: a movie is an array (t, y, x) of numbers, found {array.shape} {array.dtype}")
    return array


def as_image(image: Any, what: str, name: str = "image") -> np.ndarray:
    """Return an image (y, x) as float64, all of it finite. Raises FrameError."""
    array = np.asarray(image)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "biuf":
        raise FrameError(f"{what}: {name} is an array (y, x) of numbers, found {array.shape} {array.dtype}")
    array = array.astype(float)
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise FrameError(f"{what}: {name} has {count} pixels that are not finite; replace them, e.g. by np.nan_to_num")
    return array


def as_psf(psf: Any, what: str) -> np.ndarray:
    """Return a point spread function (y, x) of odd sides with sum 1. Raises FrameError."""
    array = as_image(psf, what, "psf")
    if not (array.shape[0] % 2 and array.shape[1] % 2):
        raise FrameError(f"{what}: the PSF is centred on a pixel, so its sides are odd; found {array.shape}")
    if (array < 0).any() or not array.sum() > 0:
        raise FrameError(f"{what}: a PSF is nowhere negative and has a positive sum")
    return array / array.sum()


def require(condition: bool, message: str) -> None:
    """Raise FrameError with this message unless the condition holds."""
    if not condition:
        raise FrameError(message)
