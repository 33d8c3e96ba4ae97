"""Sockets: bound and connected with one clear line when that fails, encrypted beyond this machine."""

from __future__ import annotations

import contextlib
import re
import socket as sockets
from typing import NamedTuple

import zmq

from ..core.errors import ConfigError, SourceError
from .access import keep_to_allowed, pin, server_key
from .compressed import CODEC, NO_CODEC
from .keys import Role, parse_key
from .tunnel import tunnel_to

HANDSHAKE_MS = 10_000  # who connects and does not speak ZeroMQ by then is hung up on
_ZERO_COPY_RECV = 10  # as zmq.h has it among what is not settled yet
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
SAID = {  # behind a ?, the key besides
    "from": ("oldest", "live"),
    "codec": (NO_CODEC, CODEC),
    "memory": ("shared", "none"),
}
_NO_MEMORY = "?memory=none"
_EVERYWHERE = ("0.0.0.0", "[::]", "*")
_TCP = re.compile(r"tcp://(?P<host>[A-Za-z0-9_.-]+|\*|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
_SSH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,252}")  # none that ssh would take for an option
_IPC = re.compile(r"ipc://[^@;\s\0][^;\0]*")  # @ begins a name that every user of the machine may open


class Endpoint(NamedTuple):
    """What an endpoint says: host and port of tcp, None for both of ipc, the key of who answers there, whether frames
    are wanted from now on, how they may be compressed (None: nothing is said), the computer, as ssh knows it, from
    which all that is seen, and whether frames may come through shared memory."""

    address: str
    host: str | None = None
    port: int | None = None
    key: str | None = None
    live: bool = False
    codec: str | None = None
    ssh: str | None = None
    memory: bool = True

    @property
    def elsewhere(self) -> bool:
        """Whether what is said travels to another machine."""
        return self.beyond or self.ssh is not None

    @property
    def beyond(self) -> bool:
        """Whether other machines can come there."""
        return self.host is not None and self.host not in _LOOPBACK

    def server_key(self) -> str | None:
        """Return the key of who must answer there, None where frames travel plain. Raises SourceError for one that is
        not known."""
        if not (self.key or self.beyond):
            return None
        return server_key(self.address.removeprefix("tcp://"), self.key, own=self.host in _EVERYWHERE)


def new_context() -> zmq.Context[zmq.Socket[bytes]]:
    """Return a context whose sockets copy small parts out of what they read.

    Else each keeps the whole buffer that it came in: of a message of many small parts that is not whole yet, 0.7 MB on
    the wire took 124 MB.
    """
    context = zmq.Context()
    context.set(_ZERO_COPY_RECV, 0)
    return context


def parse_endpoint(uri: str) -> Endpoint:
    """Read `tcp://HOST:PORT`, with `?key=KEY&from=live&codec=blosc2&ssh=HOST` or parts of that behind it, or
    `ipc://PATH`, with `?memory=none`.

    Raises SourceError for anything else: libzmq would find a meaning for it, such as a
    second address behind a `;`.
    """
    if _IPC.fullmatch(uri):
        return Endpoint(uri.removesuffix(_NO_MEMORY), memory=not uri.endswith(_NO_MEMORY))
    address, _, query = uri.partition("?")
    said = dict(part.partition("=")[::2] for part in query.split("&") if part)
    found = _TCP.fullmatch(address)
    if found is None:
        raise SourceError(f"{uri!r}: not an endpoint; write tcp://127.0.0.1:5555 or ipc:///tmp/name")
    if int(found["port"]) > 65535:
        raise SourceError(f"{uri}: there is no port {found['port']}; ports are 1 to 65535, 0 takes a free one")
    if unknown := said.keys() - {"key", "ssh", *SAID}:
        known = "?key=, &from=, &codec=, &memory= and &ssh="
        raise SourceError(f"{uri}: an endpoint says {known}, not {min(unknown)[:40]!r}")
    for name, values in SAID.items():
        if said.get(name, values[0]) not in values:
            raise SourceError(f"{uri}: {name} is one of {', '.join(values)}, found {said[name][:40]!r}")
    try:
        key = parse_key(said["key"]) if "key" in said else None
    except ConfigError as error:
        raise SourceError(f"{address}: {error}") from None
    ssh = said.get("ssh")
    if ssh is not None and not _SSH.fullmatch(ssh):
        raise SourceError(f"{address}: ?ssh= is a computer as ssh knows it, rig or anna@rig.local; found {ssh[:40]!r}")
    live, codec = said.get("from") == "live", said.get("codec")
    memory = said.get("memory") != "none"
    return Endpoint(address, found["host"], int(found["port"]), key, live, codec, ssh, memory)


