"""Requests on their way to a station's process, a line of JSON each, and its answers on their way back."""

from __future__ import annotations

import itertools
import json
import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import IO, Any

import msgspec

from ..core.control import MAX_REQUEST_BYTES, Answer, Request
from ..core.errors import SourceError

PATIENCE_S = 8.0  # less than whoever asked has
MAX_UNREAD = 64  # requests that a process has not taken


class StationLine:
    """Asks the process that reads from `to`; a process that hangs holds up nobody but its own line's thread."""

    def __init__(self, name: str, to: IO[str]) -> None:
        self._name, self._to = name, to
        self._numbers = itertools.count()
        self._asked: dict[int, Future[Answer]] = {}
        self._unread: queue.Queue[str | None] = queue.Queue(MAX_UNREAD)
        threading.Thread(target=self._write, name=f"ask {name}", daemon=True).start()

    def ask(self, request: Request) -> Future[Answer]:
        """Return the answer that is to come, a refusal after eight seconds. Raises SourceError."""
        number = next(self._numbers)
        line = json.dumps({"ask": number, "request": msgspec.to_builtins(request)})
        if len(line) > 2 * MAX_REQUEST_BYTES:
            raise SourceError(f"source {self._name!r}: a request of {len(line)} bytes; say less")
        answer = self._asked[number] = Future[Answer]()
        timer = threading.Timer(PATIENCE_S, self._end, [number, f"did not answer within {PATIENCE_S:g} s"])
        timer.daemon = True
        try:
            self._unread.put_nowait(line + "\n")
        except queue.Full:
            self._end(number, f"has not taken {MAX_UNREAD} requests before this one; nothing was done")
        else:
            timer.start()
            answer.add_done_callback(lambda _: timer.cancel())
        return answer

    def order(self, line: str) -> None:
        """Have the process read a line to which there is no answer; one that has not read many before misses it."""
        with suppress(queue.Full):
            self._unread.put_nowait(line + "\n")

    def heard(self, told: Mapping[str, Any]) -> bool:
        """Take what a process said; returns whether it was an answer."""
        if "answer" not in told:
            return False
        answer = self._asked.pop(told["to"], None) if isinstance(told.get("to"), int) else None
        if answer is not None:
            with suppress(msgspec.ValidationError, InvalidStateError):
                answer.set_result(msgspec.convert(told["answer"], Answer))
        return True

    def close(self) -> None:
        """The process is gone: nothing is asked any more, and nothing will be answered."""
        with suppress(queue.Full):
            self._unread.put_nowait(None)
        for number in list(self._asked):
            self._end(number, "ended before it answered")
        with suppress(OSError):  # what it did not read
            self._to.close()

    def _end(self, number: int, why: str) -> None:
        answer = self._asked.pop(number, None)
        if answer is not None:
            with suppress(InvalidStateError):
                answer.set_exception(SourceError(f"source {self._name!r} {why}"))

    def _write(self) -> None:
        with suppress(OSError, ValueError):  # the process is gone, the line closed
            while (line := self._unread.get()) is not None:
                self._to.write(line)
                self._to.flush()
