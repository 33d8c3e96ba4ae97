"""Values of before this window came, and of while it did not look: asked for, the newest first."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ..network.watching import Watch
from .held import MAX_INDEX
from .model import Model
from .panels import Panel
from .tables import Rows
from .traces import Marks, Trace

NOTHING_NEW_S = 1.0  # then no new values come: of a run that is held, or over
NO_ANSWER_S = 10.0  # a program that does not know the question says nothing
LOOK_S = 0.3  # for holes
AROUND_FRAMES = 10_000  # of a run are held around one that is looked back at: 5 minutes at 30 Hz, the longest window
KINDS = ("trace", "marks", "table", "lines", "over_time", "interval")  # of panels that something can be lacking of
NEWEST = MAX_INDEX - 1


@dataclass
class _Shown:
    """What is known of a trace that is shown: where nothing is lacking before a frame, as far as was asked."""

    since_s: float
    revision: int
    settled: set[int] = field(default_factory=set)  # frames before which there is nothing, or a gap
    looked_s: float = -1.0
    asked_s: float | None = None
    before: int = -1  # what was asked
    ended: int = -1  # the newest frame that there was when others were asked for: a step may have ended before the run
    around: int = -1  # the frame around which values of long ago were asked for


class Earlier:
    """Has the values come that traces and marks lack, one question at a time."""

    def __init__(self, model: Model, watch: Watch) -> None:
        self._model, self._watch = model, watch
        self._shown: dict[str, _Shown] = {}  # by panel
        self._series = 0

    def turn(self, shown: Iterable[Panel]) -> None:
        """Ask for what is lacking of the panels that are shown now."""
        model, now_s = self._model, time.monotonic()
        if model.series != self._series or model.link not in ("live", "ended"):
            self._shown, self._series = {}, model.series
            model.past.clear()
            return
        panels = {panel.id: panel for one in shown for panel in (one, *model.beside(one)) if panel.kind in KINDS}
        wanted = {
            name: (panel, values) for name, panel in panels.items() if (values := self._values(panel)) is not None
        }
        for name, (panel, values) in list(wanted.items()):
            if isinstance(values, Trace) and (older := self._older(values)) is not None:
                wanted[f"{name} before"] = panel, older
        for name in self._shown.keys() - wanted.keys():
            del self._shown[name]
        for name, (_, values) in wanted.items():
            self._shown.setdefault(name, _Shown(now_s, values.revision))
        waiting_first = sorted(wanted, key=lambda name: self._shown[name].asked_s is None)
        for name in waiting_first:  # else another one asks meanwhile
            panel, values = wanted[name]
            if self._follow(panel, values, self._shown[name], now_s):
                return

    def _older(self, trace: Trace) -> Trace | None:
        """What holds the values around the frame of a run that is looked back at, if a trace has none of them any more;
        what is not needed any more is let go."""
        model = self._model
        if model.looking_at is None or model.hello is None or model.hello.program == "session" or trace.sampled:
            trace.before = None
        elif trace.before is None and trace.is_behind(model.looking_at):
            trace.before = Trace(AROUND_FRAMES)
        return trace.before

    def _follow(self, panel: Panel, values: Trace | Marks | Rows, shown: _Shown, now_s: float) -> bool:
        """Go on with one panel; returns whether it waits for an answer."""
        if shown.asked_s is not None and not self._take_answer(panel, values, shown):
            if now_s - shown.asked_s <= NO_ANSWER_S:
                return True
            shown.asked_s = None
            shown.settled.add(shown.before)
        if now_s - shown.looked_s < LOOK_S:
            return False
        before = self._lacking(panel, values, shown, now_s)
        if before is None:
            shown.looked_s = now_s
            return False
        shown.before, shown.asked_s = before, now_s
        self._watch.ask_before(panel.step, panel.name, before)
        return True

    def _take_answer(self, panel: Panel, values: Trace | Marks | Rows, shown: _Shown) -> bool:
        """Note what came of the question; False if nothing has."""
        about = (panel.step, shown.before)
        answer = next((one for one in self._model.past if (one.step, one.before) == about), None)
        if answer is None:
            return False
        self._model.past.remove(answer)
        shown.asked_s = None
        if shown.before == NEWEST or shown.before in _starts(values):
            shown.settled.add(shown.before)  # nothing is older, or frames are missing there
        return True

    def _lacking(self, panel: Panel, values: Trace | Marks | Rows, shown: _Shown, now_s: float) -> int | None:
        """The newest frame before which values may be lacking; None: nothing is."""
        trace = self._model.traces.get(panel.id)
        if trace is not None and values is trace.before:
            return self._lacking_around(trace, trace.before, shown)
        if isinstance(values, Rows) or panel.kind in ("over_time", "interval"):
            late = now_s - shown.since_s > NOTHING_NEW_S  # by then those that are new come
            return NEWEST if late and NEWEST not in shown.settled else None
        if isinstance(values, Trace) and (around := self._elsewhere(values, shown)) is not None:
            shown.ended = int(values.since()[0][-1])
            values.clear()
            shown.settled = {NEWEST}
            return around
        if values.revision == shown.revision and NEWEST not in shown.settled:
            return NEWEST if now_s - shown.since_s > NOTHING_NEW_S else None
        starts = reversed(_starts(values))
        return next((start for start in starts if start > 0 and start not in shown.settled), None)

    def _lacking_around(self, trace: Trace, older: Trace, shown: _Shown) -> int | None:
        """Of a run: where the values stop that are needed around the frame that is looked back at."""
        at, frames = self._model.looking_at, older.since()[0]
        if at is None or not trace.is_behind(at):
            return None
        too_early = len(frames) > 0 and at < frames[0] and older.is_full
        if (not len(frames) or too_early or at > frames[-1]) and at != shown.around:
            older.clear()
            shown.around, shown.settled = at, set()
            return min(at + AROUND_FRAMES // 2, int(trace.since()[0][0]))
        return next((start for start in reversed(_starts(older)) if start > 0 and start not in shown.settled), None)

    def _elsewhere(self, trace: Trace, shown: _Shown) -> int | None:
        """Where the values of a session stop that are needed in place of those that a trace has no room beside; None:
        what is looked at is here."""
        model, frames = self._model, trace.since()[0]
        at = model.timeline.stop - 1 if model.looking_at is None else model.looking_at
        if not len(frames) or model.hello is None or model.hello.program != "session" or at >= model.timeline.stop:
            return None
        too_early, too_late = at < frames[0] and trace.is_full, at > frames[-1] and int(frames[-1]) != shown.ended
        return min(at + len(frames) // 2 + 1, NEWEST - 1) if too_early or too_late else None

    def _values(self, panel: Panel) -> Trace | Marks | Rows | None:
        for held in (self._model.traces, self._model.marks, self._model.tables):
            if panel.id in held:
                return held[panel.id]
        return None


def _starts(values: Trace | Marks | Rows) -> list[int]:
    """The first frames of runs without a hole; of a trace that is full not that of the oldest."""
    if isinstance(values, Rows):
        return []
    if isinstance(values, Marks):
        return [values.covered[0]] if values.covered and not values.is_full else []
    indices, _ = values.since()
    if not len(indices):
        return []
    holes = np.flatnonzero(np.diff(indices) != 1) + 1
    if 2 * len(holes) > len(indices):  # these are values of every so many frames
        holes = holes[:0]
    oldest = [] if values.is_full else [int(indices[0])]
    return [*oldest, *indices[holes].tolist()]
