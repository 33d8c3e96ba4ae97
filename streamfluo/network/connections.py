"""Who is connected to a socket: told apart, counted, and hung up on where they would cost more than they may."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import socket as sockets
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

import zmq

from .access import lets_in, whose

UNHEARD_BYTES = 4 << 20  # of a message that is not whole yet; headers have 64 KiB at most, subscriptions 1 KiB
NOBODY = -1
_CAME = zmq.EVENT_ACCEPTED | zmq.EVENT_CONNECTED
_NO_DETAIL = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
_SHAKEN = _NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_SUCCEEDED
_HEARD = _CAME | _SHAKEN | zmq.EVENT_DISCONNECTED
_LOOK_S = 0.1
_TRIM_S = 10.0
_BYTES_RECEIVED = 128  # where Linux tells them in struct tcp_info, since 4.1

_trimmed = [-_TRIM_S]  # when memory was last given back

T = TypeVar("T")
Denied = Literal["", "key", "mechanism", "handshake"]  # not allowed; with keys and without; cut off


class Connections:
    """The connections of a socket, each by its descriptor; `turn` keeps them within bounds. Made before they come.

    There are at most `limit`; the next one is hung up on at once. So is one that has sent `unheard_bytes` of which no
    whole message came (`allowances`: more for some of them): libzmq keeps the parts of a message until its last one,
    however many there are. Only Linux tells how much a connection has sent; elsewhere their number alone is bounded.
    Whose key was revoked is hung up on as well. All is counted in `refused`; `denied` says how the last handshake
    failed.
    """

    def __init__(self, socket: zmq.Socket[bytes], limit: int, refused: Counter[str]) -> None:
        reserve_descriptors()
        self.unheard_bytes = UNHEARD_BYTES
        self.allowances: dict[int, int] = {}
        self.closings: Counter[int] = Counter()  # how often the connection with this descriptor was closed
        self._limit, self._refused = limit, refused
        self._open: dict[int, int] = {}  # descriptor → bytes it had sent when a whole message came of it
        self._spoke: set[int] = set()
        self._keys: dict[int, str] = {}  # of connections that spoke
        self._changes = 0  # of the list of allowed keys
        self.denied: Denied = ""
        self._looked = 0.0
        self._socket = socket
        self._monitor = socket.get_monitor_socket(_HEARD)

    def __contains__(self, descriptor: int) -> bool:
        return descriptor in self._open

    def __len__(self) -> int:
        return len(self._open)

    def speaker(self, frame: zmq.Frame) -> int:
        """Return whose message this is a part of: a descriptor, NOBODY for what libzmq says on behalf of one gone."""
        try:
            descriptor = int(frame.get(zmq.SRCFD))
        except zmq.ZMQError:
            return NOBODY
        self._spoke.add(descriptor)
        if descriptor not in self._keys:
            self._keys[descriptor] = whose(frame)
            if not self._may_stay(descriptor):  # revoked before it said a word
                return NOBODY
        return descriptor

    def turn(self) -> list[int]:
        """Take in who came and went, hang up on who is too many or goes on without end; returns who went. 4 µs."""
        gone, too_many = [], set()
        for event, descriptor in self._events():
            if event & _SHAKEN:  # its value is a reason, no descriptor
                self._note_handshake(event, descriptor)
            elif event == zmq.EVENT_DISCONNECTED:
                too_many.discard(descriptor)
                self._open.pop(descriptor, None)
                self._keys.pop(descriptor, None)
                self.allowances.pop(descriptor, None)
                self.closings[descriptor] += 1
                gone.append(descriptor)
            elif len(self._open) >= self._limit and not self._forget_closed():
                self._refused["connections"] += 1
                too_many.add(descriptor)
            else:
                self._open[descriptor] = 0
        for descriptor in too_many:
            self._shut(descriptor)
        if (now := time.monotonic()) - self._looked >= _LOOK_S:
            self._looked = now
            self._cut_endless()
            self._cut_revoked()
        if gone:
            give_back_memory()
        return gone

    def why_denied(self) -> str:
        """Return why who connected was not let in, for a person; empty if it was, or nobody was there."""
        if self.denied == "key":
            return "the key of this account is not allowed to; there: streamfluo keys allow KEY --role … (here: show)"
        encrypted = self._socket.getsockopt(zmq.MECHANISM) == zmq.CURVE
        if self.denied == "mechanism" and encrypted:
            return "somebody is there, but speaks without keys; leave ?key= away if that is meant"
        if self.denied == "mechanism":
            return "somebody is there and asks for a key: write ?key=KEY behind it (there: streamfluo keys show)"
        if self.denied == "handshake" and encrypted:
            return "the connection is cut off: who is there has not the key that is given or known"
        if self.denied == "handshake":  # of two that do not speak alike, either may see it first
            return "the connection is cut off: it leads to nobody, or asks for a key: ?key=KEY (there: keys show)"
        return ""

    def hang_up(self, descriptor: int) -> None:
        """End a connection that is open; libzmq sees its other side close, and frees what it kept for it."""
        if descriptor in self._open:
            self._shut(descriptor)

    def close(self) -> None:
        """Stop listening to who comes and goes; before the socket itself is closed."""
        self._socket.disable_monitor()
        self._monitor.close(0)

    def _shut(self, descriptor: int) -> None:
        """Shut a connection down, if the number is still one of this socket's.

        By now it may be that of a socket that listens: shut down, libzmq aborts the process at its next `accept`.
        """
        told: bytes = self._socket.getsockopt(zmq.LAST_ENDPOINT)  # type: ignore[assignment]
        here = told.decode().rstrip("\0").rpartition(":")[2]

        def shut(connection: sockets.socket) -> None:
            ends = connection.getpeername(), connection.getsockname()  # of one that listens the first raises
            if connection.family == sockets.AF_UNIX or here in [str(end[1]) for end in ends]:
                connection.shutdown(sockets.SHUT_RDWR)

        _ask(descriptor, shut, None)

    def _events(self) -> Iterator[tuple[int, int]]:
        while int(self._monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            # As zmq.utils.monitor takes it apart, which loads asyncio, 50 ms of a viewer's opening.
            event, value = struct.unpack("=Hi", self._monitor.recv_multipart()[0])
            if event & _HEARD:
                yield event, value

    def _cut_endless(self) -> None:
        for descriptor, before in list(self._open.items()):
            received = _ask(descriptor, _received_bytes, 0)
            if descriptor in self._spoke:
                self._open[descriptor] = received
            elif received - before > self.allowances.get(descriptor, self.unheard_bytes):
                self._refused["endless"] += 1
                self.hang_up(descriptor)
        self._spoke.clear()

    def _note_handshake(self, event: int, reason: int) -> None:
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.denied = ""
            return
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self.denied = "key"
        elif reason == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
            self.denied = "mechanism"
        else:
            self.denied = self.denied or "handshake"
        if lets_in(self._socket.context) is not None:
            self._refused[self.denied] += 1

    def _cut_revoked(self) -> None:
        """Hang up on whose key lost its role; who has not spoken yet is looked at when it does."""
        if (guard := lets_in(self._socket.context)) is None:
            return
        guard.look()
        if guard.changes != self._changes:
            self._changes = guard.changes
            for descriptor in list(self._keys):
                self._may_stay(descriptor)

    def _may_stay(self, descriptor: int) -> bool:
        """Whether a connection's key has the role that this socket asks for; it is hung up on if not."""
        if (guard := lets_in(self._socket.context)) is None:
            return True
        role: str = self._socket.getsockopt(zmq.ZAP_DOMAIN).decode().rstrip("\0")  # type: ignore[union-attr]
        if guard.may(self._keys[descriptor], role):
            return True
        self._refused["key"] += 1
        self.hang_up(descriptor)
        return False

    def _forget_closed(self) -> bool:
        """Forget connections that closed without a word of libzmq; returns whether there were any."""
        closed = [descriptor for descriptor in self._open if not _ask(descriptor, _is_connected, False)]
        for descriptor in closed:
            del self._open[descriptor]
        return bool(closed)


