"""What a run noted of frames that it computes again after a kill: it stands in the session once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

ONCE = ("muted", "doubtful")  # of a step, at a block's first frame: others come when the frames are read again
NOTED = "noted"  # at a frame of its own, with a sentence


class ToldBefore:
    """Events of a chain that a session has already; `reached` is the first frame by step that is computed again."""

    def __init__(self, events: Iterable[Mapping[str, Any]] = (), reached: Mapping[str, int] | None = None) -> None:
        first = reached or {}
        self._keys = {
            _key(event)
            for event in events
            if event["event"] == NOTED
            or (event["event"] in ONCE and event.get("frame", -1) >= first.get(event.get("step", ""), 0))
        }

    def again(self, event: Mapping[str, Any]) -> bool:
        """Whether the session has this event; it is asked once for each."""
        if not self._keys or (key := _key(event)) not in self._keys:
            return False
        self._keys.discard(key)
        return True


def _key(event: Mapping[str, Any]) -> tuple[Any, ...]:
    names = ("event", "step", "frame", "said") if event["event"] == NOTED else ("event", "step")
    return tuple(str(event.get(name)) for name in names)
