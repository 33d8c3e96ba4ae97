"""What viewers and commands ask of a data endpoint: who is there, how it fares, its results, its newest frames."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Self, TypeVar

import numpy as np
import zmq

from ..core import wire
from ..core.errors import SourceError, WireError
from ..core.header import MAX_HEADER_BYTES
from ..core.records import decode_frame
from ..core.results import MAX_ARRAYS, MAX_RESULT_BYTES, decode_result
from .connections import Connections
from .facts import expanded
from .socket import connect, new_context, receive

PATIENCE_S = 10.0
LOOK_S = 0.1  # for a server that refuses our key

M = TypeVar("M", wire.Hello, wire.Status, wire.Preview)


def ask(uri: str, question: M, patience_s: float = PATIENCE_S) -> M:
    """Ask a data endpoint and return its answer. Raises SourceError if nobody answers or the question is refused."""
    address = uri.partition("?")[0]
    with new_context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_HEADER_BYTES)
        connections = Connections(socket, 1, Counter())
        try:
            connect(socket, uri)
            socket.send(wire.encode(question))
            deadline = time.monotonic() + patience_s
            while (left_s := deadline - time.monotonic()) > 0 and connections.denied not in ("key", "mechanism"):
                connections.turn()
                parts = receive(socket, 1) if socket.poll(int(min(left_s, LOOK_S) * 1000) + 1) else None
                if parts and (answer := _answer(address, parts, type(question))) is not None:
                    return answer
            why = connections.why_denied() or (
                f"nobody answers here (waited {patience_s:g} s); is it the data endpoint of a running program?"
            )
            raise SourceError(f"{address}: {why}")
        finally:
            connections.close()


def _answer(uri: str, parts: list[bytes], wanted: type[M]) -> M | None:
    """The answer to a question, None if this is none. Raises SourceError for one that cannot be read, and a refusal."""
    try:
        answer = wire.decode(parts[0])
    except WireError as error:
        raise SourceError(f"{uri}: the answer cannot be read: {error}") from None
    if isinstance(answer, wire.Error):
        raise SourceError(f"{uri}: the server refused: {answer.reason}")
    if isinstance(answer, wire.Hello):
        answer = expanded(answer)
    return answer if isinstance(answer, wanted) else None


class Subscriber:
    """A SUB socket that counts what it drops. A context manager; the `context` is its own unless one is given."""

    def __init__(
        self, uri: str, topics: Iterable[str], max_part_bytes: int, queue: int, context: zmq.Context[Any] | None
    ) -> None:
        self.uri = uri
        self.refused: Counter[str] = Counter()
        self._context, self._owner = context or new_context(), context is None
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, max_part_bytes)
        self._socket.setsockopt(zmq.RCVHWM, queue)
        try:
            connect(self._socket, uri)
        except SourceError:
            self.close()
            raise
        self._topics: set[str] = set()
        self.watch(topics)

    def watch(self, topics: Iterable[str]) -> None:
        """From now on receive what begins with one of `topics`, and nothing else."""
        wanted = set(topics)
        for topic in wanted - self._topics:
            self._socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        for topic in self._topics - wanted:
            self._socket.setsockopt(zmq.UNSUBSCRIBE, topic.encode())
        self._topics = wanted

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()
        if self._owner:
            self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ResultsSubscriber(Subscriber):
    """Messages of a results endpoint whose topic begins with one of `topics`, in order."""

    def __init__(self, uri: str, topics: Iterable[str] = ("",), context: zmq.Context[Any] | None = None) -> None:
        super().__init__(uri, topics, MAX_RESULT_BYTES, 1000, context)

    def receive(self, timeout_s: float = 0.0) -> tuple[str, wire.Message, dict[str, np.ndarray]] | None:
        """Return the next message as (topic, header, arrays by name), None if none comes within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self._socket.poll(max(0, int((deadline - time.monotonic()) * 1000))):
            parts = receive(self._socket, 2 + MAX_ARRAYS)
            try:
                message, arrays = decode_result(parts or [])
                return (parts or [b""])[0].decode("utf-8", "replace"), message, arrays
            except WireError as error:
                self.refused[error.kind] += 1
        return None


class PreviewSubscriber(Subscriber):
    """The newest frames of a preview endpoint; those that waited longer are passed over."""

    def __init__(self, uri: str, context: zmq.Context[Any] | None = None) -> None:
        super().__init__(uri, ("",), 1 << 30, 4, context)

    def receive(self, timeout_s: float = 0.0) -> tuple[wire.Image, np.ndarray] | None:
        """Return the newest frame's header and pixels (y, x), None if none comes within `timeout_s`."""
        newest = None
        if self._socket.poll(int(timeout_s * 1000)):
            while (parts := receive(self._socket, 1)) is not None:
                newest = parts
        if newest is None:
            return None
        try:
            if len(newest) != 1:
                raise WireError("parts", "a preview is one record")
            return decode_frame(newest[0])
        except WireError as error:
            self.refused[error.kind] += 1
            return None
