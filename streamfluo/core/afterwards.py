"""Work that a frame leaves behind, done on a thread while its values are on their way."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import Event

HEAD_START_S = 0.002  # for the steps behind and for actions: Python's lock and the cores are theirs first


class Afterwards:
    """Does one piece of work at a time on a thread of its own, which ends with it.

    What comes of it does not depend on the clock: whoever needs it waits.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._task: Future[object] | None = None
        self._wanted = Event()

    def start(self, work: Callable[[], object]) -> None:
        """Begin with the work, after `wait`, once somebody waits for it or the steps behind have had their time."""
        self._wanted.clear()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "afterwards")
        # What numpy warns of is the caller's choice.
        self._task = self._thread.submit(copy_context().run, self._do, work)

    def wait(self) -> None:
        """Wait until the work is done. Raises what it raised."""
        self._wanted.set()
        task = self._task
        if task is not None:
            try:
                task.result()
            finally:
                self._task = None  # not before: another thread that waits meanwhile must wait too

    def _do(self, work: Callable[[], object]) -> None:
        self._wanted.wait(HEAD_START_S)
        work()
