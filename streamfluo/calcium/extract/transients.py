"""Rise and decay of the transients of all components, estimated while frames come."""

from __future__ import annotations

import numpy as np

from ...core.errors import StateError
from ...core.state import State, require_array
from ..time_constants import TimeConstants, cost, decide, prepare
from .activity import Deconvolution
from .buffer import Buffer
from .components import Components

# GCaMP6s peaks .18 s after a spike, others sooner (Chen et al. 2013): a rise of .055 s. In the 100 frames of a
# window bursts pass for longer ones: with .14 s rates were early, and correlated .856 with real spikes, now .865.
DECAYS_S, RISES_S = (0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0), (0.0, 0.035, 0.07)
_TRACES = 12  # of a window of frames: one a frame, some 5 ms each
_ENOUGH = 200  # traces of a window, after which the constants stay


class Transients:
    """Sums over stored traces what each pair of rise and decay costs; the best becomes the deconvolution's.

    From each window of frames the traces of 12 accepted components, the strongest first, one in each frame. What is
    given is not estimated; with order 1 nothing is.
    """

    def __init__(self, deconvolution: Deconvolution, decay_s: float | None, rise_s: float | None) -> None:
        decays = DECAYS_S if decay_s is None else (decay_s,)
        rises = RISES_S if rise_s is None else (rise_s,)
        self._candidates = [TimeConstants(decay, rise) for decay in decays for rise in rises]
        self._wanted = deconvolution.order == 2 and len(self._candidates) > 1
        self._costs, self._count = np.zeros((len(self._candidates), 2)), np.zeros(1, np.int64)
        self._taken = np.full(1, -1)  # number of the candidate in use

    def see(self, cells: Components, buffer: Buffer, deconvolution: Deconvolution) -> None:
        """Add the trace whose turn it is; at the last of a window take the best constants so far."""
        turn = buffer.count % buffer.window
        if not self._wanted or not buffer.full or turn >= _TRACES or self._count[0] >= _ENOUGH:
            return
        ready = np.flatnonzero(cells["accepted"] & (cells["live_seen"] >= buffer.window))
        order = ready[np.argsort(-cells["own"][ready], kind="stable")]
        if turn < len(order):
            k = int(order[turn])
            trace, interval = prepare(cells["history"][k, buffer.slots()], deconvolution.interval_s)
            noise = float(cells["live_noise"][k] * np.sqrt(deconvolution.interval_s / interval))
            self._costs += [cost(trace, noise, candidate, interval) for candidate in self._candidates]
            self._count += 1
        if turn == min(_TRACES, len(order)) - 1:
            found = decide(self._costs / max(1, int(self._count[0])), self._candidates)
            if found.known:
                self._taken[0] = self._candidates.index(found)
                deconvolution.take(found)
                cells["g"][:] = deconvolution.g

    def state(self) -> State:
        """Return all carried values as state entries."""
        return {"transient_costs": self._costs.copy(), "transient_count": self._count.copy(),
                "transient_taken": self._taken.copy()}  # fmt: skip

    def restore(self, state: State, deconvolution: Deconvolution) -> None:
        """Restore what `state` returned. Raises StateError."""
        self._costs[...] = require_array(state, "transient_costs", self._costs, "extract")
        self._count[:] = require_array(state, "transient_count", self._count, "extract")
        self._taken[:] = require_array(state, "transient_taken", self._taken, "extract")
        if not (self._taken[0] < len(self._candidates) and np.isfinite(self._costs).all()):
            raise StateError("extract: state 'transient_taken' is out of range; the state is damaged")
        if self._taken[0] >= 0:
            deconvolution.take(self._candidates[int(self._taken[0])])
