"""How NI-DAQ channels are named, by actions and inputs alike: `ni:CHANNEL?name=number`."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import parse_qsl

from .errors import ConfigError


def parse_ni(uri: str, known: Collection[str]) -> dict[str, str]:
    """Return what stands behind the channel. Raises ConfigError for a name that such a channel does not take."""
    said = dict(parse_qsl(uri.partition("?")[2]))
    if unknown := said.keys() - set(known):
        raise ConfigError(f"{uri}: such a channel says {', '.join(sorted(known))}, not {min(unknown)[:40]!r}")
    return said


def number_of(uri: str, said: dict[str, str], name: str, default: float, within: tuple[float, float]) -> float:
    """Return a number that a URI says, else the default. Raises ConfigError for one that is not within."""
    text = said.get(name, f"{default}")
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    low, high = within
    if not low <= number <= high:
        raise ConfigError(f"{uri}: {name} is a number from {low:g} to {high:g}, found {text[:40]!r}")
    return number
