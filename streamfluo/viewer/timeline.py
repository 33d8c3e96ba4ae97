"""What happened at which frame of a run: gaps, marks, changes, events. No Qt."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from ..core import wire

MAX_MOMENTS = 2000
_WORDS = {"mark": "text", "set": "param", "muted": "error", "gap": "reason"}  # of what an event says what is told first


class Moment(NamedTuple):
    """Something that happened at a frame, or where `lost` frames never came."""

    frame: int
    lost: int
    kind: str  # the event's name
    text: str


class Timeline:
    """The newest moments of a run, and how far it has come: `stop` is one past the newest frame seen."""

    def __init__(self) -> None:
        self.stop = 0
        self.revision = 0
        self.moments: deque[Moment] = deque(maxlen=MAX_MOMENTS)

    def reach(self, index: int) -> None:
        """Note that a frame was seen."""
        if index >= self.stop:
            self.stop = index + 1
            self.revision += 1

    def take(self, event: wire.Event) -> None:
        """Note an event that speaks of a frame; who reconnects is told the last ones again."""
        fields = event.fields
        frame, count = fields.get("first", fields.get("frame")), fields.get("count", 0)
        if not isinstance(frame, int) or not isinstance(count, int) or frame < 0:
            return
        moment = Moment(frame, max(0, count) if event.event == "gap" else 0, event.event, _told(event.event, fields))
        if moment not in self.moments:
            self.moments.append(moment)
            self.revision += 1

    def near(self, frame: int, within: float) -> Moment | None:
        """Return what happened closest to a frame, no further from it than `within` frames."""
        apart = {m: max(m.frame - frame, frame - m.frame - m.lost, 0) for m in self.moments}
        found = min(apart, key=lambda m: apart[m], default=None)
        return found if found is not None and apart[found] <= within else None

    def before(self, frame: int) -> Moment | None:
        """Return what happened last before a frame."""
        return max((m for m in self.moments if m.frame < frame), key=lambda m: m.frame, default=None)

    def behind(self, frame: int) -> Moment | None:
        """Return what happened first behind a frame."""
        return min((m for m in self.moments if m.frame > frame), key=lambda m: m.frame, default=None)


def _told(event: str, fields: dict[str, Any]) -> str:
    """An event in one line."""
    if event == "gap":
        return f"{fields.get('count')} frames lost ({fields.get('reason', '')})"
    if event == "set":
        return f"{fields.get('step')}.{fields.get('param')} = {fields.get('value')}"
    if event == "mark":
        return f"mark: {fields.get('text')}"[:200]
    first = [f"{fields[name]}" for name in ("step", _WORDS.get(event, "error")) if fields.get(name)]
    return " ".join([event, *first])[:200]


def spelled_time(frame: int, interval_s: float | None) -> str:
    """Return when a frame came, as minutes and seconds since the first; its number where the interval is unknown."""
    if not interval_s:
        return f"frame {frame}"
    minutes, seconds = divmod(round(frame * interval_s, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{seconds:04.1f}" if hours else f"{minutes}:{seconds:04.1f}"
