"""The likelihood of every number of emitters under given parameters, carried from frame to frame."""

from __future__ import annotations

import numpy as np

from ...core.state import State, require_array, require_int
from ..kernels.likelihood import EmitterModel
from ..kernels.online_filter import LIVE_LANES, advance, fill_live
from ..kernels.transitions import state_count

WHERE = "count"
_CARRIED = ("_states", "_products", "_logs")


class LiveFilter:
    """Forward filters of n traces; parameters (n, candidates, 6), of which kinetics may be everyone's.

    Memory: 0.6 KB a trace for 10 candidates, 2.5 KB with bleaching, and 100 KB where kinetics are each trace's own.
    """

    def __init__(self, count: int, model: EmitterModel) -> None:
        self.model, self.seen = model, 0
        self._count, self._chunks = count, count // LIVE_LANES + 1  # one lane at least is behind the traces
        k = len(model.candidates)
        most = int(state_count(model.max_y, model.bleaching))
        self._states = np.zeros((self._chunks, k, most, LIVE_LANES))
        self._products = np.ones((self._chunks, k, LIVE_LANES))
        self._logs = np.zeros((self._chunks, k, LIVE_LANES))
        self.parameters, self.typical = np.full((count, k, 6), np.nan), np.full((k, 6), np.nan)

    @property
    def known(self) -> bool:
        """Whether there are parameters to filter with."""
        return bool(np.isfinite(self.typical).all())

    def begin(self, model: EmitterModel, parameters: np.ndarray, typical: np.ndarray) -> None:
        """Start over with these parameters, before the first frame; typical (candidates, 6): of a trace to come."""
        self.model, self.seen, self.parameters, self.typical = model, 0, parameters, typical
        self._products[:], self._logs[:] = 1, 0
        self._prepare()

    def grown(self, count: int) -> LiveFilter:
        """A filter of `count` traces, of which these are the first; the others were not measured so far."""
        if count == self._count:
            return self
        new, kept = LiveFilter(count, self.model), self._count
        if not self.known:
            return new
        more = np.tile(self.typical, (count - kept, 1, 1))
        new.begin(self.model, np.concatenate([self.parameters, more]), self.typical)
        new.seen = self.seen
        whole, some = divmod(kept, LIVE_LANES)
        for name in _CARRIED:
            mine, old = getattr(new, name), getattr(self, name)
            mine[...] = old[whole, ..., some, None]  # the first lane behind the traces: none was measured in it
            mine[:whole], mine[whole, ..., :some] = old[:whole], old[whole, ..., :some]
        return new

    def _prepare(self) -> None:
        padded = np.tile(self.typical, (self._chunks * LIVE_LANES, 1, 1))
        padded[: self._count] = self.parameters
        shared = bool((padded[..., 3:] == padded[:1, :1, 3:]).all())
        same = bool((padded == padded[:, :1]).all())
        # (traces, candidates, 6) as [candidate, chunk, 6, lane]
        lanes = padded.reshape(self._chunks, LIVE_LANES, -1, 6).transpose(2, 0, 3, 1)[: 1 if same else None]
        self._brightness = np.ascontiguousarray(lanes[:, :, :3])
        kinetics = lanes[:, :1, 3:, :1] if shared and same else lanes[:, :, 3:]
        self._kinetics = np.ascontiguousarray(kinetics)
        size, (m, c, _, own) = self.model.max_y + 1, self._kinetics.shape
        self._blinking, self._bleaching = np.zeros((m, c, size, size, size, own)), np.zeros((m, c, size, size, own))
        model = self.model
        fill_live(self._kinetics, model.min_y, model.max_y, model.bleaching, self._blinking, self._bleaching)

    def advance(self, x: np.ndarray) -> None:
        """Take frames (t, n): electrons or log-intensity, NaN where a trace was not measured."""
        padded = np.full((len(x), self._chunks * LIVE_LANES), np.nan)
        padded[:, : self._count] = x
        model = self.model
        advance(
            padded.reshape(len(x), self._chunks, LIVE_LANES), self.seen, model.camera, self._brightness, model.mixing,
            self._kinetics, self._blinking, self._bleaching, model.min_y, model.bleaching, self._states,
            self._products, self._logs,
        )  # fmt: skip
        self.seen += len(x)

    def logs(self) -> np.ndarray:
        """log P(trace so far | y) (n, candidates)."""
        logs = self._logs + np.log(self._products)
        return np.asarray(logs.transpose(0, 2, 1).reshape(-1, logs.shape[1])[: self._count])

    def state(self) -> State:
        return {
            "filter_seen": self.seen, "filter_states": self._states.copy(), "filter_products": self._products.copy(),
            "filter_logs": self._logs.copy(), "filter_parameters": self.parameters.copy(),
            "filter_typical": self.typical.copy(),
        }  # fmt: skip

    def restore(self, state: State, model: EmitterModel) -> None:
        self._states = require_array(state, "filter_states", self._states, WHERE)
        self._products = require_array(state, "filter_products", self._products, WHERE)
        self._logs = require_array(state, "filter_logs", self._logs, WHERE)
        self.parameters = require_array(state, "filter_parameters", self.parameters, WHERE)
        self.typical = require_array(state, "filter_typical", self.typical, WHERE)
        self.model, self.seen = model, require_int(state, "filter_seen", WHERE)
        if self.known:
            self._prepare()
