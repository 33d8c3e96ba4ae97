"""Rise and decay of the transients of all components, estimated while frames come."""

from __future__ import annotations

import numpy as np

from ...core.errors import StateError
from ...core.state import State, require_array
from ..time_constants import SAMPLES_HZ, TimeConstants, cost, decide, prepare
from .activity import Deconvolution
from .buffer import Buffer
from .components import PAST, Components

DECAYS_S, RISES_S = (0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0), (0.0, 0.035, 0.07, 0.14)
_LEAST = PAST // 2  # samples of 1/20 s of a trace; in 100 frames, 1.7 s at 60 Hz, decays of .4 s passed for 2 s
_TRACES, _AT_ONCE = 12, 4  # every 6 s; pairs of rise and decay in one frame, some 3 ms
_ENOUGH = 200  # traces, after which the constants stay


class Transients:
    """Sums over traces of 6 to 12 s what each pair of rise and decay costs; the best becomes the deconvolution's.

    Every 6 s the traces of 12 accepted components, the strongest first, one after the other, some pairs in each frame.
    What is given is not estimated; with order 1 nothing is.
    """

    def __init__(self, deconvolution: Deconvolution, decay_s: float | None, rise_s: float | None) -> None:
        decays = DECAYS_S if decay_s is None else (decay_s,)
        rises = RISES_S if rise_s is None else (rise_s,)
        self._candidates = [TimeConstants(decay, rise) for decay in decays for rise in rises]
        self._wanted = deconvolution.order == 2 and len(self._candidates) > 1
        self._interval_s = deconvolution.interval_s
        self._step = max(1, round(1 / (deconvolution.interval_s * SAMPLES_HZ)))  # frames a sample
        self._arrays = {
            "costs": np.zeros((len(self._candidates), 2)), "count": np.zeros(1, np.int64),
            "taken": np.full(1, -1),  # number of the candidate in use
            "frames": np.zeros(1, np.int64), "trace": np.zeros(PAST), "length": np.zeros(1, np.int64),
            "noise": np.zeros(1),
        }  # fmt: skip

    def see(self, cells: Components, buffer: Buffer, deconvolution: Deconvolution) -> None:
        """Gather the newest frame and compare some pairs on the trace whose turn it is; at the end take the best."""
        count, frames = self._arrays["count"], self._arrays["frames"]
        if not self._wanted or count[0] >= _ENOUGH:
            return
        self._gather(cells, cells["history"][:, (buffer.count - 1) % buffer.window])
        groups = -(-len(self._candidates) // _AT_ONCE)
        turn = int(frames[0]) % (_LEAST * self._step)
        if turn < _TRACES * groups:
            if turn % groups == 0:
                self._take_trace(cells, turn // groups, buffer.window)
            self._compare(turn % groups, groups)
        elif turn == _TRACES * groups and count[0]:
            found = decide(self._arrays["costs"] / count[0], self._candidates)
            if found.known:
                self._arrays["taken"][0] = self._candidates.index(found)
                deconvolution.take(found)
                cells["g"][:] = deconvolution.g

    def _gather(self, cells: Components, newest: np.ndarray) -> None:
        """Add the newest frame's activity (K,) to the sample of 1/20 s that it belongs to."""
        frame = int(self._arrays["frames"][0])
        past = cells["past"][:, frame // self._step % PAST]
        past *= bool(frame % self._step)
        past += newest / self._step
        self._arrays["frames"][0] += 1

    def _take_trace(self, cells: Components, turn: int, window: int) -> None:
        """Keep the trace of the component whose turn it is, and its noise; length 0 if there is none."""
        done = int(self._arrays["frames"][0]) // self._step
        seen = np.minimum((cells["live_seen"] - window) // self._step, min(done, PAST - 1))
        ready = np.flatnonzero(cells["accepted"] & (seen >= _LEAST - 1))
        self._arrays["length"][0] = 0
        if turn < len(ready):
            k = ready[np.argsort(-cells["own"][ready], kind="stable")][turn]
            samples = np.arange(done - seen[k], done) % PAST
            self._arrays["length"][0] = len(samples)
            self._arrays["trace"][: len(samples)] = cells["past"][k, samples]
            self._arrays["noise"][0] = cells["live_noise"][k] / np.sqrt(self._step)

    def _compare(self, group: int, groups: int) -> None:
        length = int(self._arrays["length"][0])
        if length == 0:
            return
        trace, interval = prepare(self._arrays["trace"][:length], self._interval_s * self._step)
        for n in range(group, len(self._candidates), groups):
            self._arrays["costs"][n] += cost(trace, self._arrays["noise"][0], self._candidates[n], interval)
        self._arrays["count"] += group == groups - 1

    def state(self) -> State:
        """Return all carried values as state entries."""
        return {f"transient_{name}": array.copy() for name, array in self._arrays.items()}

    def restore(self, state: State, deconvolution: Deconvolution) -> None:
        """Restore what `state` returned. Raises StateError."""
        for name, array in self._arrays.items():
            array[...] = require_array(state, f"transient_{name}", array, "extract")
        taken = int(self._arrays["taken"][0])
        sound = taken < len(self._candidates) and 0 <= self._arrays["length"][0] <= PAST and self._arrays["frames"] >= 0
        if not (sound and np.isfinite(self._arrays["costs"]).all()):
            raise StateError("extract: state 'transient_taken' is out of range; the state is damaged")
        if taken >= 0:
            deconvolution.take(self._candidates[taken])
