"""A viewer's end of the wire: hello, status, results and previews of a data endpoint, without ever waiting."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Self

import numpy as np
import zmq

from ..core import wire
from ..core.errors import SourceError, WireError
from ..core.header import MAX_HEADER_BYTES
from .client import PreviewSubscriber, ResultsSubscriber, Subscriber
from .connections import Connections
from .facts import expanded
from .looking_back import LookingBack
from .socket import beside, connect, new_context, receive

ASK_S = 0.5  # so a program that came back is noticed within half a second
SILENT_S = 2.5  # a loaded program answers late; one that is gone breaks the connection at once
ALWAYS = ("series/", "event/", "health/")  # whose last status is the one with every frame in it
UNREACHED_S = 5.0  # a program that has results says every second how it fares
AGAIN_S = 3.0  # after so long a key that was refused is tried again
_ROUND = 256

Payload = Mapping[str, np.ndarray] | np.ndarray | None
PreviewKey = tuple[str, int]  # step, bin_px


class Watch:
    """Watches the data endpoint `uri`: `turn` gives what came since the last one. A context manager.

    `connected` says whether somebody answers, `denied` why it lets us not in, or only half. A program that was started
    again is found by itself. Raises SourceError for a malformed endpoint, and a tunnel that cannot be had.
    """

    def __init__(self, uri: str) -> None:
        self.connected, self.denied = False, ""
        self._uri = uri
        self._refused: Counter[str] = Counter()
        self._topics: frozenset[str] = frozenset(ALWAYS)
        self._wanted: frozenset[PreviewKey] = frozenset()
        self._endpoints: dict[str, str] | None = None
        self._results: ResultsSubscriber | None = None
        self._previews: dict[PreviewKey, PreviewSubscriber] = {}
        self._looking: LookingBack | None = None
        self._asked, self._heard = 0.0, 0.0
        self._unheard_since: float | None = None  # of results
        self._context = new_context()
        self._open()

    @property
    def refused(self) -> Counter[str]:
        """Messages dropped, by the rule they broke."""
        return sum((s.refused for s in self._subscribers()), self._refused)

    def want(self, topics: Iterable[str], previews: Iterable[PreviewKey]) -> None:
        """From now on receive these topics of results, and the newest frames of these steps."""
        topics, previews = frozenset((*ALWAYS, *topics)), frozenset(previews)
        if self._results is not None and topics != self._topics:
            self._results.watch(topics)
        self._topics = topics
        for key in self._previews.keys() - previews:
            self._drop(self._previews.pop(key))
        new, self._wanted = previews - self._wanted, previews
        self._ask_previews(new)

    def look(self, step: str, index: int, bin_px: int) -> None:
        """Have the first recorded frame of a plane's source from `index` on come, an image that says so."""
        self._ask_back(wire.Look(step=step, index=index, bin_px=bin_px))

    def ask_before(self, step: str, name: str, before: int) -> None:
        """Have the last values that a step gave of frames before one come, a result that says so."""
        self._ask_back(wire.Past(step=step, names=(name,), before=before))

    def _ask_back(self, question: wire.Look | wire.Past) -> None:
        if self._looking is None:
            self._looking = LookingBack(self._uri, self._context)
        self._looking.ask(question)

    def turn(self) -> Iterator[tuple[wire.Message, Payload]]:
        """Yield messages with their arrays or pixels: answers, results in order, of each preview the newest."""
        now = time.monotonic()
        self._look_for_refusal(now)
        if now - self._asked >= ASK_S:
            self._asked = now
            if not (self._ask(wire.Hello()) and self._ask(wire.Status())):
                self.connected = False
        yield from self._answers()
        if now - self._heard > SILENT_S:
            self.connected = False
        for _ in range(_ROUND if self._results else 0):
            if (found := self._results.receive()) is None:  # type: ignore[union-attr]
                break
            self._unheard_since = None
            yield found[1:]
        for preview in list(self._previews.values()):
            if (frame := preview.receive()) is not None:
                yield frame
        yield from self._looking.turn() if self._looking is not None else ()

    def close(self) -> None:
        """Give the sockets back."""
        self._leave()
        if self._looking is not None:
            self._looking.close()
        self._close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        self._opened = time.monotonic()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_HEADER_BYTES)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # questions are not kept for a program that is not there
        self._connections = Connections(self._socket, 1, Counter())
        try:
            connect(self._socket, self._uri)
        except SourceError:
            self._close()
            self._context.term()
            raise

    def _close(self) -> None:
        self._connections.close()
        self._socket.close()

    def _look_for_refusal(self, now: float) -> None:
        """A socket whose key was refused does not connect again by itself; the key may be allowed meanwhile."""
        self._connections.turn()
        if why := self._connections.why_denied():
            self.denied, self.connected = why, False
            if now - self._opened >= AGAIN_S:
                self._close()
                self._open()

    def _ask(self, question: wire.Message) -> bool:
        try:
            self._socket.send(wire.encode(question), zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def _ask_previews(self, keys: Iterable[PreviewKey]) -> None:
        for step, bin_px in keys if self._endpoints is not None else ():
            self._ask(wire.Preview(step=step, bin_px=bin_px))

    def _answers(self) -> Iterator[tuple[wire.Message, Payload]]:
        for _ in range(_ROUND):
            parts = receive(self._socket, 1)
            if parts is None:
                return
            try:
                if len(parts) != 1:
                    raise WireError("parts", f"{len(parts)} parts where one header should be")
                message = wire.decode(parts[0])
                if isinstance(message, wire.Hello):
                    message = expanded(message)
                    self._meet(message)
                elif isinstance(message, wire.Preview):
                    self._open_preview(message)
            except (WireError, SourceError) as error:
                self._refused[error.kind if isinstance(error, WireError) else "endpoint"] += 1
                continue
            self.connected, self.denied, self._heard = True, self._unreached(), time.monotonic()
            yield message, None

    def _unreached(self) -> str:
        """Why no results come from a program that answers, as where a tunnel leads to its data endpoint alone."""
        if self._unheard_since is None or time.monotonic() - self._unheard_since < UNREACHED_S:
            return ""
        return "it answers, but its results have ports of their own that are not open; by ssh write ?ssh=HOST behind it"

    def _meet(self, hello: wire.Hello) -> None:
        """Open the endpoints of a program that was not known yet; one that came back may have closed previews."""
        if hello.endpoints == self._endpoints:
            # One that was refused, where too many were open, may be had by now.
            self._ask_previews(self._wanted - self._previews.keys() if self.connected else self._wanted)
            return
        self._leave()
        self._endpoints = hello.endpoints
        if "results" in hello.endpoints:
            told = beside(self._uri, hello.endpoints["results"])
            self._results = ResultsSubscriber(told, self._topics, self._context)
            self._unheard_since = time.monotonic()
        self._ask_previews(self._wanted)

    def _open_preview(self, answer: wire.Preview) -> None:
        key, endpoint = (answer.step, answer.bin_px), beside(self._uri, answer.endpoint)
        if key in self._previews and self._previews[key].uri != endpoint:
            self._drop(self._previews.pop(key))
        if key in self._wanted and key not in self._previews:
            self._previews[key] = PreviewSubscriber(endpoint, self._context)

    def _subscribers(self) -> list[Subscriber | LookingBack]:
        looking = [self._looking] if self._looking else []
        return [*self._live(), *looking]

    def _live(self) -> list[Subscriber]:
        return [*self._previews.values(), *([self._results] if self._results else [])]

    def _leave(self) -> None:
        for subscriber in self._live():
            self._drop(subscriber)
        self._previews, self._results, self._endpoints, self._unheard_since = {}, None, None, None

    def _drop(self, subscriber: Subscriber) -> None:
        self._refused += subscriber.refused
        subscriber.close()
