"""Samples over ZeroMQ."""

from __future__ import annotations

import zmq

from ..core.errors import ConfigError, SourceError
from ..core.input import Input, Sample
from .socket import connect, new_context, receive

MAX_AT_ONCE, QUEUE, MAX_BYTES = 1000, 10_000, 1 << 16


class SubscribedInput(Input):
    """`sub+tcp://127.0.0.1:5580`, connected to a PUB socket: a sample a message, its last part."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._context = new_context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, QUEUE)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_BYTES)
        self._socket.subscribe(b"")
        try:
            connect(self._socket, uri.partition("+")[2])
        except SourceError as error:
            self.close()
            raise ConfigError(str(error)) from None

    def read(self, wait_s: float) -> list[Sample]:
        found: list[Sample] = []
        self._socket.poll(round(wait_s * 1e3))
        while len(found) < MAX_AT_ONCE and (parts := receive(self._socket, 2)) is not None:
            found += self.sampled(parts[-1])
        return found

    def close(self) -> None:
        self._socket.close()
        self._context.term()
