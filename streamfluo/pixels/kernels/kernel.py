"""How every kernel is compiled, and numba's cache of them on disk, safe for processes that compile at the same time.

Numba writes a function's index and its machine code one after the other: of two processes that compile it for other
types at once, each may point to the other's code. Here reading and writing take a lock of the cache's folder, some
0.1 ms each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache, wraps
from pathlib import Path
from typing import Any

from filelock import FileLock
from numba import njit
from numba.core.caching import IndexDataCacheFile

OPTIONS: Mapping[str, Any] = {"nogil": True, "cache": True, "no_cfunc_wrapper": True}


def kernel(function: Any = None, **options: Any) -> Any:
    """Compile a function without the GIL, into the cache on disk; `options` are further ones of numba.njit.

    Without the wrapper that C callers would need: of what numba compiles, a twelfth.
    """
    return njit(function, **OPTIONS, **options)


def _locked(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def one_at_a_time(files: IndexDataCacheFile, *args: Any) -> Any:
        with _lock(files._cache_path):
            return method(files, *args)

    return one_at_a_time


@cache
def _lock(folder: str) -> AbstractContextManager[Any]:
    """The lock of a cache's folder; none where nothing can be written."""
    lock = FileLock(Path(folder) / "kernels.lock")
    try:
        with lock:
            return lock
    except OSError:
        return nullcontext()


IndexDataCacheFile.load = _locked(IndexDataCacheFile.load)  # type: ignore[method-assign]
IndexDataCacheFile.save = _locked(IndexDataCacheFile.save)  # type: ignore[method-assign]
