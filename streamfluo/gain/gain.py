"""Gain, offset and read noise of a camera, online."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

import numpy as np
from msgspec import Meta

from ..core.block import Block
from ..core.card_block import on_device
from ..core.grid import FrameGrid
from ..core.operator import NO_VALUES, Gives, Mergeable, Output, Presents, Values
from ..core.params import Params
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State, require_int
from ..core.unseen import VALID, known_pixels, seen_parts
from .card_sums import CardStepSums
from .dark import WANTED, dark_of_file, known_dark
from .fit import fit_photon_transfer
from .kernels.bins import equal_bins, median_and_variance
from .pixel_noise import Pixels
from .report import measures_of, report_of
from .results import Reading
from .sample import FrameSample
from .sums import StepSums

TIED_PART, TIED_ADU2 = 0.01, 4.0  # 1 % of the pixels, noisy ones, with one maximum: the converter saturates


class GainParams(Params, frozen=True):
    bins: Annotated[int, Meta(ge=4, le=10_000, description="bins of the photon transfer plot")] = 50
    method: Annotated[
        Literal["weighted", "reference"],
        Meta(description="weighted: weighted least squares; reference: medians, MAD, unweighted line, for comparison"),
    ] = "weighted"
    dark: Annotated[Any, Meta(description=f"{WANTED}; none: the offset of the stream's camera")] = None
    saturation_adu: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="saturation value [ADU]; none: that of the camera, or detected"),
    ] = None
    excess_noise: Annotated[
        Annotated[float, Meta(ge=1)] | None,
        Meta(description="2 behind an EM register; none: that of the camera, or 1"),
    ] = None
    sample_mib: Annotated[
        int, Meta(ge=1, le=1 << 20, description="memory for the frames of the reference's medians [MiB]")
    ] = 256


@register("gain")
class Gain(Mergeable):
    """Photon transfer of a still field under steady light: gain with its interval; with darks, offset and read noise.

    One pass of sums: mean, variance and squared steps from frame to frame of each pixel, and of the frames' totals
    (they correct for illumination that flickers or drifts); the fit is in `fit.py`. The gain estimates the median over
    pixels; where it is undetermined it is NaN and `status` gives the reason. Method "reference" keeps frames (every
    2nd, 4th … beyond `sample_mib`) and gives the numbers of the batch definition; its `status` is that of the weighted
    fit. Cost at 512×512 in blocks of 32: 2 memory copies of the frames; a read of all snapshots 15 to 25 ms, of medians
    2 s; state: 6 maps and at most 31 waiting frames. Pixels that were ever NaN, and frames that are not valid, are left
    out.
    """

    version = 3
    Params = GainParams
    devices = ("cpu", "gpu")
    from_file = {"dark": dark_of_file}
    may_need = (VALID,)
    gives = (
        Gives("gain_e_per_adu", "snapshot", (), "e/ADU", "median gain of the pixels"),
        Gives("gain_interval", "snapshot", ("gain_e_per_adu",), "e/ADU", "95 % interval of the gain"),
        Gives("offset_adu", "snapshot", (), "ADU", "median offset, NaN if unknown"),
        Gives("read_noise_e", "snapshot", (), "e", "median read noise, NaN without an offset"),
        Gives("flicker", "snapshot", (), "", "relative sd of the illumination between frames"),
        Gives("frames", "snapshot", (), "", "number of frames seen"),
        Gives("status", "snapshot", (), "", "determined, or undetermined with the reason"),
        Gives("fit", "snapshot", ("fit",), "ADU", "slope and intercept of variance [ADU²] over mean [ADU]"),
        Gives("mean_bins", "snapshot", ("mean_bins",), "ADU", "mean of pixels, binned by brightness"),
        Gives("variance_bins", "snapshot", ("mean_bins",), "ADU²", "their variance without the illumination's"),
        Gives("variance_bins_fit", "snapshot", ("mean_bins",), "ADU²", "the fitted line at the bins"),
        Gives("mean", "snapshot", ("y", "x"), "ADU", "mean of each pixel (reference: median)"),
        Gives("variance", "snapshot", ("y", "x"), "ADU²", "variance of each pixel (reference: from its MAD)"),
        Gives("gain_map", "snapshot", ("y", "x"), "e/ADU", "gain of each pixel, with an error of √(2/frames)"),
        Gives("offset_map", "snapshot", ("y", "x"), "ADU", "offset of each pixel, from darks"),
        Gives("variance_map", "snapshot", ("y", "x"), "ADU²", "variance of each pixel without light, from darks"),
    )
    presents = Presents(("frames", "mean", "variance", "gain_map"), ("variance_bins", "gain_interval", "numbers"))
    report = staticmethod(report_of)
    measures = staticmethod(measures_of)
    live = {"bins": 5, "saturation_adu": 15000.0, "excess_noise": 2.0}
    examples = ({"dark": 100.0, "bins": 8}, {"method": "reference", "bins": 6, "sample_mib": 1})

    def __init__(self, params: GainParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        self._dark = known_dark(params.dark, spec)
        self._grid = FrameGrid(spec, self.card)
        self._sums = StepSums(spec) if self.card is None else CardStepSums(spec, self.card)
        self._sample = FrameSample(spec, params.sample_mib) if params.method == "reference" else None
        self._next_index = 0
        self._known: Reading | None = None
        self._compile()

    def change(self, params: GainParams) -> None:
        self.params, self._known = params, None

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        block = known_pixels(on_device(block, self.card))
        self._known = None
        for part in seen_parts(block, inputs):
            if part.index != self._next_index:
                self._flush()
            start = part.index - len(self._grid.waiting)
            for cell in self._grid.push(part):
                self._add(start, cell)
                start += len(cell)
            self._next_index = int(part.stop)
        return Output(block.index)

    def gap(self, first: int, count: int) -> None:
        self._known = None
        self._flush()

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        wanted = self.snapshot_names(names)
        if self._known is None:
            self._known = self._reading()
        return {name: np.array(self._known.value(name)) for name in wanted}

    def merge(self, other: Self) -> None:
        if not other._seen:
            return
        if not self._seen:
            self.restore(other.state())
            return
        self._known = None
        self._flush()
        self._sums.merge(other._sums)
        if self._sample is not None and other._sample is not None:
            self._sample.merge(other._sample)
        self._grid.restore(other._grid.state())
        self._next_index = other._next_index

    def state(self) -> State:
        sampled = self._sample.state() if self._sample is not None else {}
        return {**self._sums.state(), **sampled, **self._grid.state(), "next": self._next_index}

    def restore(self, state: State) -> None:
        self._known = None
        self._sums.restore(state)
        if self._sample is not None:
            self._sample.restore(state)
        self._grid.restore(state)
        self._next_index = require_int(state, "next", "gain")

    @property
    def _seen(self) -> int:
        return self._sums.frames + len(self._grid.waiting)

    def _add(self, first: int, cell: np.ndarray) -> None:
        self._sums.add(first, cell.reshape(len(cell), -1))
        if self._sample is not None:
            self._sample.add(first, self._on_host(cell))

    def _flush(self) -> None:
        first = self._next_index - len(self._grid.waiting)
        for cell in self._grid.flush():
            self._add(first, cell)

    def _flushed(self) -> tuple[StepSums, FrameSample | None]:
        """Sums and sample including the waiting frames; copies if there are any."""
        waiting = self._grid.waiting
        if not len(waiting):
            return self._sums, self._sample
        first, sums = self._next_index - len(waiting), self._sums.copy()
        sums.add(first, waiting.reshape(len(waiting), -1))
        sample = self._sample.copy() if self._sample is not None else None
        if sample is not None:
            sample.add(first, self._on_host(waiting))
        return sums, sample

    def _on_host(self, frames: Any) -> np.ndarray:
        return frames if self.card is None else self.card.get(frames)

    def _compile(self) -> None:
        """Compile every kernel for the types of this stream."""
        pixels = self.spec.shape[0] * self.spec.shape[1]
        blank = np.zeros((1, pixels), self.spec.dtype)
        blank.flags.writeable = False
        sums = StepSums(self.spec)
        sums.add(0, blank)
        sums.merge(sums)
        if self.card is not None:
            CardStepSums(self.spec, self.card).add(0, self.card.put(blank))
        steady = np.linspace(1000.0, 9000.0, 4000)  # with so many frames that the gain is determined
        trial = Pixels(steady, steady, steady, steady.sum(), steady.sum(), 9999, 9998, np.zeros(4000, bool))
        sums.pixels(np.zeros(pixels, bool))
        fit_photon_transfer(trial, None)
        equal_bins(steady, steady, steady > 0, 4)
        if self._sample is not None:
            median_and_variance(np.zeros((1, pixels), self.spec.dtype))

    # Snapshots

    def pixels(self) -> Pixels | None:
        """Return the statistics of each pixel over all frames seen; None for fewer than two frames."""
        return self._statistics(self._flushed()[0])

    def _reading(self) -> Reading:
        sums, sample = self._flushed()
        frames, step = (None, 1) if sample is None else (sample.stack(), sample.step)
        return Reading(self.spec, self._statistics(sums), self._dark, self.params.bins, frames, step)

    def _statistics(self, sums: StepSums) -> Pixels | None:
        if sums.frames < 2:
            return None
        camera = self.spec.camera
        excess = self.params.excess_noise or (camera.excess_noise if camera else 1.0)
        saturated, top = self._saturated(sums), float(sums.maps["high"].max())
        return replace(sums.pixels(saturated), excess_noise=excess, top_adu=top, tops=bool(saturated.any()))

    def _saturated(self, sums: StepSums) -> np.ndarray:
        """Which pixels (p,) ever saturated: at the stated value, or at a maximum that many pixels share."""
        high, camera = sums.maps["high"], self.spec.camera
        stated = self.params.saturation_adu or (camera.saturation_adu if camera else None)
        if stated is not None:
            return np.asarray(high >= np.broadcast_to(stated, self.spec.shape).reshape(-1))
        top = high.max()
        tied = np.asarray(high == top)
        counts = top == np.rint(top)  # integer grey values: pixels of little noise share a maximum by chance
        steps = sums.maps["sum_steps"][tied].max(initial=0) / (2 * max(sums.counts["pairs"], 1))
        at_the_end = tied.mean() > TIED_PART and (steps > TIED_ADU2 or not counts)
        ends = high.dtype.kind in "iu" and top == np.iinfo(high.dtype).max
        return tied if ends or at_the_end else np.zeros(high.size, bool)
