"""Learning beside the frames: background and first components are found on a thread, while frames go on coming."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import numpy as np

Waiting = tuple[int, np.ndarray | None]  # index and frame (y, x), None for one that is not valid


class Learning:
    """Runs `begin`, then `take` for each frame that is put, on a thread of its own.

    What comes of it depends on the frames alone: whoever takes over waits until the last one is done.
    """

    def __init__(self, begin: Callable[[], None], take: Callable[[int, np.ndarray | None], object]) -> None:
        self._begin, self._take = begin, take
        self._waiting: deque[Waiting] = deque()
        self._turn = threading.Condition()
        self._over = self._given_up = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="learning", daemon=True)
        self._thread.start()

    def put(self, index: int, frame: np.ndarray | None) -> None:
        """Have it take a frame, which is not changed any more."""
        with self._turn:
            self._waiting.append((index, frame))
            self._turn.notify()

    def join(self) -> None:
        """Wait until it has taken everything. Raises what `begin` or `take` raised."""
        with self._turn:
            self._over = True
            self._turn.notify()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def give_up(self) -> None:
        """What it learns is not wanted any more."""
        with self._turn:
            self._over = self._given_up = True
            self._turn.notify()

    def _run(self) -> None:
        try:
            self._begin()
            while True:
                with self._turn:
                    while not (self._waiting or self._over):
                        self._turn.wait()
                    if self._given_up or not self._waiting:
                        return
                    index, frame = self._waiting.popleft()
                self._take(index, frame)
        except BaseException as error:
            self._error = error
