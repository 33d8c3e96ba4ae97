"""Blocks of an image, and means of what of them was seen."""

from __future__ import annotations

import numpy as np

from ..pixels.kernels.seen import Window, inside
from .kernels.gauss_newton import BLOCK_PX


def rim_as_nan(image: np.ndarray, window: Window) -> np.ndarray:
    """Return a copy of an image (y, x), NaN outside the window."""
    copy = np.full_like(image, np.nan)
    copy[inside(window)] = image[inside(window)]
    return copy


def mean_of_seen(block: np.ndarray) -> float:
    """Return the mean of the pixels of a block that were seen, NaN without any."""
    seen = block[np.isfinite(block)]
    return float(np.mean(block if seen.size == block.size else seen)) if seen.size else np.nan


def blocks(image: np.ndarray, rows: int, columns: int) -> list[list[np.ndarray]]:
    """Return the blocks of an image (y, x), row by row."""
    b = BLOCK_PX
    return [[image[y * b : y * b + b, x * b : x * b + b] for x in range(columns)] for y in range(rows)]
