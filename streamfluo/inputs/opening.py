"""Inputs by URI: the scheme says who reads it, an entry point `streamfluo.inputs` called with the URI."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from ..core.errors import ConfigError, did_you_mean
from ..core.input import Input


def open_input(uri: str) -> Input:
    """Open a stream of samples: `sub+tcp://127.0.0.1:5580`, `udp://127.0.0.1:9000`, `serial:/dev/ttyACM0`, `lsl:NAME`.

    Raises ConfigError that names what is wrong with it, or which library is missing.
    """
    opened: Input = find_input(uri).load()(uri)
    return opened


def find_input(uri: str) -> EntryPoint:
    """Return who opens such a URI. Raises ConfigError for a scheme that there is not."""
    scheme, colon, _ = uri.partition(":")
    known = {entry.name: entry for entry in entry_points(group="streamfluo.inputs")}
    if not colon or scheme not in known:
        raise ConfigError(f"{uri!r}: no input of scheme {scheme!r}{did_you_mean(scheme, known)}")
    return known[scheme]
