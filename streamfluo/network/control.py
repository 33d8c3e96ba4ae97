"""The control endpoint: REQ asks, ROUTER answers; what is asked of a program, checked, each nonce once."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

import msgspec
import zmq

from ..core.control import MAX_AUTHOR, Answer, Curate, Request, decode_request
from ..core.errors import StreamfluoError, WireError
from ..core.header import MAX_HEADER_BYTES, decode_map
from .access import denied, name_of, whose
from .arrivals import Refusals
from .connections import Connections
from .socket import Waker, bind, receive_frames

MAX_ASKERS = 32  # connections
MAX_WAITING = 64  # requests that are not answered yet, of all who ask
MAX_NONCES = 4096  # that are remembered
PATIENCE_S = 10.0  # for what is asked to be done
_ROUND_MESSAGES = 64  # taken before answers have their turn

log = logging.getLogger("streamfluo")

Handle = Callable[[Request], "Future[Answer]"]


class _Asker(NamedTuple):
    """Who asked: the frames that lead an answer back, and whether it asked in JSON."""

    envelope: list[bytes]
    json: bool


class _Waiting(NamedTuple):
    asker: _Asker
    nonce: str
    answer: Future[Answer]
    until_s: float


class ControlServer:
    """Answers requests at `uri` on a thread of its own by what `handle` promises, within ten seconds.

    `handle` is called for one request after the other, and must not wait. Raises SourceError for an endpoint that
    cannot be bound.
    """

    def __init__(self, context: zmq.Context[Any], uri: str, handle: Handle) -> None:
        self.refused = Refusals(uri)
        self._handle = handle
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_HEADER_BYTES)
        self._socket.setsockopt(zmq.RCVHWM, 16)
        self._socket.setsockopt(zmq.SNDHWM, 16)
        self._socket.setsockopt(zmq.LINGER, 1000)
        self._connections = Connections(self._socket, MAX_ASKERS, self.refused)
        self._waker = Waker()
        self._nonces: OrderedDict[str, None] = OrderedDict()
        self._waiting: list[_Waiting] = []
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        try:
            self.endpoint = bind(self._socket, uri, "control")
        except BaseException:
            self._give_back()
            raise

    def start(self) -> None:
        """Start answering."""
        self._thread.start()

    def close(self) -> None:
        """Answer what is done by now, refuse the rest, and give the endpoint back."""
        self._closing = True
        self._waker.wake()
        if self._thread.ident is None:
            self._give_back()
        else:
            self._thread.join()

    def _give_back(self) -> None:
        self._connections.close()
        self._socket.close()
        self._waker.close()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._waker.fileno(), zmq.POLLIN)
        while not self._closing:
            try:
                poller.poll(100)
                self._turn()
            except Exception:  # a fault of ours must not leave the program without control
                log.exception("control: goes on")
                time.sleep(0.1)
        self._answer_what_is_done()
        for waiting in self._waiting:
            waiting.answer.cancel()
            self._send(waiting.asker, Answer(ok=False, nonce=waiting.nonce, said="the program ends; nothing was done"))
        self._give_back()

    def _turn(self) -> None:
        self._waker.clear()
        self._connections.turn()
        for _ in range(_ROUND_MESSAGES):
            if (frames := receive_frames(self._socket, 3)) is None:
                break
            self._connections.speaker(frames[0])
            self._take([frame.bytes for frame in frames], whose(frames[0]))
        self._answer_what_is_done()

    def _take(self, parts: list[bytes], key: str) -> None:
        """Take a message of who has this key: a request behind an empty frame, as REQ sends it."""
        if len(parts) != 3 or parts[1]:
            self.refused.add(WireError("parts", "a request is one part, as a REQ socket sends it"))
            return
        asker, nonce = _Asker(parts[:2], parts[2][:1] == b"{"), ""
        try:
            if refused := denied(self._socket.context, key, "control"):
                raise WireError("role", refused)
            request = decode_request(parts[2])
            nonce = request.nonce
            self._remember(nonce)
            if len(self._waiting) >= MAX_WAITING:
                raise WireError("busy", f"{MAX_WAITING} requests wait for their answers; ask again")
            answer = self._handle(_signed(request, name_of(self._socket.context, key)))
        except WireError as error:
            self.refused.add(error)
            self._send(asker, Answer(ok=False, nonce=nonce or _nonce_in(parts[2]), said=str(error)))
        except StreamfluoError as error:
            self._send(asker, Answer(ok=False, nonce=nonce, said=str(error)))
        else:
            self._waiting.append(_Waiting(asker, nonce, answer, time.monotonic() + PATIENCE_S))
            answer.add_done_callback(lambda _: self._waker.wake())

    def _remember(self, nonce: str) -> None:
        """Raises WireError for a nonce that was answered already."""
        if nonce in self._nonces:
            raise WireError("replayed", f"nonce {nonce!r} was answered already; each request has one of its own")
        self._nonces[nonce] = None
        if len(self._nonces) > MAX_NONCES:
            self._nonces.popitem(last=False)

    def _answer_what_is_done(self) -> None:
        now, left = time.monotonic(), []
        for waiting in self._waiting:
            if not waiting.answer.done() and now < waiting.until_s:
                left.append(waiting)
                continue
            self._send(waiting.asker, _answer_of(waiting.answer, waiting.nonce))
        self._waiting = left

    def _send(self, asker: _Asker, answer: Answer) -> None:
        encode = msgspec.json.encode if asker.json else msgspec.msgpack.encode
        try:
            self._socket.send_multipart([*asker.envelope, encode(answer)], zmq.DONTWAIT)
        except zmq.ZMQError:  # who has gone, or does not read, needs no answer
            self.refused["unread"] += 1


def _signed(request: Request, name: str) -> Request:
    """Return a request with the name that a key is known by behind the author that it states, where there is one."""
    if not isinstance(request, Curate) or name in ("", request.author):
        return request
    known = f"({name[: MAX_AUTHOR // 2]})"
    author = f"{request.author[: MAX_AUTHOR - len(known) - 1]} {known}".strip()
    return msgspec.structs.replace(request, author=author)


def _answer_of(promised: Future[Answer], nonce: str) -> Answer:
    """What became of a request: done, refused, or not done in time."""
    if not promised.done():
        undone = "it was left undone" if promised.cancel() else "it may still be done"
        said = f"nothing came of it within {PATIENCE_S:g} s; {undone}"
        return Answer(ok=False, nonce=nonce, said=said)
    if promised.cancelled():
        return Answer(ok=False, nonce=nonce, said="the series ended before it was done")
    error = promised.exception()
    if error is None:
        return msgspec.structs.replace(promised.result(), nonce=nonce)
    if not isinstance(error, StreamfluoError | OSError):
        log.error("control: %s: %s", type(error).__name__, error, exc_info=error)
        return Answer(ok=False, nonce=nonce, said=f"{type(error).__name__}: {error}; please report this")
    return Answer(ok=False, nonce=nonce, said=str(error))


def _nonce_in(data: bytes) -> str:
    """The nonce of a request that cannot be taken, where there is one to be read."""
    try:
        nonce = decode_map(data).get("nonce", "")
    except WireError:
        return ""
    return nonce[:64] if isinstance(nonce, str) else ""
