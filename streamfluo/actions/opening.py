"""Actions by URI: the scheme says who does it, an entry point `streamfluo.actions` called with URI and message."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from ..core.action import Action, Message
from ..core.errors import ConfigError, did_you_mean


def open_action(uri: str, message: str | None = None) -> Action:
    """Open an action: `push+tcp://127.0.0.1:5571`, `osc://127.0.0.1:9000/fired`, `serial:/dev/ttyUSB0`, `http://…`.

    Raises ConfigError that names what is wrong with it, or which library is missing.
    """
    action: Action = find_action(uri).load()(uri, Message(message))
    return action


def find_action(uri: str) -> EntryPoint:
    """Return who opens such a URI. Raises ConfigError for a scheme that there is not."""
    scheme, colon, _ = uri.partition(":")
    known = {entry.name: entry for entry in entry_points(group="streamfluo.actions")}
    if not colon or scheme not in known:
        raise ConfigError(f"{uri!r}: no action of scheme {scheme!r}{did_you_mean(scheme, known)}")
    return known[scheme]
