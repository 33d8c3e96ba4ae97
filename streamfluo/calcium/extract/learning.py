"""Learning beside the frames: background and first components are found on a thread, while frames go on coming."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import numpy as np

Waiting = tuple[int, np.ndarray | None]  # index and frame (y, x), None for one that is not valid


class Learning:
    """Runs `begin`, then `take` for each frame that is put, on a thread of its own.

    What comes of it depends on the frames alone: whoever takes over waits until the last one is done. Its thread ends
    with it.
    """

    def __init__(self, begin: Callable[[], None], take: Callable[[int, np.ndarray | None], object]) -> None:
        self._work = _Work(begin, take)
        self._thread = threading.Thread(target=self._work.run, name="learning", daemon=True)
        self._thread.start()

    def put(self, index: int, frame: np.ndarray | None) -> None:
        """Have it take a frame, which is not changed any more."""
        with self._work.turn:
            self._work.waiting.append((index, frame))
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
        with self._work.turn:
            self._work.over = self._work.given_up = True
            self._work.turn.notify()

    def __del__(self) -> None:
        self.give_up()


class _Work:
    """What the thread shares with its owner: of that it knows nothing, or neither would ever end."""

    def __init__(self, begin: Callable[[], None], take: Callable[[int, np.ndarray | None], object]) -> None:
        self._begin, self._take = begin, take
        self.waiting: deque[Waiting] = deque()
        self.turn = threading.Condition()
        self.over = self.given_up = False
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._begin()
            while (frame := self._next()) is not None:
                self._take(*frame)
        except BaseException as error:
            self.error = error

    def _next(self) -> Waiting | None:
        """The next frame, once there is one; None at the end."""
        with self.turn:
            while not (self.waiting or self.over):
                self.turn.wait()
            return self.waiting.popleft() if self.waiting and not self.given_up else None
