"""How far patches of a day's field lie from where they should."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.fft

SIDE_RADII = 10.0  # a patch holds a few cells
MIN_SEEN = 0.7  # of a patch
MIN_CORRELATION = 0.15


class Patches(NamedTuple):
    """Centres `at` (n, 2), displacements `moved` (n, 2) [px], weights (n,), the distance of centres [px]."""

    at: np.ndarray
    moved: np.ndarray
    weight: np.ndarray
    spacing: float

    @classmethod
    def none(cls) -> Patches:
        """Return no patches."""
        return cls(np.empty((0, 2)), np.empty((0, 2)), np.empty(0), 1.0)


def measured_patches(
    common: np.ndarray, moving: np.ndarray, seen: np.ndarray, radius_px: float, reach_px: float
) -> Patches:
    """Return how far patches of `moving` (n, y, x) lie from those of `common`, each by at most `reach_px`."""
    shape = seen.shape
    side = int(min(max(SIDE_RADII * radius_px, 24), min(shape) // 2))
    step = max(side // 2, 1)
    found = []
    for top in range(0, shape[0] - side + 1, step):
        for left in range(0, shape[1] - side + 1, step):
            here = (slice(top, top + side), slice(left, left + side))
            if seen[here].mean() < MIN_SEEN:
                continue
            moved, height = _displacement(common[:, *here] * seen[here], moving[:, *here], reach_px)
            if height > MIN_CORRELATION:
                middle = (top + (side - 1) / 2, left + (side - 1) / 2)
                found.append((*middle, *moved, height**2 / (1.05 - min(height, 1) ** 2)))
    if not found:
        return Patches.none()
    rows = np.array(found)
    return Patches(rows[:, :2], rows[:, 2:4], rows[:, 4], float(step))


def _displacement(common: np.ndarray, moving: np.ndarray, reach_px: float) -> tuple[np.ndarray, float]:
    """Displacement (2,) of the highest correlation within reach, by a parabola between pixels, and its height."""
    side = common.shape[1]
    window = np.hanning(side + 2)[1:-1]
    taper = np.sqrt(window[:, None] * window[None]).astype(np.float32)
    a, b = common * taper, moving * taper
    size = scipy.fft.next_fast_len(side + int(reach_px) + 2, real=True)
    product = (scipy.fft.rfft2(a, (size, size)).conj() * scipy.fft.rfft2(b, (size, size))).sum(0)
    surface = scipy.fft.irfft2(product, (size, size)) / max(float(np.sqrt((a**2).sum() * (b**2).sum())), 1e-9)
    r = int(np.ceil(reach_px))
    around = np.roll(surface, (r + 1, r + 1), (0, 1))[: 2 * r + 3, : 2 * r + 3]  # a rim for the parabola
    y, x = (int(i) + 1 for i in np.unravel_index(int(around[1:-1, 1:-1].argmax()), (2 * r + 1, 2 * r + 1)))
    peak = around[y, x]
    dy = _vertex(around[y - 1, x], peak, around[y + 1, x])
    dx = _vertex(around[y, x - 1], peak, around[y, x + 1])
    return np.array([y - r - 1 + dy, x - r - 1 + dx]), float(peak)


def _vertex(before: float, peak: float, after: float) -> float:
    curvature = before - 2 * peak + after
    return float(np.clip(0.5 * (before - after) / curvature, -0.5, 0.5)) if curvature < 0 else 0.0
