"""Planes that stop coming while others go on: said once, and again when they come back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

SILENT_FRAMES = 64


class SilentPlanes:
    """Looks after the planes of a stream; of one that lists none there is nothing to say."""

    def __init__(self, planes: Sequence[str]) -> None:
        self._planes = planes if len(planes) > 1 else ()
        self._reached: dict[str, int] = {}
        self._silent: set[str] = set()

    def events(self, plane: str, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """Yield what is to be told once a plane's frames from `start` to `stop` have come, or are known not to."""
        if not self._planes:
            return
        if not self._reached:
            self._reached = dict.fromkeys(self._planes, start)
        self._reached[plane] = stop
        if plane in self._silent:
            self._silent.remove(plane)
            yield {"event": "plane came back", "plane": plane, "frame": start}
        for other, reached in self._reached.items():
            if stop - reached > SILENT_FRAMES and other not in self._silent:
                self._silent.add(other)
                yield {"event": "plane silent", "plane": other, "frame": reached}
