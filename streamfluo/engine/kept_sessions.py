"""The sessions in a daemon's folders: those that its pattern of names gives, and nothing that a link leads to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ..session.listing import session_line

LEFT_BEHIND = ".deleted"  # the end of a name that a session has while it is deleted


class Kept(NamedTuple):
    """A session's folder, and its name in the folder that it lies in."""

    folder: Path
    name: str


def kept_sessions(roots: Sequence[Path], depth: int) -> list[Kept]:
    """Return the sessions `depth` folders below each root; hidden folders and links are passed over."""
    return [
        Kept(folder, folder.relative_to(root).as_posix())
        for root in roots
        for folder in _folders(root, depth)
        if (folder / "session.json").is_file()
    ]


def newest_lines(sessions: Sequence[Kept], at_most: int) -> list[dict[str, Any]]:
    """Return what is known of the sessions that were written last, the newest first, with their bytes."""
    newest = sorted(sessions, key=lambda kept: _written_s(kept.folder), reverse=True)[:at_most]
    found = []
    for kept in newest:
        line = session_line(kept.folder)
        size = _size(kept.folder) if line["state"] == "running" else _known_size(kept.folder, _written_s(kept.folder))
        found.append(line | size)
    return found


def _written_s(session: Path) -> float:
    try:
        return (session / "session.json").stat().st_mtime
    except OSError:  # retention was faster
        return 0.0


@lru_cache(1024)  # a session may have thousands of files, and viewers ask twice a minute
def _known_size(folder: Path, written_s: float) -> dict[str, int]:
    """The bytes of a session that is over, as long as it was written last then."""
    return _size(folder)


def _size(folder: Path) -> dict[str, int]:
    try:
        return {"nbytes": nbytes_of(folder)}
    except OSError:
        return {}


def half_deleted(roots: Sequence[Path], depth: int) -> list[Path]:
    """Return what a deletion that was interrupted left."""
    parents = [folder for root in roots for folder in (_folders(root, depth - 1) if depth > 1 else [root])]
    return [path for parent in parents for path in _listed(parent) if path.name.endswith(LEFT_BEHIND)]


def nbytes_of(folder: Path) -> int:
    """Return how many bytes the files in a folder take."""
    return sum(entry.stat(follow_symlinks=False).st_size for entry in _files(folder))


def _folders(root: Path, depth: int) -> Iterator[Path]:
    for path in _listed(root):
        if path.name.startswith("."):
            continue
        if depth == 1:
            yield path
        else:
            yield from _folders(path, depth - 1)


def _listed(folder: Path) -> list[Path]:
    """The folders in a folder; none where it is gone or may not be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield entry
