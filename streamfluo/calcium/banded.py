"""Kernels of `extract` over bands of a frame: large frames are shared among the threads of a pool, to the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.thread_pool import in_bands
from .kernels.demixing import column_totals, whiten_columns
from .kernels.ring_regression import bin_deviation_rows

WHITEN_NS, BIN_NS = 1.6, 0.6  # of a pixel on one core: they say which frames are large


def whiten(
    frame: np.ndarray, model: Any, activity: Any, scale: np.float32, stored: np.ndarray, products: np.ndarray
) -> None:
    """Write a whitened frame as int16 steps of 1/scale to `stored` (y, x), its products with the modes to (M,).

    model, activity: as `whiten_columns` takes them. Bands are of columns: the sums of the products are of columns.
    """
    sums = np.zeros((len(products), frame.shape[1]), np.float32)

    def columns(*band: int) -> None:
        whiten_columns(frame, model, activity, scale, stored, sums, band)

    in_bands(frame.shape[1], WHITEN_NS * frame.size, columns)
    column_totals(sums, products)


def bin_deviation(
    frame: np.ndarray, mean: np.ndarray, weight: np.ndarray, whole: np.ndarray, out: np.ndarray, seen: np.ndarray
) -> None:
    """Write the means of frame − mean (y, x) over blocks to out (rows, columns), how much of each is known to seen."""

    def rows(*band: int) -> None:
        bin_deviation_rows(frame, mean, weight, whole, out, seen, band)

    in_bands(len(out), BIN_NS * frame.size, rows)
