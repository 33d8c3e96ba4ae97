"""Steering a running program from another one: `streamfluo.client.Control`."""

from __future__ import annotations

import getpass
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

import msgspec
import zmq

from ..core import wire
from ..core.control import Answer, Request, request_from_words
from ..core.errors import SourceError
from .client import PATIENCE_S, ask
from .connections import Connections
from .socket import beside, connect, new_context

MAX_ANSWER_BYTES = 1 << 20
LOOK_MS = 50  # for a server that refuses our key
ANSWER_S = 15.0  # a program takes ten seconds at most


class Control:
    """Steers the program with the data endpoint `uri`, or the daemon; a context manager.

    Each method asks for one thing and returns the answer: `frame` is the one at which it took effect. `source` names
    one of a daemon's sources; "" means all of them. Raises SourceError where nobody answers or it was refused, with the
    reason.
    """

    def __init__(self, uri: str, source: str = "", patience_s: float = PATIENCE_S) -> None:
        self.uri, self.source = uri, source
        endpoint = ask(uri, wire.Hello(), patience_s).endpoints.get("control")
        if endpoint is None:
            raise SourceError(f"{uri}: takes no control; it is for run, record and daemon")
        self._endpoint = beside(uri, endpoint)
        self._context = new_context()
        self._socket = self._connected()

    def start(self) -> Answer:
        """Have a daemon's source take series again."""
        return self.ask("start")

    def stop(self) -> Answer:
        """End the run, or the series of a daemon's source, with everything written."""
        return self.ask("stop")

    def pause(self) -> Answer:
        """Take no frames for now."""
        return self.ask("pause")

    def resume(self) -> Answer:
        """Take frames again."""
        return self.ask("resume")

    def mark(self, text: str) -> Answer:
        """Note a text in the session at the frame that comes next."""
        return self.ask("mark", text=text)

    def set(self, step: str, param: str, value: Any) -> Answer:
        """Change a live parameter of a step."""
        return self.ask("set", step=step, param=param, value=value)

    def snapshot(self, step: str, name: str = "") -> Answer:
        """Have a snapshot of a step, all of them without a name, written into the session as of now."""
        return self.ask("snapshot", step=step, name=name)

    def curate(self, step: str, verb: str, ids: Sequence[int] = (), author: str = "", **words: Any) -> Answer:
        """Decide about results of a step: `verb` is one that it takes, as hello says. Without an `author` it is who is
        logged in here.

        words: `note`; `undo_of`, a decision's number; `polygons`, lists of corners [y, x] in px, for verbs that need
        what is drawn.
        """
        ids = [int(i) for i in ids]
        return self.ask("curate", step=step, decision=verb, ids=ids, author=author or _login(), **words)

    def sessions(self) -> list[dict[str, Any]]:
        """Return what is known of each session, the newest first."""
        return self.ask("sessions").sessions

    def reload(self) -> Answer:
        """Have a daemon read its config anew."""
        return self.ask("reload")

    def ask(self, verb: str, **words: Any) -> Answer:
        """Ask for anything there is a verb for. Raises ConfigError for words that no program would take."""
        nonce = uuid.uuid4().hex
        return self._asked(request_from_words(verb, {"nonce": nonce, "source": self.source, **words}))

    def _asked(self, request: Request) -> Answer:
        with suppress(zmq.Again):  # to who lets us in no more nothing can be sent
            self._socket.send(msgspec.msgpack.encode(request))
        if not self._answered():
            why = self._connections.why_denied()
            self._close()  # one that waits for an answer takes no other request
            self._socket = self._connected()
            why = why or f"no answer within {ANSWER_S:g} s; what was asked may still be done"
            raise SourceError(f"{self.uri.partition('?')[0]}: {why}")
        try:
            answer = msgspec.msgpack.decode(self._socket.recv(), type=Answer)
        except (msgspec.DecodeError, RecursionError) as error:
            raise SourceError(f"{self.uri}: the answer cannot be read: {error}") from None
        if answer.nonce != request.nonce:
            raise SourceError(f"{self.uri}: the answer is to another request ({answer.nonce!r})")
        if not answer.ok:
            raise SourceError(f"{self.uri}: refused: {answer.said}")
        return answer

    def _answered(self) -> bool:
        """Wait for an answer, until it is clear that none will come."""
        until = time.monotonic() + ANSWER_S
        while time.monotonic() < until and self._connections.denied not in ("key", "mechanism"):
            self._connections.turn()
            if self._socket.poll(LOOK_MS):
                return True
        return False

    def _connected(self) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(zmq.REQ)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDTIMEO, 1000)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_ANSWER_BYTES)
        self._connections = Connections(socket, 1, Counter())
        try:
            connect(socket, self._endpoint)
        except SourceError:
            self._connections.close()
            socket.close()
            self._context.term()
            raise
        return socket

    def _close(self) -> None:
        self._connections.close()
        self._socket.close()

    def close(self) -> None:
        """Give the socket back."""
        self._close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _login() -> str:
    """Who is logged in, "" where the system does not say."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name, as in containers
        return ""
