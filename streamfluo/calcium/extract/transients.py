"""Rise and decay of the transients of all components, estimated while frames come."""

from __future__ import annotations

import numpy as np

from ...core.errors import StateError
from ...core.state import State, require_array
from ..time_constants import TimeConstants, costs, decide, prepare
from .activity import Deconvolution
from .buffer import Buffer
from .components import Components

# GCaMP6s peaks .18 s after a spike, others sooner (Chen et al. 2013): a rise of .055 s. In the 100 frames of a
# window bursts pass for longer ones: with .14 s rates were early, and correlated .856 with real spikes, now .865.
DECAYS_S, RISES_S = (0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0), (0.0, 0.035, 0.07)
_TRACES = 12  # of a window of frames, one after the other
_FRAMES = 7  # that the candidates of one trace are spread over: all at once take 1.1 ms in the kernel alone
_AT_LEAST = 4  # candidates at once: a call takes as long as one of them
_ENOUGH = 200  # traces of a window, after which the constants stay
# Traces after which only so many of the candidates are judged on: a third of the work, then an eighth.
_STAGES = (24, 7), (60, 3)


class Transients:
    """Sums over stored traces what each pair of rise and decay costs; the best becomes the deconvolution's.

    From each window of frames the traces of 12 accepted components, the strongest first, each with a few candidates a
    frame. What is given is not estimated; with order 1 nothing is.
    """

    def __init__(self, deconvolution: Deconvolution, decay_s: float | None, rise_s: float | None, window: int) -> None:
        decays = DECAYS_S if decay_s is None else (decay_s,)
        rises = RISES_S if rise_s is None else (rise_s,)
        self._candidates = [TimeConstants(decay, rise) for decay in decays for rise in rises]
        self._wanted = deconvolution.order == 2 and len(self._candidates) > 1
        self._costs, self._count = np.zeros((len(self._candidates), 2)), np.zeros(1, np.int64)
        self._taken = np.full(1, -1)  # number of the candidate in use
        self._frames = min(_FRAMES, window // _TRACES)
        fast, self._interval_s = prepare(np.zeros(window), deconvolution.interval_s)
        self._trace, self._noise = fast, np.zeros(1)  # whose turn it is; noise 0: nobody's
        self._is_last = np.zeros(1, np.int64)
        self._likely = np.ones(len(self._candidates), bool)

    def see(self, cells: Components, buffer: Buffer, deconvolution: Deconvolution) -> None:
        """Add what some candidates cost for the trace whose turn it is; after the last one take the best so far."""
        turn, part = divmod(buffer.count % buffer.window, self._frames)
        if not self._wanted or not buffer.full or turn >= _TRACES or self._count[0] >= _ENOUGH:
            return
        if part == 0:
            self._begin(turn, cells, buffer, deconvolution.interval_s)
        noise = float(self._noise[0])
        if noise > 0:
            likely = np.flatnonzero(self._likely)
            each = max(_AT_LEAST, -(-len(likely) // self._frames))
            some = likely[part * each : (part + 1) * each]
            if len(some):
                self._costs[some] += costs(self._trace, noise, [self._candidates[n] for n in some], self._interval_s)
        if part == self._frames - 1:
            self._count += noise > 0
            if self._is_last[0]:
                self._take(cells, deconvolution)

    def _begin(self, turn: int, cells: Components, buffer: Buffer, interval_s: float) -> None:
        """Keep the trace whose turn it is."""
        ready = np.flatnonzero(cells["accepted"] & (cells["live_seen"] >= buffer.window))
        order = ready[np.argsort(-cells["own"][ready], kind="stable")]
        self._noise[0], self._is_last[0] = 0.0, turn == min(_TRACES, len(order)) - 1
        if turn < len(order):
            k = int(order[turn])
            self._trace[:], _ = prepare(cells["history"][k, buffer.slots()], interval_s)
            self._noise[0] = cells["live_noise"][k] * np.sqrt(interval_s / self._interval_s)

    def _take(self, cells: Components, deconvolution: Deconvolution) -> None:
        mean = self._costs / max(1, int(self._count[0]))
        mean[~self._likely, 0] = np.inf
        for traces, kept in _STAGES:
            if self._count[0] >= traces and np.count_nonzero(self._likely) > kept:
                self._likely[np.argsort(mean[:, 0], kind="stable")[kept:]] = False
        found = decide(mean, self._candidates)
        if found.known:
            self._taken[0] = self._candidates.index(found)
            deconvolution.take(found)
            deconvolution.renew(cells)

    def state(self) -> State:
        """Return all carried values as state entries."""
        return {f"transient_{name}": array.copy() for name, array in self._arrays().items()}

    def restore(self, state: State, deconvolution: Deconvolution) -> None:
        """Restore what `state` returned. Raises StateError."""
        for name, array in self._arrays().items():
            array[...] = require_array(state, f"transient_{name}", array, "extract")
        if not self._likely.any():
            raise StateError("extract: state 'transient_likely' has no candidate; the state is damaged")
        numbers = np.concatenate([self._costs.ravel(), self._trace, self._noise])
        if not (self._taken[0] < len(self._candidates) and np.isfinite(numbers).all()):
            raise StateError("extract: state 'transient_taken' is out of range; the state is damaged")
        if self._taken[0] >= 0:
            deconvolution.take(self._candidates[int(self._taken[0])])

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "costs": self._costs, "count": self._count, "taken": self._taken, "trace": self._trace,
            "noise": self._noise, "last": self._is_last, "likely": self._likely,
        }  # fmt: skip
