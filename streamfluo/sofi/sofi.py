"""The operator `sofi`: cumulants of every pixel while the frames arrive."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, Self

import numpy as np
from msgspec import Meta

from ..core.block import Block
from ..core.card_block import frames_of, on_device
from ..core.errors import ConfigError
from ..core.grid import GRID_FRAMES, FrameGrid
from ..core.operator import NO_VALUES, Mergeable, Output, Presents, Values
from ..core.params import Params
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State, require_int
from ..core.unseen import VALID, known_pixels, seen_parts
from ..pixels.frame_totals import FrameTotals
from .batches import Batches
from .bleaching_segments import BleachingSegments
from .crossed import CrossedSums
from .lagged import CardLaggedSums, LaggedSums
from .noise import CameraNoise
from .report import measures_of, report_of
from .results import compile_results, gives, read
from .segment_sums import Layout
from .sums import SETTLED_FRAMES, CardPowerSums, PowerSums
from .with_total import AveragedProducts

MAX_LAG = 256
PART_NAMES = {  # attribute → the snapshots that need it
    "lagged": re.compile(r"lag_k|k\d|snr|change"),
    "crossed": re.compile(r"cross|psf|resolution"),
    "segments": re.compile(r"m\d|k\d|snr|segments|cross|psf|resolution"),
}
POWER_NAME = re.compile(r"frames|mean|(m|k|snr)\d|change")  # snapshots made of the power sums alone


class SofiParams(Params, frozen=True):
    order: Annotated[int, Meta(ge=2, le=8, description="highest order of the cumulants")] = 4
    lags: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=MAX_LAG)], ...] | None,
        Meta(description="lags from frame t, the first 0; order n uses the first n [frames]"),
    ] = None
    cross: Annotated[bool | int, Meta(description="radius of cross-cumulants, 1 or 2; false: none [px]")] = False
    bleach_fraction: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None,
        Meta(description="change of the mean light, over the sd of the blinking, that begins a new bleaching segment"),
    ] = None
    smooth_frames: Annotated[
        int, Meta(ge=1, le=65536, description="window of the signal's median, rounded up to a multiple of 32 [frames]")
    ] = 251
    noise: Annotated[
        Literal["keep", "camera", "lag"],
        Meta(description="take shot and read noise out of k_n by the camera's calibration, or by lags 0, 1, 2 …"),
    ] = "keep"
    batches: Annotated[int, Meta(ge=2, le=64, description="batches of frames behind snr and change, at most")] = 8

    def __post_init__(self) -> None:
        if self.cross not in (0, 1, 2):
            raise ValueError(f"cross is false, 1 or 2, found {self.cross!r}")
        lags = self.lags
        if lags is not None and (len(lags) < 2 or lags[0] != 0 or list(lags) != sorted(lags)):
            raise ValueError(f"lags are two or more from 0 on in ascending order, found {list(lags)}")
        if lags is not None and len(lags) > 8:
            raise ValueError(f"lags: at most 8, found {len(lags)}")
        if self.noise == "lag" and lags is not None and (len(lags) < self.order or len(set(lags)) < len(lags)):
            raise ValueError(f"noise = 'lag' needs {self.order} different lags, found {list(lags)}")
        if self.noise == "lag" and self.bleach_fraction is not None:
            raise ValueError("noise = 'lag' and bleach_fraction exclude each other; use debleach before sofi")
        if lags is not None and self.bleach_fraction is not None:
            raise ValueError("lags and bleach_fraction exclude each other; use debleach before sofi")


@register("sofi")
class Sofi(Mergeable):
    """Cumulants of every pixel: orders 2 to 8, between frames, between pixels, over bleaching segments.

    Power sums about a pivot in two floats (1e-9 of max |k_n| to order 6 over 10⁶ frames), re-based when read; standard
    errors from the means of up to 8 batches of consecutive frames, as blinking is correlated in time. With noise =
    'lag' the k_n are those between frames 0, 1, 2 … apart, free of noise that is independent between frames; 'camera'
    removes shot noise by the factorial cumulants of the electrons, read noise by its variance. With bleach_fraction
    m_n, k_n and cross-cumulants are averages over bleaching segments, weighted by frames, without the trend of each
    pixel; snr is then a lower bound, as its batches include the bleaching. A pixel that was NaN in a frame is NaN in
    all images; frames that are not valid count as missing.
    Cost at order 4: about 3 memory copies of the frames in blocks of 32; state: up to 36 maps of 8 bytes.
    Dertinger et al. 2009, PNAS 106:22287.
    """

    version = 2
    Params = SofiParams
    may_need = (VALID,)
    gives = gives(SofiParams(), 0)
    presents = Presents(
        ("k2", "k3", "k4", "mean", "frames"),
        ("resolution", "change", "numbers"),
        compared="mean",
        choice=("order", tuple(f"k{n}" for n in range(2, 9))),
        over_time=("resolution", "change"),
    )
    report = staticmethod(report_of)
    measures = staticmethod(measures_of)
    devices = ("cpu", "gpu")
    examples = (
        {"order": 6},
        {"order": 3, "lags": (0, 1, 1, 3), "cross": 1},
        {"order": 2, "noise": "lag"},
        {"order": 4, "bleach_fraction": 0.01, "smooth_frames": 32},
        {"order": 3, "cross": 1, "bleach_fraction": 0.5, "smooth_frames": 32},
    )

    def __init__(self, params: SofiParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        p = params
        if p.cross and min(spec.shape) < 2 * int(p.cross) + 1:
            raise ConfigError(f"sofi: cross = {int(p.cross)} needs frames of {2 * int(p.cross) + 1} pixels a side")
        self.noise = CameraNoise(spec) if p.noise == "camera" else None
        lags = tuple(range(p.order)) if p.noise == "lag" and p.lags is None else p.lags
        self.gives = gives(p, len(lags) if lags is not None else 0, spec.pixel_um is not None)
        card, by_segments = self.card, p.bleach_fraction is not None
        self._grid, self._totals = FrameGrid(spec, card), FrameTotals(spec, card)
        self.power = PowerSums(spec, p.order) if card is None else CardPowerSums(spec, p.order, card)
        self.lagged = None
        if lags is not None:
            self.lagged = LaggedSums(spec, lags) if card is None else CardLaggedSums(spec, lags, card)
        self.crossed = CrossedSums(spec, int(p.cross), p.order, None if by_segments else card) if p.cross else None
        self.segments = None
        if p.bleach_fraction is not None:
            window_frames = -(-p.smooth_frames // GRID_FRAMES) * GRID_FRAMES
            layout = Layout(spec, p.order, self.crossed, window_frames)
            self.segments = BleachingSegments(layout, p.bleach_fraction, card)
        kept = self.lagged.products if self.lagged is not None and self._lag_noise else self.power
        self.batches = Batches(p.batches, kept.plain().shape, card)
        self._next_index = -1
        self._compile()

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        block = known_pixels(on_device(block, self.card))
        self.batches.prepare(block.index, block.stop)
        for part in seen_parts(block, inputs):
            self._take(part)
        if self.segments is None:
            return Output(block.index)
        return Output(block.index, {"total_signal": self._totals(frames_of(block, self.card))})

    def _take(self, part: Block) -> None:
        """Add consecutive frames, after those that are missing before them."""
        if self.batches.first < 0:
            self.batches.first = self.batches.stop = part.index
        elif part.index != self._next_index:
            self._flush()
            self._skip_to(part.index)
        self._next_index = part.stop
        for cell in self._grid.push(part):
            self._add(cell)

    def doubt(self) -> str:
        return self.segments.doubt() if self.segments is not None else ""

    def gap(self, first: int, count: int) -> None:
        self._flush()

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        wanted = self.snapshot_names(names)
        now = self if self._can_wait(wanted) else self._flushed(wanted)
        waiting = now.power.waiting(now._grid.waiting, max((self._order_of(name) for name in wanted), default=2))
        return {name: read(now, name, waiting, len(now._grid.waiting)) for name in wanted}

    def reader(
        self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES
    ) -> Callable[[], Mapping[str, np.ndarray]]:
        wanted = self.snapshot_names(names)
        return partial(self._copy(wanted).read, wanted)

    def merge(self, other: Self) -> None:
        if other.batches.first < 0:
            return
        if self.batches.first < 0:
            self.restore(other.state())
            return
        self._flush()
        unbroken = self._next_index == other.batches.first
        if self.power.n < min(SETTLED_FRAMES, other.power.n):
            self._move_pivot(other.power.pivot.copy())
        for part in self._products:
            part.products.settle(self._flat_pivot)
        self.batches.absorb(other.batches, self._marked, partial(self._marked_of, other, unbroken))
        self.power.absorb(other.power)
        if self.lagged is not None and other.lagged is not None:
            self.lagged.absorb(other.lagged, unbroken)
        if self.crossed is not None and self.segments is None:
            self.crossed.products.absorb(other.crossed.products)  # type: ignore[union-attr]
        if self.segments is not None and other.segments is not None:
            self.segments.absorb(other.segments)
        self._grid.restore(other._grid.state())
        self._next_index = other._next_index

    def state(self) -> State:
        parts = [self._grid.state(), self.power.state("power"), self.batches.state()]
        parts += [part.state() for part in (self.lagged, self.segments) if part is not None]
        if self.crossed is not None and self.segments is None:
            parts.append(self.crossed.products.state("cross"))
        return {"next": self._next_index, **{name: value for part in parts for name, value in part.items()}}

    def restore(self, state: State) -> None:
        self.power.restore(state, "power")
        if self.lagged is not None:
            self.lagged.restore(state)
        if self.crossed is not None and self.segments is None:
            self.crossed.products.restore(state, "cross")
        if self.segments is not None:
            self.segments.restore(state)
        self.batches.restore(state)
        self._next_index = require_int(state, "next", self.kind)
        self._grid.restore(state)

    # Accumulation

    def _flush(self) -> None:
        for cell in self._grid.flush():
            self._add(cell)

    def _skip_to(self, index: int) -> None:
        """Account for missing frames up to `index`."""
        if self.lagged is not None:
            self.lagged.end_run()
        self.batches.advance(index, self._marked)

    def _add(self, cell: np.ndarray) -> None:
        start = self.batches.stop
        pivot = self.power.better_pivot(cell)
        if pivot is not None:
            self._move_pivot(pivot)
        self.power.add(cell)
        for part in self._products:
            part.products.settle(self._flat_pivot)
            part.add(cell)
        if self.segments is not None:
            self.segments.add(cell, start, self._totals(cell), self.power.pivot)
        self.batches.advance(start + len(cell), self._marked)

    def _move_pivot(self, pivot: np.ndarray) -> None:
        flat = pivot.reshape(-1)[: self.power.pixels]
        if self._lag_noise and self.lagged is not None:
            products = self.lagged.products
            self.batches.rebase(lambda n, sums: products.tiled(products.about(flat, sums, n)))
        elif not self._lag_noise:
            self.batches.rebase(lambda n, sums: self.power.plain_about(pivot, n, sums))
        for part in self._products:
            part.products.move_pivot(flat)
        if self.segments is not None:
            self.segments.move_pivot(pivot)
        self.power.move_pivot(pivot)

    def _marked(self, index: int, out: np.ndarray) -> int:
        """Write the current sums that a mark keeps; return the frames in them."""
        part = self.lagged.products if self._lag_noise else self.power  # type: ignore[union-attr]
        part.add_up(out)
        return part.n

    def _marked_of(self, other: Sofi, unbroken: bool, index: int, out: np.ndarray) -> int:
        """Write the sums of a mark of the later part once merged, before this part changes; return their frames."""
        n, sums = other.batches.mark(index)
        before = self._marked(index, out)
        if not self._lag_noise:
            self._add_to(out, other.power.plain_about(self.power.pivot, n, sums))
            return before + n
        lagged, theirs = self.lagged, other.lagged
        assert lagged is not None
        assert theirs is not None
        self._add_to(out, theirs.products.tiled(theirs.products.about(lagged.products.pivot, sums, n)))
        if not unbroken:
            return before + n
        seam = lagged.seam(theirs, index - other.batches.first)
        self._add_to(out, seam.plain())
        return before + n + seam.n

    def _add_to(self, out: Any, sums: np.ndarray) -> None:
        out += sums if self.card is None else self.card.put(sums)

    def _compile(self) -> None:
        """Compile every kernel for the types of the frames, which are read-only, and of runs of them."""
        frames = self._grid.waiting
        self._totals(frames)
        self.power.add_frames(frames)
        self.power.better_pivot(frames)
        if self.crossed is not None:
            self.crossed.add(frames)
        if self.segments is not None:
            self.segments.compile(frames)
        if self.lagged is not None:
            self.lagged.products.add(frames if self.card is not None else np.empty(frames.shape, frames.dtype))
        self.power.absorb_sums(self.power)
        compile_results(self, self.power.waiting(self._grid.waiting, 2))

    @property
    def _products(self) -> list[LaggedSums | CrossedSums]:
        """The sums of products over all frames; the segments have their own."""
        crossed = self.crossed if self.segments is None else None
        return [part for part in (self.lagged, crossed) if part is not None]

    @property
    def _flat_pivot(self) -> np.ndarray:
        return self.power.pivot.reshape(-1)[: self.power.pixels]

    @property
    def _lag_noise(self) -> bool:
        return self.params.noise == "lag"

    # Reading

    def _flushed(self, names: Sequence[str]) -> Sofi:
        """Return a copy of what these snapshots need, with the waiting frames added."""
        copy = self._copy(names)
        for cell in copy._grid.flush():
            copy._add(cell)
        if copy.segments is not None:
            copy.segments = copy.segments.finished()
            if copy.crossed is not None:
                averages = copy.segments.crossed_averages()
                copy.crossed = copy.crossed.showing(AveragedProducts(self.spec, copy.crossed.kept, averages))
        return copy

    def _copy(self, names: Sequence[str]) -> Sofi:
        """Return an independent copy of what these snapshots need.

        It costs nothing: sums and waiting frames are shared until they change; on a card they are copied there.
        """
        copy: Sofi = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, _grid=self._grid.copy(), power=self.power.copy())
        copy.batches = self.batches.copy()
        for name, needed_by in PART_NAMES.items():
            part = getattr(self, name)
            needed = part is not None and any(needed_by.match(n) for n in names)
            setattr(copy, name, part.copy() if needed else None)
        return copy

    def _order_of(self, name: str) -> int:
        """Return the highest power that a snapshot needs."""
        return int(name[-1]) if name[-1].isdigit() else self.params.order if name == "change" else 2

    def _can_wait(self, names: Sequence[str]) -> bool:
        """Whether these snapshots follow from the power sums alone, the waiting frames added while reading."""
        if self.segments is not None:
            return False
        settled = self.power.n >= SETTLED_FRAMES and not self._lag_noise
        return not len(self._grid.waiting) or (settled and all(POWER_NAME.fullmatch(name) for name in names))
