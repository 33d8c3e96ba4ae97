"""Decisions posted to a program of this machine over HTTP."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

from ..core.action import Action, Decision, Message
from ..core.errors import ConfigError

WAIT_S = 2.0
_HERE = ("127.0.0.1", "localhost", "::1")


class PostDecisions(Action):
    """`http://127.0.0.1:PORT/path`: the message as the body of a POST; anything but 2xx is a failure.

    HTTP here is neither encrypted nor does it know who asks, so it stays on this machine.
    """

    def __init__(self, uri: str, message: Message) -> None:
        super().__init__(uri, message)
        parts = urlsplit(uri)
        try:
            host, port = parts.hostname, parts.port or 80
        except ValueError as error:
            raise ConfigError(f"{uri}: {error}") from None
        if host not in _HERE:
            raise ConfigError(f"{uri}: decisions are posted to this machine alone; write http://127.0.0.1:{port}")
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._connection = http.client.HTTPConnection(host, port, timeout=WAIT_S)

    def do(self, decision: Decision) -> None:
        try:
            self._post(decision)
        except (http.client.HTTPException, ConnectionError):  # it was closed between two decisions
            self._connection.close()
            self._post(decision)

    def _post(self, decision: Decision) -> None:
        body = self.message.of(decision).encode()
        self._connection.request("POST", self._path, body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        answer.read()
        if not 200 <= answer.status < 300:
            raise OSError(f"answered {answer.status} {answer.reason}")

    def close(self) -> None:
        self._connection.close()
