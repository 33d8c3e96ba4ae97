"""Decisions handed to a Python function that the config names."""

from __future__ import annotations

from ..core.action import Action, Decision, Message
from ..core.errors import ConfigError
from ..core.function import function_named


class CallFunction(Action):
    """`python:package.module:function`, called with each `Decision`; from the config alone, never from the wire."""

    def __init__(self, uri: str, message: Message) -> None:
        super().__init__(uri, message)
        self._call = function_named(uri.partition(":")[2], uri)

    def check(self, message: Message) -> None:
        raise ConfigError(f"{self.uri}: a function is called with decisions; it takes no message, nor at_end")

    def do(self, decision: Decision) -> None:
        self._call(decision)
