"""Steering the program that is watched: asked on a thread, so that the window never waits for an answer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..core.control import Answer
from ..core.decision import UNDO
from ..core.errors import StreamfluoError
from ..network.control_client import Control

MAX_UNDONE = 100  # changes that can be taken back


class Done(NamedTuple):
    """Something that was done, and what takes it back."""

    text: str
    undo: Callable[[Control], Answer]


class Steering:
    """Asks the program at `uri`; `tell` is told in one line what came of it. `done` is what can be taken back."""

    def __init__(self, uri: str, tell: Callable[[str], None]) -> None:
        self._uri, self._tell = uri, tell
        self.done: deque[Done] = deque(maxlen=MAX_UNDONE)

    def ask(self, what: str, does: Callable[[Control], Answer], then: Callable[[Answer], None] | None = None) -> None:
        """Have something done, called `what` in the line that tells of it; `then` is told the answer once it was."""

        def work() -> None:
            try:
                with Control(self._uri) as control:
                    answer = does(control)
            except StreamfluoError as error:
                self._tell(f"{what}: not done: {error}")
                return
            at = f" from frame {answer.frame} on" if answer.frame is not None else ""
            self._tell(f"{what}{at}" + (f" ({answer.said})" if answer.said and not answer.number else ""))
            if then is not None:
                then(answer)

        threading.Thread(target=work, name="steering", daemon=True).start()

    def set(self, step: str, param: str, value: Any, before: Any) -> None:
        """Change a live parameter, which is `before` now."""
        done = Done(f"{step}.{param}: {before} → {value}", lambda control: control.set(step, param, before))
        self.ask(f"{step}.{param} = {value}", lambda c: c.set(step, param, value), lambda _: self.done.append(done))

    def decide(self, step: str, verb: str, ids: Sequence[int]) -> None:
        """Decide about results of a step with one of the verbs that it takes."""
        what = f"{step}: {verb} {', '.join(map(str, ids))}".rstrip()
        self.ask(
            what, lambda control: control.curate(step, verb, ids), lambda answer: self._decided(what, step, answer)
        )

    def draw(self, step: str, verb: str, polygons: Sequence[Any], taken: Callable[[], None]) -> None:
        """Decide about what was drawn, polygons of corners [y, x] in px; `taken` is told once the step has them."""
        what = f"{step}: {verb} {len(polygons)} drawn"

        def then(answer: Answer) -> None:
            self._decided(what, step, answer)
            taken()

        self.ask(what, lambda control: control.curate(step, verb, polygons=polygons), then)

    def _decided(self, what: str, step: str, answer: Answer) -> None:
        self.done.append(Done(what, lambda control: control.curate(step, UNDO, undo_of=answer.number)))

    def undo(self, done: Done | None = None) -> None:
        """Take back something that was done, the last of it for None."""
        done = done or next(iter(list(self.done)[-1:]), None)
        if done is None or done not in self.done:
            self._tell("there is nothing done in this window to take back")
            return
        self.done.remove(done)
        self.ask(f"undo {done.text}", done.undo)
