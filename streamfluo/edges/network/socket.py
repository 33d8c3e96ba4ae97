"""Sockets: bound and connected with one clear line when that fails."""

from __future__ import annotations

from urllib.parse import urlsplit

import zmq

from ...core.errors import SourceError

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
        raise SourceError(f"{uri}: cannot bind: {_reason(error)}") from None
    endpoint: bytes = socket.getsockopt(zmq.LAST_ENDPOINT)  # type: ignore[assignment]
    return endpoint.decode().rstrip("\0")


def connect(socket: zmq.Socket[bytes], uri: str) -> None:
    """Connect. Raises SourceError for a malformed endpoint; nobody being there yet is no error."""
    try:
        socket.connect(uri)
    except zmq.ZMQError as error:
        raise SourceError(f"{uri}: cannot connect: {_reason(error)}") from None


def _reason(error: zmq.ZMQError) -> str:
    if error.errno == zmq.EADDRINUSE:
        return "another program uses this port; choose another, or port 0 for a free one"
    if error.errno in (zmq.EINVAL, zmq.EPROTONOSUPPORT):
        return "not an endpoint; write tcp://127.0.0.1:5555 or ipc:///tmp/name"
    return error.strerror
