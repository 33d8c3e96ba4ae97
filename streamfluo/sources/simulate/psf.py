"""Points of light: where they are, and their image, a Gaussian integrated over each pixel of a crop of ± 5 sigma."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.special import ndtr

_REACH_SIGMA = 5  # 6e-7 of a point's light lies farther out along each axis


def spread_points(count: int, shape: tuple[int, int], margin_px: float, rng: np.random.Generator) -> np.ndarray:
    """Return positions (K, 2) as (y, x) in px, at random but apart, `margin_px` (≤ a quarter side) from the border.

    Cells of a grid of at least `count` about square cells are drawn without repeating; each point lies anywhere in the
    middle half of its cell, so that neighbours are at least half a cell apart.
    """
    sides = np.array(shape, float)
    margin = np.minimum(margin_px, sides / 4)
    inner = sides - 1 - 2 * margin
    rows = max(1, int(np.ceil(np.sqrt(count * inner[0] / inner[1]))))
    columns = max(1, -(-count // rows))
    cell = np.stack(np.divmod(rng.choice(rows * columns, count, replace=False), columns), 1)
    return margin + (cell + 0.25 + 0.5 * rng.random((count, 2))) * inner / [rows, columns]


def spot_pixels(
    position_px: np.ndarray, shape: tuple[int, int], sigma_px: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (which point, flat pixel, weight) of every pixel that points (K, 2) as (y, x) light up, point by point.

    A pixel is a square with its centre at whole numbers; weight = Π [Φ((d + 1/2) / σ) - Φ((d - 1/2) / σ)] over both
    axes, d from the point to the pixel (Smith et al. 2010, Nat. Methods 7:373). All weights of a point add to 1,
    less what falls outside the frame.
    """
    rows, row_weights = _profile(position_px[:, 0], sigma_px)
    columns, column_weights = _profile(position_px[:, 1], sigma_px)
    row_weights *= (rows >= 0) & (rows < shape[0])
    column_weights *= (columns >= 0) & (columns < shape[1])
    weights = row_weights[:, :, None] * column_weights[:, None, :]
    pixels = rows[:, :, None] * shape[1] + columns[:, None, :]
    lit = weights > 0
    points = np.broadcast_to(np.arange(len(position_px))[:, None, None], lit.shape)
    return points[lit], pixels[lit], weights[lit]


def _profile(centre_px: np.ndarray, sigma_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixels along one axis (K, n) and the light in each."""
    reach = int(np.ceil(_REACH_SIGMA * sigma_px))
    first = np.rint(centre_px).astype(np.int64) - reach
    edges = first[:, None] + (np.arange(2 * reach + 2) - 0.5) - centre_px[:, None]
    return first[:, None] + np.arange(2 * reach + 1), np.diff(ndtr(edges / sigma_px), axis=1)


def spot_images(position_px: np.ndarray, shape: tuple[int, int], sigma_px: float) -> sparse.csc_array:
    """Return the images of points (K, 2) as columns (y·x in C order, K) float32, for points that stay."""
    points, pixels, weights = spot_pixels(position_px, shape, sigma_px)
    ends = np.concatenate([[0], np.cumsum(np.bincount(points, minlength=len(position_px)))])
    size = (shape[0] * shape[1], len(position_px))
    return sparse.csc_array((weights.astype(np.float32), pixels.astype(np.int32), ends.astype(np.int32)), size)


def draw_spots(position_px: np.ndarray, photons: np.ndarray, shape: tuple[int, int], sigma_px: float) -> np.ndarray:
    """Return a frame (y, x) float32 of points (K, 2) with these photons (K,), for points that move."""
    points, pixels, weights = spot_pixels(position_px, shape, sigma_px)
    flat = np.bincount(pixels, weights * photons[points], shape[0] * shape[1])
    return flat.reshape(shape).astype(np.float32)
