"""Where the bytes of an HDF5 dataset lie: in its own file, or in others that it names, which nobody asked to read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.errors import SourceError

MAX_LINKS = 16
SHUFFLE, FLETCHER32 = 2, 3  # HDF5's numbers of filters

SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5, also behind the 512 bytes that MATLAB writes first."""
    with path.open("rb") as file:
        head = file.read(512 + len(SIGNATURE))
    return head.startswith(SIGNATURE) or head.endswith(SIGNATURE)


def find(file: Any, h5py: Any, path: Path, name: str) -> Any:
    """Return what lies at `name`, None if nothing does. Raises SourceError where a link leads to another file."""
    at, names, links = file["/"], _steps(name), 0
    while names:
        part = names.pop(0)
        link = at.get(part, getlink=True) if isinstance(at, h5py.Group) else None
        if isinstance(link, h5py.ExternalLink):
            raise SourceError(f"{path}: {name} is a link into another file, {link.filename}; open that one")
        if isinstance(link, h5py.SoftLink):
            links += 1
            at = file["/"] if link.path.startswith("/") else at
            names = _steps(link.path) + names
        elif link is not None:
            at = at[part]
        if link is None or links > MAX_LINKS:
            return None
    return at


def _steps(name: str) -> list[str]:
    return [step for step in name.split("/") if step not in ("", ".")]


def check_own(data: Any, h5py: Any, path: Path) -> None:
    """Raise SourceError if a dataset's bytes lie in files of other kinds, or in HDF5 files outside its own folder."""
    if data.external:
        raise SourceError(f"{path}: {data.name} names bytes of another file, {data.external[0][0]}; not read")
    for part, name in _parts(data):
        if "%" in part + name:
            raise SourceError(f"{path}: {data.name} names its parts by a pattern, {part}; name them one by one")
        if part == ".":
            _check_plain(data.file, h5py, path, name)
            continue
        beside = (path.parent / part).resolve()
        if not beside.is_relative_to(path.parent.resolve()):
            raise SourceError(f"{path}: a part of {data.name} lies outside this file's folder, {part}; not read")
        if not beside.is_file():  # for which HDF5 would give frames of zeros
            raise SourceError(f"{path}: a part of {data.name} is missing, {part}; copy it to where it was")
        with h5py.File(beside, "r") as other:
            _check_plain(other, h5py, beside, name)


def check_chunk_sizes(data: Any, path: Path) -> None:
    """Raise SourceError for a chunk that is stored in fewer bytes than its filters take: HDF5 would read past its end.

    A checksum takes 4 bytes of its own. What neither packs nor unpacks a chunk leaves its size. 3 µs for each chunk.
    """
    plist = data.id.get_create_plist()
    filters = [plist.get_filter(n)[0] for n in range(plist.get_nfilters())]
    whole = math.prod(data.chunks) * data.dtype.itemsize

    def look(chunk: Any) -> None:
        used = [kind for n, kind in enumerate(filters) if not chunk.filter_mask >> n & 1]
        least = (whole if set(used) <= {SHUFFLE, FLETCHER32} else 1) + 4 * (FLETCHER32 in used)
        if chunk.size < least:
            raise SourceError(
                f"{path}: the chunk of {data.name} at {tuple(chunk.chunk_offset)} has {chunk.size} bytes, it takes "
                f"{least}; the file is damaged there, copy it again"
            )

    if filters:
        data.id.chunk_iter(look)


def _parts(data: Any) -> Iterator[tuple[str, str]]:
    """(file, dataset) of each part of a virtual dataset."""
    if data.is_virtual:
        yield from dict.fromkeys((part.file_name, part.dset_name) for part in data.virtual_sources())


def _check_plain(file: Any, h5py: Any, path: Path, name: str) -> None:
    """A part of a virtual dataset lies whole in its file: parts of parts could lead anywhere."""
    data = find(file, h5py, path, name)
    if not isinstance(data, h5py.Dataset) or data.is_virtual or data.external:
        raise SourceError(f"{path}: {name} is part of another dataset, and its bytes do not lie in this file; not read")
    if data.chunks is not None:
        check_chunk_sizes(data, path)
