"""Feeds of other programs that count their frames: where the counter stands, and what it says was lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..core.errors import SourceError, WireError
from ..core.plane import ONE_PLANE
from ..core.source import Gap
from .arrivals import MAX_JUMP

BEGAN_ANEW = 3  # frames in a row that count on from one that went back: the sender has started over


class FrameCounter:
    """The counter of a feed whose frames each have an image of every plane."""

    def __init__(self, where: str, planes: Sequence[str] = (ONE_PLANE,)) -> None:
        self.next: int | None = None
        self._where, self._planes = where, planes
        self._odd, self._in_a_row = -1, 0

    def check(self, index: int) -> None:
        """Raises WireError for a frame that goes back or too far ahead, SourceError once that is another series."""
        if self.next is None or self.next <= index <= self.next + MAX_JUMP:
            self._in_a_row = 0
            return
        self._in_a_row = self._in_a_row + 1 if index == self._odd + 1 else 1
        self._odd = index
        if self._in_a_row >= BEGAN_ANEW:
            raise SourceError(
                f"{self._where}: its counter went from {self.next - 1} to {index + 1 - BEGAN_ANEW}, and goes on there; "
                "another acquisition began, start a new run for it"
            )
        raise WireError("index", f"frame {index} where {self.next} follows; at most {MAX_JUMP} may be missing")

    def missing(self, index: int, lost: int = 0) -> Iterator[Gap]:
        """Yield the gaps before frame `index`, of which `lost` frames came as far as this program; then expect the next
        one."""
        first, self.next = index if self.next is None else self.next, index + 1
        lost = min(lost, index - first)
        for plane in self._planes:
            if index - first > lost:
                yield Gap(first, index - first - lost, "camera", plane)
            if lost > 0:
                yield Gap(index - lost, lost, "transport", plane)
