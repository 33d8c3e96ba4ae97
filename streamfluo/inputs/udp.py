"""Samples as UDP datagrams, from stimulus programs."""

from __future__ import annotations

import contextlib
import socket
from urllib.parse import urlsplit

from ..core.errors import ConfigError
from ..core.input import Input, Sample

MAX_AT_ONCE = 1000


class UdpInput(Input):
    """`udp://127.0.0.1:9000`, bound: a sample a datagram. Beyond this machine anybody could send, so it stays here."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        parts = urlsplit(uri)
        try:
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError(f"{uri}: {error}") from None
        if host not in ("127.0.0.1", "localhost") or port is None:
            raise ConfigError(f"{uri}: datagrams are taken from this machine alone; write udp://127.0.0.1:PORT")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise ConfigError(f"{uri}: cannot bind: {error.strerror or error}") from None
        self.port = self._socket.getsockname()[1]

    def read(self, wait_s: float) -> list[Sample]:
        found: list[Sample] = []
        with contextlib.suppress(TimeoutError, BlockingIOError):
            self._socket.settimeout(wait_s)
            for _ in range(MAX_AT_ONCE):
                found += self.sampled(self._socket.recv(1 << 16))
                self._socket.settimeout(0)
        return found

    def close(self) -> None:
        self._socket.close()
