"""Work that a frame leaves behind, done on a thread while its values are on their way."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context


class Afterwards:
    """Does one piece of work at a time on a thread of its own, which ends with it.

    What comes of it does not depend on the clock: whoever needs it waits.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._task: Future[None] | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Begin with the work, after `wait`."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "afterwards")
        self._task = self._thread.submit(copy_context().run, work)  # what numpy warns of is the caller's choice

    def wait(self) -> None:
        """Wait until the work is done. Raises what it raised."""
        task = self._task
        if task is not None:
            try:
                task.result()
            finally:
                self._task = None  # not before: another thread that waits meanwhile must wait too
