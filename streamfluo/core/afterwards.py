"""Work that a frame leaves behind, done on a thread while its values are on their way."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Lock, Thread, current_thread
from weakref import finalize

HEAD_START_S = 0.002  # for the steps behind and for actions: Python's lock and the cores are theirs first
MOST_LOOKS = 4  # for more work, a head start apart, before the thread has itself woken
END_S = 10.0  # for the thread to end


class _Task:
    """A piece of work that is done once, by whoever comes first; who comes meanwhile waits until it is done."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work: Callable[[], object] | None = work
        self._context, self._lock = copy_context(), Lock()  # what numpy warns of is the caller's choice
        self.due_s = time.monotonic() + HEAD_START_S
        self.error: BaseException | None = None

    @property
    def begun(self) -> bool:
        """Whether somebody does it, or has done it."""
        return self._work is None

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
        self._task: _Task | None = None
        self._tasks: SimpleQueue[_Task | None] | None = None  # none before there is something to do

    def start(self, work: Callable[[], object]) -> None:
        """Begin with the work, after `wait`, once somebody needs it or the steps behind have had their time."""
        if self._tasks is None:
            self._tasks = SimpleQueue()
            thread = Thread(target=_do_all, args=(self._tasks,), name="afterwards", daemon=True)
            thread.start()
            finalize(self, _end, self._tasks, thread)
        self._task = _Task(work)
        self._tasks.put(self._task)

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


def _do_all(tasks: SimpleQueue[_Task | None]) -> None:
    """Do what nobody has done when it is due, until there comes none.

    While frames follow each other it looks by itself for the next piece of work: to be woken for each, and to take
    Python's lock from the frame after it, takes 30 to 50 µs of that one.
    """
    looks = 0
    while True:
        try:
            task = tasks.get(block=looks >= MOST_LOOKS)
        except Empty:
            looks += 1
            time.sleep(HEAD_START_S)
            continue
        if task is None:
            return
        looks = 0
        if not task.begun:
            time.sleep(max(0.0, task.due_s - time.monotonic()))
            task.do()
        del task  # which may be the last to know who it was for


def _end(tasks: SimpleQueue[_Task | None], thread: Thread) -> None:
    """End the thread: it must not be amid compiled code when the process ends."""
    tasks.put(None)
    if thread is not current_thread():
        thread.join(END_S)
