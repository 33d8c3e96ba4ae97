"""Regions a user draws on an image, and the mean of what lies inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .picture import WHOLE, PixelGrid

ELLIPSE_CORNERS = 16


@dataclass(frozen=True)
class Region:
    """A rectangle or ellipse (two opposite corners of its box) or a polygon (its corners), as (y, x) in pixels.

    Pixel (0, 0) reaches from −0.5 to 0.5; a pixel belongs to the region if its centre lies inside.
    """

    kind: Literal["rectangle", "ellipse", "polygon"]
    corners_px: tuple[tuple[float, float], ...]

    def polygon(self) -> list[list[float]]:
        """Return its outline as corners [y, x] to a tenth of a pixel; of an ellipse sixteen of them."""
        corners = np.array(self.corners_px, float)
        if self.kind != "polygon":
            low, high = corners.min(0), corners.max(0)
            if self.kind == "rectangle":
                corners = np.array([low, (low[0], high[1]), high, (high[0], low[1])])
            else:
                angle = np.linspace(0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False)
                corners = (low + high) / 2 + (high - low) / 2 * np.stack([np.sin(angle), np.cos(angle)], 1)
        return np.round(corners, 1).tolist()  # type: ignore[no-any-return]

    def mask(self, shape: tuple[int, int], grid: PixelGrid = WHOLE) -> np.ndarray:
        """Return which pixels (y, x) of an image belong to it."""
        corners = np.asarray(grid.among(np.array(self.corners_px)))
        y, x = np.ogrid[: shape[0], : shape[1]]
        if self.kind == "polygon":
            return _inside(corners, y, x)
        low, high = corners.min(0), corners.max(0)
        if self.kind == "rectangle":
            return (low[0] <= y) & (y <= high[0]) & (low[1] <= x) & (x <= high[1])
        centre, radius = (low + high) / 2, np.maximum((high - low) / 2, 1e-9)
        return ((y - centre[0]) / radius[0]) ** 2 + ((x - centre[1]) / radius[1]) ** 2 <= 1


def as_step(regions: Sequence[Region]) -> str:
    """Return the regions as a step of a config, in TOML."""
    polygons = ", ".join(str(region.polygon()) for region in regions)
    return f'[[step]]\nkind = "regions"\nparams = {{ regions = [{polygons}] }}\n'


def region_means(regions: Sequence[Region], image: np.ndarray, grid: PixelGrid = WHOLE) -> np.ndarray:
    """Return the mean over each region's finite pixels (n,); NaN where there are none."""
    means = np.full(len(regions), np.nan)
    for n, region in enumerate(regions):
        inside = image[region.mask((image.shape[0], image.shape[1]), grid)]
        inside = inside[np.isfinite(inside)]
        if inside.size:
            means[n] = inside.mean(dtype=float)
    return means


def _inside(corners: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Even-odd rule: a ray from the pixel to the right crosses the outline an odd number of times."""
    inside = np.zeros(np.broadcast_shapes(y.shape, x.shape), bool)
    for (y0, x0), (y1, x1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside
