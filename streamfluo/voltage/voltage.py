"""Voltage: spikes and subthreshold of cells in movies of hundreds of frames a second."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from ..core.block import Block
from ..core.decision import Decided, Decision
from ..core.errors import ConfigError, StateError
from ..core.findings import ReportedStep
from ..core.loaded import plain_array
from ..core.operator import NO_VALUES, Gives, Operator, Output, Presents, Table, Values
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State, require_array, require_int
from ..core.step_values import IDS
from ..core.unseen import VALID, known_pixels, valid_frames
from ..pixels.region_masks import region_masks
from .cells import Cells, cells_of, masks_of_state
from .contexts import POINTS, outline_of
from .curation import TAKES, Curation
from .kernels.follow import LATENCY, TAPS, Followed, FrameValues, Rates, follow
from .params import VoltageParams
from .passes import usual_waveforms
from .proposals import Proposals
from .thresholds import DOUBTFUL, GONE

SLOWEST_S = 0.006  # a spike of 2 to 3 ms is a third of a frame then, and no filter finds it
BASELINE_S = 0.8  # time constant of features' baselines, and of what these lag behind
PASS_FRAMES, SLOTS = 256, 64  # each cell has a pass every so many frames, the cells one after the other
MEAN_EVERY = 16  # of the mean picture: one frame in so many
QUALITY = ("snr", "threshold", "f1", "false", "missed", "spikes", "f0", "opposed", "evidence")


@register("voltage")
class Voltage(Operator):
    """Spikes, subthreshold and ΔF/F of cells in fast movies of a voltage indicator.

    A cell and what surrounds it are cut into some forty features. Passes every 256 frames learn, of frames before: the
    spatial weights of least variance that keep a spike's amplitude, which takes the background away; the whitened
    matched filter of the mean spike in the trace's own noise; the threshold of the largest expected F1, noise being
    what peaks downwards. A spike is detected 2 frames after its peak, none in the first 2 s and none of cells whose
    peaks may all be noise.
    Spikes are NaN in frames that are not known, where frames come too slowly for them, and of cells whose downward
    peaks exceed the upward ones: the other polarity. Cost: 5 µs a cell and frame; state: 17 kB a cell.

    `masks` may be changed while frames flow, to polygons: a cell whose pixels are others than those of the one in its
    place before begins anew, the others go on. People draw cells more, and remove some, by decisions; ids stay.
    """

    Params = VoltageParams
    version = 3  # the state knows the score's median and what is noise among its peaks
    presents = Presents(("mean", "frames"), ("dff", "subthreshold", "quality"), ticks={"dff": "spiked"})
    live = {"masks": [[[0, 0], [0, 5], [6, 5], [6, 0]], [[8, 9], [8, 15], [12, 12]], [[9, 1], [9, 4], [12, 3]]]}
    takes = TAKES
    may_need = (VALID,)
    from_file = {"masks": plain_array}
    examples = ({"masks": [[[1, 1], [1, 6], [7, 6], [7, 1]], [[8, 9], [8, 15], [12, 12]]], "interval_s": 0.001},)
    gives = (
        Gives("dff", "by_id", ("t", "id"), "", "ΔF/F above the background, spikes upwards; NaN where F0 is not known"),
        Gives("trace", "by_id", ("t", "id"), "ADU", "light above the background, mean over the cell, spikes upwards"),
        Gives("subthreshold", "by_id", ("t", "id"), "ADU", "trace without spikes, below 20 Hz, of 4 frames before"),
        Gives("score", "by_id", ("t", "id"), "σ", "matched filter's answer to the frame before, in its noise σ"),
        Gives("spiked", "by_id", ("t", "id"), "σ", "score of a spike that was largest 2 frames before; 0 of none"),
        Gives("spikes", "table", ("frame", "id", "score"), "", "spikes by the frame in which they are largest"),
        Gives(
            "decisions",
            "table",
            ("frame", "id", "decision", "by", "note", "number"),
            "",
            "of people: added, removed; '' where that is undone",
        ),
        Gives("mean", "snapshot", ("y", "x"), "ADU", "mean of the last second's frames"),
        Gives("masks", "snapshot", ("y", "x"), "", "the cell that a pixel belongs to, its id and 1"),
        Gives("outlines", "snapshot", ("id", "point", "yx"), "px", "outline of each cell"),
        Gives("waveforms", "snapshot", ("id", "frame"), "ADU", "mean trace around spikes, 12 frames before the peak"),
        Gives(
            "quality",
            "snapshot",
            ("id", ", ".join(QUALITY)),
            "",
            "spike over noise σ after the filter, threshold, expected F1, false and missed share, NaN where no spikes "
            "stand out of the noise; peaks learned from, F0 [ADU], 1 where downward peaks exceed upward ones, evidence "
            "[nat] of spikes: they are told above 10, undetermined from 4 on; rows in the order of the ids",
        ),
    )

    @staticmethod
    def measures(step: ReportedStep) -> dict[str, float]:
        """Return how many cells there are, their median SNR, and the spikes that were learned from."""
        quality = step.snapshot.get("quality", np.empty((0, len(QUALITY))))
        found = {"cells": float(len(quality))}
        snr, spikes = (quality[:, QUALITY.index(name)] for name in ("snr", "spikes"))
        known = np.isfinite(snr) & (spikes > 0)  # of a cell that nothing was learned of they are 0
        if known.any():
            found |= {"snr": float(np.median(snr[known])), "spikes": float(np.sum(spikes[known]))}
        return found

    def __init__(self, params: VoltageParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        interval_s = params.interval_s or spec.interval_s
        if interval_s is None:
            raise ConfigError("voltage: spikes need the frame interval; the source does not state one: set interval_s")
        self._interval_s = interval_s
        self.fast = interval_s <= SLOWEST_S
        self._known: dict[Any, np.ndarray] = {}
        self._usual = usual_waveforms(1e-3 / interval_s)
        self._mean, self._weight = np.full(spec.shape, np.nan), 0.0
        self._frames, self._next_index = 0, -1
        self._proposals: Proposals | None = None
        masks = np.zeros((0, *spec.shape), bool)
        if params.masks is None:
            frames = max(3, round(params.propose_s / interval_s))
            offset = None if spec.camera is None else spec.camera.offset_adu
            self._proposals = Proposals(spec.shape, frames, offset)
        else:
            masks = self._masks_of(params)
        self._cells = cells_of(masks, params, self._usual)
        self._curation = Curation(len(masks))
        self._stated: np.ndarray | None = masks  # those of the parameters that are followed; None: to be compared
        self._compile()

    def _masks_of(self, params: VoltageParams) -> np.ndarray:
        masks = params.masks
        key = msgspec.json.encode(masks) if isinstance(masks, list | tuple) else id(masks)
        if (found := self._known.get(key)) is None:
            found = region_masks(masks, self.spec.shape, "voltage")
            self._known = {**dict(list(self._known.items())[-3:]), key: found}
        return found

    def _compile(self) -> None:
        masks = np.zeros((1, *self.spec.shape), bool)
        masks[0, 0, 0] = True
        cells = cells_of(masks, self.params, self._usual)
        self._follow(cells, np.zeros((1, self.spec.shape[0] * self.spec.shape[1]), np.float32), np.ones(1, bool))

    def prepare(self, params: VoltageParams) -> None:
        if params.masks is not None:
            self._masks_of(params)

    def change(self, params: VoltageParams) -> None:
        if params.masks is not None:
            self._masks_of(params)
        self.params = params

    def _follow_other_cells(self) -> None:
        """Follow those of the parameters, where these have changed since the last frame."""
        if self.params.masks is None or (masks := self._masks_of(self.params)) is self._stated:
            return
        self._stated = masks  # the same object the next time: comparing 100 of 512 × 128 takes 0.8 ms
        if np.array_equal(masks, self._cells.masks[~self._curation.drawn]):
            return
        self._cells = cells_of(masks, self.params, self._usual).going_on(self._cells)
        self._curation.set_anew(len(masks))
        self._proposals = None

    def decide(self, decision: Decision) -> Decided:
        decided = self._curation.decide(self._cells.masks, decision, self._follow_more)

        def make() -> None:
            self._follow_other_cells()
            decided.make()

        return decided._replace(make=make)

    def _follow_more(self, masks: np.ndarray) -> None:
        self._cells = self._cells.with_more(masks, self.params)

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        self._follow_other_cells()
        block = known_pixels(block)
        valid = valid_frames(block, inputs)
        if block.index != self._next_index and self._next_index >= 0:
            self._cells.running.known[:, 0] = -TAPS
        self._next_index = block.stop
        frames = block.pixels.reshape(len(block), -1).astype(np.float32)
        said, start = [], 0
        while start < len(frames):
            stop = self._end_of_part(start, len(frames))
            said.append(self._take(frames[start:stop], valid[start:stop]))
            start = stop
        return Output(block.index, self._values(block, said))

    def _end_of_part(self, start: int, stop: int) -> int:
        """One past the last frame that the cells of now are followed in, without a pass in between."""
        if self._proposals is not None:
            return start + 1
        every = PASS_FRAMES // SLOTS
        return min(stop, start + every - self._frames % every)

    def _take(self, frames: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Follow the cells in frames (t, y·x); returns ΔF/F, trace, subthreshold, score, spiked (5, t, K)."""
        for n, (frame, known) in enumerate(zip(frames, valid, strict=True), self._frames):
            if known and n % MEAN_EVERY == 0:
                self._take_mean(frame)
        said = self._follow(self._cells, frames, valid)
        f0 = self._cells.learned.f0
        said[0] = np.where(f0 > 0, said[1] / np.where(f0 > 0, f0, 1), np.nan)
        self._frames += len(frames)
        if self._proposals is not None:
            if valid[0]:
                self._proposals.take(frames[0].reshape(self.spec.shape))
            if self._proposals.done:
                masks = self._proposals.masks(self.params.radius_px, self.params.contrast)
                drawn = self._cells.masks.any(0)
                new = [mask for mask in masks if 2 * np.count_nonzero(mask & drawn) < np.count_nonzero(mask)]
                self._curation.append(len(new), drawn=False)
                self._follow_more(np.array(new, bool).reshape(-1, *self.spec.shape))
                self._proposals = None
        every = PASS_FRAMES // SLOTS
        if self._frames % every == 0:
            slot = self._frames // every % SLOTS
            for k in range(slot, len(self._cells.masks), SLOTS):
                self._cells.learn(k, round(1 / self._interval_s), self.fast)
        return said

    def _take_mean(self, frame: np.ndarray) -> None:
        share = max(MEAN_EVERY * self._interval_s, 1 / (self._weight + 1))
        self._weight += 1
        mean = self._mean.reshape(-1)
        mean[:] = np.where(np.isnan(mean), frame, mean + np.nan_to_num(min(share, 1.0) * (frame - mean)))

    def _follow(self, cells: Cells, frames: np.ndarray, valid: np.ndarray) -> np.ndarray:
        said = np.empty((5, len(frames), len(cells.masks)))
        interval_s = self._interval_s
        rates = Rates(
            slow=min(1.0, interval_s / BASELINE_S),
            fast=min(1.0, interval_s / 0.02),
            covariance=float(np.exp(-interval_s / 20)),
            autocovariance=float(np.exp(-interval_s / 10)),
            lowpass=float(-np.expm1(-2 * np.pi * 20 * interval_s)),
        )
        followed = Followed(cells.where, cells.filters, cells.running, rates)
        follow(frames, valid, self._frames, followed, FrameValues(*said[1:]))
        return said

    def _values(self, block: Block, said: list[np.ndarray]) -> dict[str, Any]:
        count = len(self._cells.masks)
        whole = np.zeros((5, len(block), count))  # 0 before a cell's birth
        at = 0
        for part in said:
            whole[:, at : at + part.shape[1], : part.shape[2]] = part
            at += part.shape[1]
        shown = self._curation.shown
        ids, whole = self._curation.ids[shown], whole[:, :, shown]
        spiked = whole[4]
        t, of = np.nonzero(spiked > 0)
        table = Table({"frame": block.index + t - LATENCY, "id": ids[of], "score": spiked[t, of]})
        names = ("dff", "trace", "subthreshold", "score", "spiked")
        by_id = dict(zip(names, whole.astype(np.float32), strict=True))
        return {IDS: ids, "spikes": table, "decisions": self._curation.given(), **by_id}

    def finish(self) -> Output:
        return Output(max(0, self._next_index), {"decisions": self._curation.given()})

    def doubt(self) -> str:
        if not self.fast:
            return (
                f"frames every {self._interval_s * 1e3:.3g} ms are too slow for spikes of 2 to 3 ms: none are given; "
                f"{1 / SLOWEST_S:.0f} frames/s or more show them"
            )
        if self._proposals is not None and self._frames:
            taken, of = self._proposals.taken, self._proposals.frames
            return (
                f"no cells yet: {taken} valid frames, of {of} that they are proposed from; give masks, or a shorter "
                "propose_s"
            )
        shown = self._curation.shown
        if not len(shown):
            return "no cell was found in the first frames; give masks, draw some, or another radius_px"
        learned = self._cells.learned
        told = learned.snr > 0
        for which, says in (
            (learned.opposed > 0, "downward peaks exceed upward ones, no spikes are given; is it the other polarity?"),
            (told & (learned.f1 < DOUBTFUL), "spikes are doubtful, they hardly stand out of the noise; see quality"),
            (~told & (learned.evidence > GONE), "undetermined whether there are spikes; none are given"),
        ):
            if which[shown].any():
                return f"cell {self._listed(which)}: {says}"
        return ""

    def _listed(self, which: np.ndarray) -> str:
        shown = self._curation.shown
        ids = self._curation.ids[shown][which[shown]]
        return ", ".join(map(str, ids[:5])) + (", …" if len(ids) > 5 else "")

    def read(self, names: Any = None, inputs: Values = NO_VALUES) -> dict[str, np.ndarray]:
        return {name: self._snapshot(name) for name in self.snapshot_names(names)}

    def _snapshot(self, name: str) -> np.ndarray:
        cells, shown = self._cells, self._curation.shown
        if name == "mean":
            return self._mean.astype(np.float32)
        if name == "masks":
            labels = np.zeros(self.spec.shape, np.int32)
            for k in shown:
                labels[cells.masks[k]] = self._curation.ids[k] + 1
            return labels
        if name == "outlines":
            return np.array([outline_of(cells.masks[k]) for k in shown], np.float32).reshape(-1, POINTS, 2)
        if name == "waveforms":
            return cells.filters.waveform[shown].astype(np.float32)
        learned, running = cells.learned, cells.running
        known = np.where(learned.snr > 0, 0.0, np.nan)
        columns = (
            learned.snr + known, cells.filters.threshold, learned.f1 + known, learned.false + known,
            learned.missed + known, running.counts[:, 0], learned.f0, learned.opposed, learned.evidence,
        )  # fmt: skip
        return np.stack(columns, 1)[shown].astype(np.float32)

    def state(self) -> State:
        own: State = {"mean": self._mean.copy(), "mean_weight": self._weight, "frames": self._frames}
        proposing = self._proposals.state() if self._proposals is not None else {}
        own |= {"next_index": self._next_index, **self._curation.state()}
        return {**own, **proposing, **self._cells.state()}

    def restore(self, state: State) -> None:
        where = "voltage"
        mean, weight = require_array(state, "mean", self._mean, where), state.get("mean_weight")
        if not isinstance(weight, float) or not np.isfinite(weight):
            raise StateError(f"{where}: state 'mean_weight' must be a finite number, found {weight!r}")
        cells = cells_of(masks_of_state(state, self.spec.shape, where), self.params, self._usual)
        cells.restore(state, where)
        self._curation.restore(state, len(cells.masks), where)
        if "proposal_frames" not in state:
            self._proposals = None
        elif self._proposals is not None:
            self._proposals.restore(state, where)
        self._frames, self._next_index = (require_int(state, name, where) for name in ("frames", "next_index"))
        self._mean, self._weight, self._cells, self._stated = mean, weight, cells, None
