"""Operators by kind. `@register("kind")` puts one in; everything else follows from that.

Rooms of this package and packages of yours are found the same way: by the entry point group `streamfluo.operators`,
whose entries name modules that register operators when they are imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, TypeVar

from .errors import ConfigError, did_you_mean
from .operator import Operator
from .params import build_params
from .spec import Spec

ENTRY_POINTS = "streamfluo.operators"

_operators: dict[str, type[Operator]] = {}
_loaded = False

O = TypeVar("O", bound=type[Operator])  # noqa: E741


def register(kind: str) -> Callable[[O], O]:
    """Class decorator: make an operator known as `kind`. Raises ConfigError if another one has that name."""

    def add(operator: O) -> O:
        known = _operators.get(kind)
        if known is not None and (known.__module__, known.__qualname__) != (operator.__module__, operator.__qualname__):
            raise ConfigError(f"operator {kind!r} is registered twice: {known.__module__} and {operator.__module__}")
        operator.kind = kind
        _operators[kind] = operator
        return operator

    return add


def operators() -> Mapping[str, type[Operator]]:
    """Return every operator by kind: ours, and those of installed packages. The first call imports numba."""
    global _loaded
    if not _loaded:
        _loaded = True
        for entry in entry_points(group=ENTRY_POINTS):
            entry.load()
    return MappingProxyType(dict(sorted(_operators.items())))


def find_operator(kind: str, where: str = "create") -> type[Operator]:
    """Return the operator registered as `kind`. Raises ConfigError with the nearest name."""
    known = operators()
    if kind not in known:
        raise ConfigError(f"{where}: no operator {kind!r}{did_you_mean(str(kind), known)}")
    return known[kind]


def create(kind: str, spec: Spec, device: str = "cpu", **params: Any) -> Operator:
    """Return a new operator of that kind for frames of that spec. Raises ConfigError for parameters it refuses."""
    operator = find_operator(kind)
    return operator(build_params(operator.Params, params, f"operator {kind!r}"), spec, device)
