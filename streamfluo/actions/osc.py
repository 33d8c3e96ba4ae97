"""Decisions as OSC messages, for stimulus programs. A door to python-osc."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from ..core.action import Action, Decision, Message
from ..core.errors import ConfigError


class OscDecisions(Action):
    """`osc://HOST:PORT/address`, over UDP: step, frame and time since the series began [s], or the message."""

    def __init__(self, uri: str, message: Message) -> None:
        super().__init__(uri, message)
        try:
            from pythonosc.osc_message_builder import build_msg
        except ImportError:
            raise ConfigError(f'{uri}: needs python-osc; install it with pip install "streamfluo[devices]"') from None
        parts = urlsplit(uri)
        try:
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError(f"{uri}: {error}") from None
        if not host or not port:
            raise ConfigError(f"{uri}: write osc://HOST:PORT/address")
        self._address, self._there, self._build = parts.path or "/", (host, port), build_msg
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][0]
        except OSError as error:
            raise ConfigError(f"{uri}: {error.strerror or error}") from None
        self._socket = socket.socket(family, socket.SOCK_DGRAM)

    def do(self, decision: Decision) -> None:
        said = [decision.step, decision.frame, decision.t_ns / 1e9]
        message = self._build(self._address, said if self.message.is_json else self.message.of(decision))
        self._socket.sendto(message.dgram, self._there)

    def close(self) -> None:
        self._socket.close()
