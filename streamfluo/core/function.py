"""Functions that a config names: of an installed package, never from the wire."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from .errors import ConfigError


def function_named(name: str, where: str) -> Callable[..., Any]:
    """Return `package.module:function`. Raises ConfigError, beginning with `where`, for one there is not."""
    module, _, function = name.partition(":")
    if not module or not function:
        raise ConfigError(f"{where}: write package.module:function, found {name[:60]!r}")
    try:
        found = getattr(import_module(module), function)
    except ImportError as error:
        raise ConfigError(f"{where}: cannot import {module}: {error}") from None
    except AttributeError:
        raise ConfigError(f"{where}: {module} has no {function}") from None
    if not callable(found):
        raise ConfigError(f"{where}: {function} is no function, found {type(found).__name__}")
    return found
