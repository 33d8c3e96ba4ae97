"""Mean, variance and extremes of every pixel, and the total signal of every frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np

from ..core.afterwards import Afterwards
from ..core.block import Block
from ..core.card_block import frames_of, on_device
from ..core.findings import ReportedStep
from ..core.grid import GRID_FRAMES, FrameGrid
from ..core.operator import NO_VALUES, Gives, Mergeable, Output, Presents, Values
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State, require_array, require_int
from ..core.unseen import VALID, known_pixels, seen_parts
from .pixel_statistics import CardPixelStatistics, PixelStatistics


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

    devices = ("cpu", "gpu")
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
        self._grid = FrameGrid(spec, self.card)
        self._afterwards = Afterwards()
        self._n = 0
        self._pixels = PixelStatistics(spec) if self.card is None else CardPixelStatistics(spec, self.card)
        self._add(self._grid.waiting)
        self._pixels.signal(self._grid.waiting)

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        self._afterwards.wait()
        block = known_pixels(on_device(block, self.card))
        ends_cell = len(block) < GRID_FRAMES and block.stop % GRID_FRAMES == 0
        totals = []
        for cell in (cell for part in seen_parts(block, inputs) for cell in self._pushed(part)):
            if ends_cell and len(cell) == GRID_FRAMES:  # the last one: nothing of this block comes behind it
                self._afterwards.start(partial(self._add, cell))
            else:
                totals.append(self._add(cell))
        is_cell = len(block) == GRID_FRAMES and block.index % GRID_FRAMES == 0
        whole = is_cell and bool(totals) and len(totals[-1]) == GRID_FRAMES
        signal = totals[-1] if whole else self._pixels.signal(frames_of(block, self.card))
        return Output(block.index, {"total_signal": signal})

    def gap(self, first: int, count: int) -> None:
        self._afterwards.wait()
        for cell in self._grid.flush():
            self._add(cell)

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        wanted = self.snapshot_names(names)
        self._afterwards.wait()
        now = self._flushed()
        arrays = now._pixels.arrays()
        return {name: _READ[name](now._n, arrays) for name in wanted}

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
        own, others = self._pixels.to_change(), other._pixels.arrays()
        if other._n:
            shift: np.ndarray = (others["pivot"] - own["pivot"]).astype(self._pixels.dtype)
            n = other._n - others["unseen"] if others["unseen"].size else other._n
            own["sum_squares"][...] += others["sum_squares"] + shift * (2 * others["sum"] + n * shift)
            own["sum"][...] += others["sum"] + n * shift
            own["unseen"][...] += others["unseen"]
            self._n += other._n
        np.minimum(own["low"], others["low"], out=own["low"])
        np.maximum(own["high"], others["high"], out=own["high"])
        self._grid.restore(other._grid.state())

    def state(self) -> State:
        self._afterwards.wait()
        arrays = {name: array.copy() for name, array in self._pixels.arrays().items()}
        return {"n": self._n, **arrays, **self._grid.state()}

    def restore(self, state: State) -> None:
        self._afterwards.wait()
        arrays = self._pixels.to_change()
        for name, array in arrays.items():
            array[...] = require_array({"unseen": np.zeros_like(arrays["unseen"]), **state}, name, array, "moments")
        self._n = require_int(state, "n", "moments")
        self._grid.restore(state)

    @property
    def _seen(self) -> int:
        return self._n + len(self._grid.waiting)

    def _pushed(self, part: Block) -> Iterator[np.ndarray]:
        """Yield the cells that frames complete; the first one gives the pivot."""
        if not self._seen:
            first, arrays = part.pixels[0], self._pixels.to_change()
            finite, unseen = np.isfinite(first), np.isnan(first)
            arrays["pivot"][...] = np.where(finite, first, np.rint(first[finite].mean()) if finite.any() else 0)
            arrays["low"][...] = np.where(unseen, np.inf, first) if unseen.any() else first
            arrays["high"][...] = np.where(unseen, -np.inf, first) if unseen.any() else first
        return self._grid.push(part)

    def _add(self, cell: np.ndarray) -> np.ndarray:
        """Add a cell's frames; return the total signal of each."""
        self._n += len(cell)
        return self._pixels.add(cell)

    def _flushed(self) -> Moments:
        """Return a copy with the waiting frames added."""
        if not len(self._grid.waiting):
            return self
        copy = Moments(self.params, self.spec, self.device)
        copy.restore(self.state())
        copy.gap(0, 0)
        return copy


def _counts(n: int, arrays: Mapping[str, np.ndarray]) -> Any:
    """In how many of n frames each pixel was seen (y, x), NaN for none; a number for integers."""
    if not arrays["unseen"].size:
        return n or np.nan
    counts = (n - arrays["unseen"]).astype(float)
    counts[counts == 0] = np.nan
    return counts


def _mean(n: int, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.asarray(arrays["pivot"] + arrays["sum"] / _counts(n, arrays))


def _variance(n: int, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    if n == 0:
        return np.full(arrays["pivot"].shape, np.nan)
    total, counts = arrays["sum"], _counts(n, arrays)
    # Sums about the rounded mean lose nothing to cancellation: for integers this step is exact.
    centre = np.rint(total / counts).astype(total.dtype)
    squares = arrays["sum_squares"] - centre * (2 * total - counts * centre)
    return np.maximum(squares / counts - ((total - counts * centre) / counts) ** 2, 0)


def _extreme(name: str, n: int, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return a copy, NaN where the pixel was never seen."""
    values = arrays[name].copy()
    if values.dtype.kind == "f":
        values[np.isnan(_counts(n, arrays))] = np.nan
    return values


_READ: dict[str, Callable[[int, Mapping[str, np.ndarray]], np.ndarray]] = {
    "frames": lambda n, arrays: np.array(n),
    "mean": _mean,
    "variance": _variance,
    "min": partial(_extreme, "low"),
    "max": partial(_extreme, "high"),
}
