"""Steering the program that is watched: asked on a thread, so that the window never waits for an answer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from ..core.control import Answer
from ..core.errors import StreamfluoError
from ..network.control_client import Control

MAX_UNDONE = 100  # changes that can be taken back


class Changed(NamedTuple):
    """A change of a live parameter that came about."""

    step: str
    param: str
    before: Any
    after: Any


class Steering:
    """Asks the program at `uri`; `tell` is told in one line what came of it. `changes` are those that can be undone."""

    def __init__(self, uri: str, tell: Callable[[str], None]) -> None:
        self._uri, self._tell = uri, tell
        self.changes: deque[Changed] = deque(maxlen=MAX_UNDONE)

    def ask(self, what: str, does: Callable[[Control], Answer], then: Callable[[], None] | None = None) -> None:
        """Have something done, called `what` in the line that tells of it; `then` is called once it was."""

        def work() -> None:
            try:
                with Control(self._uri) as control:
                    answer = does(control)
            except StreamfluoError as error:
                self._tell(f"{what}: not done: {error}")
                return
            at = f" from frame {answer.frame} on" if answer.frame is not None else ""
            self._tell(f"{what}{at}" + (f" ({answer.said})" if answer.said else ""))
            if then is not None:
                then()

        threading.Thread(target=work, name="steering", daemon=True).start()

    def set(self, step: str, param: str, value: Any, before: Any) -> None:
        """Change a live parameter, which is `before` now."""
        changed = Changed(step, param, before, value)
        self._set(changed, value, lambda: self.changes.append(changed))

    def undo(self) -> None:
        """Take the last change back."""
        if not self.changes:
            self._tell("there is no change of this window to take back")
            return
        changed = self.changes.pop()
        self._set(changed, changed.before)

    def _set(self, changed: Changed, value: Any, then: Callable[[], None] | None = None) -> None:
        step, param = changed.step, changed.param
        self.ask(f"{step}.{param} = {value}", lambda control: control.set(step, param, value), then)
