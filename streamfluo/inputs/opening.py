"""Inputs by URI: the scheme says who reads it, an entry point `streamfluo.inputs` called with the URI."""

from __future__ import annotations

from ..core.input import Input
from ..core.schemes import opener_of


def open_input(uri: str) -> Input:
    """Open a stream of samples: `sub+tcp://127.0.0.1:5580`, `udp://127.0.0.1:9000`, `serial:/dev/ttyACM0`, `lsl:NAME`.

    Raises ConfigError that names what is wrong with it, or which library is missing.
    """
    opened: Input = opener_of(uri, "input").load()(uri)
    return opened
