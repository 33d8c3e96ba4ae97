"""Mean, variance and extremes of every pixel, and the total signal of every frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np

from ..core.afterwards import Afterwards
from ..core.block import Block
from ..core.findings import ReportedStep
from ..core.grid import GRID_FRAMES, FrameGrid
from ..core.operator import NO_VALUES, Gives, Mergeable, Output, Presents, Values
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State, require_array, require_int
from ..core.thread_pool import in_bands
from ..core.unseen import VALID, known_pixels, seen_parts
from .kernels.power_sums import TILE_PX, PixelSums, accumulate, frame_totals

NS_A_PIXEL = 0.3  # of a frame, on one core


@register("moments")
class Moments(Mergeable):
    """Running mean, population variance, minimum and maximum of each pixel.

    Sums of d = x − pivot and d² with the first frame as pivot: exact integers for 8- and 16-bit frames (to 2³¹
    frames), float64 else. Cost: 1.4 memory copies of the frames in blocks of 32, and one more to gather smaller ones;
    state: 5 maps and at most 31 waiting frames. Of frames that come singly each 32 are added on a thread, behind the
    values of the last one: at 512×512 that takes 3 ms, for which no step behind waits. Merging re-bases the later part
    on the earlier one's pivot (Pébay 2008, eq. 1.3 for a common shift). NaN pixels are left out: each pixel has the
    statistics of the frames in which it was seen, NaN without any. Frames that a step before declares not valid are
    left out.
    """

    may_need = (VALID,)
    gives = (
        Gives("total_signal", "per_frame", ("t",), "ADU", "sum over the seen pixels of the frame"),
        Gives("frames", "snapshot", (), "", "number of frames in the images"),
        Gives("mean", "snapshot", ("y", "x"), "ADU", "mean of each pixel"),
        Gives("variance", "snapshot", ("y", "x"), "ADU²", "population variance of each pixel"),
        Gives("min", "snapshot", ("y", "x"), "ADU", "smallest value of each pixel"),
        Gives("max", "snapshot", ("y", "x"), "ADU", "largest value of each pixel"),
    )
    presents = Presents(("frames", "mean", "variance"), ("total_signal",))

    @staticmethod
    def measures(step: ReportedStep) -> dict[str, float]:
        """Return the mean [ADU], and by what share the last tenth's signal is above the first's, offset included."""
        total = step.per_frame("total_signal")
        total = total[np.isfinite(total)] if total.ndim == 1 else np.empty(0)
        found, mean = dict[str, float](), step.snapshot.get("mean")
        if mean is not None and np.isfinite(mean).any():
            found["mean_adu"] = float(np.nanmean(mean))
        tenth = max(1, len(total) // 10)
        if len(total) > 1 and (first := float(np.median(total[:tenth]))) > 0:
            found["signal_change"] = float(np.median(total[-tenth:])) / first - 1
        return found

    def __init__(self, params: Any, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        dtype = np.dtype(spec.dtype)
        exact = dtype.kind in "iu" and dtype.itemsize <= 2
        self._grid = FrameGrid(spec)
        self._sum_dtype = np.dtype(np.int64 if exact else np.float64)
        self._total_dtype = np.dtype(np.int64 if dtype.kind in "iu" else np.float64)
        self._afterwards = Afterwards()
        self._n = 0
        self._pivot = np.zeros(spec.shape, np.int32 if exact else np.float64)
        self._sum = np.zeros(spec.shape, self._sum_dtype)
        self._squares = np.zeros(spec.shape, self._sum_dtype)
        self._low, self._high = np.zeros((2, *spec.shape), dtype)
        self._unseen = np.zeros(spec.shape if dtype.kind == "f" else (0, 0), np.int64)
        self._add(self._grid.waiting)
        self._signal(self._grid.waiting)

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        self._afterwards.wait()
        block = known_pixels(block)
        ends_cell = len(block) < GRID_FRAMES and block.stop % GRID_FRAMES == 0
        totals = []
        for cell in (cell for part in seen_parts(block, inputs) for cell in self._pushed(part)):
            if ends_cell and len(cell) == GRID_FRAMES:  # the last one: nothing of this block comes behind it
                self._afterwards.start(partial(self._add, cell))
            else:
                totals.append(self._add(cell))
        is_cell = len(block) == GRID_FRAMES and block.index % GRID_FRAMES == 0
        whole = is_cell and bool(totals) and len(totals[-1]) == GRID_FRAMES
        return Output(block.index, {"total_signal": totals[-1] if whole else self._signal(block.pixels)})

    def gap(self, first: int, count: int) -> None:
        self._afterwards.wait()
        for cell in self._grid.flush():
            self._add(cell)

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        wanted = self.snapshot_names(names)
        self._afterwards.wait()
        now = self._flushed()
        return {name: _READ[name](now) for name in wanted}

    def merge(self, other: Self) -> None:
        for part in (self, other):
            part._afterwards.wait()
        if not other._seen:
            return
        if not self._seen:
            self.restore(other.state())
            return
        for cell in self._grid.flush():
            self._add(cell)
        if other._n:
            shift: np.ndarray = (other._pivot - self._pivot).astype(self._sum_dtype)
            n = other._n - other._unseen if other._unseen.size else other._n
            self._squares += other._squares + shift * (2 * other._sum + n * shift)
            self._sum += other._sum + n * shift
            self._unseen += other._unseen
            self._n += other._n
        np.minimum(self._low, other._low, out=self._low)
        np.maximum(self._high, other._high, out=self._high)
        self._grid.restore(other._grid.state())

    def state(self) -> State:
        self._afterwards.wait()
        arrays = {name: array.copy() for name, array in self._arrays().items()}
        return {"n": self._n, **arrays, **self._grid.state()}

    def restore(self, state: State) -> None:
        self._afterwards.wait()
        for name, array in self._arrays().items():
            array[...] = require_array({"unseen": np.zeros_like(self._unseen), **state}, name, array, "moments")
        self._n = require_int(state, "n", "moments")
        self._grid.restore(state)

    @property
    def _seen(self) -> int:
        return self._n + len(self._grid.waiting)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "pivot": self._pivot,
            "sum": self._sum,
            "sum_squares": self._squares,
            "low": self._low,
            "high": self._high,
            "unseen": self._unseen,
        }

    def _pushed(self, part: Block) -> Iterator[np.ndarray]:
        """Yield the cells that frames complete; the first one gives the pivot."""
        if not self._seen:
            first = part.pixels[0]
            finite = np.isfinite(first)
            self._pivot[...] = np.where(finite, first, np.rint(first[finite].mean()) if finite.any() else 0)
            unseen = np.isnan(first)
            self._low[...] = np.where(unseen, np.inf, first) if unseen.any() else first
            self._high[...] = np.where(unseen, -np.inf, first) if unseen.any() else first
        return self._grid.push(part)

    def _add(self, cell: np.ndarray) -> np.ndarray:
        """Add a cell's frames; return the total signal of each."""
        sums = PixelSums(*(array.reshape(-1) for array in self._arrays().values()))
        flat, tiles = cell.reshape(len(cell), self._pivot.size), -(-self._pivot.size // TILE_PX)
        totals = np.zeros((tiles + 1, len(cell)), self._total_dtype)
        in_bands(tiles, NS_A_PIXEL * cell.size, lambda *band: accumulate(flat, sums, band, totals[1:]))
        self._n += len(cell)
        return np.asarray(np.add.accumulate(totals)[-1].astype(np.float64))  # one tile after the other

    def _signal(self, pixels: np.ndarray) -> np.ndarray:
        totals = np.empty(len(pixels), self._total_dtype)
        flat, work_ns = pixels.reshape(len(pixels), self._pivot.size), NS_A_PIXEL * pixels.size
        in_bands(len(pixels), work_ns, lambda a, b: frame_totals(flat[a:b], totals[a:b]))
        return totals.astype(np.float64)

    def _flushed(self) -> Moments:
        """Return a copy with the waiting frames added."""
        if not self._grid.waiting.size:
            return self
        copy = Moments(self.params, self.spec, self.device)
        copy.restore(self.state())
        copy.gap(0, 0)
        return copy


def _counts(m: Moments) -> Any:
    """In how many frames each pixel was seen (y, x), NaN for none; a number for integers."""
    if not m._unseen.size:
        return m._n or np.nan
    n = (m._n - m._unseen).astype(float)
    n[n == 0] = np.nan
    return n


def _mean(m: Moments) -> np.ndarray:
    return np.asarray(m._pivot + m._sum / _counts(m))


def _variance(m: Moments) -> np.ndarray:
    n = _counts(m)
    if m._n == 0:
        return np.full(m.spec.shape, np.nan)
    # Sums about the rounded mean lose nothing to cancellation: for integers this step is exact.
    centre = np.rint(m._sum / n).astype(m._sum_dtype)
    squares = m._squares - centre * (2 * m._sum - n * centre)
    return np.maximum(squares / n - ((m._sum - n * centre) / n) ** 2, 0)


def _extreme(m: Moments, values: np.ndarray) -> np.ndarray:
    """Return a copy, NaN where the pixel was never seen."""
    values = values.copy()
    if values.dtype.kind == "f":
        values[np.isnan(_counts(m))] = np.nan
    return values


_READ = {
    "frames": lambda m: np.array(m._n),
    "mean": _mean,
    "variance": _variance,
    "min": lambda m: _extreme(m, m._low),
    "max": lambda m: _extreme(m, m._high),
}
