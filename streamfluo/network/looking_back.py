"""Looking back at recorded frames of a running program, or of one that is over, without ever waiting."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
import zmq

from ..core import wire
from ..core.errors import WireError
from .connections import Connections
from .socket import connect, receive

MAX_FRAME_BYTES = 1 << 28  # a binned one has 4 MiB
PATIENCE_S = 2.0  # then the last question is taken for lost


class LookingBack:
    """Asks the data endpoint `uri` for frames that were recorded; of those asked for meanwhile the last is answered."""

    def __init__(self, uri: str, context: zmq.Context[Any]) -> None:
        self.refused: Counter[str] = Counter()
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        self._connections = Connections(self._socket, 1, Counter())
        connect(self._socket, uri)
        self._wanted: dict[str, wire.Look] = {}  # by step
        self._asked_at: float | None = None

    def ask(self, look: wire.Look) -> None:
        """Have a frame come; one of the same step that was not asked for yet is passed over."""
        self._wanted[look.step] = look

    def turn(self) -> list[tuple[wire.Image | wire.Error, np.ndarray | None]]:
        """Return what has come, each frame with its pixels (y, x), and ask for the next."""
        self._connections.turn()
        found: list[tuple[wire.Image | wire.Error, np.ndarray | None]] = []
        while (parts := receive(self._socket, 2)) is not None:
            self._asked_at = None
            try:
                message = wire.decode(parts[0])
                if isinstance(message, wire.Image) and len(parts) == 2:
                    found.append((message, wire.frame_pixels(message, parts[1])))
                elif isinstance(message, wire.Error) and len(parts) == 1:
                    found.append((message, None))
                else:
                    raise WireError("parts", "neither a frame nor why there is none")
            except WireError as error:
                self.refused[error.kind] += 1
        now = time.monotonic()
        if self._wanted and (self._asked_at is None or now - self._asked_at > PATIENCE_S):
            look = self._wanted.pop(next(iter(self._wanted)))
            self._asked_at = now
            try:
                self._socket.send(wire.encode(look), zmq.DONTWAIT)
            except zmq.Again:  # nobody is there
                self._wanted.setdefault(look.step, look)
        return found

    def close(self) -> None:
        """Give the socket back."""
        self._connections.close()
        self._socket.close()
