"""Looking back at recorded frames and values of a program that runs, or of one that is over, without ever waiting."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import zmq

from ..core import wire
from ..core.errors import WireError
from ..core.results import MAX_ARRAYS, arrays_of
from .connections import Connections
from .socket import connect, receive

MAX_FRAME_BYTES = 1 << 28  # a binned one has 4 MiB, values 1 MiB
PATIENCE_S = 2.0  # then the last question is taken for lost

Answer = wire.Image | wire.Result | wire.Error


class LookingBack:
    """Asks the data endpoint `uri` for frames that were recorded, and for values of before.

    One question is on its way at a time; of frames of a step that are asked for meanwhile the last is answered.
    """

    def __init__(self, uri: str, context: zmq.Context[Any]) -> None:
        self.refused: Counter[str] = Counter()
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        self._connections = Connections(self._socket, 1, Counter())
        connect(self._socket, uri)
        self._wanted: dict[tuple[str, ...], wire.Look | wire.Past] = {}  # by step, and the names of values
        self._asked_at: float | None = None

    def ask(self, question: wire.Look | wire.Past) -> None:
        """Have a frame or values come; a question about the same that was not asked yet is passed over."""
        self._wanted[_about(question)] = question
        self._send()

    def turn(self) -> list[tuple[Answer, np.ndarray | Mapping[str, np.ndarray] | None]]:
        """Return what has come, each frame with its pixels (y, x), values by name, and ask for the next."""
        self._connections.turn()
        found: list[tuple[Answer, np.ndarray | Mapping[str, np.ndarray] | None]] = []
        while (parts := receive(self._socket, 1 + MAX_ARRAYS)) is not None:
            self._asked_at = None
            try:
                found.append(_answer(parts))
            except WireError as error:
                self.refused[error.kind] += 1
        self._send()
        return found

    def _send(self) -> None:
        """Send the next question, if none is on its way."""
        now = time.monotonic()
        if self._wanted and (self._asked_at is None or now - self._asked_at > PATIENCE_S):
            question = self._wanted.pop(next(iter(self._wanted)))
            self._asked_at = now
            try:
                self._socket.send(wire.encode(question), zmq.DONTWAIT)
            except zmq.Again:  # nobody is there
                self._wanted.setdefault(_about(question), question)

    def close(self) -> None:
        """Give the socket back."""
        self._connections.close()
        self._socket.close()


def _about(question: wire.Look | wire.Past) -> tuple[str, ...]:
    return (question.step,) if isinstance(question, wire.Look) else ("values", question.step, *question.names)


def _answer(parts: list[bytes]) -> tuple[Answer, np.ndarray | Mapping[str, np.ndarray] | None]:
    """What came, with its pixels or arrays. Raises WireError."""
    message = wire.decode(parts[0]) if parts else None
    if isinstance(message, wire.Image) and len(parts) == 2:
        return message, wire.frame_pixels(message, parts[1])
    if isinstance(message, wire.Result) and message.before is not msgspec.UNSET:
        return message, arrays_of(message, parts[1:])
    if isinstance(message, wire.Error) and len(parts) == 1:
        return message, None
    raise WireError("parts", "neither a frame, nor values of before, nor why there are none")
