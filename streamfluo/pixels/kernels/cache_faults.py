"""What can be wrong with numba's cache on disk, said once in one line each; kernels are compiled in spite of it.

A cache that cannot be written, one with damaged files (a full disk, a program killed at the wrong moment), one of
another processor or another numba. Numba itself raises for the first two, and is silent about the others.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import IndexDataCacheFile

log = logging.getLogger(__name__)
said: set[str] = set()
VERSION = re.compile(rb"\d+\.\d+[\w.+]*")  # numba's, which an index begins with


def cached_if_possible(function: Any, options: dict[str, Any]) -> Any:
    """Return a compiled function that is kept on disk; where no folder can be written, one that is not."""
    try:
        return njit(function, **options)
    except RuntimeError as error:
        if "no locator" not in str(error):
            raise
        beside = Path(function.__code__.co_filename).parent
        where = f"neither in {beside} nor in the home folder"
        then = "they are compiled at each start. NUMBA_CACHE_DIR names another folder"
        _say("nowhere", f"compiled kernels cannot be kept, {where}; {then}")
        return njit(function, **{**options, "cache": False})


def loads_in_spite(load: Callable[[IndexDataCacheFile, Any], Any]) -> Callable[[IndexDataCacheFile, Any], Any]:
    """Have a cache's `load` find nothing in damaged files, and say why it finds nothing where that is unexpected."""

    @wraps(load)
    def of(files: IndexDataCacheFile, key: Any) -> Any:
        try:
            found = load(files, key)
        except Exception as error:  # whatever bytes make pickle raise
            _say("damaged", f"{_of(files)} is damaged ({_reason(error)}); compiled again")
            with suppress(OSError):
                Path(files._index_path).unlink()
            return None
        if found is None:
            _say_whose(files, key)
        return found

    return of


def saves_in_spite(save: Callable[..., None]) -> Callable[..., None]:
    """Have a cache's `save` go without where the disk takes nothing."""

    @wraps(save)
    def of(of_function: Any, *args: Any) -> None:
        try:
            save(of_function, *args)
        except Exception as error:  # whatever bytes make pickle raise, too
            where = f"{of_function._cache_path}: {_reason(error)}"
            _say(
                "not written", f"compiled kernels cannot be kept in {where}; they are compiled again at the next start"
            )

    return of


def _say_whose(files: IndexDataCacheFile, key: Any) -> None:
    """Say so where the cache has this function for another processor, or all of it is of another numba."""
    with suppress(Exception):  # files that another process writes, or that are damaged: said elsewhere
        version = VERSION.search(Path(files._index_path).read_bytes()[:64])
        if version is None or version[0].decode() != files._version:
            found = version[0].decode() if version is not None else "another version"
            _say("numba", f"{_of(files)} is of numba {found}, this is {files._version}; compiled again")
            return
        signature, processor, code = key
        kept = files._load_index()  # nothing where the source has changed
        others = [other for signed, other, coded in kept if (signed, coded) == (signature, code)]
        if others and processor not in others:
            whose = f"{others[0][1]}, this is {processor[1]}"
            _say("processor", f"{_of(files)} is of another processor ({whose}); compiled again for this one")


def _of(files: IndexDataCacheFile) -> str:
    return f"the cache of compiled kernels in {files._cache_path}"


def _say(fault: str, sentence: str) -> None:
    log.warning(sentence, extra={"fault": fault})


def _once(record: logging.LogRecord) -> bool:
    """Whether a fault is heard of for the first time, from this process or one that compiles for it."""
    fault = getattr(record, "fault", "")
    new = fault not in said
    said.add(fault)
    return new


log.addFilter(_once)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
