"""Time courses that remember their past, made in chunks: any frame can be asked for, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np

CHUNK_FRAMES = 1024
_MAX_STATES = 64

Chunk = TypeVar("Chunk")
Advance = Callable[[int, Any], tuple[Chunk, Any]]


class Timeline(Generic[Chunk]):
    """Chunks of 1024 frames, each made from its number and the state the chunk before it left.

    `advance(k, state)` returns (chunk k, state after it) and must not change `state`; `initial` is the state before
    chunk 0. One chunk and at most 65 states are kept: as the series grows, every second state is dropped, so going
    back costs at most about a 32nd of the way there.
    """

    def __init__(self, advance: Advance[Chunk], initial: Any) -> None:
        self._advance = advance
        self._states: dict[int, Any] = {0: initial}
        self._stride = 1
        self._latest: tuple[int, Chunk] | None = None

    def chunk(self, k: int) -> Chunk:
        """Return chunk k, the frames from 1024·k on."""
        if self._latest is not None and self._latest[0] == k:
            return self._latest[1]
        start = max(j for j in self._states if j <= k)
        for j in range(start, k + 1):
            chunk, state = self._advance(j, self._states[j])
            self._remember(j + 1, state)
        self._latest = (k, chunk)
        return chunk

    def chunks(self, frames: int) -> Iterator[Chunk]:
        """Yield the chunks that hold the first `frames` frames, in order."""
        for k in range(-(-frames // CHUNK_FRAMES)):
            yield self.chunk(k)

    def _remember(self, k: int, state: Any) -> None:
        self._states = {j: s for j, s in self._states.items() if j % self._stride == 0} | {k: state}
        if len(self._states) > _MAX_STATES:
            self._stride *= 2


def unit_peak(g: float, r: float) -> float:
    """Return 1 over the largest value of an AR(2) response (g^(t+1) - r^(t+1)) / (g - r), t = 0, 1, …; 1 for r = 0."""
    if r == 0:
        return 1.0
    peak = np.log(np.log(r) / np.log(g)) / np.log(g / r)  # where its derivative vanishes, as a real number t + 1
    steps = np.array([np.floor(peak), np.ceil(peak)]).clip(1)
    return float(1 / ((g**steps - r**steps) / (g - r)).max())


def smooth_course(white: np.ndarray, tau_frames: float, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return white noise (n, t) through a double pole of this time constant, with standard deviation 1, and the state.

    An Ornstein-Uhlenbeck process filtered once more by its own time constant; the scale is the double pole's variance.
    """
    pole = np.exp(-1 / tau_frames)
    scale = np.sqrt((1 - pole**2) ** 3 / (1 + pole**2))
    return run_filter([scale], [1, -2 * pole, pole**2], white, state)


def run_filter(b: list[float], a: list[float], x: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `x` (n, t) through the filter b / a along time, begun from `state` (n, order), and the state after it.

    The bits of scipy.signal.lfilter, which takes a second to load; 10 ms for 1024 frames of 37 courses. a[0] is 1.
    """
    if not x.size:
        return np.zeros(x.shape), state
    order = state.shape[1]
    ahead, back = ([*c[1:], *[0.0] * (order + 1 - len(c))] for c in (b, a))
    waiting = [*state.T, 0.0]
    y = np.empty(x.shape[::-1])
    for now, out in zip(np.ascontiguousarray(x.T), y, strict=True):
        np.add(waiting[0], b[0] * now, out=out)
        for k in range(order):
            waiting[k] = waiting[k + 1] + now * ahead[k] - out * back[k]
    return np.ascontiguousarray(y.T), np.stack(waiting[:order], axis=1)
