"""Actions: what is done when a trigger fires, on a thread of its own, so that a device that hangs delays no frame."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from string import Template
from typing import NamedTuple

from .errors import ConfigError


class Decision(NamedTuple):
    """That a step fired: at which frame, `t_ns` after the series began; when it arrived, the chain took it, and it was
    decided (UTC epoch)."""

    step: str
    frame: int
    t_ns: int
    series_uid: str
    arrived_ns: int
    taken_ns: int
    decided_ns: int


class Message:
    """What is sent: a text in which `$step`, `$frame`, `$t_s` and `$series_uid` are filled in; none: JSON of it all.

    Raises ConfigError for a name that a decision has not.
    """

    def __init__(self, template: str | None) -> None:
        self._template = None if template is None else Template(template)
        try:
            self.of(Decision("", 0, 0, "", 0, 0, 0))
        except (KeyError, ValueError) as error:
            known = "$step, $frame, $t_s, $series_uid; $$ is a dollar"
            raise ConfigError(f"message {template!r}: a decision has no {error}; there is {known}") from None

    @property
    def is_json(self) -> bool:
        """Whether none was stated."""
        return self._template is None

    def of(self, decision: Decision) -> str:
        """Return it for one decision."""
        told = decision._asdict()
        if self._template is None:
            return json.dumps({"type": "decision", **told})
        return self._template.substitute(told, t_s=f"{decision.t_ns / 1e9:.6f}")


class Action(ABC):
    """Something that is done for each decision: a message sent, a line written, a device set.

    Built with its URI and the config's message, before frames flow. Raises ConfigError for what it cannot be, or where
    a library is missing.
    """

    def __init__(self, uri: str, message: Message) -> None:
        self.uri, self.message = uri, message

    @abstractmethod
    def do(self, decision: Decision) -> str | None:
        """Do it, and return what was set where the message does not say it. It may take its time, and raise: both are
        counted and told."""

    def check(self, message: Message) -> None:  # noqa: B027 - most send any
        """Raises ConfigError for a message that it cannot do: asked before frames flow of the one that is sent last."""

    def close(self) -> None:  # noqa: B027 - most have nothing to give back
        """Give back what it holds."""
