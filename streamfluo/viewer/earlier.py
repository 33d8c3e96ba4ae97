"""Values of before this window came, and of while it did not look: asked for once what is new has begun to come."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from ..network.watching import Watch
from .held import MAX_INDEX
from .model import Model
from .panels import Panel
from .traces import Marks, Trace

NOTHING_NEW_S = 1.0  # then no new values come: of a run that is held, or over
NO_ANSWER_S = 10.0  # a program that does not know the question says nothing


@dataclass
class _Joined:
    """What is being asked for of a trace: the frames behind `after` and before `before`."""

    since_s: float
    after: int  # the newest frame that was held when the panel was opened
    before: int | None = None
    asked_s: float | None = None
    done: bool = False


class Earlier:
    """Has the values come that traces and marks lack, one question at a time, from the newest back to the oldest."""

    def __init__(self, model: Model, watch: Watch) -> None:
        self._model, self._watch = model, watch
        self._joined: dict[str, _Joined] = {}  # by panel
        self._of: object = None

    def turn(self, shown: Iterable[Panel]) -> None:
        """Ask for what is lacking of the panels that are shown now."""
        model, now_s = self._model, time.monotonic()
        if (model.series, model.link in ("live", "ended")) != self._of:
            self._joined, self._of = {}, (model.series, model.link in ("live", "ended"))
        wanted = {
            panel.id: panel
            for one in shown
            for panel in (one, *model.beside(one))
            if panel.kind in ("trace", "marks") and self._values(panel) is not None
        }
        for name in self._joined.keys() - wanted.keys():
            del self._joined[name]
        for name, panel in wanted.items():
            if name not in self._joined:
                self._joined[name] = _Joined(now_s, self._newest(panel))
            if not self._joined[name].done and self._follow(panel, self._joined[name], now_s):
                return

    def _follow(self, panel: Panel, joined: _Joined, now_s: float) -> bool:
        """Go on with one panel; returns whether it waits for an answer."""
        answer = self._model.past
        if joined.asked_s is not None and answer is not None:
            if (answer.step, answer.before) == (panel.step, joined.before):
                self._model.past, joined.asked_s = None, None
                values = self._values(panel)
                full = isinstance(values, Trace) and values.is_full
                joined.done = not answer.count or not 0 <= answer.index < (joined.before or 0) or full
                joined.done |= answer.index <= joined.after + 1
                joined.before = answer.index
        elif joined.asked_s is not None and now_s - joined.asked_s > NO_ANSWER_S:
            joined.done = True
        elif joined.before is None:
            joined.before = self._first_new(panel, joined, now_s)
            joined.done = joined.before is not None and joined.before <= joined.after + 1
        if not joined.done and joined.before is not None and joined.asked_s is None:
            self._watch.ask_before(panel.step, panel.name, joined.before)
            joined.asked_s = now_s
        return not joined.done and joined.asked_s is not None

    def _first_new(self, panel: Panel, joined: _Joined, now_s: float) -> int | None:
        """The first frame whose values came since the panel was opened; None: wait for it."""
        values = self._values(panel)
        if isinstance(values, Trace) and len(indices := values.since(joined.after + 1)[0]):
            return int(indices[0])
        return MAX_INDEX - 1 if now_s - joined.since_s > NOTHING_NEW_S else None

    def _newest(self, panel: Panel) -> int:
        values = self._values(panel)
        return int(values.since(0)[0][-1]) if isinstance(values, Trace) and len(values) else -1

    def _values(self, panel: Panel) -> Trace | Marks | None:
        traces, marks = self._model.traces, self._model.marks
        return traces[panel.id] if panel.id in traces else marks.get(panel.id)
