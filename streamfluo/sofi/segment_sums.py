"""Sums over the frames of a bleaching segment, and its cumulants without the linear trend of each pixel.

Light that falls steadily adds to δI a part s_p · (t − mean of t), independent of the blinking, so that cumulants add:
that part's, s_p · s_q · … · κ_n(t), is subtracted. What is left of the loss is its curvature within a segment.
"""

from __future__ import annotations

from math import comb
from typing import NamedTuple, Self

import numpy as np

from ..core.spec import Spec
from ..core.state import State, require_array
from .crossed import CrossedSums
from .kernels.trend import add_trend
from .statistics import cumulants_from_moments
from .sums import PowerSums


class Layout(NamedTuple):
    """What is summed: up to this order, and the products of `crossed`; times count in windows."""

    spec: Spec
    order: int
    crossed: CrossedSums | None
    window_frames: int


class Light(NamedTuple):
    """Σ over pixels of the covariance with the next pixel [ADU²], and the pixels over which the mean is spread."""

    fluctuating: float
    spread_px: float


class SegmentSums:
    """Power sums, products and trends over some frames from index `start` on, about one pivot (tiles, 1024).

    Memory at order 4: 88 bytes a pixel, and 472 with cross = 1.
    """

    def __init__(self, layout: Layout, start: int, pivot: np.ndarray | None = None) -> None:
        self.layout, self.start = layout, start
        self.power = PowerSums(layout.spec, layout.order)
        if pivot is not None:
            self.power.pivot = pivot.copy()
        self.crossed = layout.crossed.products.empty() if layout.crossed is not None else None
        if self.crossed is not None:
            self.crossed.settle(self._flat(self.power.pivot))
        self._times = np.zeros(layout.order + 1)  # Σ v^j, v = (index − start) / window
        self._trend = np.zeros(self.power.pixels)  # Σ v · d; replaced, never changed: copies share it
        self._near = 0.0  # Σ d_p · d_(p+1)

    @property
    def n(self) -> int:
        return self.power.n

    def add(self, cell: np.ndarray, index: int) -> None:
        """Add a cell's frames (n, y, x) from `index` on."""
        self.power.add_frames(cell)
        if self.crossed is not None:
            self.crossed.add(cell)
        times = (index - self.start + np.arange(len(cell))) / self.layout.window_frames
        self._times = self._times + np.power.outer(times, np.arange(len(self._times))).sum(0)
        self._add_trends(cell, times)

    def _add_trends(self, cell: np.ndarray, times: np.ndarray) -> None:
        self._trend = self._trend.copy()
        flat = cell.reshape(len(cell), self.power.pixels)
        self._near += add_trend(flat, times, self._flat(self.power.pivot), self._trend)

    def join(self, later: SegmentSums) -> None:
        """Add the sums of later frames, which stay unchanged."""
        later = later.copy()
        later.move_pivot(self.power.pivot)
        step = (later.start - self.start) / self.layout.window_frames
        order = len(self._times)
        moved = [sum(comb(j, i) * step ** (j - i) * later._times[i] for i in range(j + 1)) for j in range(order)]
        self._times = self._times + np.array(moved)
        self._trend = self._trend + later._trend + step * later._sum_of_d()
        self._near += later._near
        self.power.absorb(later.power)
        if self.crossed is not None and later.crossed is not None:
            self.crossed.absorb(later.crossed)

    def move_pivot(self, pivot: np.ndarray) -> None:
        """Re-base the sums on another pivot (tiles, 1024)."""
        shift, sums = self._flat(self.power.pivot - pivot), self._sum_of_d()
        if not shift.any():
            return
        self._trend = self._trend + shift * self._times[1]
        ahead, next_sums = np.append(shift[1:], 0), np.append(sums[1:], 0)
        self._near += float(np.nansum(ahead * sums + shift * next_sums + self.n * shift * ahead))
        self.power.move_pivot(pivot.copy())
        if self.crossed is not None:
            self.crossed.move_pivot(self._flat(pivot))

    def light(self) -> Light:
        """Return the light that fluctuates beyond its trend, and over how many pixels the mean's own is spread.

        The spread of what exceeds the darkest hundredth: of a flat background too, which nothing tells from an offset.
        """
        mean, (slope, variance) = self._sum_of_d() / self.n, self._slope()
        common = mean[:-1] * mean[1:] + variance * slope[:-1] * slope[1:]
        image = mean + self._flat(self.power.pivot)
        image = image[np.isfinite(image)]
        low, high = np.percentile(image, (1, 99.9)) if len(image) else (0.0, 0.0)
        image = np.clip(image, low, high) - low
        spread = float(image.sum() ** 2 / max((image**2).sum(), 1e-300))
        return Light(self._near / self.n - float(np.nansum(common)), max(spread, 1.0))

    def moments_and_cumulants(self) -> np.ndarray:
        """Return m_n and k_n (2, order − 1, y, x) from order 2 on, without the trend."""
        order, shape = self.layout.order, self.layout.spec.shape
        nothing = np.empty((0, *self.power.sums.shape[1::2]))
        slope, times = self._slope()[0].reshape(shape), self._time_cumulants()
        m, k = np.zeros((order + 1, *shape)), np.zeros((order + 1, *shape))
        m[0] = 1
        for n in range(2, order + 1):
            k[n] = self.power.read(n, True, nothing, 0) - times[n] * slope**n
            m[n] = sum(comb(n - 1, j - 1) * k[j] * m[n - j] for j in range(2, n + 1))
        return np.stack([m[2:], k[2:]])

    def crossed_cumulants(self) -> np.ndarray:
        """Return the joint cumulants of the kept products and ⟨δI δT⟩ (kept + 1, p), without the trend."""
        assert self.crossed is not None
        assert self.layout.crossed is not None
        (slope, variance), times = self._slope(), self._time_cumulants()
        kept, width, maps = self.layout.crossed.kept, self.layout.spec.shape[1], self.crossed.all_maps()
        found = np.empty((len(kept) + 1, self.power.pixels))
        for image, product in zip(found, kept, strict=False):
            image[:] = self.crossed.cumulant(product, maps)
            drift = np.full(self.power.pixels, times[len(product)])
            for _, y, x in product:
                drift *= np.roll(slope, -y * width - x)
            image -= drift
        found[-1] = self.crossed.covariance_with_total().reshape(-1) - variance * slope * np.nansum(slope)
        return found

    def take(self, other: SegmentSums) -> None:
        """Become what another one is, which is not used any more."""
        self.start, self._times, self._trend, self._near = other.start, other._times, other._trend, other._near
        for mine, theirs in ((self.power, other.power), (self.crossed, other.crossed)):
            if mine is not None and theirs is not None:
                mine.n, mine.pivot, mine.sums = theirs.n, theirs.pivot, theirs.sums.copy()  # a copy may have the same
        if self.crossed is not None and other.crossed is not None:
            self.crossed.take_total(other.crossed)

    def copy(self) -> Self:
        """Return an independent copy."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, power=self.power.copy())
        new.crossed = self.crossed.copy() if self.crossed is not None else None
        return new

    def state(self, name: str) -> State:
        """Return state entries that begin with `name`."""
        own: State = {f"{name}_times": self._times.copy(), f"{name}_trend": self._trend.copy()}
        own[f"{name}_near"] = np.array([self._near])
        crossed = self.crossed.state(f"{name}_cross") if self.crossed is not None else {}
        return {**own, **self.power.state(f"{name}_power"), **crossed}

    def restore(self, state: State, name: str) -> None:
        """Restore the entries of `state`. Raises StateError."""
        self.power.restore(state, f"{name}_power")
        if self.crossed is not None:
            self.crossed.restore(state, f"{name}_cross")
        self._times = require_array(state, f"{name}_times", self._times, "sofi")
        self._trend = require_array(state, f"{name}_trend", self._trend, "sofi")
        self._near = float(require_array(state, f"{name}_near", np.zeros(1), "sofi")[0])

    def _slope(self) -> tuple[np.ndarray, float]:
        """Return the slope of each pixel (p,) [ADU a window], and the variance of the times."""
        variance = float(self._time_cumulants()[2])
        if not variance > 0:
            return np.zeros(self.power.pixels), 0.0
        middle = self._times[1] / self.n
        return (self._trend - middle * self._sum_of_d()) / (self.n * variance), variance

    def _time_cumulants(self) -> np.ndarray:
        """Return the cumulants of the times by order (order + 1,), that of order 0 unused."""
        about_mean = cumulants_from_moments(self._times[1:] / self.n)
        return np.concatenate([[0.0], about_mean])

    def _sum_of_d(self) -> np.ndarray:
        sums = self.power.sums
        return self._flat(sums[:, 0, 0] + sums[:, 0, 1])

    def _flat(self, tiles: np.ndarray) -> np.ndarray:
        return tiles.reshape(-1)[: self.power.pixels]
