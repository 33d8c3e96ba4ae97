"""The operator `count`: the posterior number of fluorophores in each spot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import scipy

from ...core.block import Block
from ...core.errors import FrameError, StateError
from ...core.later import later
from ...core.operator import NO_VALUES, Gives, Operator, Output, Places, Presents, Values
from ...core.registry import register
from ...core.spec import Spec
from ...core.state import State, require_array, require_int
from ...core.unseen import VALID, known_pixels, known_values, valid_frames
from ..checks import sentence
from ..kernels.crosschecks import is_flat, traces_bleaching_steps
from ..report import measures_of, report_of
from ..traces import checked_traces, traces_of_file
from .compile_parts import compile_filter, compile_likelihood, compile_steps
from .filter import OnlineFilter
from .learning import BINS, Learner, delay_frames, model_of, observation
from .params import CountParams
from .sums import PowerSums

MAX_GAP = 1000  # frames, after which blinking is stationary again
NOTHING_LEARNT = (
    "the numbers of all spots are undetermined: no trace so far has frames enough and steps that the model explains"
)
ROOM_BYTES = 64 << 20  # that the record begins with, at most
GROWTH = 4  # parameters are re-estimated when the record has grown by 1 / GROWTH


@register("count")
class Count(Operator):
    """The posterior of the number of fluorophores in each spot, from its blinking trace.

    Each frame advances the forward filter of every trace for min_emitters … max_emitters. Every `update_every` frames,
    and later whenever the record has grown by a quarter, a thread re-estimates the parameters from the record and
    filters it under them; `learn_delay_frames` later that filter replaces the current one: no frame waits for it. The
    posterior equals that of a batch forward pass under the current parameters, and depends on the frames alone. After
    `learn_frames` the record is dropped. In missing frames (gaps up to 1000 frames) and for NaN the state follows the
    transition matrix.
    Cost of 10 candidates and 1000 traces: 0.4 ms a frame; an update takes 0.1 ms a trace and 1000 frames, and the fit.
    (Rabiner 1989; the model is blinx's; bleaching steps: Hummert 2021; cumulants: mCOAST 2025.)
    """

    version = 9  # it gives `fitted` as well
    Params = CountParams
    from_file = {"traces": traces_of_file}
    needs: tuple[str, ...] = ("photons",)
    may_need = (VALID,)
    gives = (
        Gives("mean_count", "by_id", ("t", "spot"), "", "mean of the posterior at the frame"),
        Gives("fitted", "by_id", ("t", "spot"), "photons", "of the states at the frame, on average"),
        Gives("count", "snapshot", ("spot",), "", "most likely number of fluorophores"),
        Gives("posterior", "snapshot", ("spot", "emitters"), "", "probability of each number of fluorophores"),
        Gives("credible_interval", "snapshot", ("spot", "edge"), "", "90 % interval of the number of fluorophores"),
        Gives("log_likelihood", "snapshot", ("spot", "emitters"), "", "log P(trace) for each number of fluorophores"),
        Gives(
            "parameters", "snapshot", ("spot", "emitters", "parameter"), "", "mu, mu_bg, sigma, p_on, p_off, p_bleach"
        ),
        Gives("flat", "snapshot", ("spot",), "", "1: the posterior does not determine the number"),
        Gives("doubtful", "snapshot", ("spot",), "", "1: the model could not have made the trace so far"),
        Gives("doubtful_spots", "snapshot", (), "", "number of spots that are doubtful"),
        Gives("flat_spots", "snapshot", (), "", "number of spots whose number is not determined"),
        Gives("bleaching_steps", "snapshot", ("spot",), "", "cross-check: number of fluorophores from bleaching steps"),
        Gives("cumulant_count", "snapshot", ("spot",), "", "cross-check: number of fluorophores from cumulants"),
    )
    presents = Presents(
        ("frames", "looked_at"),
        ("chosen", "count", "numbers", "posterior", "mean_count"),
        places=Places("spots", "count", ("doubtful", "flat"), "posterior", 0, "photons", "fitted"),
    )
    report = staticmethod(report_of)
    measures = staticmethod(measures_of)
    compiles = (compile_steps,)
    compiles_later = (compile_likelihood, compile_filter)
    examples = (
        {"emission": "lognormal", "max_emitters": 3, "parameters": (50.0, 100.0, 0.1, 0.05, 0.08, 0.01),
         "bleaching": True, "update_every": 40, "learn_frames": 60, "learn_delay_frames": 20},
        {"max_emitters": 3, "update_every": 0, "parameters": (40.0, 20.0, 5.0, 0.1, 0.1, 0.0)},
        {"max_emitters": 3, "update_every": 70, "pooled": False, "learn_frames": 70, "learn_delay_frames": 35},
    )  # fmt: skip

    def __init__(self, params: CountParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        if params.min_emitters and self.presents.places is not None:
            shown = replace(self.presents.places, first=params.min_emitters)
            self.presents = replace(self.presents, places=shown)  # type: ignore[misc]
        self._traces = None if params.traces is None else checked_traces(params.traces, "count: traces").T
        self.needs = ("photons",) if self._traces is None else ()
        compile_steps(params, spec)
        self._kernels = later(*(partial(part, params, spec) for part in self.compiles_later), _load_scipy)
        if params.parameters is not None:
            self._kernels.wait()
        self._allocate(0)

    def _allocate(self, count: int) -> None:
        p = self.params
        mu, mu_bg = p.parameters[:2] if p.parameters is not None else (1.0, 0.0)
        self._count = count
        self._next_index, self._frames, self._due = -1, 0, p.update_every
        self._born = np.zeros(count, np.bool_)
        self._record = np.empty((0, count))
        self._spare = np.empty((0, count))
        self._steps = np.full(count, np.nan)
        self._sums, self._learner = PowerSums(count), Learner(self._kernels)
        self._filter = OnlineFilter(
            count, model_of(p, (p.max_x or 1.2 * (mu * p.max_emitters + max(mu_bg, 0.0))) / BINS)
        )
        if p.parameters is not None:
            typical = np.tile(np.array(p.parameters), (p.max_emitters - p.min_emitters + 1, 1))
            self._filter.begin(self._filter.model, np.tile(typical, (count, 1, 1)), typical)

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        photons = self._measured(block, inputs)
        if self._next_index < 0:
            self._allocate(photons.shape[1])
        else:
            for _ in range(min(block.index - self._next_index, MAX_GAP)):
                self._advance(np.full(self._count, np.nan))
        self._grow(photons.shape[1])
        photons = np.where(valid_frames(known_pixels(block), inputs)[:, None], photons, np.nan)
        told = [(self._advance(frame), self._filter.fitted()) for frame in self._since_birth(photons)]
        means, fitted = (np.array(each) for each in zip(*told, strict=True))
        self._next_index = block.stop
        means, fitted = (each.reshape(len(block), self._count) for each in (means, fitted))
        return Output(block.index, {"ids": np.arange(self._count), "mean_count": means, "fitted": fitted})

    def finish(self) -> Output | None:
        if self._learner.frames:
            self._take_over()
        return None

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        return self.reader(names, inputs)()

    def reader(
        self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES
    ) -> Callable[[], Mapping[str, np.ndarray]]:
        """Bleaching steps are fitted by the caller's thread, 50 µs a trace; its rows of the record stay unchanged."""
        wanted = self.snapshot_names(names)
        found = {name: self._snapshot(name) for name in wanted if name != "bleaching_steps"}
        record, steps = self._record, self._steps.copy()

        def read() -> Mapping[str, np.ndarray]:
            if "bleaching_steps" in wanted:
                found["bleaching_steps"] = traces_bleaching_steps(record) if len(record) else steps
            return {name: found[name] for name in wanted}

        return read

    def doubt(self) -> str:
        if not self._filter.known and self._due != self.params.update_every:
            return NOTHING_LEARNT
        return sentence(self._filter.doubts, self._filter.half_lit)

    def state(self) -> State:
        mine: State = {
            "count": self._count, "next_index": self._next_index, "frames": self._frames, "due": self._due,
            "record": self._record.copy(), "steps": self._steps.copy(), "width": self._filter.model.width,
            "born": self._born.copy(),
            "learns_from": self._learner.frames, "takes_over": self._learner.takes_over,
        }  # fmt: skip
        return {**mine, **self._sums.state(), **self._filter.state()}

    def restore(self, state: State) -> None:
        record, width = state.get("record"), state.get("width")
        count = require_int(state, "count", self.kind)
        shaped = isinstance(record, np.ndarray) and record.ndim == 2 and record.shape[1] == count
        if not shaped or not isinstance(width, float) or not 0 < width < np.inf:
            raise StateError(f"count: state 'record' must be (frames, {count}) and 'width' above 0, found {width!r}")
        self._kernels.wait()
        self._allocate(count)
        self._next_index, self._frames = (require_int(state, k, self.kind) for k in ("next_index", "frames"))
        self._due = require_int(state, "due", self.kind)
        self._spare = np.array(record, float)
        self._record = self._spare
        self._steps = np.array(state["steps"], float)
        self._born = require_array(state, "born", self._born, self.kind)
        self._sums.restore(state)
        self._filter.restore(state, model_of(self.params, width))
        learns_from = require_int(state, "learns_from", self.kind)
        if not 0 <= learns_from <= len(self._spare):
            raise StateError(
                f"count: state 'learns_from' is within the record of {len(self._spare)}, found {learns_from}"
            )
        if learns_from:
            self._learn(learns_from, require_int(state, "takes_over", self.kind))
            for frame in self._record[learns_from:]:
                self._learner.put(frame)

    def _grow(self, count: int) -> None:
        """Add the spots that are new in this block."""
        new = count - self._count
        if new < 0:
            raise FrameError(f"count: {self._count} traces so far, now {count}; spots may be added, but not removed")
        if not new:
            return
        frames, spare = len(self._record), np.empty((len(self._spare), count))
        spare[:frames, : self._count], spare[:frames, self._count :] = self._record, np.nan
        self._spare, self._record = spare, spare[:frames]
        self._steps = np.pad(self._steps, (0, new), constant_values=np.nan)
        self._born = np.pad(self._born, (0, new))
        self._sums.grow(new)
        self._filter = self._filter.grown(count)
        self._count = count

    def _since_birth(self, photons: np.ndarray) -> np.ndarray:
        """Return the traces (t, n), NaN before the first value of a spot: values by id are 0 until then."""
        born = np.logical_or.accumulate(np.vstack([self._born, photons != 0]))[1:]
        self._born = born[-1]
        return np.where(born, photons, np.nan)

    def _measured(self, block: Block, inputs: Values) -> np.ndarray:
        """Return the traces (t, n) of a block."""
        if self._traces is not None:
            known = self._traces[block.index : block.stop]
            return np.concatenate([known, np.full((len(block) - len(known), known.shape[1]), np.nan)])
        if "photons" not in inputs:
            raise FrameError("count: needs photons (t, n) of an earlier step, such as spots")
        photons = np.asarray(inputs["photons"])
        if photons.ndim != 2 or len(photons) != len(block) or photons.dtype.kind not in "biuf":
            raise FrameError(f"count: photons are (t, n) for {len(block)} frames, found {photons.shape}")
        return known_values(photons.astype(float))

    def _advance(self, frame: np.ndarray) -> np.ndarray:
        """Advance by one frame (n,) and return the mean of the posterior (n,)."""
        camera = self.params.emission == "camera"
        self._frames += 1
        self._sums.add(frame)
        if self._learning or not self._filter.known:
            self._keep(frame)
        if self._filter.known:
            self._filter.advance(observation(frame[None], camera))
        self._learner.put(frame)
        if self._due and self._frames == self._due:
            kept = len(self._record)
            self._learn(kept, self._frames + delay_frames(self.params, kept, self._count, self.spec.interval_s))
        if self._learner.frames and self._frames >= self._learner.takes_over:
            self._take_over()
        return self._filter.posterior() @ self._filter.model.candidates

    @property
    def _learning(self) -> bool:
        return self._due > 0

    def _keep(self, frame: np.ndarray) -> None:
        """Append a frame to the record, whose memory doubles when it is full.

        It begins with room for all that is learned from, of which the system gives what is written to alone: to copy
        512 frames of 1000 spots into memory that is new took 13 ms, in which no frame was worked on.
        """
        n = len(self._record)
        if n == len(self._spare):
            room = min(self.params.learn_frames, ROOM_BYTES // max(8 * self._count, 1))
            self._spare = np.empty((max(2 * n, 64, room), self._count))
            self._spare[:n] = self._record
        self._spare[n] = frame
        self._record = self._spare[: n + 1]

    def _learn(self, frames: int, takes_over: int) -> None:
        """Start an estimate from the first frames of the record."""
        typical = self._filter.typical if self._filter.known else None
        self._learner.begin(self.params, self._record[:frames], typical, takes_over)

    def _take_over(self) -> None:
        """Continue under the new parameters."""
        p, (found, steps) = self.params, self._learner.result()
        if found is not None:
            self._filter = found.grown(self._count)
        every, begun = p.update_every, self._due
        self._due += max(every, -(-begun // (GROWTH * every)) * every)
        if begun >= p.learn_frames and self._filter.known:
            self._steps = np.pad(steps, (0, self._count - len(steps)), constant_values=np.nan)
            self._record = self._spare = np.empty((0, self._count))
            self._due = 0
        elif begun < p.learn_frames:
            self._due = max(min(self._due, p.learn_frames), self._frames + 1)

    def _snapshot(self, name: str) -> np.ndarray:
        online, camera = self._filter, self.params.emission == "camera"
        candidates = online.model.candidates
        if name == "parameters":
            return online.parameters.copy()
        if name in ("doubtful", "doubtful_spots"):
            return np.asarray(online.doubtful if name == "doubtful" else online.doubtful.sum())
        if name == "log_likelihood":
            return online.logs() if online.known else np.full((self._count, len(candidates)), np.nan)
        if name == "cumulant_count":
            sigma = online.parameters[:, 0, 2]
            return self._sums.estimate(camera, sigma)
        probabilities = self._filter.posterior()
        if name == "posterior":
            return probabilities
        if name == "count":
            return np.asarray(candidates[probabilities.argmax(1)] if online.known else np.zeros(self._count, np.int64))
        interval = online.interval()
        if name == "credible_interval":
            return interval
        flat = is_flat(interval, candidates)
        return np.asarray(flat if name == "flat" else flat.sum())


def _load_scipy() -> None:
    """Load what learning needs of it: slow to load."""
    for room in (scipy.optimize, scipy.signal, scipy.stats):
        assert room
