"""How a serial line is named, by actions and inputs alike."""

from __future__ import annotations

from urllib.parse import parse_qsl

from .errors import ConfigError


def parse_serial(uri: str) -> tuple[str, int]:
    """Return port and baud rate of `serial:/dev/ttyUSB0?baud=115200`. Raises ConfigError."""
    port, _, query = uri.partition(":")[2].partition("?")
    said = dict(parse_qsl(query))
    if unknown := said.keys() - {"baud"}:
        raise ConfigError(f"{uri}: a serial line says ?baud=, not {min(unknown)[:40]!r}")
    baud = said.get("baud", "115200")
    if not baud.isdecimal():
        raise ConfigError(f"{uri}: baud is a number, found {baud[:40]!r}")
    return port, int(baud)
