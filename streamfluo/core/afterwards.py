"""Work that a frame leaves behind, done on a thread while its values are on their way."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import Lock

HEAD_START_S = 0.002  # for the steps behind and for actions: Python's lock and the cores are theirs first


class _Task:
    """A piece of work that is done once, by whoever comes first; who comes meanwhile waits until it is done."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work: Callable[[], object] | None = work
        self._context, self._lock = copy_context(), Lock()  # what numpy warns of is the caller's choice
        self.due_s = time.monotonic() + HEAD_START_S
        self.error: BaseException | None = None

    def do(self) -> None:
        with self._lock:
            work, self._work = self._work, None
            if work is not None:
                try:
                    self._context.run(work)
                except BaseException as error:
                    self.error = error


class Afterwards:
    """Does one piece of work at a time on a thread of its own, which ends with it.

    What comes of it does not depend on the clock: whoever needs it before the thread has begun does it itself, as
    waking a thread and waiting for it takes 50 to 150 µs here, else waits.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._task: _Task | None = None
        self._watched, self._lock = False, Lock()

    def start(self, work: Callable[[], object]) -> None:
        """Begin with the work, after `wait`, once somebody needs it or the steps behind have had their time."""
        with self._lock:
            self._task, watched, self._watched = _Task(work), self._watched, True
        if not watched:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, "afterwards")
            self._thread.submit(self._watch)

    def wait(self) -> None:
        """Return once the work is done. Raises what it raised."""
        task = self._task
        if task is None:
            return
        task.do()
        if self._task is task:
            self._task = None  # not before: another thread that waits meanwhile must wait too
        if task.error is not None:
            raise task.error

    def _watch(self) -> None:
        """Do what nobody has done when it is due; then look for the next one, so that nobody has to wake the thread."""
        while True:
            with self._lock:
                task = self._task
                self._watched = task is not None
            if task is None:
                return
            time.sleep(max(0.0, task.due_s - time.monotonic()))
            task.do()
            with self._lock:
                if self._task is task:
                    self._watched = False
                    return
