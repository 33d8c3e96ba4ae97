"""Kernels that are not in numba's cache: looked for once more where somebody has others compile them first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

_asked: list[Callable[[], bool]] = []


@contextmanager
def misses_asked(there_now: Callable[[], bool]) -> Iterator[None]:
    """Ask, before this process compiles a kernel that is not in the cache, whether it may be there by now.

    That may take as long as it takes: other processes may compile it meanwhile.
    """
    _asked.append(there_now)
    try:
        yield
    finally:
        _asked.remove(there_now)


def looked_for_again(load_overload: Callable[..., Any]) -> Callable[..., Any]:
    """Have a cache look again for what it does not find."""

    @wraps(load_overload)
    def of(cache: Any, *args: Any) -> Any:
        found = load_overload(cache, *args)
        if found is None and _asked and _asked[-1]():
            found = load_overload(cache, *args)
        return found

    return of
