"""A small shift of a frame against a template: one weighted Gauss–Newton step, by blocks of 16 × 16 pixels.

For a small shift δ a frame is T − δ·∂T + γ·(T − its mean) + offset, T the template. The three Gauss–Newton images
V = w·(smoothed ∂_y T, ∂_x T, T, each minus its weighted mean in a block), w the inverse variance of a pixel, project
the residual r = frame − T onto b = Σ V·r. The normal matrix H = Σ V·(∂_y T, ∂_x T, T), of the template without
smoothing, gives (−δ, γ) = H⁻¹ b. Subtracting the blocks' means removes illumination, offset, neuropil and most of the
activity of cells. Their means are taken out of the residuals before these are clipped too: light added evenly would
otherwise clip them all on one side, and the clipped residuals say that nothing moved.
"""

from typing import NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.medians import median
from ...pixels.kernels.seen import Window
from .agreement import agreement, deficit, unexplained

BLOCK_SIGMA, ROUNDS = 2.5, 3  # blocks whose residual exceeds it are down-weighted; 3 % better where cells are bright
WIDE = 64.0  # times the limit, for steps from afar: nothing but hot pixels and cosmic rays is rejected


class TemplateImages(NamedTuple):
    """The template and what is computed of it in advance to register a frame against it.

    image (y, x) float32 [ADU]; steps (3, y, x) int8 and scale (by, bx, 3) float32: the Gauss–Newton images V, in steps
    of a 127th of the largest of their block; limit (by, x) float32 [ADU]: residuals from their block's level are
    clipped at ± limit; window (4,) int64: the top, bottom, left, right of what is compared.

    In steps of whole numbers they take a quarter of the memory, of which every frame reads all: a frame's projection
    takes half as long. H is that of the images in steps, so that shifts are none the wronger; they lose at most
    256 / 12 / 127², .0013, of the information.
    """

    image: np.ndarray
    steps: np.ndarray
    scale: np.ndarray
    limit: np.ndarray
    window: np.ndarray


class Frame(NamedTuple):
    """The pixels (y, x) of a frame to compare with the template, and the Window of them that was seen."""

    pixels: np.ndarray
    seen: Window


def read_only(pixels: np.ndarray) -> np.ndarray:
    """The same pixels, not to be written to, as a block's are: kernels are compiled for such alone."""
    view = pixels.view()
    view.flags.writeable = False
    return view


class Light(NamedTuple):
    """How a frame's light differs from the template's: its gain, what slopes over the frame along y and x [ADU/px], and
    what is added to each block (by, bx) [ADU], NaN where none was seen; float32."""

    gain: np.float32
    slope_y: np.float32
    slope_x: np.float32
    levels: np.ndarray


@kernel
def solve_step(sums, matrix, noise_bias, gain, usual):  # type: ignore[no-untyped-def]
    """Return (δ_y, δ_x, gain, Evidence) of one Gauss–Newton step; NaN where H is singular.

    sums (by, bx, 5): what `project_residuals` wrote at this gain, whose bias is taken out; matrix (by, bx, 3, 3);
    noise_bias (by, bx): the part of the third projection that the template's own noise causes. Blocks whose residual
    exceeds BLOCK_SIGMA, as those with an active cell, are down-weighted iteratively. `usual`: the gain that frames
    usually have.
    """
    weights, step, replaced = np.ones(sums.shape[:2]), np.zeros(3), np.empty((3, 3))
    b, h = np.empty(3), np.empty((3, 3))
    for by in range(sums.shape[0]):
        for bx in range(sums.shape[1]):
            sums[by, bx, 2] += sums[by, bx, 3] * gain * noise_bias[by, bx]
    for again in range(ROUNDS):
        fitting, seen = _add_blocks(sums, matrix, weights, b, h)
        determinant = _determinant(h)
        if not abs(determinant) > 0:
            return np.nan, np.nan, np.nan, (0.0, 0.0, 0.0, 0.0, 0.0)
        for k in range(3):
            for i in range(3):
                for j in range(3):
                    replaced[i, j] = b[i] if j == k else h[i, j]
            step[k] = _determinant(replaced) / determinant
        if again == ROUNDS - 1:
            break
        for by in range(sums.shape[0]):
            for bx in range(sums.shape[1]):
                weight = 1.0
                for j in range(2):
                    own, rest = unexplained(sums, matrix, (by, bx), step, j)
                    if own > 0 and rest * rest > BLOCK_SIGMA**2 * own:
                        weight = min(weight, BLOCK_SIGMA**2 * own / (rest * rest))
                weights[by, bx] = weight
    better = gain + step[2]
    scale = -max(better, 0.1)  # the projections are proportional to the frame's gain
    gains = (better, usual)
    evidence = (
        seen / (sums.shape[0] * sums.shape[1]), fitting / max(seen, 1e-9), better * np.sqrt(max(h[2, 2], 0.0)),
        agreement(sums, matrix, step, gains), deficit(sums, matrix, noise_bias, step, gains),
    )  # fmt: skip
    return step[0] / scale, step[1] / scale, better, evidence


