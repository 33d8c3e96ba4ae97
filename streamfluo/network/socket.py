"""Sockets: bound and connected with one clear line when that fails."""

from __future__ import annotations

import contextlib
import socket as sockets
from urllib.parse import urlsplit

import zmq

from ..core.errors import SourceError

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")


def bind(socket: zmq.Socket[bytes], uri: str) -> str:
    """Bind and return the endpoint with its real port (`tcp://127.0.0.1:0` takes a free one).

    Raises SourceError for a port in use, a malformed endpoint, or one that reaches beyond this machine: until frames
    travel encrypted, other machines come in by a tunnel (ssh -L).
    """
    parts = urlsplit(uri)
    if parts.scheme == "tcp" and (parts.hostname or "") not in _LOOPBACK:
        raise SourceError(
            f"{uri}: refused to bind beyond this machine without encryption; "
            "bind tcp://127.0.0.1:PORT and let others in by ssh -L"
        )
    try:
        socket.bind(uri)
    except zmq.ZMQError as error:
        raise SourceError(f"{uri}: cannot bind: {_reason(error, uri)}") from None
    endpoint: bytes = socket.getsockopt(zmq.LAST_ENDPOINT)  # type: ignore[assignment]
    return endpoint.decode().rstrip("\0")


def free_endpoint(uri: str) -> str:
    """Return an endpoint of the same kind as `uri` that takes a free port or name."""
    return "ipc://*" if uri.startswith("ipc:") else "tcp://127.0.0.1:0"


def connect(socket: zmq.Socket[bytes], uri: str) -> None:
    """Connect. Raises SourceError for a malformed endpoint; nobody being there yet is no error."""
    try:
        socket.connect(uri)
    except zmq.ZMQError as error:
        raise SourceError(f"{uri}: cannot connect: {_reason(error, uri)}") from None


def receive(socket: zmq.Socket[bytes], max_parts: int) -> list[bytes] | None:
    """Return the parts of the next message, None if there is none; of one with too many, one more than allowed."""
    try:
        parts = [socket.recv(zmq.DONTWAIT)]
    except zmq.Again:
        return None
    while socket.getsockopt(zmq.RCVMORE):
        part = socket.recv()
        if len(parts) <= max_parts:
            parts.append(part)
    return parts


class Waker:
    """Wakes a poller from another thread; `fileno` is what to poll. A byte through a socket pair, 3 µs."""

    def __init__(self) -> None:
        self._in, self._out = sockets.socketpair()
        self._in.setblocking(False)
        self._out.setblocking(False)

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        return self._out.fileno()

    def wake(self) -> None:
        """Wake the poller; callable from any thread."""
        with contextlib.suppress(OSError):  # full: it is awake already; closed: nobody polls any more
            self._in.send(b"!")

    def clear(self) -> None:
        """Be quiet again."""
        with contextlib.suppress(OSError):
            self._out.recv(4096)

    def close(self) -> None:
        """Give the sockets back."""
        self._in.close()
        self._out.close()


def _reason(error: zmq.ZMQError, uri: str) -> str:
    if uri.startswith("ipc:") and not zmq.has("ipc"):
        return "there is no ipc on this system; use tcp://127.0.0.1:PORT"
    if error.errno == zmq.EADDRINUSE:
        return "another program uses this port; choose another, or port 0 for a free one"
    if error.errno in (zmq.EINVAL, zmq.EPROTONOSUPPORT):
        return "not an endpoint; write tcp://127.0.0.1:5555 or ipc:///tmp/name"
    return error.strerror
