"""NDTiff folders (Micro-Manager, pycro-manager) as sources: frames found by `NDTiff.index`."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..core.errors import SourceError
from ..core.names import file_in
from .declared import check_declared, positive
from .plane_selection import Stack
from .planes import PlaneSource, Window

# The index gives each image its axes (JSON), file, and eight numbers: where its pixels and its metadata are.
_NUMBERS = struct.Struct("<8I")
_DTYPES = {0: "uint8", 1: "uint16", 3: "uint16", 4: "uint16", 5: "uint16", 6: "uint16"}  # 3 to 6: 10 to 16 bits used
_AXES = ("position", "time", "channel", "z")  # slowest first
MAX_FACTS_BYTES = 1 << 20
MAX_DEPTH_UM = 1e6
MAX_SPREAD = 100  # images that are missing for each that is there; more is a damaged index


@dataclass(frozen=True)
class _Entry:
    axes: Mapping[str, int | str]
    file: str
    offset: int
    width: int
    height: int
    kind: int
    facts_offset: int
    facts_nbytes: int


class NDTiffSource(PlaneSource):
    """The images of an NDTiff folder along time, channel and z; pixel size and interval from the images' metadata.

    Images that a stopped or damaged recording lacks are gaps; channels come in the order of acquisition. Raises
    SourceError for an index cut short or pixels of several kinds.
    """

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        entries = read_index(path / "NDTiff.index")
        first = entries[0]
        for entry in entries:
            if (entry.width, entry.height, entry.kind) != (first.width, first.height, first.kind):
                raise SourceError(f"{path}: image {dict(entry.axes)} differs from the first in size or pixel type")
        if first.kind not in _DTYPES:
            raise SourceError(f"{path}: pixels of NDTiff type {first.kind}; grey images of 8 to 16 bit are read")
        labels = _labels(entries)
        numbers = {name: {label: n for n, label in enumerate(held)} for name, held in labels.items()}
        places = {tuple(numbers[n][e.axes.get(n, 0)] for n in labels): e for e in entries}
        axes = {name: len(held) for name, held in labels.items()}
        if (whole := math.prod(axes.values())) > MAX_SPREAD * len(places):  # before a grid is made of what it says
            missing = f"{whole - len(places)} of {whole} images are not there"
            raise SourceError(f"{path}: {missing}; copy the folder again")
        self._entries = {number: places[at] for number, at in enumerate(np.ndindex(*axes.values())) if at in places}
        self._shape, self._dtype = (first.height, first.width), np.dtype(_DTYPES[first.kind]).newbyteorder("<")
        self._nbytes = math.prod(self._shape) * self._dtype.itemsize
        self._sizes: dict[str, int] = {}
        check_declared(path, "a frame", self._nbytes)
        there = np.zeros(whole, bool)
        there[[number for number, entry in self._entries.items() if self._is_whole(entry)]] = True
        if not there.any():
            raise SourceError(f"{path}: no image is whole; copy the folder again")
        last = [entry for entry in entries if _plane_of(entry) == _plane_of(first)][-1]
        facts = [self._facts(entry) for entry in (first, last)]
        channels = tuple(str(label) for label in labels.get("channel", ()))
        interval_s = _interval_s(facts[0], facts[1], axes.get("time", 1))
        pixel_um = positive(facts[0].get("PixelSizeUm"))
        dtype = self._dtype.newbyteorder("=").name
        held = Stack(axes, self._shape, dtype, interval_s, pixel_um, None, channels, there=there)
        return replace(held, z_step_um=self._z_step_um(labels.get("z", [0]), entries))

    def _z_step_um(self, slices: Sequence[int | str], entries: Sequence[_Entry]) -> float | None:
        """The depth between slices, from where the first and the last were meant to be."""
        ends = (next((e for e in entries if e.axes.get("z", 0) == z), None) for z in (slices[0], slices[-1]))
        at_um: list[Any] = [self._facts(entry).get("ZPosition_um_Intended") if entry else None for entry in ends]
        if len(slices) < 2 or not all(isinstance(z, int | float) and abs(z) < MAX_DEPTH_UM for z in at_um):
            return None
        return positive(abs(at_um[1] - at_um[0]) / (len(slices) - 1))

    def _planes(self, numbers: np.ndarray, window: Window) -> np.ndarray:
        planes = []
        for number in numbers:
            entry = self._entries[int(number)]
            path = self.path / entry.file
            if entry.offset + self._nbytes > path.stat().st_size:
                raise SourceError(f"{path}: cut short at image {dict(entry.axes)}; copy it again")
            with path.open("rb") as file:
                file.seek(entry.offset)
                data = file.read(self._nbytes)
            planes.append(np.frombuffer(data, self._dtype).reshape(self._shape)[window])
        return np.stack(planes).astype(self._dtype.newbyteorder("="), copy=False)

    def _is_whole(self, entry: _Entry) -> bool:
        if entry.file not in self._sizes:
            path = self.path / entry.file
            self._sizes[entry.file] = path.stat().st_size if path.is_file() else 0
        return entry.offset + self._nbytes <= self._sizes[entry.file]

    def _facts(self, entry: _Entry) -> dict[str, Any]:
        try:
            with (self.path / entry.file).open("rb") as file:
                file.seek(entry.facts_offset)
                facts = json.loads(file.read(min(entry.facts_nbytes, MAX_FACTS_BYTES)))
        except (OSError, ValueError, RecursionError):
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
            if compression:
                raise ValueError(f"compression {compression}")
            axes = msgspec.json.decode(texts[0], type=dict[str, int | str])
            entries.append(_Entry(axes, texts[1], offset, width, height, kind, facts_at, facts_nbytes))
    except (struct.error, ValueError, msgspec.MsgspecError) as error:
        raise SourceError(f"{path}: damaged after {len(entries)} images ({error}); copy the folder again") from None
    if not entries:
        raise SourceError(f"{path}: lists no image")
    for name in {entry.file for entry in entries}:
        file_in(path.parent, name, SourceError)
    return entries


def _labels(entries: Sequence[_Entry]) -> dict[str, list[int | str]]:
    """What the images are called along time, channel and z, and along any other axis that has several."""
    named = {name for entry in entries for name in entry.axes}
    names = [name for name in _AXES if name in named] + sorted(named - set(_AXES))
    labels = {name: dict.fromkeys(entry.axes.get(name, 0) for entry in entries) for name in names}
    times = [time for time in labels.get("time", {}) if isinstance(time, int)]
    if times and len(times) == len(labels["time"]) and max(times) - min(times) < MAX_SPREAD * len(times):
        labels["time"] |= dict.fromkeys(range(min(times), max(times) + 1))  # of which no plane has an image: gaps
    return {
        name: sorted(held, key=lambda label: (isinstance(label, str), 0 if isinstance(label, str) else label))
        for name, held in labels.items()
        if len(held) > 1 or name in _AXES
    }


def _plane_of(entry: _Entry) -> dict[str, int | str]:
    return {name: label for name, label in entry.axes.items() if name != "time"}


def _interval_s(first: Mapping[str, Any], last: Mapping[str, Any], frames: int) -> float | None:
    began, ended = (facts.get("ElapsedTime-ms") for facts in (first, last))
    if frames < 2 or not isinstance(began, int | float) or not isinstance(ended, int | float):
        return None
    try:
        elapsed_ms = positive(float(ended) - float(began))
    except OverflowError:  # an integer of hundreds of digits
        return None
    return None if elapsed_ms is None else elapsed_ms / 1e3 / (frames - 1)
