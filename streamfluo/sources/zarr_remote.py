"""OME-Zarr recordings in an object store or behind a web server: `s3://bucket/rec.zarr`, `https://host/rec.zarr`.

Read by fsspec, chunk by chunk, nothing is copied. Which chunks are there is asked first: a chunk that is not is never a
black frame. Object stores list them; a web server is asked for each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from ..core.block import Block
from ..core.errors import SourceError
from ..core.plane import ONE_PLANE
from ..core.source import MAX_BLOCK_FRAMES, Gap, Source
from .declared import in_one_line
from .plane_selection import Stack
from .selection import parse_selection
from .zarr_store import ZarrSource

ASK_FOR_LIBRARY = 'needs fsspec and its part for this store; install them with pip install "streamfluo[remote]"'
FILES = {".tif", ".tiff", ".btf", ".h5", ".hdf5", ".nwb", ".mat", ".npy", ".avi", ".mp4", ".mkv", ".mov", ".zip"}
MAX_ASKED = 20_000  # chunks that a web server is asked for one by one: some minutes
AT_ONCE = 32
PIECES, PIECE_BYTES = 64, 64 << 10  # of chunks, in what tells one recording from another
PLACE_BYTES = 1 << 20  # that an address counts for, as nobody says how many it has: chunks of 1 GB, none larger


class RemoteZarrSource(Source):
    """A Zarr array or OME-Zarr image elsewhere; selections as for one on this disk, but `follow`.

    A session of it does not open it again by itself: whoever writes a session could have any address asked. Raises
    SourceError for what cannot be read.
    """

    seekable = False  # of the class: a session's reference is not followed; an instance is
    elsewhere = True

    def __init__(self, uri: str) -> None:
        location, _, query = uri.partition("?")
        if PurePosixPath(location).suffix.lower() in FILES:
            raise SourceError(f"{location}: only Zarr is read from elsewhere; copy the file to this machine")
        known = tuple(name for name in ZarrSource.selections if name != "follow")
        selection = parse_selection(query, location, known=known)
        self._inner = _Elsewhere(cast(Path, _Place(location)), selection)
        self.seekable = True
        self.uri, self.spec, self.series = uri, self._inner.spec, self._inner.series

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block | Gap]:
        return self._inner.blocks(max_frames)

    def seek(self, index: int) -> None:
        self._inner.seek(index)

    def times_ns(self, plane: str = ONE_PLANE) -> np.ndarray | None:
        return self._inner.times_ns(plane)

    def close(self) -> None:
        self._inner.close()


class _Place:
    """An address where a `Path` to a file is expected: its name, some bytes, and no time at which it was written."""

    def __init__(self, location: str) -> None:
        self._location = location.rstrip("/")
        self.name = PurePosixPath(self._location).name

    def __str__(self) -> str:
        return self._location

    def stat(self) -> SimpleNamespace:
        return SimpleNamespace(st_mtime_ns=0, st_size=PLACE_BYTES)

    def is_file(self) -> bool:
        return True

    def is_dir(self) -> bool:
        return False


class _Elsewhere(ZarrSource):
    """A Zarr store by its address."""

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        try:
            import fsspec
            import zarr

            with in_one_line(f"{path}: cannot be reached"):
                self._files, self._root = fsspec.core.url_to_fs(str(path))
        except ImportError:
            raise SourceError(f"{path}: {ASK_FOR_LIBRARY}") from None
        self._sizes_of: dict[str, int] = {}
        with in_one_line(f"{path}: no Zarr that can be read there"):
            return self._describe(zarr, path, selection.get("dataset"))

    def _present_chunks(self, array: Any) -> np.ndarray:
        sides = array.shards or array.chunks
        grid = tuple(-(-n // side) for n, side in zip(array.shape, sides, strict=True))
        self._folder = "/".join(filter(None, [self._root.rstrip("/"), str(array.path).strip("/")]))
        keys = [array.metadata.encode_chunk_key(at) for at in np.ndindex(grid)]
        self._sizes_of = self._asked(keys) if self._root.startswith("http") else self._found()
        return np.array([self._sizes_of.get(key, 0) > 0 for key in keys]).reshape(grid)

    def _found(self) -> dict[str, int]:
        """The sizes of the files in the array's folder, as the store lists them."""
        files = self._files.find(self._folder, detail=True)
        return {name.removeprefix(f"{self._folder}/"): int(about["size"] or 0) for name, about in files.items()}

    def _asked(self, keys: list[str]) -> dict[str, int]:
        """The sizes of these files, each asked for."""
        if len(keys) > MAX_ASKED:
            raise SourceError(
                f"{self.path}: {len(keys):,} chunks, and a web server does not list which are there; name it by s3://, "
                "or copy it"
            )

        def size_of(key: str) -> int:
            try:
                about = self._files.info(f"{self._folder}/{key}")
            except FileNotFoundError:
                return 0
            return 1 if about.get("size") is None else int(about["size"])

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return dict(zip(keys, pool.map(size_of, keys), strict=True))

    def _uid(self, selection: Mapping[str, str]) -> str:
        """A hash of the chunks' names and sizes, the metadata, and the first 64 KiB of at most 64 chunks."""
        there = sorted((name, size) for name, size in self._sizes_of.items() if size)
        about = (there, sorted(selection.items()), repr(self._array.metadata.to_dict()))
        digest = hashlib.blake2b(repr(about).encode(), digest_size=16)
        for n in np.unique(np.linspace(0, max(0, len(there) - 1), PIECES).astype(int)) if there else ():
            name, size = there[n]
            # by name: s3fs has a version before them
            digest.update(self._files.cat_file(f"{self._folder}/{name}", start=0, end=min(PIECE_BYTES, size)))
        return digest.hexdigest()

    def _source_name(self) -> str:
        return str(self.path)
