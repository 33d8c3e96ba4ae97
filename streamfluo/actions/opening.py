"""Actions by URI: the scheme says who does it, an entry point `streamfluo.actions` called with URI and message."""

from __future__ import annotations

from ..core.action import Action, Message
from ..core.schemes import opener_of


def open_action(uri: str, message: str | None = None) -> Action:
    """Open an action: `push+tcp://127.0.0.1:5571`, `osc://127.0.0.1:9000/fired`, `serial:/dev/ttyUSB0`, `http://…`.

    Raises ConfigError that names what is wrong with it, or which library is missing.
    """
    action: Action = opener_of(uri, "action").load()(uri, Message(message))
    return action
