"""Operators by kind. `@register("kind")` puts one in; everything else follows from that.

Rooms of this package and packages of yours are found the same way: by the entry point group `streamfluo.operators`,
whose entries name modules that register operators when they are imported. An entry with the name of a kind is imported
when that kind is asked for, and no other; an entry of any other name when a kind is not known yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, TypeVar

from .errors import ConfigError, did_you_mean
from .operator import Operator
from .params import build_params
from .spec import Spec

ENTRY_POINTS = "streamfluo.operators"

_operators: dict[str, type[Operator]] = {}
_entries: list[EntryPoint] | None = None  # those not imported yet; None: not looked for yet

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
    _load(None)
    return MappingProxyType(dict(sorted(_operators.items())))


def operator_of(kind: str) -> type[Operator] | None:
    """Return the operator registered as `kind`, None if there is none; rooms of other kinds are not imported for it."""
    _load(kind)
    return _operators.get(kind)


def _load(kind: str | None) -> None:
    """Import entries, the one named like the kind first, until the kind is known; None: all of them."""
    global _entries
    if _entries is None:
        _entries = list(entry_points(group=ENTRY_POINTS))
    _entries.sort(key=lambda entry: entry.name != kind)
    while _entries and kind not in _operators:
        _entries.pop(0).load()


def find_operator(kind: str, where: str = "create") -> type[Operator]:
    """Return the operator registered as `kind`. Raises ConfigError with the nearest name."""
    if (operator := operator_of(kind)) is None:
        raise ConfigError(f"{where}: no operator {kind!r}{did_you_mean(str(kind), operators())}")
    return operator


def create(kind: str, spec: Spec, device: str = "cpu", **params: Any) -> Operator:
    """Return a new operator of that kind for frames of that spec. Raises ConfigError for parameters it refuses."""
    operator = find_operator(kind)
    return operator(build_params(operator.Params, params, f"operator {kind!r}"), spec, device)
