"""The sums of photon transfer, of each pixel and of the frames' totals; sums of consecutive parts add up."""

from __future__ import annotations

from typing import Self

import numpy as np

from ..core.errors import StateError
from ..core.spec import Spec
from ..core.state import State, require_array, require_int
from .kernels.photon_transfer import PixelSums, accumulate_steps, find_links, pixel_statistics
from .pixel_noise import Pixels
from .shared_noise import PatchSums

CUT_PARTS, CUT_SHARE = 64, 0.05  # of the pixels by their mean; seen at zero, beyond which all of a part are cut
PILED_UP_SD = 1.2  # from the mean down to the lowest of 20 values are 1.9 σ, of noise that is cut off at its mean 0.7
_COUNTS = ("frames", "pairs", "first_index", "last_index")
_TOTALS = ("total_pivot", "total_sum", "total_squares", "total_steps", "last_total")


class StepSums:
    """Sums of d = x − first frame, d² and squared steps between consecutive frames of one light level; the
    minimum and the maximum; of some patches the products of their pixels' steps.

    Seven maps of state: exact integers for 8- and 16-bit frames, float64 else. All maps are flat (p,).
    """

    def __init__(self, spec: Spec) -> None:
        dtype = np.dtype(spec.dtype)
        exact = dtype.kind in "iu" and dtype.itemsize <= 2
        pixels = spec.shape[0] * spec.shape[1]
        self._sum_dtype = np.dtype(np.int64 if exact else np.float64)
        self._total_dtype = np.dtype(np.int64 if dtype.kind in "iu" else np.float64)
        self.maps = {
            "pivot": np.zeros(pixels, np.int32 if exact else np.float64),
            "last": np.zeros(pixels, dtype),
            "sum": np.zeros(pixels, self._sum_dtype),
            "sum_squares": np.zeros(pixels, self._sum_dtype),
            "sum_steps": np.zeros(pixels, self._sum_dtype),
            "high": np.zeros(pixels, dtype),
            "low": np.zeros(pixels, dtype),
        }
        self.patches = PatchSums(spec)
        self.counts = dict.fromkeys(_COUNTS, 0)
        self.totals = dict.fromkeys(_TOTALS, 0.0)

    @property
    def frames(self) -> int:
        """The number of frames in the sums."""
        return self.counts["frames"]

    def add(self, first: int, cell: np.ndarray) -> None:
        """Add consecutive frames (n, p), n ≤ 32, the first of index `first`."""
        maps, counts = self.maps, self.counts
        if len(cell) and not counts["frames"]:
            maps["pivot"][...] = np.where(np.isfinite(cell[0]), cell[0], 0)
            maps["high"][...] = maps["low"][...] = maps["last"][...] = cell[0]
            counts["first_index"] = int(first)
        follows = counts["frames"] > 0 and first == counts["last_index"] + 1
        linked, totals = np.zeros(len(cell), np.bool_), np.zeros(len(cell), self._total_dtype)
        find_links(cell, maps["last"], follows, linked)
        self.patches.add(cell, maps["last"], linked)
        accumulate_steps(cell, linked, self._pixel_sums(), totals)
        if len(cell):
            self._add_totals(totals.astype(float), linked)
            counts["frames"] += len(cell)
            counts["pairs"] += int(linked.sum())
            counts["last_index"] = int(first) + len(cell) - 1

    def copy(self) -> Self:
        """Return an independent copy."""
        copy = type(self).__new__(type(self))
        copy.__dict__ |= self.__dict__
        copy.maps = {name: array.copy() for name, array in self.maps.items()}
        copy.counts, copy.totals, copy.patches = dict(self.counts), dict(self.totals), self.patches.copy()
        return copy

    def merge(self, other: Self) -> None:
        """Add a later part, including the step between them if no frame is missing there."""
        if not other.frames:
            return
        mine, theirs = self.maps, other.maps
        self._link(other)
        shift: np.ndarray = (theirs["pivot"] - mine["pivot"]).astype(self._sum_dtype)
        mine["sum_squares"] += theirs["sum_squares"] + shift * (2 * theirs["sum"] + other.frames * shift)
        mine["sum"] += theirs["sum"] + other.frames * shift
        mine["sum_steps"] += theirs["sum_steps"]
        np.maximum(mine["high"], theirs["high"], out=mine["high"])
        np.minimum(mine["low"], theirs["low"], out=mine["low"])
        self.patches.merge(other.patches)
        mine["last"][...] = theirs["last"]
        by = other.totals["total_pivot"] - self.totals["total_pivot"]
        n, later = other.frames, other.totals
        self.totals["total_squares"] += later["total_squares"] + by * (2 * later["total_sum"] + n * by)
        self.totals["total_sum"] += later["total_sum"] + n * by
        self.totals["total_steps"] += later["total_steps"]
        self.totals["last_total"] = later["last_total"]
        self.counts["frames"] += n
        self.counts["pairs"] += other.counts["pairs"]
        self.counts["last_index"] = other.counts["last_index"]

    def pixels(self, saturated: np.ndarray) -> Pixels:
        """Return the statistics of at least two frames; `saturated` (p,): which pixels ever were."""
        counts, totals = self.counts, self.totals
        n, pairs = counts["frames"], max(counts["pairs"], 1)
        mean, variance, steps_variance = pixel_statistics(self._pixel_sums(), n, pairs)
        saturated = saturated | self._cut_at_zero(mean, variance)
        low = self.maps["low"]
        piled_up = mean - low < PILED_UP_SD * np.sqrt(variance)
        spread = totals["total_squares"] - totals["total_sum"] ** 2 / n
        return Pixels(
            mean=mean,
            variance=variance,
            steps_variance=steps_variance,
            total_variance=max(spread, 0.0) / (n - 1),
            total_steps_variance=totals["total_steps"] / (2 * pairs),
            frames=n,
            pairs=counts["pairs"],
            saturated=saturated,
            rounded=self.maps["last"].dtype.kind in "iu",
            piled_up=float(np.mean(piled_up & (variance > 0))),
            lowest=float(np.nanmedian(low)) if np.isfinite(low).any() else np.nan,
            shared=self.patches.measured(mean, saturated, counts["pairs"]),
        )

    def _cut_at_zero(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """Pixels (p,) within 4 σ of zero, where unsigned grey values are clipped, that were seen at zero.

        Where many were, all that are as dark: those never seen there are the ones whose noise happened to be small.
        """
        low = self.maps["low"]
        if low.dtype.kind != "u":
            return np.zeros(len(mean), bool)
        cut = (low == 0) & (mean < 4 * np.sqrt(variance))
        if cut.any():
            order = np.argsort(mean)
            parts = np.array_split(order, min(CUT_PARTS, len(order)))
            many = [k for k, part in enumerate(parts) if cut[part].mean() > CUT_SHARE]
            if many:
                cut[np.concatenate(parts[: many[-1] + 1])] = True
        return np.asarray(cut)

    def state(self) -> State:
        """Return copies of all sums, as entries of a state."""
        maps = {name: array.copy() for name, array in self.maps.items()}
        return {**maps, **self.patches.state(), **self.counts, **self.totals}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        for name, array in self.maps.items():
            array[...] = require_array(state, name, array, "gain")
            if np.isinf(array).any():  # NaN is a pixel that was not seen
                raise StateError(f"gain: state {name!r} holds infinite numbers; the state was damaged")
        self.patches.restore(state)
        self.counts = {name: require_int(state, name, "gain") for name in _COUNTS}
        self.totals = {name: _float(state, name) for name in _TOTALS}

    def _pixel_sums(self) -> PixelSums:
        maps = self.maps
        return PixelSums(
            maps["pivot"], maps["last"], maps["sum"], maps["sum_squares"], maps["sum_steps"], maps["high"], maps["low"]
        )  # fmt: skip

    def _add_totals(self, totals: np.ndarray, linked: np.ndarray) -> None:
        mine = self.totals
        if not self.frames:
            mine["total_pivot"] = mine["last_total"] = float(totals[0])
        d = totals - mine["total_pivot"]
        steps = np.diff(totals, prepend=mine["last_total"])
        mine["total_sum"] += float(d.sum())
        mine["total_squares"] += float(d @ d)
        mine["total_steps"] += float(np.sum(steps**2, where=linked))
        mine["last_total"] = float(totals[-1])

    def _link(self, other: Self) -> None:
        """Count the step from this part's last frame to the other's first."""
        if other.counts["first_index"] != self.counts["last_index"] + 1:
            return
        first, linked = other.maps["pivot"].astype(self.maps["last"].dtype)[None], np.zeros(1, np.bool_)
        first.flags.writeable = False  # as cells are: the type that kernels are compiled for
        find_links(first, self.maps["last"], True, linked)
        if linked[0]:
            self.patches.add(first, self.maps["last"], linked)
            step = other.maps["pivot"] - (self.maps["last"] - self.maps["pivot"]) - self.maps["pivot"]
            self.maps["sum_steps"] += step.astype(self._sum_dtype) ** 2
            self.totals["total_steps"] += (other.totals["total_pivot"] - self.totals["last_total"]) ** 2
            self.counts["pairs"] += 1


def _float(state: State, name: str) -> float:
    value = state.get(name)
    if not isinstance(value, float):
        raise StateError(f"gain: state {name!r} must be a float, found {value!r}")
    return value
