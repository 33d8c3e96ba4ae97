"""Whether a kernel in numba's cache is still that of its source, by what its file says and those that it imports.

numba compares time and size of a kernel's own file. But a kernel holds the code of those that it calls: where one of
them had changed in another file, the old code went on being used, and where files had only been written anew, as by an
upgrade, all was compiled again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

IMPORT = re.compile(r"^from (\.+|streamfluo\.)([\w.]*) import ([\w, ]*)", re.MULTILINE)
PACKAGE = Path(__file__).parents[2]


@cache
def stamp_of(file: str) -> str:
    """Return a digest of a source file, of what it imports relatively or as kernels here, and of what these import.

    Takes .1 ms a file. Raises OSError where it cannot be read.
    """
    found, waiting = {Path(file)}, [Path(file)]
    while waiting:
        new = set(_imported(waiting.pop())) - found
        found |= new
        waiting += new
    return hashlib.sha256(b"".join(_digest(path) for path in sorted(found))).hexdigest()


@cache
def _source(path: Path) -> str:
    return path.read_bytes().decode("latin-1")  # whatever bytes a stranger's file holds


@cache
def _digest(path: Path) -> bytes:
    return hashlib.sha256(_source(path).encode("latin-1")).digest()


@cache
def _imported(path: Path) -> tuple[Path, ...]:
    """The files that lines `from … import …` of a file name relatively, or as kernels here."""
    return tuple(file for line in IMPORT.finditer(_source(path)) for file in _files(path, *line.groups()))


def _files(path: Path, root: str, module: str, names: str) -> Iterator[Path]:
    if root.startswith(".") or "kernels" in module:
        base = PACKAGE if not root.startswith(".") else path.parents[len(root) - 1]
        target = base.joinpath(*filter(None, module.split(".")))
        places = [target.with_suffix(".py"), *(target / f"{name.strip()}.py" for name in names.split(","))]
        yield from (place for place in places if place.is_file())


def forget_sources() -> None:
    """Look at all files anew: they may have changed."""
    for remembered in (stamp_of, _source, _digest, _imported):
        remembered.cache_clear()
