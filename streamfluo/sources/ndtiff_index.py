"""The index of an NDTiff folder: which images there are, and where; read on from where it was left while it grows."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..core.errors import SourceError
from ..core.names import file_in

# The index gives each image its axes (JSON), file, and eight numbers: where its pixels and its metadata are.
_NUMBERS = struct.Struct("<8I")
MAX_TEXT_BYTES = 1 << 16  # of axes and of a file's name


@dataclass(frozen=True)
class Entry:
    """An image of the index: its axes, its file, where its pixels and its metadata are in it."""

    axes: Mapping[str, int | str]
    file: str
    offset: int
    width: int
    height: int
    kind: int
    facts_offset: int
    facts_nbytes: int


class Index:
    """Reads the entries of an index in order. What is not whole is read again the next time.

    `problem`: what is wrong behind the last whole entry, empty where nothing is; `cut`: whether it may be that the rest
    is not written yet. Zeros at the end are room that the writer made beforehand.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.problem, self.cut = path, "", False
        self._at, self._count, self._files = 0, 0, set[str]()

    def more(self) -> list[Entry]:
        """Return the whole entries behind those that were returned before. Raises SourceError if one names another
        folder's file, OSError where there is no index."""
        with self.path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        entries, at, self.problem, self.cut = list[Entry](), 0, "", False
        try:
            while at < len(data):
                entry, at = _entry_at(data, at)
                entries.append(entry)
        except (struct.error, EOFError, ValueError, msgspec.MsgspecError) as error:
            self.cut = isinstance(error, struct.error | EOFError)
            if data[at:].strip(b"\0"):
                self.problem = f"damaged after {self._count + len(entries)} images ({error})"
        self._at, self._count = self._at + at, self._count + len(entries)
        for name in {entry.file for entry in entries} - self._files:
            file_in(self.path.parent, name, SourceError)
            self._files.add(name)
        return entries


def _entry_at(data: bytes, at: int) -> tuple[Entry, int]:
    """Return the entry at a place, and where the next begins. Raises EOFError or struct.error where it is cut short,
    ValueError or MsgspecError where it is none."""
    texts = []
    for _ in range(2):
        (length,) = struct.unpack_from("<I", data, at)
        if length > MAX_TEXT_BYTES:
            raise ValueError(f"a text of {length} bytes")
        if at + 4 + length > len(data):
            raise EOFError("text behind the end")
        texts.append(data[at + 4 : at + 4 + length].decode())
        at += 4 + length
    offset, width, height, kind, compression, facts_at, facts_nbytes, _ = _NUMBERS.unpack_from(data, at)
    if compression:
        raise ValueError(f"compression {compression}")
    axes = msgspec.json.decode(texts[0], type=dict[str, int | str])
    return Entry(axes, texts[1], offset, width, height, kind, facts_at, facts_nbytes), at + _NUMBERS.size
