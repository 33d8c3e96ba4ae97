"""What the chain's thread is asked to do between two blocks, and where the answers go."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future

from ..core.control import Answer, Request
from ..core.errors import SourceError

MAX_ASKED = 64
OVER = "the series is over"


class Asked:
    """Requests on their way to the chain's thread; after the chain none is taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Request, Future[Answer]]] = deque()
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, request: Request, answer: Future[Answer]) -> Future[Answer]:
        """Leave a request with its answer that is to come. Raises SourceError where it would not be taken."""
        with self._lock:
            if self._closed:
                raise SourceError(OVER)
            if len(self._waiting) >= MAX_ASKED:
                raise SourceError(f"{MAX_ASKED} requests wait already; ask again")
            self._waiting.append((request, answer))
        return answer

    def take(self) -> tuple[Request, Future[Answer]] | None:
        """Return the next request that is still wanted, None if there is none."""
        with self._lock:
            while self._waiting:
                request, answer = self._waiting.popleft()
                if answer.set_running_or_notify_cancel():
                    return request, answer
        return None

    def close(self) -> None:
        """Refuse what waits and what comes."""
        with self._lock:
            self._closed = True
        while (item := self.take()) is not None:
            item[1].set_exception(SourceError(OVER))
