"""Kernels of `extract` over bands of a frame: large frames are shared among the threads of a pool, to the same bits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core.thread_pool import in_bands
from .kernels.demixing import ROWS, mode_products, whiten_rows
from .kernels.ring_regression import bin_deviation_rows

WHITEN_NS, BIN_NS = 1.6, 0.6  # of a pixel on one core: they say which frames are large


class WhiteRows(NamedTuple):
    """Memory of `whiten`: the products of a frame with the background modes (M,), and the rows that they are of."""

    products: np.ndarray
    kept: np.ndarray

    @classmethod
    def of(cls, shape: tuple[int, ...], modes: int) -> WhiteRows:
        """Return the memory for frames of a shape (y, x); made for each frame, it would take half as long again."""
        return cls(np.zeros(modes), np.zeros((-(-shape[0] // ROWS), shape[1]), np.float32))


def read_only(frame: np.ndarray) -> np.ndarray:
    """Return a frame (y, x) as blocks hold it: kernels are compiled for such alone, and not for others once more."""
    seen = frame.view()
    seen.flags.writeable = False
    return seen


def whiten(
    frame: np.ndarray, model: Any, activity: Any, scale: np.float32, stored: np.ndarray, work: WhiteRows
) -> None:
    """Write a whitened frame as int16 steps of 1/scale to `stored` (y, x), its products with the modes to `work`.

    model, activity: as `whiten_rows` takes them.
    """

    def rows(*band: int) -> None:
        whiten_rows(read_only(frame), model, activity, scale, stored, work.kept, band)

    in_bands(len(frame), WHITEN_NS * frame.size, rows)
    mode_products(work.kept, model[2], work.products)


def bin_deviation(
    frame: np.ndarray, mean: np.ndarray, weight: np.ndarray, whole: np.ndarray, out: np.ndarray, seen: np.ndarray
) -> None:
    """Write the means of frame − mean (y, x) over blocks to out (rows, columns), how much of each is known to seen."""

    def rows(*band: int) -> None:
        bin_deviation_rows(read_only(frame), mean, weight, whole, out, seen, band)

    in_bands(len(out), BIN_NS * frame.size, rows)
