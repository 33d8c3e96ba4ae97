"""Sources by URI: a scheme, a file's suffix or what lies in a folder says who reads it.

Readers are entry points, ours and those of other packages alike: `streamfluo.schemes` (`tcp`; called with the URI),
`streamfluo.suffixes` (`.tif`) and `streamfluo.folders` (`session.json`, `*.tif`: a file in the folder), whose
`open(path, selection)` is called; `selections` are the keys that a selection may have.
"""

from __future__ import annotations

import time
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from ..core.errors import SourceError
from ..core.source import Source
from .plane_selection import SeveralPlanes
from .selection import parse_selection, path_and_query, without_file_scheme


def open_source(uri: str | Path, planes: bool = False) -> Source:
    """Open frames by URI: `recording.tif`, `recording.tif?frames=100:200`, `sim:calcium?seed=3`, `tcp://host:port`.

    With `planes` a file of several planes is opened with all of them, as `?planes=all` does, where none are selected;
    without, it is refused. Use it as a context manager. Raises SourceError that names what is wrong with the file,
    stream or selection.
    """
    text = without_file_scheme(str(uri))
    schemes, suffixes = _readers("schemes"), _readers("suffixes")
    scheme, colon, _ = text.partition(":")
    source: Source
    if colon and scheme in schemes:
        source = schemes[scheme].load()(text)
        return source
    known = ", ".join([*sorted(suffixes), *(f"{name}:" for name in sorted(schemes))])
    if "://" in text and len(scheme) > 1:
        raise SourceError(f"{text}: no reader for '{scheme}:'; there is {known}")
    location, query = path_and_query(text)
    path = Path(location).expanduser()
    suffix = path.suffix.lower()
    if path.exists() and not path.is_file() and not path.is_dir():
        raise SourceError(f"{path}: neither a file nor a folder, but a pipe or a device; copy its bytes into a file")
    if not path.exists() and (not suffix or suffix in suffixes):
        what = "file" if path.parent.is_dir() else "file, nor its folder"
        raise SourceError(f"{path}: no such {what}; check the name")
    if path.is_dir():
        reader = _folder_reader(path) or (suffixes.get(suffix) if suffix == ".zarr" else None)
        if reader is None and "follow=1" in query.split("&"):
            reader = _awaited_reader(path)
        if reader is None:
            raise SourceError(f"{path}: a folder without session, Zarr or TIFF files; name the file to read")
    elif (reader := suffixes.get(suffix)) is None:
        raise SourceError(f"{text}: no reader for {suffix or scheme!r}; there is {known}")
    kind = reader.load()
    selection = parse_selection(query, str(path), known=kind.selections)
    try:
        source = kind.open(path, selection)
    except SeveralPlanes:
        if not planes:
            raise
        source = kind.open(path, {**selection, "planes": "all"})
    return source


def stays(uri: str) -> bool:
    """Return whether a URI is of a file, a folder or a simulation, not of a camera or a stream that goes by."""
    scheme, colon, _ = uri.partition(":")
    reader = _readers("schemes").get(scheme) if colon else None
    return reader is None or bool(reader.load().seekable)


def is_elsewhere(uri: str) -> bool:
    """Return whether a URI is an address that would be asked for a recording: only where a person wants that."""
    scheme, colon, _ = uri.partition(":")
    reader = _readers("schemes").get(scheme) if colon else None
    return reader is not None and bool(getattr(reader.load(), "elsewhere", False))


def file_reader(path: Path) -> Any:
    """Return the class that reads a file, by its suffix; None where there is none."""
    entry = _readers("suffixes").get(path.suffix.lower())
    return None if entry is None else entry.load()


def reads_folder(path: Path) -> bool:
    """Return whether a folder is a recording: a session, a Zarr array or image, a series of TIFF files, …"""
    return _folder_reader(path) is not None


@cache
def _readers(kind: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=f"streamfluo.{kind}")}


def _folder_reader(path: Path) -> EntryPoint | None:
    """The reader of the first sign that the folder holds, patterns last: TIFF files lie beside an NDTiff index, too."""
    signs = sorted(_readers("folders").items(), key=lambda item: "*" in item[0])
    return next((reader for sign, reader in signs if any(path.glob(sign))), None)


def _awaited_reader(path: Path) -> EntryPoint:
    """The reader of a folder whose first file is still to come. Raises SourceError if none comes within ten seconds."""
    from . import following

    until = time.monotonic() + following.QUIET_S
    while (reader := _folder_reader(path)) is None:
        if time.monotonic() >= until:
            raise SourceError(
                f"{path}: no TIFF came into this folder, nor anything else that is read; name the one into which the "
                "recording is written"
            )
        time.sleep(following.POLL_S)
    return reader
