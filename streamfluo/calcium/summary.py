"""Summary images while frames come: what the field looks like, and where there may be cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np

from ..core.afterwards import Afterwards
from ..core.block import Block
from ..core.card_block import on_device
from ..core.grid import GRID_FRAMES, FrameGrid
from ..core.operator import NO_VALUES, Gives, Mergeable, Output, Presents, Values
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State, require_int
from ..core.unseen import VALID, known_pixels, seen_parts
from .card_summary import CardSummarySums
from .summary_sums import SummarySums

IMAGES = ("local_correlation", "peak_to_noise", "correlation_peak_to_noise", "max", "std")


@register("summary")
class Summary(Mergeable):
    """Local correlation, peak-to-noise ratio, their product, maximum and standard deviation of every pixel so far.

    Local correlation is the mean of the correlations with the four neighbours, each over the frames in which both were
    seen; peak-to-noise is (maximum − mean) / σ, σ being √π/2 of the mean absolute difference of frames that follow
    directly on each other. Both as `streamfluo.analysis` has them for movies in memory. NaN pixels are left out, frames
    that are not valid as well; no difference spans a gap. Images are NaN where fewer than three frames were seen.
    Sums about a pivot, the first frame. Cost: .5 of an rfft2 of the frame, of floats .7, singly 1; frames that come
    singly are added 32 at a time, on a thread behind the values. State: 8 maps, of floats 16 of 8 bytes and 4 of 4
    more, and at most 31 waiting frames.
    """

    devices = ("cpu", "gpu")
    may_need = (VALID,)
    gives = (
        Gives("frames", "snapshot", (), "", "number of frames in the images"),
        Gives("local_correlation", "snapshot", ("y", "x"), "", "mean correlation with the four neighbours"),
        Gives("peak_to_noise", "snapshot", ("y", "x"), "", "(maximum − mean) / noise σ"),
        Gives("correlation_peak_to_noise", "snapshot", ("y", "x"), "", "local correlation times peak-to-noise"),
        Gives("max", "snapshot", ("y", "x"), "ADU", "largest value of each pixel"),
        Gives("std", "snapshot", ("y", "x"), "ADU", "standard deviation of each pixel"),
    )
    presents = Presents(
        ("correlation_peak_to_noise", "frames"),
        ("traces", "components", "quality", "shift_px"),
        choice=("summary", IMAGES),
    )

    def __init__(self, params: Any, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        self._grid = FrameGrid(spec, self.card)
        self._afterwards = Afterwards()
        given = (spec.shape, spec.dtype)
        self._sums = SummarySums(*given) if self.card is None else CardSummarySums(*given, self.card)
        self._first_index = self._next_index = -1  # of the frames seen, and one past the last

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        self._afterwards.wait()
        block = known_pixels(on_device(block, self.card))
        singly = len(block) < GRID_FRAMES and self.card is None  # a card goes on by itself
        ends_cell = singly and block.stop % GRID_FRAMES == 0
        for part in seen_parts(block, inputs):
            for cell in self._pushed(part):
                if ends_cell and len(cell) == GRID_FRAMES:  # the last one: nothing of this block comes behind it
                    self._afterwards.start(partial(self._sums.add, cell))
                else:
                    self._sums.add(cell)
        return Output(block.index)

    def _pushed(self, part: Block) -> Iterator[np.ndarray]:
        """Yield the cells that consecutive frames complete."""
        if self._first_index < 0:
            self._sums.begin(part.cut(part.index, part.index + 1).pixels[0])
            self._first_index = part.index
        elif part.index != self._next_index:
            self.gap(self._next_index, part.index - self._next_index)
        self._next_index = part.stop
        yield from self._grid.push(part)

    def gap(self, first: int, count: int) -> None:
        self._flush()
        self._sums.unbroken = 0

    def _flush(self) -> None:
        self._afterwards.wait()
        for cell in self._grid.flush():
            self._sums.add(cell)

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        return self.reader(names)()

    def reader(
        self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES
    ) -> Callable[[], Mapping[str, np.ndarray]]:
        """Nothing is copied here: sums that are read elsewhere are copied when the next frames are added to them."""
        wanted = self.snapshot_names(names)
        self._afterwards.wait()
        return partial(_read, self._sums.lent(), self._grid.copy().waiting, wanted)

    def merge(self, other: Self) -> None:
        other._afterwards.wait()
        if other._first_index < 0:
            return
        if self._first_index < 0:
            self.restore(other.state())
            return
        self._flush()
        follows = other._first_index == self._next_index
        if other._sums.n:
            self._sums.absorb(other._sums, follows)
        elif not follows:
            self._sums.unbroken = 0
        self._grid.restore(other._grid.state())
        self._next_index = other._next_index

    def state(self) -> State:
        self._afterwards.wait()
        indices = {"first_index": self._first_index, "end_index": self._next_index}
        return {**indices, **self._sums.state(), **self._grid.state()}

    def restore(self, state: State) -> None:
        self._afterwards.wait()
        self._sums.restore(state, self.kind)
        self._grid.restore(state)
        self._first_index, self._next_index = (
            require_int(state, f"{name}_index", self.kind) for name in ("first", "end")
        )


def _read(sums: SummarySums, waiting: Any, wanted: Sequence[str]) -> dict[str, np.ndarray]:
    if len(waiting):
        sums.add(waiting)
    sums.to_read()
    found: dict[str, np.ndarray] = {}
    for name in wanted:
        if name == "frames":
            found[name] = np.array(sums.n)
        elif name == "correlation_peak_to_noise":
            factors = [found[part] if part in found else getattr(sums, part)() for part in IMAGES[:2]]
            found[name] = factors[0] * factors[1]
        else:
            found[name] = getattr(sums, name)()
    return found