@functools.cache
def reserve_descriptors() -> None:
    """Let this process open as many files as the system lets it: usually 1024 are given and many more may be had."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows; a system that says no
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 1 << 16 if hard == resource.RLIM_INFINITY else hard
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def give_back_memory() -> None:
    """Give the system back what connections that went away took, at most once in ten seconds, beside everything else.

    From glibc, 800 of 1090 MB were not given back an attack later; `malloc_trim` takes 1 to 30 ms, without the GIL.
    """
    trim, now = _malloc_trim(), time.monotonic()
    if trim is not None and now - _trimmed[0] >= _TRIM_S:
        _trimmed[0] = now
        threading.Thread(target=trim, args=(0,), name="trim", daemon=True).start()


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim if sys.platform.startswith("linux") else None
    except (OSError, AttributeError):  # another C library than glibc
        return None


def _ask(descriptor: int, question: Callable[[sockets.socket], T], otherwise: T) -> T:
    """What a connection of libzmq's answers; `otherwise` if it is closed by now and the number is something else."""
    try:
        connection = sockets.socket(fileno=descriptor)
    except OSError:
        return otherwise
    try:
        return question(connection)
    except OSError:
        return otherwise
    finally:
        connection.detach()


def _is_connected(connection: sockets.socket) -> bool:
    connection.getpeername()
    return True


def _received_bytes(connection: sockets.socket) -> int:
    """How many bytes have come over a connection, 0 where the system does not tell."""
    if not sys.platform.startswith("linux") or connection.family == sockets.AF_UNIX:
        return 0
    told = connection.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_INFO, _BYTES_RECEIVED + 8)
    return int(struct.unpack_from("=Q", told, _BYTES_RECEIVED)[0]) if len(told) == _BYTES_RECEIVED + 8 else 0
