"""The likelihood of every number of emitters under known parameters, updated with each frame."""

from __future__ import annotations

import numpy as np

from ...core.errors import StateError
from ...core.state import State, require_array, require_int
from ..kernels.crosschecks import credible_interval, joined, posterior, widened
from ..kernels.emission import EmissionModel
from ..kernels.likelihood import EmitterModel
from ..kernels.online_filter import ONLINE_LANES, FilterState, advance, online_transitions
from ..kernels.transitions import state_count

WHERE = "count"
KEYS = ("filter_states", "filter_products", "filter_logs")  # of a checkpoint, in the order of FilterState


class OnlineFilter:
    """Forward filters of n traces under parameters (n, candidates, 6).

    Memory for 10 candidates: 0.6 KB a trace, 2.5 KB with bleaching, and 100 KB if each trace has its own kinetics.
    """

    def __init__(self, count: int, model: EmitterModel) -> None:
        self.model, self.seen = model, 0
        self._count, self._chunks = count, count // ONLINE_LANES + 1  # at least one lane is left over
        k = len(model.candidates)
        most = int(state_count(model.max_emitters, model.bleaching))
        self._carried = FilterState(
            np.zeros((self._chunks, k, most, ONLINE_LANES)),
            np.ones((self._chunks, k, ONLINE_LANES)),
            np.zeros((self._chunks, k, ONLINE_LANES)),
        )
        self._lit = _lit(model, most)
        self.parameters, self.typical = np.full((count, k, 6), np.nan), np.full((k, 6), np.nan)
        self.widening = np.zeros((count, k))  # of the log posterior, for what is not known of the parameters
        self.widening_of_rates = np.zeros((count, k))  # likewise, where rates may differ between traces
        self.doubts = np.zeros(count, np.int64)  # why the model could not have made the traces, places in REASONS
        self.half_lit = 0.0  # share of the frames that it was fitted to

    @property
    def doubtful(self) -> np.ndarray:
        """Which traces (n,) the model could not have made."""
        return np.asarray(self.doubts > 0)

    @property
    def known(self) -> bool:
        """Whether the parameters are known."""
        return bool(np.isfinite(self.typical).all())

    def begin(self, model: EmitterModel, parameters: np.ndarray, typical: np.ndarray) -> None:
        """Restart before the first frame; typical (candidates, 6): parameters of traces that are added later."""
        self.model, self.seen, self.parameters, self.typical = model, 0, parameters, typical
        self._carried.products[:], self._carried.logs[:] = 1, 0
        self._prepare()

    def grown(self, count: int) -> OnlineFilter:
        """Return a filter of `count` traces: these, and new ones that have no measurements so far."""
        if count == self._count:
            return self
        new, kept = OnlineFilter(count, self.model), self._count
        new.doubts[:kept], new.half_lit = self.doubts, self.half_lit
        new.widening[:kept], new.widening_of_rates[:kept] = self.widening, self.widening_of_rates
        if not self.known:
            return new
        more = np.tile(self.typical, (count - kept, 1, 1))
        new.begin(self.model, np.concatenate([self.parameters, more]), self.typical)
        new.seen = self.seen
        chunk, lane = divmod(kept, ONLINE_LANES)
        for mine, old in zip(new._carried, self._carried, strict=True):
            mine[...] = old[chunk, ..., lane, None]  # the first lane left over, which has no measurements
            mine[:chunk], mine[chunk, ..., :lane] = old[:chunk], old[chunk, ..., :lane]
        return new

    def _prepare(self) -> None:
        """Arrange the parameters as the kernel takes them."""
        padded = np.tile(self.typical, (self._chunks * ONLINE_LANES, 1, 1))
        padded[: self._count] = self.parameters
        shared = bool((padded[..., 3:] == padded[:1, :1, 3:]).all())
        same = bool((padded == padded[:, :1]).all())
        # (traces, candidates, 6) as [candidate, chunk, 6, lane]
        lanes = padded.reshape(self._chunks, ONLINE_LANES, -1, 6).transpose(2, 0, 3, 1)[: 1 if same else None]
        brightness = np.ascontiguousarray(lanes[:, :, :3])
        kinetics = lanes[:, :1, 3:, :1] if shared and same else lanes[:, :, 3:]
        self._emission = EmissionModel(self.model.camera, brightness, self.model.mixing)
        self._transitions = online_transitions(np.ascontiguousarray(kinetics), self.model.spaces)

    def advance(self, x: np.ndarray) -> None:
        """Update with frames (t, n): electrons or log-intensity; NaN: not measured."""
        padded = np.full((len(x), self._chunks * ONLINE_LANES), np.nan)
        padded[:, : self._count] = x
        frames = padded.reshape(len(x), self._chunks, ONLINE_LANES)
        advance(frames, self.seen, self._emission, self._transitions, self.model.spaces, self._carried)
        self.seen += len(x)

    def logs(self) -> np.ndarray:
        """Return log P(trace so far | emitters) (n, candidates)."""
        logs = self._carried.logs + np.log(self._carried.products)
        return np.asarray(logs.transpose(0, 2, 1).reshape(-1, logs.shape[1])[: self._count])

    def posterior(self) -> np.ndarray:
        """Return the posterior (n, candidates); even while no parameters are known."""
        if not self.known:
            return np.full(self.widening.shape, 1 / self.widening.shape[1])
        return np.asarray(posterior(self.logs() + self.widening, self.model.candidates))

    def fitted(self) -> np.ndarray:
        """Return the intensity (n,) that the states at the newest frame give on average, of the most likely number.

        NaN while no parameters are known. Of a lognormal emission it is the median.
        """
        if not self.known or not self.seen:
            return np.full(self._count, np.nan)
        best = self.posterior().argmax(1)
        chunk, lane = np.divmod(np.arange(self._count), ONLINE_LANES)
        on = (self._carried.states[chunk, best, :, lane] * self._lit[best]).sum(1)
        mu, mu_bg = self.parameters[np.arange(self._count), best, :2].T
        return np.asarray(mu * on + mu_bg)

    def interval(self) -> np.ndarray:
        """Return the 90 % intervals (n, 2), also where rates differ between traces; wider where doubtful."""
        candidates, probabilities = self.model.candidates, self.posterior()
        interval = credible_interval(probabilities, candidates)
        if self.known:
            differ = posterior(self.logs() + self.widening_of_rates, candidates)
            interval = joined(interval, credible_interval(differ, candidates))
        return np.asarray(widened(interval, candidates[probabilities.argmax(1)], self.doubtful, candidates))

    def state(self) -> State:
        carried = {key: array.copy() for key, array in zip(KEYS, self._carried, strict=True)}
        parameters = {"filter_parameters": self.parameters.copy(), "filter_typical": self.typical.copy()}
        told = {"filter_doubts": self.doubts.copy(), "filter_widening": self.widening.copy()}
        told["filter_widening_of_rates"] = self.widening_of_rates.copy()
        return {"filter_seen": self.seen, "filter_half_lit": np.array(self.half_lit), **told, **carried, **parameters}

    def restore(self, state: State, model: EmitterModel) -> None:
        arrays = zip(KEYS, self._carried, strict=True)
        self._carried = FilterState(*(require_array(state, key, array, WHERE) for key, array in arrays))
        self.parameters = require_array(state, "filter_parameters", self.parameters, WHERE)
        self.typical = require_array(state, "filter_typical", self.typical, WHERE)
        self.doubts = require_array(state, "filter_doubts", self.doubts, WHERE)
        self.half_lit = float(require_array(state, "filter_half_lit", np.zeros(()), WHERE))
        self.widening = require_array(state, "filter_widening", self.widening, WHERE)
        self.widening_of_rates = require_array(state, "filter_widening_of_rates", self.widening_of_rates, WHERE)
        self.model, self.seen = model, require_int(state, "filter_seen", WHERE)
        if self.known:
            if not np.isfinite(self.parameters).all():
                raise StateError(f"{WHERE}: state 'filter_parameters' must be finite; take an earlier checkpoint")
            self._prepare()


def _lit(model: EmitterModel, most: int) -> np.ndarray:
    """Return how many emitters are on in each state (candidates, most), 0 beyond a candidate's last."""
    lit = np.zeros((len(model.candidates), most))
    for row, emitters in zip(lit, model.candidates.tolist(), strict=True):
        alive = range(emitters + 1) if model.bleaching else (emitters,)
        states = np.concatenate([np.arange(a + 1) for a in alive])
        row[: len(states)] = states
    return lit
