"""Kernels of motion over bands of a frame: large frames are shared among the threads of a pool, to the same bits.

The times are those of a pixel on one core, in ns: they say which frames are large (`thread_pool.LEAST_NS`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..core.thread_pool import in_bands, shared
from ..pixels.kernels.seen import Window
from .interpolation_weights import SIX
from .kernels.gauss_newton import Frame, Light, TemplateImages
from .kernels.misfit import lacking
from .kernels.shifting import (
    CorrectedFrame,
    FrameCounts,
    correlation_sums,
    shift_frame,
    update_template,
)
from .kernels.step import LEVELS, RESIDUALS, compare

LEVELS_NS, RESIDUALS_NS, MISFIT_NS, SHIFT_NS, UPDATE_NS, CORRELATION_NS = 0.5, 2.0, 3.0, 1.7, 1.0, 1.4


def compared(
    frame: Frame, template: TemplateImages, shifts: np.ndarray, tried: tuple[float, float], sums: np.ndarray
) -> Light:
    """Write the projections (by, bx, 5) of a frame's residuals at these shifts (by, bx, 2); return the frame's light.

    tried: its gain, and how many times their limit residuals may reach.
    """
    seen, images, levels = tuple(frame), tuple(template), np.empty(sums.shape[:2], np.float32)

    def measure(what: int, first: int, stop: int) -> tuple[np.float32, np.float32]:
        slopes: tuple[np.float32, np.float32] = compare(
            seen, images, shifts, tried, (levels, sums), (what, first, stop)
        )
        return slopes

    residuals_ns = RESIDUALS_NS * template.image.size
    if shared(residuals_ns):
        in_bands(len(shifts), LEVELS_NS * template.image.size, partial(measure, LEVELS))
        y, x = in_bands(len(shifts), residuals_ns, partial(measure, RESIDUALS))[0]
    else:
        y, x = measure(LEVELS + RESIDUALS, 0, len(shifts))
    return Light(np.float32(tried[0]), np.float32(y), np.float32(x), levels)


def misfit(frame: Frame, template: TemplateImages, shifts: np.ndarray, expected: Any, told: Any) -> tuple[float, float]:
    """Return the structure that a frame lacks of the template, and the template's (`kernels.misfit.lacking`)."""
    seen, images, (stride, noise, *_) = tuple(frame), tuple(template), told
    looked = stride, np.zeros((*noise.shape, 4)), *told[1:]

    def add(*rows: int) -> tuple[float, float]:
        found: tuple[float, float] = lacking(seen, images, shifts, expected, looked, rows)
        return found

    found = in_bands(len(shifts), MISFIT_NS * template.image.size / stride, add)
    return found[0] if len(found) == 1 else add(0, 0)


def shifted(frame: np.ndarray, shift_px: tuple[float, float], row_px: int, out: np.ndarray) -> tuple[int, int, float]:
    """Write a frame (y, x) shifted by (y, x) [px] into out; what `shift_frame` returns. row_px: of its scratch."""
    y_px, x_px = shift_px

    def shift(*rows: int) -> tuple[int, int, float]:
        found: tuple[int, int, float] = shift_frame(frame, y_px, x_px, SIX, np.empty(row_px, np.float32), out, rows)
        return found

    return in_bands(len(frame), SHIFT_NS * frame.size, shift)[0]


def update(
    corrected: CorrectedFrame, template: TemplateImages, counts: FrameCounts, mean: np.ndarray, told: tuple[float, bool]
) -> None:
    """Move template and mean towards a corrected frame; told: the mean's rate, and whether the template is frozen."""
    (top, bottom, left, right), (rate, frozen) = corrected.window, told
    frame, images, seen = (*corrected[:3], tuple(corrected.light)), tuple(template), tuple(counts)
    if not frozen:
        counts.rows[top:bottom] += 1
        counts.columns[left:right] += 1
    rates = np.float32(rate), frozen

    def move(first: int, stop: int) -> None:
        update_template(frame, images, seen, mean, rates, (top + first, top + stop))

    in_bands(bottom - top, UPDATE_NS * mean.size, move)


def correlation(corrected: np.ndarray, image: np.ndarray, window: Window, stride: int) -> float:
    """Return the correlation coefficient of two images (y, x) in every `stride`-th row of a window, or NaN."""
    columns = np.zeros((6, max(window[3] - window[2], 0)), np.float32)

    def add(*band: int) -> float:
        return float(correlation_sums(corrected, image, window, stride, columns, band))

    found = in_bands(columns.shape[1], CORRELATION_NS * image.size / stride, add)
    return found[0] if len(found) == 1 else add(0, 0)