@part
def _add_blocks(sums, matrix, weights, b, h):  # type: ignore[no-untyped-def]
    """Write the weighted sums of the blocks' projections to b (3,) and of their normal matrices to h (3, 3).

    Returns the blocks that fit and those that were seen. Sums are numbers of their own: in arrays, which might be the
    ones that are read, each would wait for the one before.
    """
    b0, b1, b2, fitting, seen = 0.0, 0.0, 0.0, 0.0, 0.0
    h00, h01, h02, h10, h11, h12, h20, h21, h22 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for by in range(sums.shape[0]):
        for bx in range(sums.shape[1]):
            part, w = sums[by, bx, 3], weights[by, bx]
            fitting += part
            seen += sums[by, bx, 4]
            b0 += w * sums[by, bx, 0]
            b1 += w * sums[by, bx, 1]
            b2 += w * sums[by, bx, 2]
            w *= part
            h00 += w * matrix[by, bx, 0, 0]
            h01 += w * matrix[by, bx, 0, 1]
            h02 += w * matrix[by, bx, 0, 2]
            h10 += w * matrix[by, bx, 1, 0]
            h11 += w * matrix[by, bx, 1, 1]
            h12 += w * matrix[by, bx, 1, 2]
            h20 += w * matrix[by, bx, 2, 0]
            h21 += w * matrix[by, bx, 2, 1]
            h22 += w * matrix[by, bx, 2, 2]
    b[0], b[1], b[2] = b0, b1, b2
    h[0, 0], h[0, 1], h[0, 2] = h00, h01, h02
    h[1, 0], h[1, 1], h[1, 2] = h10, h11, h12
    h[2, 0], h[2, 1], h[2, 2] = h20, h21, h22
    return fitting, seen


@kernel
def _determinant(m):  # type: ignore[no-untyped-def]
    return (
        m[0, 0] * (m[1, 1] * m[2, 2] - m[1, 2] * m[2, 1])
        - m[0, 1] * (m[1, 0] * m[2, 2] - m[1, 2] * m[2, 0])
        + m[0, 2] * (m[1, 0] * m[2, 1] - m[1, 1] * m[2, 0])
    )


@kernel
def noise_line(intensity, variance, order):  # type: ignore[no-untyped-def]
    """Return (a, b, least) of the line variance = a + b · intensity [ADU², ADU]; least: its lower bound.

    intensity, variance (n,) of the blocks, order (n,) of the intensities: the line goes through the medians of up to 12
    groups of similar intensity, which the few blocks with activity do not move; least is half the smallest median. If
    the variance does not rise, b is 0 and a the median.
    """
    groups = max(1, min(12, len(order) // 4))
    a11, a12, a22, b1, b2, least = 0.0, 0.0, 0.0, 0.0, 0.0, np.inf
    for g in range(groups):
        members = order[g * len(order) // groups : (g + 1) * len(order) // groups]
        m, v = median(intensity[members]), max(median(variance[members]), 1e-12)
        least = min(least, v / 2)
        weight = 1 / (v * v)  # the error of a variance is proportional to it
        a11 += weight
        a12 += weight * m
        a22 += weight * m * m
        b1 += weight * v
        b2 += weight * m * v
    determinant = a11 * a22 - a12 * a12
    if determinant > 1e-9 * a11 * a22:
        a, b = (b1 * a22 - b2 * a12) / determinant, (a11 * b2 - a12 * b1) / determinant
        if b > 0:
            return a, b, max(least, 1e-6)
    level = max(median(variance.copy()), 1e-6)
    return level, 0.0, level
