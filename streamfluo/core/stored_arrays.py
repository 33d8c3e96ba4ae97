"""Arrays of .npy and .npz files: what they declare is checked against their bytes before memory is asked for."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

MAX_RATIO = 1032  # of deflate, by its format

# What numpy and zipfile raise for damaged and forged files.
NOT_AN_ARRAY = (
    OSError, ValueError, EOFError, KeyError, TypeError, SyntaxError, MemoryError, RuntimeError, OverflowError,
    AttributeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class StoredArrays:
    """The arrays of an .npz file by name, each read when it is asked for. Raises what is in NOT_AN_ARRAY.

    Of a file that nobody packs (`packed` False), as those of a session, all arrays together are no larger than it.
    """

    def __init__(self, file: IO[bytes], packed: bool = True) -> None:
        self._zip = zipfile.ZipFile(file)
        self._entries = {entry.filename.removesuffix(".npy"): entry for entry in self._zip.infolist()}
        length, stored = file.seek(0, os.SEEK_END), sum(entry.compress_size for entry in self._zip.infolist())
        if stored > length:
            raise ValueError(f"its arrays would lie in {stored} bytes, of {length}; its list of arrays is damaged")
        for entry in self._zip.infolist():
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[: 1 + packed]:
                raise ValueError(f"{entry.filename[:64]!r} is packed, as this program packs none")
            if entry.file_size > entry.compress_size * (MAX_RATIO if entry.compress_type else 1):
                raise ValueError(
                    f"{entry.filename[:64]!r} would take {entry.file_size} bytes, of {entry.compress_size} stored"
                )
        # A length that is damaged in its list may hide an entry.
        file.seek(-22, os.SEEK_END)
        self.is_whole = len(self._entries) == int.from_bytes(file.read(12)[10:], "little")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(self._entries)

    def read(self, name: str) -> np.ndarray:
        """Return an array. Raises what is in NOT_AN_ARRAY."""
        entry = self._entries[name]
        with self._zip.open(entry) as stream:
            _check_header(stream, entry.file_size)
        with self._zip.open(entry) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)


@contextmanager
def stored_arrays(path: Path, packed: bool = True) -> Iterator[StoredArrays]:
    """Open an .npz file. Raises what is in NOT_AN_ARRAY."""
    with path.open("rb") as file:
        yield StoredArrays(file, packed)


def read_array(path: Path) -> np.ndarray:
    """Return the array of an .npy file. Raises what is in NOT_AN_ARRAY."""
    with path.open("rb") as file:
        _check_header(file, path.stat().st_size)
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def _check_header(stream: IO[bytes], nbytes: int) -> None:
    """Raise ValueError unless an array's header names as many bytes as follow it, of `nbytes` in all."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of numpy's format is not read")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    declared, found = math.prod(shape) * dtype.itemsize, nbytes - stream.tell()
    if declared != found and not dtype.hasobject:  # of objects read_array says that they are not read
        raise ValueError(f"an array {shape} {dtype} takes {declared} bytes, found {found}")
