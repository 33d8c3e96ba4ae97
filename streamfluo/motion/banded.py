"""Kernels of motion over bands of a frame: large frames are shared among the threads of a pool, to the same bits.

The times are those of a pixel on one core, in ns: they say which frames are large (`thread_pool.LEAST_NS`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.thread_pool import in_bands
from ..pixels.kernels.seen import Window
from .interpolation_weights import SIX
from .kernels.block_levels import level_slopes, measure_levels
from .kernels.gauss_newton import Frame, Light, TemplateImages
from .kernels.misfit import add_misfit, missing_structure
from .kernels.projection import project_residuals
from .kernels.shifting import (
    CorrectedFrame,
    FrameCounts,
    coefficient,
    common_level,
    correlation_sums,
    shift_frame,
    update_template,
)

LEVELS_NS, RESIDUALS_NS, MISFIT_NS, SHIFT_NS, UPDATE_NS, CORRELATION_NS = 0.5, 2.0, 3.0, 1.7, 1.0, 1.4


def light_of(frame: Frame, template: TemplateImages, shifts: np.ndarray, gain: np.float32, levels: np.ndarray) -> Light:
    """Return how a frame's light differs from the template's at these shifts (by, bx, 2); levels (by, bx): written."""
    seen, images = tuple(frame), tuple(template)

    def measure(*rows: int) -> None:
        measure_levels(seen, images, shifts, gain, levels, rows)

    in_bands(len(shifts), LEVELS_NS * template.image.size, measure)
    slope_y, slope_x = level_slopes(levels)
    return Light(gain, np.float32(slope_y), np.float32(slope_x), levels)


def project(
    frame: Frame, template: TemplateImages, shifts: np.ndarray, expected: tuple[Light, float], sums: np.ndarray
) -> None:
    """Write the projections (by, bx, 5) of a frame's residuals; expected: its light, and the reach of residuals."""
    seen, images = tuple(frame), tuple(template)
    lit = tuple(expected[0]), np.float32(expected[1])

    def residuals(*rows: int) -> None:
        project_residuals(seen, images, shifts, lit, sums, rows)

    in_bands(len(shifts), RESIDUALS_NS * template.image.size, residuals)


def misfit(
    frame: Frame, template: TemplateImages, shifts: np.ndarray, expected: Any, noise: np.ndarray, stride: int
) -> float:
    """Return the structure that a frame lacks of the template, looking at every `stride`-th row."""
    seen, images, sums = tuple(frame), tuple(template), np.zeros((*noise.shape, 4))

    def add(*rows: int) -> None:
        add_misfit(seen, images, shifts, expected, stride, sums, rows)

    in_bands(len(shifts), MISFIT_NS * template.image.size / stride, add)
    return float(missing_structure(sums, noise, template.window))


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
    rates = np.float32(rate), frozen, np.float32(common_level(frame[3]))

    def move(first: int, stop: int) -> None:
        update_template(frame, images, seen, mean, rates, (top + first, top + stop))

    in_bands(bottom - top, UPDATE_NS * mean.size, move)


def correlation(corrected: np.ndarray, image: np.ndarray, window: Window, stride: int) -> float:
    """Return the correlation coefficient of two images (y, x) in every `stride`-th row of a window, or NaN."""
    columns = np.zeros((6, max(window[3] - window[2], 0)), np.float32)

    def add(*band: int) -> None:
        correlation_sums(corrected, image, window, stride, columns, band)

    in_bands(columns.shape[1], CORRELATION_NS * image.size / stride, add)
    return float(coefficient(columns))
