"""Who may come in: CURVE on every endpoint beyond this machine, and the roles of the keys that are let in.

A socket that is bound beyond loopback takes the account's key pair, and a role: each key that connects is looked up in
the list of allowed ones (ZAP, RFC 27), which is read again when it changes. Nothing but the handshake is answered until
then. What reads messages asks once more for each, `may`, so that a key that is revoked is out at once.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import zmq

from ..core.errors import ConfigError, SourceError
from .keys import Role, identity, keys_folder, known_server, read_allowed

ANYBODY = "any"  # the role of an endpoint that asks for each message: whoever is let in at all
LOOK_S = 0.5  # after so long a key that was allowed or revoked counts
LOG_S = 60.0
MAX_LOGGED = 1000  # addresses remembered for that
_ZAP = "inproc://zeromq.zap.01"

log = logging.getLogger("streamfluo")


class Guard:
    """Answers for a context who may connect; a thread that ends with the context."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self.folder = keys_folder()
        self._own = identity(self.folder).public
        self.changes = 0  # how often somebody lost a key or a role
        self._roles: Mapping[str, frozenset[str]] = {}
        self.names: Mapping[str, str] = {}  # whose keys are, as the list says
        self._stamp: object = None
        self._looked = -LOOK_S
        self._lock = threading.Lock()
        self._logged: dict[str, float] = {}
        socket = context.socket(zmq.REP)
        socket.setsockopt(zmq.LINGER, 0)
        socket.bind(_ZAP)
        threading.Thread(target=self._run, args=[socket], name="access", daemon=True).start()

    def may(self, key: str, role: str) -> bool:
        """Return whether a key has a role; with ANYBODY, whether it has one at all. The account's own has each."""
        if key == self._own:
            return True
        self.look()
        roles = self._roles.get(key, frozenset())
        return bool(roles) if role == ANYBODY else role in roles

    def look(self) -> None:
        """Read the list of allowed keys again if it has changed, twice a second at most; one that cannot be read lets
        nobody in."""
        with self._lock:
            if (now := time.monotonic()) - self._looked < LOOK_S:
                return
            self._looked = now
            path = self.folder / "allowed"
            if (stamp := _stamp(path)) == self._stamp:
                return
            self._stamp, before = stamp, self._roles
            try:
                allowed = read_allowed(path)
            except ConfigError as error:
                log.warning("%s; nobody is let in", error)
                allowed = []
            self._roles, self.names = {a.key: a.roles for a in allowed}, {a.key: a.name for a in allowed}
            self.changes += any(not roles <= self._roles.get(key, frozenset()) for key, roles in before.items())

    def _run(self, socket: zmq.Socket[bytes]) -> None:
        try:
            while True:
                parts = socket.recv_multipart()
                try:
                    answer = self._answer(parts)
                except Exception as error:  # without an answer nobody would be let in any more
                    log.exception("access: %s", error)
                    answer = [b"1.0", parts[1] if len(parts) > 1 else b"", b"500", b"", b"", b""]
                socket.send_multipart(answer)
        except zmq.ContextTerminated:
            pass
        finally:
            socket.close()

    def _answer(self, parts: list[bytes]) -> list[bytes]:
        _, request, domain, address, _, mechanism, *credentials = parts
        key = credentials[0].hex() if mechanism == b"CURVE" and credentials else ""
        if key and self.may(key, domain.decode()):
            return [b"1.0", request, b"200", b"", key.encode(), b""]
        self._refused(address.decode("utf-8", "replace"), key, domain.decode())
        return [b"1.0", request, b"400", b"", b"", b""]

    def _refused(self, address: str, key: str, role: str) -> None:
        now, told = time.monotonic(), f"{address} {key[:16]}"
        if now - self._logged.get(told, -LOG_S) < LOG_S:
            return
        if len(self._logged) >= MAX_LOGGED:
            self._logged.clear()
        self._logged[told] = now
        why = "is not allowed" if role == ANYBODY else f"has not the role {role}"
        log.warning("%s: key %s refused: it %s", address, f"{key[:16]}…" if key else "none", why)


def lets_in(context: zmq.Context[Any]) -> Guard | None:
    """Return the guard of a context, None where its sockets are on this machine alone."""
    return _guards.get(context)


def denied(context: zmq.Context[Any], key: str, role: Role | str) -> str:
    """Return why a key may not what needs this role; empty if it may."""
    guard = _guards.get(context)
    if guard is None or guard.may(key, role):
        return ""
    return f"your key has not the role {role} here; there: streamfluo keys allow {key[:16]}… --role {role}"


def name_of(context: zmq.Context[Any], key: str) -> str:
    """Return whose a key is by the list of allowed ones, "" where that does not say."""
    guard = _guards.get(context)
    return "" if guard is None else guard.names.get(key, "")


def keep_to_allowed(socket: zmq.Socket[bytes], role: Role | str) -> None:
    """Before it is bound: let in who has the role, and nobody else. Raises ConfigError without a key of our own."""
    mine = identity()
    if socket.context not in _guards:
        _guards[socket.context] = Guard(socket.context)
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, bytes.fromhex(mine.secret))
    socket.setsockopt(zmq.ZAP_DOMAIN, role.encode())
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without an answer nobody is let in


def pin(socket: zmq.Socket[bytes], key: str) -> None:
    """Before it connects: speak with whoever has this key, and nobody else. Raises SourceError where this account has
    none itself."""
    try:
        mine = identity()
    except ConfigError as error:
        raise SourceError(str(error)) from None
    socket.setsockopt(zmq.CURVE_SERVERKEY, bytes.fromhex(key))
    socket.setsockopt(zmq.CURVE_PUBLICKEY, bytes.fromhex(mine.public))
    socket.setsockopt(zmq.CURVE_SECRETKEY, bytes.fromhex(mine.secret))


def server_key(place: str, key: str | None, own: bool) -> str:
    """Return the key of the server at HOST:PORT: the one given, the one that is known, or our `own`. Raises SourceError
    for none, and for two that differ."""
    try:
        known = identity().public if own else known_server(place)
    except ConfigError as error:
        raise SourceError(str(error)) from None
    if key is None and known is None:
        raise SourceError(
            f"{place}: no key is known of this server; give it once, tcp://{place}?key=KEY: "
            "`streamfluo keys show` prints it there"
        )
    if None not in (key, known) and key != known:
        raise SourceError(
            f"{place}: its key is known as {known}, not {key}; if it has been given another, take its line out of "
            f"{keys_folder() / 'servers'}"
        )
    return key or known or ""


def whose(frame: zmq.Frame) -> str:
    """Return the key of who sent a part of a message; empty on a socket without keys."""
    with suppress(zmq.ZMQError):
        return str(frame.get("User-Id"))
    return ""


def _stamp(path: Path) -> object:
    with suppress(OSError):
        told = path.stat()
        return told.st_mtime_ns, told.st_size, told.st_ino
    return None


_guards: weakref.WeakKeyDictionary[zmq.Context[Any], Guard] = weakref.WeakKeyDictionary()
