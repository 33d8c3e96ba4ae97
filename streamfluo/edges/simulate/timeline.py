"""Time courses that remember their past, made in chunks: any frame can be asked for, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

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
        if self._latest is None or self._latest[0] != k:
            start = max(j for j in self._states if j <= k)
            for j in range(start, k + 1):
                chunk, state = self._advance(j, self._states[j])
                self._latest = (j, chunk)
                self._remember(j + 1, state)
        assert self._latest is not None
        return self._latest[1]

    def chunks(self, frames: int) -> Iterator[Chunk]:
        """Yield the chunks that hold the first `frames` frames, in order."""
        for k in range(-(-frames // CHUNK_FRAMES)):
            yield self.chunk(k)

    def _remember(self, k: int, state: Any) -> None:
        self._states = {j: s for j, s in self._states.items() if j % self._stride == 0} | {k: state}
        if len(self._states) > _MAX_STATES:
            self._stride *= 2
