"""Decisions as markers of a Lab Streaming Layer stream. A door to pylsl."""

from __future__ import annotations

from ..core.action import Action, Decision, Message
from ..core.errors import ConfigError


class LslDecisions(Action):
    """`lsl:NAME`: a marker stream of that name, each marker the message; without one the JSON."""

    def __init__(self, uri: str, message: Message) -> None:
        super().__init__(uri, message)
        try:
            from pylsl import StreamInfo, StreamOutlet
        except (ImportError, RuntimeError) as error:  # pylsl raises the latter where its library is not there
            why = "" if isinstance(error, ImportError) else f" and liblsl ({str(error).splitlines()[0][:80]})"
            raise ConfigError(f'{uri}: needs pylsl{why}; install it with pip install "streamfluo[devices]"') from None
        name = uri.partition(":")[2]
        if not name:
            raise ConfigError(f"{uri}: write lsl:NAME")
        self._outlet = StreamOutlet(StreamInfo(name, "Markers", 1, 0, "string", f"streamfluo {name}"))

    def do(self, decision: Decision) -> None:
        self._outlet.push_sample([self.message.of(decision)])
