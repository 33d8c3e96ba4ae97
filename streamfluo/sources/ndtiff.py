"""NDTiff folders (Micro-Manager, pycro-manager) as sources: frames found by `NDTiff.index`."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import SourceError
from .planes import PlaneSource, Stack, Window

# The index gives each image its axes (JSON), file, and eight numbers: where its pixels and its metadata are.
_NUMBERS = struct.Struct("<8I")
_DTYPES = {0: "uint8", 1: "uint16", 3: "uint16", 4: "uint16", 5: "uint16", 6: "uint16"}  # 3 to 6: 10 to 16 bits used
_NAMES = {"position": "position", "time": "time", "channel": "channel", "z": "z"}


@dataclass(frozen=True)
class _Entry:
    axes: Mapping[str, Any]
    file: str
    offset: int
    width: int
    height: int
    kind: int
    facts_offset: int
    facts_nbytes: int


class NDTiffSource(PlaneSource):
    """The images of an NDTiff folder along time, channel and z; pixel size and interval from the images' metadata.

    Raises SourceError for an index cut short, images that are missing, or pixels of several kinds.
    """

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        entries = read_index(path / "NDTiff.index")
        first = entries[0]
        for entry in entries:
            if (entry.width, entry.height, entry.kind) != (first.width, first.height, first.kind):
                raise SourceError(f"{path}: image {dict(entry.axes)} differs from the first in size or pixel type")
        if first.kind not in _DTYPES:
            raise SourceError(f"{path}: pixels of NDTiff type {first.kind}; grey images of 8 to 16 bit are read")
        names = [name for name in ("position", "time", "channel", "z") if any(name in e.axes for e in entries)]
        names += sorted({name for e in entries for name in e.axes} - set(names))
        labels = {name: _ordered({e.axes.get(name, 0) for e in entries}) for name in names}
        places = {tuple(labels[n].index(e.axes.get(n, 0)) for n in names): e for e in entries}
        shape = tuple(len(labels[n]) for n in names)
        self._entries = [places.get(tuple(int(i) for i in at)) for at in np.ndindex(shape)]
        missing = sum(entry is None for entry in self._entries)
        if missing:
            raise SourceError(f"{path}: {missing} of {len(self._entries)} images are not there; copy the folder again")
        self._shape, self._dtype = (first.height, first.width), np.dtype(_DTYPES[first.kind]).newbyteorder("<")
        facts = [self._facts(e) for e in (entries[0], entries[-1])]
        pixel_um = facts[0].get("PixelSizeUm")
        axes = {_NAMES.get(n, n): len(labels[n]) for n in names}
        channels = tuple(str(label) for label in labels.get("channel", ()))
        interval_s = _interval_s(facts[0], facts[1], axes.get("time", 1))
        known = float(pixel_um) if isinstance(pixel_um, int | float) and pixel_um > 0 else None
        return Stack(axes, self._shape, self._dtype.newbyteorder("=").name, interval_s, known, None, channels)

    def _planes(self, numbers: np.ndarray, window: Window) -> np.ndarray:
        planes = []
        for number in numbers:
            entry = self._entries[int(number)]
            assert entry is not None
            with (self.path / entry.file).open("rb") as file:
                file.seek(entry.offset)
                data = file.read(self._shape[0] * self._shape[1] * self._dtype.itemsize)
            if len(data) < self._shape[0] * self._shape[1] * self._dtype.itemsize:
                raise SourceError(f"{self.path / entry.file}: cut short at image {dict(entry.axes)}; copy it again")
            planes.append(np.frombuffer(data, self._dtype).reshape(self._shape)[window])
        return np.stack(planes).astype(self._dtype.newbyteorder("="), copy=False)

    def _facts(self, entry: _Entry) -> dict[str, Any]:
        try:
            with (self.path / entry.file).open("rb") as file:
                file.seek(entry.facts_offset)
                facts = json.loads(file.read(min(entry.facts_nbytes, 1 << 20)))
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}


def read_index(path: Path) -> list[_Entry]:
    """Return the images an NDTiff index lists. Raises SourceError if it is cut short, empty or names other folders."""
    data, at, entries = path.read_bytes(), 0, []
    try:
        while at < len(data):
            texts = []
            for _ in range(2):
                (length,) = struct.unpack_from("<I", data, at)
                if at + 4 + length > len(data):
                    raise ValueError("text behind the end")
                texts.append(data[at + 4 : at + 4 + length].decode())
                at += 4 + length
            offset, width, height, kind, compression, facts_at, facts_nbytes, _ = _NUMBERS.unpack_from(data, at)
            at += _NUMBERS.size
            if Path(texts[1]).name != texts[1] or compression:
                raise ValueError(f"file {texts[1]!r}, compression {compression}")
            axes = json.loads(texts[0])
            entries.append(_Entry(axes, texts[1], offset, width, height, kind, facts_at, facts_nbytes))
    except (struct.error, ValueError) as error:
        raise SourceError(f"{path}: damaged after {len(entries)} images ({error}); copy the folder again") from None
    if not entries:
        raise SourceError(f"{path}: lists no image")
    return entries


def _ordered(labels: set[Any]) -> list[Any]:
    return sorted(labels, key=lambda label: (isinstance(label, str), label))


def _interval_s(first: Mapping[str, Any], last: Mapping[str, Any], frames: int) -> float | None:
    began, ended = (facts.get("ElapsedTime-ms") for facts in (first, last))
    if frames < 2 or not isinstance(began, int | float) or not isinstance(ended, int | float) or ended <= began:
        return None
    return (ended - began) / 1e3 / (frames - 1)
