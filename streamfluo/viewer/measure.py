"""What lies along a line that is drawn on an image: values, length, angle. No Qt."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .picture import WHOLE, PixelGrid

Point = tuple[float, float]  # (y, x) in pixels of the frame


def profile(image: np.ndarray, line: Sequence[Point], grid: PixelGrid = WHOLE) -> tuple[np.ndarray, np.ndarray]:
    """Return (distance [px], value) each pixel along a line from end to end, between pixels as they lie beside it.

    NaN stands outside of the image (y, x).
    """
    (y0, x0), (y1, x1) = line
    length_px = math.hypot(y1 - y0, x1 - x0)
    count = max(2, round(length_px / grid.bin_px) + 1)
    share = np.linspace(0, 1, count)
    y, x = (np.asarray(grid.among(start + share * (end - start))) for start, end in ((y0, y1), (x0, x1)))
    return share * length_px, _between(image, y, x)


def spelled(line: Sequence[Point], pixel_um: float | None) -> str:
    """Return a line's length and its angle to the right, counted upwards."""
    (y0, x0), (y1, x1) = line
    length_px = math.hypot(y1 - y0, x1 - x0)
    angle = math.degrees(math.atan2(y0 - y1, x1 - x0)) % 360
    length = f"{length_px:.1f} px" + (f" · {length_px * pixel_um:.2f} µm" if pixel_um else "")
    return f"{length} · {angle:.0f}°"


def _between(image: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Values between pixels, of the four round each place."""
    height, width = image.shape
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    value = np.zeros(len(y))
    for down in (0, 1):
        for right in (0, 1):
            at_y, at_x = top + down, left + right
            weight = np.abs(1 - down - (y - top)) * np.abs(1 - right - (x - left))
            inside = (at_y >= 0) & (at_y < height) & (at_x >= 0) & (at_x < width)
            here = image[at_y.clip(0, height - 1), at_x.clip(0, width - 1)].astype(float)
            value += np.where(weight > 0, weight * np.where(inside, here, np.nan), 0.0)
    return value
