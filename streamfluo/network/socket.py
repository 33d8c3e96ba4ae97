"""Sockets: bound and connected with one clear line when that fails."""

from __future__ import annotations

import contextlib
import re
import socket as sockets
from typing import NamedTuple

import zmq

from ..core.errors import SourceError

HANDSHAKE_MS = 10_000  # who connects and does not speak ZeroMQ by then is hung up on
_ZERO_COPY_RECV = 10  # as zmq.h has it among what is not settled yet
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_TCP = re.compile(r"tcp://(?P<host>[A-Za-z0-9_.-]+|\*|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
_IPC = re.compile(r"ipc://[^@;\s\0][^;\0]*")  # @ begins a name that every user of the machine may open


class Endpoint(NamedTuple):
    """What an endpoint says: host and port of tcp, None for both of ipc."""

    host: str | None
    port: int | None


def new_context() -> zmq.Context[zmq.Socket[bytes]]:
    """Return a context whose sockets copy small parts out of what they read.

    Else each keeps the whole buffer that it came in: of a message of many small parts that is not whole yet, 0.7 MB on
    the wire took 124 MB.
    """
    context = zmq.Context()
    context.set(_ZERO_COPY_RECV, 0)
    return context


def parse_endpoint(uri: str) -> Endpoint:
    """Read `tcp://HOST:PORT` or `ipc://PATH`. Raises SourceError for anything else: libzmq would find a meaning for
    it, such as a second address behind a `;`."""
    if _IPC.fullmatch(uri):
        return Endpoint(None, None)
    found = _TCP.fullmatch(uri)
    if found is None:
        raise SourceError(f"{uri!r}: not an endpoint; write tcp://127.0.0.1:5555 or ipc:///tmp/name")
    if int(found["port"]) > 65535:
        raise SourceError(f"{uri}: there is no port {found['port']}; ports are 1 to 65535, 0 takes a free one")
    return Endpoint(found["host"], int(found["port"]))


def bind(socket: zmq.Socket[bytes], uri: str) -> str:
    """Bind and return the endpoint with its real port (`tcp://127.0.0.1:0` takes a free one).

    Raises SourceError for a port in use, a malformed endpoint, or one that reaches beyond this machine: until frames
    travel encrypted, other machines come in by a tunnel (ssh -L).
    """
    host = _allowed(socket, uri).host
    if host not in (*_LOOPBACK, None):
        raise _beyond(uri)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    try:
        socket.bind(uri)
    except zmq.ZMQError as error:
        raise SourceError(f"{uri}: cannot bind: {_reason(error, uri)}") from None
    told: bytes = socket.getsockopt(zmq.LAST_ENDPOINT)  # type: ignore[assignment]
    endpoint = told.decode().rstrip("\0")
    if host is not None and parse_endpoint(endpoint).host not in _LOOPBACK:  # a localhost that is elsewhere
        socket.unbind(endpoint)
        raise _beyond(endpoint)
    return endpoint


def free_endpoint(uri: str) -> str:
    """Return an endpoint of the same kind as `uri` that takes a free port or name."""
    return "ipc://*" if uri.startswith("ipc:") else "tcp://127.0.0.1:0"


def connect(socket: zmq.Socket[bytes], uri: str) -> None:
    """Connect. Raises SourceError for a malformed endpoint; nobody being there yet is no error."""
    if _allowed(socket, uri).port == 0:
        raise SourceError(f"{uri}: nobody can be found at port 0; name the port that the program told")
    try:
        socket.connect(uri)
    except zmq.ZMQError as error:
        raise SourceError(f"{uri}: cannot connect: {_reason(error, uri)}") from None


def receive(socket: zmq.Socket[bytes], max_parts: int) -> list[bytes] | None:
    """Return the parts of the next message, None if there is none; of one with too many, one more than allowed."""
    parts = receive_frames(socket, max_parts)
    return None if parts is None else [part.bytes for part in parts]


def receive_frames(socket: zmq.Socket[bytes], max_parts: int) -> list[zmq.Frame] | None:
    """As `receive`, without copying."""
    try:
        parts = [socket.recv(zmq.DONTWAIT, copy=False)]
    except zmq.Again:
        return None
    part = parts[0]
    while part.more:
        part = socket.recv(copy=False)
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


def _allowed(socket: zmq.Socket[bytes], uri: str) -> Endpoint:
    endpoint = parse_endpoint(uri)
    if endpoint.host is not None and endpoint.host.startswith("["):
        socket.setsockopt(zmq.IPV6, 1)
    return endpoint


def _beyond(uri: str) -> SourceError:
    return SourceError(
        f"{uri}: refused to bind beyond this machine without encryption; "
        "bind tcp://127.0.0.1:PORT and let others in by ssh -L"
    )


def _reason(error: zmq.ZMQError, uri: str) -> str:
    if uri.startswith("ipc:") and not zmq.has("ipc"):
        return "there is no ipc on this system; use tcp://127.0.0.1:PORT"
    if error.errno == zmq.EADDRINUSE:
        return "another program uses this port; choose another, or port 0 for a free one"
    if error.errno in (zmq.EINVAL, zmq.EPROTONOSUPPORT):
        return "not an endpoint; write tcp://127.0.0.1:5555 or ipc:///tmp/name"
    return error.strerror
