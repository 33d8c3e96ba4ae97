"""A queue between two threads, bounded by the bytes that its items hold."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class ByteQueue(Generic[T]):
    """First in, first out; `put` waits while more than `max_bytes` are waiting."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._items: deque[tuple[T, int]] = deque()
        self._closed = False
        self._changed = threading.Condition()
        self.backlog = self.peak_backlog = 0

    def put(self, item: T, nbytes: int) -> None:
        """Append an item of that size; dropped if the queue is closed."""
        with self._changed:
            while self.backlog and self.backlog + nbytes > self._max_bytes and not self._closed:
                self._changed.wait()
            if self._closed:
                return
            self._items.append((item, nbytes))
            self.backlog += nbytes
            self.peak_backlog = max(self.peak_backlog, self.backlog)
            self._changed.notify_all()

    def get(self) -> T | None:
        """Return the next item, waiting for one; None once closed and empty."""
        with self._changed:
            while not self._items and not self._closed:
                self._changed.wait()
            if not self._items:
                return None
            item, nbytes = self._items.popleft()
            self.backlog -= nbytes
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """No more items; what waits is still handed out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
