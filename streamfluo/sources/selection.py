"""What is selected of a recording, and the uid that its content and the selection give a series."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote

import numpy as np

from ..core.errors import SourceError

MAX_SETTING = 4000  # characters; Python makes no number of more than 4300


def path_and_query(text: str) -> tuple[str, str]:
    """Return the path of a file's URI and its selection. A `?` of the name is none of a selection: the longest path
    that is there counts."""
    places = [n for n, letter in enumerate(text) if letter == "?"]
    for at in (len(text), *reversed(places)):
        if len(places) and os.path.lexists(Path(text[:at]).expanduser()):
            return text[:at], text[at + 1 :]
    location, _, query = text.partition("?")
    return location, query


def without_file_scheme(text: str) -> str:
    """Return `file:///data/a%20b.tif?frames=0:9` as a path and its selection, other texts as they are.

    Raises SourceError for a file of another computer.
    """
    if not text.startswith("file://"):
        return text
    location, mark, query = text.removeprefix("file://").partition("?")
    host, _, path = location.partition("/")
    if host not in ("", "localhost"):
        raise SourceError(f"{text}: a file of the computer {host!r}; name it by a path under which it is seen here")
    return f"/{unquote(path)}{mark}{query}"


def parse_selection(query: str, where: str, known: tuple[str, ...]) -> dict[str, str]:
    """Return the `key=value` pairs of a URI's query. Raises SourceError for a key that is not `known`."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise SourceError(f"{where}: '?{query}' is not key=value&key=value") from None
    for key, text in pairs:
        if key not in known:
            raise SourceError(f"{where}: no setting {key!r}; there is {', '.join(known)}")
        if len(text) > MAX_SETTING:
            raise SourceError(f"{where}: {key}={text[:20]}… is {len(text)} characters long; {MAX_SETTING} are the most")
    return dict(pairs)


def parse_frames(text: str | None, frames: int, where: str) -> range:
    """Return the frames that `a:b` selects of `frames`. Raises SourceError for an empty or outside selection."""
    if text is None:
        return range(frames)
    start, colon, stop = text.partition(":")
    try:
        selected = range(int(start or 0), int(stop or frames))
    except ValueError:
        colon = ""
    if not colon or not 0 <= selected.start < selected.stop <= frames:
        raise SourceError(f"{where}: frames={text} selects nothing; give start:stop within 0:{frames}")
    return selected


def content_uid(path: Path, selection: Mapping[str, str]) -> str:
    """Return the series uid of a file: a hash of its size, content and selection.

    Up to 64 MiB the whole content counts; of a larger file the first and last 8 MiB and 512 pieces of 64 KiB spread
    evenly between, so that a 100 GB recording opens in well under a second.
    """
    if path.is_dir():
        return _folder_uid(path, selection)
    size = path.stat().st_size
    digest = hashlib.blake2b(repr((size, sorted(selection.items()))).encode(), digest_size=16)
    end, piece = 8 << 20, 64 << 10
    with path.open("rb") as file:
        if size <= 64 << 20:
            digest.update(file.read())
        else:
            digest.update(file.read(end))
            for offset in np.linspace(end, size - end - piece, 512).astype(int):
                file.seek(int(offset))
                digest.update(file.read(piece))
            file.seek(size - end)
            digest.update(file.read(end))
    return digest.hexdigest()


def _folder_uid(path: Path, selection: Mapping[str, str]) -> str:
    """A hash of a folder's file names and sizes, and of the first 64 KiB of at most 64 files spread evenly."""
    files = sorted(p for p in path.rglob("*") if p.is_file())
    names = [(p.relative_to(path).as_posix(), p.stat().st_size) for p in files]
    digest = hashlib.blake2b(repr((names, sorted(selection.items()))).encode(), digest_size=16)
    for n in np.unique(np.linspace(0, len(files) - 1, 64).astype(int)):
        with files[n].open("rb") as file:
            digest.update(file.read(64 << 10))
    return digest.hexdigest()
