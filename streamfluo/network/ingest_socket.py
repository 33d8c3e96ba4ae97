"""The socket that frames are pushed to: it stays while one series follows the other."""

from __future__ import annotations

import zmq

from ..core.spec import Spec
from .access import denied, whose
from .arrivals import MAX_FRAME_BYTES, Refusals
from .connections import Connections
from .socket import bind, new_context, receive_frames

QUEUE_FRAMES = 16
MAX_SENDERS = 32  # connections
STRANGER_BYTES = 16 << 20  # of a message that is not whole, besides frames: what the kernel keeps counts as well


class IngestSocket:
    """Bound to `ingest+tcp://127.0.0.1:5556`; any number of programs may push to it. Raises SourceError where it cannot
    be bound."""

    def __init__(self, uri: str, refused: Refusals) -> None:
        self.uri = uri
        self._refused, self._context = refused, new_context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        self._socket.setsockopt(zmq.RCVHWM, QUEUE_FRAMES)
        self.connections = Connections(self._socket, MAX_SENDERS, refused)
        self.open_to_all()
        try:
            self.endpoint = bind(self._socket, uri.removeprefix("ingest+"), "send")
        except BaseException:
            self.close()
            raise

    def open_to_all(self) -> None:
        """Nobody's series goes on: until it is known how large the frames are, each may send the largest."""
        self.connections.allowances = {}
        self.connections.unheard_bytes = 2 * MAX_FRAME_BYTES

    def belongs_to(self, sender: int, spec: Spec) -> None:
        """A connection's series goes on, whose frames are such: others may send little."""
        frames = QUEUE_FRAMES * spec.frame_nbytes
        self.connections.allowances = {sender: 4 * STRANGER_BYTES + 2 * frames}
        self.connections.unheard_bytes = STRANGER_BYTES + min(frames, 3 * STRANGER_BYTES)

    def receive(self, wait: bool = True) -> list[zmq.Frame] | None:
        """Return the next message's parts, at most three of them; None after 100 ms without one."""
        self.connections.turn()
        parts = receive_frames(self._socket, 2)
        if parts is None and wait and self._socket.poll(100):
            parts = receive_frames(self._socket, 2)
        if parts is not None and denied(self._context, whose(parts[0]), "send"):
            self._refused["role"] += 1
            return None
        return parts

    def close(self) -> None:
        """Give the endpoint back."""
        self.connections.close()
        self._socket.close(0)
        self._context.term()
