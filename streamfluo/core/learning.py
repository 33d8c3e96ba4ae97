"""Learning beside the frames: what takes longer than a frame is learned on a thread, while frames go on coming."""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
END_S = (
    60.0  # that the end of the process waits: a thread that is ended amid compiled code may take the process with it
)

_running: dict[threading.Thread, _Work[Any]] = {}


@atexit.register
def _end_all() -> None:
    for thread, work in list(_running.items()):
        work.give_up()
        thread.join(END_S)


class Learning(Generic[T]):
    """Runs `begin`, then `take` for each thing that is put, as a frame, on a thread of its own.

    What comes of it depends on the frames alone: whoever takes over does so a stated number of frames later, and waits
    until the last one is done. Its thread ends with it.
    """

    def __init__(self, begin: Callable[[], None], take: Callable[[T], object]) -> None:
        self._work = _Work(begin, take)
        self._thread = threading.Thread(target=self._work.run, name="learning", daemon=True)
        _running[self._thread] = self._work
        self._thread.start()

    def put(self, frame: T) -> None:
        """Have it take what is not changed any more."""
        with self._work.turn:
            self._work.waiting.append(frame)
            self._work.turn.notify()

    def join(self) -> None:
        """Wait until it has taken everything. Raises what `begin` or `take` raised."""
        with self._work.turn:
            self._work.over = True
            self._work.turn.notify()
        self._thread.join()
        if self._work.error is not None:
            raise self._work.error

    def give_up(self) -> None:
        """What it learns is not wanted any more."""
        self._work.give_up()

    def __del__(self) -> None:
        self.give_up()


class _Work(Generic[T]):
    """What the thread shares with its owner: of that it knows nothing, or neither would ever end."""

    def __init__(self, begin: Callable[[], None], take: Callable[[T], object]) -> None:
        self._begin, self._take = begin, take
        self.waiting: deque[T] = deque()
        self.turn = threading.Condition()
        self.over = self.given_up = False
        self.error: BaseException | None = None

    def give_up(self) -> None:
        with self.turn:
            self.over = self.given_up = True
            self.turn.notify()

    def run(self) -> None:
        try:
            if not self.given_up:
                self._begin()
            while frame := self._next():
                self._take(*frame)
        except BaseException as error:
            self.error = error
        finally:
            _running.pop(threading.current_thread(), None)

    def _next(self) -> tuple[T, ...]:
        """The next frame, once there is one; nothing at the end."""
        with self.turn:
            while not (self.waiting or self.over):
                self.turn.wait()
            return (self.waiting.popleft(),) if self.waiting and not self.given_up else ()
