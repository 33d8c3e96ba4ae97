"""What viewers and commands ask of a data endpoint: who is there, how it fares, its results, its newest frames."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import Self, TypeVar

import numpy as np
import zmq

from ...core import wire
from ...core.errors import SourceError, WireError
from ...core.records import PREFIX_BYTES, is_whole, record_header, record_layout
from ...core.results import MAX_ARRAYS, MAX_RESULT_BYTES, arrays_of
from .socket import connect, receive

PATIENCE_S = 10.0

M = TypeVar("M", wire.Hello, wire.Status, wire.Preview)


def ask(uri: str, question: M, patience_s: float = PATIENCE_S) -> M:
    """Ask a data endpoint and return its answer. Raises SourceError if nobody answers or the question is refused."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_HEADER_BYTES)
        connect(socket, uri)
        socket.send(wire.encode(question))
        deadline = time.monotonic() + patience_s
        while socket.poll(max(0, int((deadline - time.monotonic()) * 1000))):
            parts = receive(socket, 1)
            try:
                answer = wire.decode(parts[0]) if parts else None
            except WireError as error:
                raise SourceError(f"{uri}: the answer cannot be read: {error}") from None
            if isinstance(answer, type(question)):
                return answer
            if isinstance(answer, wire.Error):
                raise SourceError(f"{uri}: the server refused: {answer.reason}")
    raise SourceError(
        f"{uri}: nobody answers here (waited {patience_s:g} s); is it the data endpoint of a running program?"
    )


class _Subscriber:
    """A SUB socket that counts what it drops. A context manager."""

    def __init__(self, uri: str, topics: Iterable[str], max_part_bytes: int, queue: int) -> None:
        self.refused: Counter[str] = Counter()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, max_part_bytes)
        self._socket.setsockopt(zmq.RCVHWM, queue)
        try:
            connect(self._socket, uri)
        except SourceError:
            self.close()
            raise
        for topic in topics:
            self._socket.setsockopt(zmq.SUBSCRIBE, topic.encode())

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ResultsSubscriber(_Subscriber):
    """Messages of a results endpoint whose topic begins with one of `topics`, in order."""

    def __init__(self, uri: str, topics: Iterable[str] = ("",)) -> None:
        super().__init__(uri, topics, MAX_RESULT_BYTES, 1000)

    def receive(self, timeout_s: float = 0.0) -> tuple[str, wire.Message, dict[str, np.ndarray]] | None:
        """Return the next message as (topic, header, arrays by name), None if none comes within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self._socket.poll(max(0, int((deadline - time.monotonic()) * 1000))):
            parts = receive(self._socket, 2 + MAX_ARRAYS)
            try:
                if parts is None or not 2 <= len(parts) <= 2 + MAX_ARRAYS:
                    raise WireError("parts", "a result has a topic, a header and its arrays")
                message = wire.decode(parts[1])
                arrays = arrays_of(message, parts[2:]) if isinstance(message, wire.Result) else {}
                return parts[0].decode("utf-8", "replace"), message, arrays
            except WireError as error:
                self.refused[error.kind] += 1
        return None


class PreviewSubscriber(_Subscriber):
    """The newest frames of a preview endpoint; those that waited longer are passed over."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, ("",), 1 << 30, 4)

    def receive(self, timeout_s: float = 0.0) -> tuple[wire.Image, np.ndarray] | None:
        """Return the newest frame's header and pixels (y, x), None if none comes within `timeout_s`."""
        newest = None
        if self._socket.poll(int(timeout_s * 1000)):
            while (parts := receive(self._socket, 1)) is not None:
                newest = parts
        if newest is None:
            return None
        try:
            return _frame(newest)
        except WireError as error:
            self.refused[error.kind] += 1
            return None


def _frame(parts: list[bytes]) -> tuple[wire.Image, np.ndarray]:
    if len(parts) != 1:
        raise WireError("parts", "a preview is one record")
    record = memoryview(parts[0])
    body = PREFIX_BYTES + record_layout(record[:PREFIX_BYTES])
    _, nbytes = record_header(record[PREFIX_BYTES:body])
    image = wire.decode(record[PREFIX_BYTES:body])
    payload = record[body : body + nbytes]
    if not isinstance(image, wire.Image) or not is_whole(record[PREFIX_BYTES:body], payload, record[body + nbytes :]):
        raise WireError("record", "a preview's record is damaged")
    return image, wire.frame_pixels(image, payload)
