"""Names of a public module that load on first use, so that importing it costs nothing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_names(
    homes: Mapping[str, Sequence[str]], modules: Sequence[str] = ()
) -> tuple[Callable[[str], Any], list[str]]:
    """Return a module's `__getattr__` and `__all__` for names by the module of ours that they live in.

    `modules` of the package itself are found as well, and left out of `__all__`.
    """
    home = {name: module for module, names in homes.items() for name in names}

    def find(name: str) -> Any:
        if name in modules:
            return importlib.import_module(f"streamfluo.{name}")
        if name not in home:
            raise AttributeError(f"no attribute {name!r}; there is {', '.join(sorted([*home, *modules]))}")
        return getattr(importlib.import_module(f"streamfluo.{home[name]}"), name)

    return find, sorted(home)
