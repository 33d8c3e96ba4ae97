"""Decisions handed to a Python function that the config names."""

from __future__ import annotations

from importlib import import_module

from ..core.action import Action, Decision, Message
from ..core.errors import ConfigError


class CallFunction(Action):
    """`python:package.module:function`, called with each `Decision`; from the config alone, never from the wire."""

    def __init__(self, uri: str, message: Message) -> None:
        super().__init__(uri, message)
        module, colon, name = uri.partition(":")[2].partition(":")
        if not colon or not module or not name:
            raise ConfigError(f"{uri}: write python:package.module:function")
        try:
            self._call = getattr(import_module(module), name)
        except ImportError as error:
            raise ConfigError(f"{uri}: cannot import {module}: {error}") from None
        except AttributeError:
            raise ConfigError(f"{uri}: {module} has no {name}") from None
        if not callable(self._call):
            raise ConfigError(f"{uri}: {name} is no function, found {type(self._call).__name__}")

    def do(self, decision: Decision) -> None:
        self._call(decision)