def bind(socket: zmq.Socket[bytes], uri: str, role: Role | str) -> str:
    """Bind and return the endpoint with its real port (`tcp://127.0.0.1:0` takes a free one).

    Beyond this machine it is encrypted, and lets in keys that have the role. Raises SourceError for a port in use, a
    malformed endpoint, and without a key of this account's where one is needed.
    """
    wanted = _allowed(socket, uri)
    if wanted.key is not None:
        raise SourceError(f"{uri}: who binds takes the key of this account; leave ?key= away")
    if wanted.ssh is not None:
        raise SourceError(f"{uri}: ?ssh= is for who connects; who binds listens on this machine")
    if wanted.beyond:
        try:
            keep_to_allowed(socket, role)
        except ConfigError as error:
            raise SourceError(f"{uri}: refused to bind beyond this machine without encryption: {error}") from None
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    try:
        socket.bind(uri)
    except zmq.ZMQError as error:
        raise SourceError(f"{uri}: cannot bind: {_reason(error, uri)}") from None
    told: bytes = socket.getsockopt(zmq.LAST_ENDPOINT)  # type: ignore[assignment]
    endpoint = told.decode().rstrip("\0")
    if parse_endpoint(endpoint).beyond and not wanted.beyond:  # a localhost that is elsewhere
        socket.unbind(endpoint)
        raise SourceError(f"{uri}: is {endpoint}, beyond this machine; write 127.0.0.1")
    return endpoint


def free_endpoint(uri: str) -> str:
    """Return an endpoint of the same kind as `uri`, as far to be reached, that takes a free port or name."""
    endpoint = parse_endpoint(uri)
    return f"tcp://{endpoint.host if endpoint.beyond else '127.0.0.1'}:0" if endpoint.host else "ipc://*"


def connect(socket: zmq.Socket[bytes], uri: str, foreign: bool = False) -> None:
    """Connect; beyond this machine, or with `?key=`, encrypted and to whoever has the key, unless it is a `foreign`
    device, which knows none. With `?ssh=` through a tunnel, for which the first call waits.

    Raises SourceError for a malformed endpoint, a tunnel that cannot be had, and a server of which no key is known;
    nobody being there yet is no error.
    """
    endpoint = _allowed(socket, uri)
    if endpoint.port == 0:
        raise SourceError(f"{uri}: nobody can be found at port 0; name the port that the program told")
    if not foreign and (key := endpoint.server_key()):
        pin(socket, key)
    address = endpoint.address
    if endpoint.ssh and endpoint.host and endpoint.port:
        address = tunnel_to(endpoint.ssh).leads_to(endpoint.host, endpoint.port)
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        raise SourceError(f"{uri}: cannot connect: {_reason(error, uri)}") from None


def beside(uri: str, told: str) -> str:
    """Return an endpoint that the server at `uri` told, as it is reached from here: at the same host where it listens
    to all, with the same key and through the same tunnel."""
    server, endpoint = parse_endpoint(uri), parse_endpoint(told)
    if endpoint.host is None:
        return told
    host = server.host if endpoint.host in _EVERYWHERE else endpoint.host
    said = {"key": server.server_key(), "ssh": server.ssh}
    behind = "&".join(f"{name}={value}" for name, value in said.items() if value)
    return f"tcp://{host}:{endpoint.port}" + (f"?{behind}" if behind else "")


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


def _reason(error: zmq.ZMQError, uri: str) -> str:
    if uri.startswith("ipc:") and not zmq.has("ipc"):
        return "there is no ipc on this system; use tcp://127.0.0.1:PORT"
    if error.errno == zmq.EADDRINUSE:
        return "another program uses this port; choose another, or port 0 for a free one"
    if error.errno in (zmq.EINVAL, zmq.EPROTONOSUPPORT):
        return "not an endpoint; write tcp://127.0.0.1:5555 or ipc:///tmp/name"
    return error.strerror
