"""Decisions over ZeroMQ: published to whoever listens, or pushed to one program."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from typing import Any

import zmq

from ..core.action import Action, Decision, Message
from ..core.control import request_words
from ..core.errors import ConfigError, SourceError
from .control_client import Control
from .socket import bind, connect, new_context, parse_endpoint

WAIT_MS = 1000


class _Decisions(Action):
    kind = zmq.PUB

    def __init__(self, uri: str, message: Message) -> None:
        super().__init__(uri, message)
        self._context = new_context()
        self._socket = self._context.socket(self.kind)
        self._socket.setsockopt(zmq.LINGER, WAIT_MS)
        self._socket.setsockopt(zmq.SNDTIMEO, WAIT_MS)
        try:
            self._open(uri.partition("+")[2])
        except SourceError as error:
            self.close()
            raise ConfigError(str(error)) from None

    def _open(self, endpoint: str) -> None:
        self.endpoint = bind(self._socket, endpoint, "view")

    def do(self, decision: Decision) -> None:
        self._socket.send_multipart([decision.step.encode(), self.message.of(decision).encode()])

    def close(self) -> None:
        self._socket.close()
        self._context.term()


class PublishDecisions(_Decisions):
    """`pub+tcp://127.0.0.1:5570`, bound: two parts, the step's id to subscribe to, and the message."""


class PushDecisions(_Decisions):
    """`push+tcp://127.0.0.1:5571`, connected to a PULL socket: the message, one part; nobody there for 1 s fails."""

    kind = zmq.PUSH

    def _open(self, endpoint: str) -> None:
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # what nobody takes would be done late, in a heap
        connect(self._socket, endpoint)

    def do(self, decision: Decision) -> None:
        self._socket.send(self.message.of(decision).encode())


class ControlProgram(Action):
    """`control+tcp://127.0.0.1:5560`: a request to a program that takes control, this run or another: its message is
    `stop`, `pause`, `mark TEXT`, `set STEP.PARAM=VALUE`, `snapshot STEP`."""

    def __init__(self, uri: str, message: Message) -> None:
        super().__init__(uri, message)
        if message.is_json:
            raise ConfigError(f"{uri}: say what is asked for in message: stop, mark TEXT, set STEP.PARAM=VALUE")
        self.check(message)
        try:
            parse_endpoint(uri.partition("+")[2])
        except SourceError as error:
            raise ConfigError(str(error)) from None
        self._program: Control | None = None

    def do(self, decision: Decision) -> None:
        verb, words = self._request(self.message.of(decision))
        if self._program is None:  # of this run: it answers once it has begun
            self._program = Control(self.uri.partition("+")[2])
        self._program.ask(verb, **words)

    def check(self, message: Message) -> None:
        self._request(message.of(Decision("step", 0, 0, "uid", 0, 0, 0)))

    def _request(self, text: str) -> tuple[str, Mapping[str, Any]]:
        verb, *words = text.split()
        return verb, request_words(verb, words)

    def close(self) -> None:
        if self._program is not None:
            self._program.close()


class LoopBack:
    """What `push+tcp` sends to `uri` comes back here: each decision with the time it was received (UTC epoch)."""

    def __init__(self) -> None:
        self._context = new_context()
        self._socket = self._context.socket(zmq.PULL)
        self.uri = "push+" + bind(self._socket, "tcp://127.0.0.1:0", "view")
        self.received: list[tuple[dict[str, Any], int]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._receive, name="loop-back", daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        while not self._over.is_set():
            if self._socket.poll(100):
                message = self._socket.recv()
                self.received.append((json.loads(message), time.time_ns()))

    def close(self) -> None:
        """Receive no more."""
        self._over.set()
        self._thread.join()
        self._socket.close()
        self._context.term()
