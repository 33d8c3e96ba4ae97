"""How many fluorophores each spot has, as the posterior settles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...core.block import Block
from ...core.errors import FrameError, StateError
from ...core.operator import NO_VALUES, Gives, Operator, Output, Values
from ...core.registry import register
from ...core.spec import Spec
from ...core.state import State, require_array, require_int
from ..kernels.crosschecks import bleaching_steps, credible_interval, is_flat, posterior, steps_of
from ..kernels.likelihood import evaluate
from ..traces import checked_traces, traces_of_file
from .filter import LiveFilter
from .learning import BINS, Learner, model_of, seen_as
from .params import CountParams
from .sums import PowerSums

LONGEST_GAP = 1000  # frames: after more of them blinking has forgotten what it was
GROWTH = 4  # parameters are renewed when the record has grown by a quarter, or later


@register("count")
class Count(Operator):
    """The posterior of the number of fluorophores in every spot, from its trace while it blinks.

    Every frame advances the forward filter of each trace and each candidate min_y … max_y (kernels/emitter_live.py).
    Every `update_every` frames, then whenever the record has grown by a quarter, parameters are learned again from the
    traces recorded so far, on a thread beside the chain, and a filter runs through the record under them; half of
    `update_every` later it takes over: the posterior is always that of a batch forward pass at the present parameters,
    and results depend on frames alone. After `learn_frames` the record is let go. Frames that never came, and
    traces that are NaN in a frame, are not measured: the state moves on, up to 1000 frames of a gap.
    Cost for 10 candidates and 1000 traces: 0.4 ms a frame; an update 0.1 ms a trace and 1000 frames, and the fit.
    (Rabiner 1989; the model of blinx; bleaching steps: Hummert 2021; cumulants: mCOAST 2025.)
    """

    Params = CountParams
    from_file = {"traces": traces_of_file}
    needs: tuple[str, ...] = ("photons",)
    gives = (
        Gives("mean_count", "by_id", ("t", "spot"), "", "mean of the posterior as of the frame"),
        Gives("count", "snapshot", ("spot",), "", "likeliest number of fluorophores"),
        Gives("posterior", "snapshot", ("spot", "y"), "", "probability of each number"),
        Gives("credible_interval", "snapshot", ("spot", "edge"), "", "fewest and most fluorophores, 90 %"),
        Gives("log_likelihood", "snapshot", ("spot", "y"), "", "log-probability of the trace under each number"),
        Gives("parameters", "snapshot", ("spot", "y", "parameter"), "", "mu, mu_bg, sigma, p_on, p_off, p_bleach"),
        Gives("flat", "snapshot", ("spot",), "", "1 where the data cannot tell"),
        Gives("bleaching_steps", "snapshot", ("spot",), "", "cross-check: fluorophores that bleached, by steps"),
        Gives("cumulant_count", "snapshot", ("spot",), "", "cross-check: from the trace's cumulants"),
    )
    examples = (
        {"emission": "lognormal", "max_y": 4, "parameters": (50.0, 100.0, 0.1, 0.05, 0.08, 0.01), "bleaching": True,
         "update_every": 60, "learn_frames": 100},
        {"max_y": 3, "update_every": 0, "parameters": (40.0, 20.0, 5.0, 0.1, 0.1, 0.0)},
        {"max_y": 3, "update_every": 70, "pooled": False, "learn_frames": 70},
    )  # fmt: skip

    def __init__(self, params: CountParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        self._given = None if params.traces is None else checked_traces(params.traces, "count: traces").T
        self.needs = ("photons",) if self._given is None else ()
        self._allocate(0)
        self._compile()

    def _allocate(self, count: int) -> None:
        p = self.params
        mu, mu_bg = p.parameters[:2] if p.parameters is not None else (1.0, 0.0)
        self._count = count
        self._next_index, self._frames, self._due = -1, 0, p.update_every
        self._born = np.zeros(count, np.bool_)
        self._record = np.empty((0, count))
        self._spare = np.empty((0, count))
        self._steps = np.full(count, np.nan)
        self._sums, self._learner = PowerSums(count), Learner()
        self._filter = LiveFilter(count, model_of(p, (p.max_x or 1.2 * (mu * p.max_y + max(mu_bg, 0.0))) / BINS))
        if p.parameters is not None:
            typical = np.tile(np.array(p.parameters), (p.max_y - p.min_y + 1, 1))
            self._filter.begin(self._filter.model, np.tile(typical, (count, 1, 1)), typical)

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        photons = self._taken(block, inputs)
        if self._next_index < 0:
            self._allocate(photons.shape[1])
        else:
            for _ in range(min(block.index - self._next_index, LONGEST_GAP)):
                self._advance(np.full(self._count, np.nan))
        self._grow(photons.shape[1])
        means = np.array([self._advance(frame) for frame in self._since_birth(photons)])
        self._next_index = block.stop
        means = means.reshape(len(block), self._count)
        return Output(block.index, {"ids": np.arange(self._count), "mean_count": means})

    def finish(self) -> Output | None:
        if self._learner.frames:
            self._take_over()
        return None

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        return self.reader(names, inputs)()

    def reader(
        self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES
    ) -> Callable[[], Mapping[str, np.ndarray]]:
        """Steps are looked for beside the chain: 50 µs a trace, in rows of the record that nobody writes again."""
        wanted = self.snapshot_names(names)
        found = {name: self._snapshot(name) for name in wanted if name != "bleaching_steps"}
        record, steps = self._record, self._steps.copy()

        def read() -> Mapping[str, np.ndarray]:
            if "bleaching_steps" in wanted:
                found["bleaching_steps"] = steps_of(record) if len(record) else steps
            return {name: found[name] for name in wanted}

        return read

    def state(self) -> State:
        mine: State = {
            "count": self._count, "next_index": self._next_index, "frames": self._frames, "due": self._due,
            "record": self._record.copy(), "steps": self._steps.copy(), "width": self._filter.model.width,
            "born": self._born.copy(), "learns_from": self._learner.frames,
        }  # fmt: skip
        return {**mine, **self._sums.state(), **self._filter.state()}

    def restore(self, state: State) -> None:
        record, width = state.get("record"), state.get("width")
        count = require_int(state, "count", self.kind)
        shaped = isinstance(record, np.ndarray) and record.ndim == 2 and record.shape[1] == count
        if not shaped or not isinstance(width, float) or not width > 0:
            raise StateError(f"count: state 'record' must be (frames, {count}) and 'width' above 0, found {width!r}")
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
        if learns_from:
            self._record = self._spare[:learns_from]
            self._learn()
            self._record = self._spare

    def _grow(self, count: int) -> None:
        """Take in the spots that were found since."""
        new = count - self._count
        if new < 0:
            raise FrameError(f"count: {self._count} traces so far, now {count}; spots may come, but must not go")
        if not new:
            return
        frames = len(self._record)
        self._spare = np.pad(self._spare, ((0, 0), (0, new)), constant_values=np.nan)
        self._record = self._spare[:frames]
        self._steps = np.pad(self._steps, (0, new), constant_values=np.nan)
        self._born = np.pad(self._born, (0, new))
        self._sums.grow(new)
        self._filter = self._filter.grown(count)
        self._count = count

    def _since_birth(self, photons: np.ndarray) -> np.ndarray:
        """The traces (t, n), not measured before they begin: values by id are 0 then."""
        born = np.logical_or.accumulate(np.vstack([self._born, photons != 0]))[1:]
        self._born = born[-1]
        return np.where(born, photons, np.nan)

    def _taken(self, block: Block, inputs: Values) -> np.ndarray:
        if self._given is not None:
            known = self._given[block.index : block.stop]
            return np.concatenate([known, np.full((len(block) - len(known), known.shape[1]), np.nan)])
        if "photons" not in inputs:
            raise FrameError("count: needs photons (t, n) of a step before it, as spots gives them")
        photons = np.asarray(inputs["photons"])
        if photons.ndim != 2 or len(photons) != len(block) or photons.dtype.kind not in "biuf":
            raise FrameError(f"count: photons are (t, n) for {len(block)} frames, found {photons.shape}")
        return photons.astype(float)

    def _advance(self, frame: np.ndarray) -> np.ndarray:
        """Take one frame (n,); the posterior's mean (n,)."""
        camera = self.params.emission == "camera"
        self._frames += 1
        self._sums.add(frame)
        if self._learning or not self._filter.known:
            self._keep(frame)
        if self._filter.known:
            self._filter.advance(seen_as(frame[None], camera))
        if self._due and self._frames == self._due:
            self._learn()
        if self._learner.frames and self._frames == self._due + self.params.update_every // 2:
            self._take_over()
        return self._posterior() @ self._filter.model.candidates

    @property
    def _learning(self) -> bool:
        return self._due > 0

    def _keep(self, frame: np.ndarray) -> None:
        """Add a frame to the record, whose memory grows by doubling."""
        n = len(self._record)
        if n == len(self._spare):
            self._spare = np.concatenate([self._spare, np.empty((max(n, 64), self._count))])
        self._spare[n] = frame
        self._record = self._spare[: n + 1]

    def _learn(self) -> None:
        """Begin to learn from the record so far."""
        self._learner.begin(self.params, self._record, self._filter.typical if self._filter.known else None)

    def _take_over(self) -> None:
        """Go on under the parameters that were learned meanwhile."""
        p, learned_from, found = self.params, self._learner.frames, self._learner.result()
        if found is not None:
            self._filter = found.grown(self._count)
            self._filter.advance(seen_as(self._record[learned_from:], p.emission == "camera"))
        every, begun = p.update_every, self._due
        self._due += max(every, -(-begun // (GROWTH * every)) * every)
        if begun >= p.learn_frames and self._filter.known:
            self._steps = steps_of(self._record)
            self._record = self._spare = np.empty((0, self._count))
            self._due = 0
        elif begun < p.learn_frames:
            self._due = max(min(self._due, p.learn_frames), self._frames + 1)

    def _posterior(self) -> np.ndarray:
        model = self._filter.model
        if not self._filter.known:
            return np.full((self._count, len(model.candidates)), 1 / len(model.candidates))
        return np.asarray(posterior(self._filter.logs()))

    def _snapshot(self, name: str) -> np.ndarray:
        live, camera = self._filter, self.params.emission == "camera"
        candidates = live.model.candidates
        if name == "parameters":
            return live.parameters.copy()
        if name == "log_likelihood":
            return live.logs() if live.known else np.full((self._count, len(candidates)), np.nan)
        if name == "cumulant_count":
            sigma = live.parameters[:, 0, 2]
            return self._sums.estimate(camera, sigma)
        chances = self._posterior()
        if name == "posterior":
            return chances
        if name == "count":
            return np.asarray(candidates[chances.argmax(1)] if live.known else np.zeros(self._count, np.int64))
        interval = credible_interval(chances, candidates)
        return interval if name == "credible_interval" else is_flat(interval, candidates)

    def _compile(self) -> None:
        """Run every kernel once on the types that will come."""
        model = model_of(self.params, 1.0)
        x, parameters = np.full((2, 1), np.nan), np.array([[1.0, 1.0, 1.0, 0.1, 0.1, 0.1]])
        for slopes in (False, True):
            evaluate(x, parameters, model, slopes)
        live = LiveFilter(1, model)
        typical = np.tile(parameters, (len(model.candidates), 1))
        live.begin(model, typical[None], typical)
        live.advance(x)
        bleaching_steps(np.zeros(8))
