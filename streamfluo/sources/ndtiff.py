"""NDTiff folders (Micro-Manager, pycro-manager) as sources: frames found by `NDTiff.index`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import SourceError, did_you_mean
from .declared import check_declared, positive
from .ndtiff_index import Entry, Index
from .plane_selection import Stack
from .planes import PlaneSource, Window

_DTYPES = {0: "uint8", 1: "uint16", 3: "uint16", 4: "uint16", 5: "uint16", 6: "uint16"}  # 3 to 6: 10 to 16 bits used
_AXES = ("position", "time", "channel", "z")  # slowest first
MAX_FACTS_BYTES = 1 << 20
MAX_DEPTH_UM = 1e6
MAX_SPREAD = 100  # images that are missing for each that is there; more is a damaged index


class NDTiffSource(PlaneSource):
    """The images of an NDTiff folder along time, channel and z; pixel size and interval from the images' metadata.

    Images that a stopped or damaged recording lacks are gaps; channels come in the order of acquisition; of several
    positions `?position=` selects one by name or number. Raises SourceError for an index cut short or pixels of several
    kinds.
    """

    selections = (*PlaneSource.selections, "position", "follow")

    @classmethod
    def open(cls, path: Path, selection: Mapping[str, str]) -> PlaneSource:
        if "follow" in selection:
            from .ndtiff_follow import FollowedNDTiffSource

            return FollowedNDTiffSource(path, selection)
        return cls(path, selection)

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        index = Index(path / "NDTiff.index")
        listed = index.more()
        if index.problem:
            stopped = f", or read what is whole: {path.name}?follow=1" if index.cut and listed else ""
            raise SourceError(f"{index.path}: {index.problem}; copy the folder again{stopped}")
        if not listed:
            raise SourceError(f"{index.path}: lists no image")
        entries = at_position(listed, selection, path)
        first = entries[0]
        self._begin(first)
        self._check_alike(entries)
        labels = labels_of(entries)
        numbers = {name: {label: n for n, label in enumerate(held)} for name, held in labels.items()}
        places = {tuple(numbers[n][e.axes.get(n, 0)] for n in labels): e for e in entries}
        axes = {name: len(held) for name, held in labels.items()}
        if (whole := math.prod(axes.values())) > MAX_SPREAD * len(places):  # before a grid is made of what it says
            missing = f"{whole - len(places)} of {whole} images are not there"
            raise SourceError(f"{path}: {missing}; copy the folder again")
        self._entries = {number: places[at] for number, at in enumerate(np.ndindex(*axes.values())) if at in places}
        there = np.zeros(whole, bool)
        there[[number for number, entry in self._entries.items() if self._is_whole(entry)]] = True
        if not there.any():
            raise SourceError(f"{path}: no image is whole; copy the folder again")
        last = [entry for entry in entries if plane_of(entry) == plane_of(first)][-1]
        facts = [self._facts(entry) for entry in (first, last)]
        interval_s = _interval_s(facts[0], facts[1], axes.get("time", 1))
        return replace(self._described(facts[0], labels, entries), axes=axes, there=there, interval_s=interval_s)

    def _begin(self, first: Entry) -> None:
        """Take in what all images have in common. Raises SourceError for pixels that are not read."""
        if first.kind not in _DTYPES:
            raise SourceError(f"{self.path}: pixels of NDTiff type {first.kind}; grey images of 8 to 16 bit are read")
        self._shape, self._dtype = (first.height, first.width), np.dtype(_DTYPES[first.kind]).newbyteorder("<")
        self._nbytes = math.prod(self._shape) * self._dtype.itemsize
        self._like, self._sizes = (first.width, first.height, first.kind), dict[str, int]()
        check_declared(self.path, "a frame", self._nbytes)

    def _check_alike(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if (entry.width, entry.height, entry.kind) != self._like:
                raise SourceError(f"{self.path}: image {dict(entry.axes)} differs from the first in size or pixel type")

    def _described(
        self, facts: Mapping[str, Any], labels: Mapping[str, Sequence[int | str]], entries: Sequence[Entry]
    ) -> Stack:  # fmt: skip
        """Return what images with the metadata `facts` hold along channel and z."""
        channels = tuple(str(label) for label in labels.get("channel", ()))
        pixel_um, dtype = positive(facts.get("PixelSizeUm")), self._dtype.newbyteorder("=").name
        held = Stack({}, self._shape, dtype, None, pixel_um, None, channels)
        return replace(held, z_step_um=self._z_step_um(labels.get("z", [0]), entries))

    def _z_step_um(self, slices: Sequence[int | str], entries: Sequence[Entry]) -> float | None:
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

    def _is_whole(self, entry: Entry) -> bool:
        if entry.file not in self._sizes:
            path = self.path / entry.file
            self._sizes[entry.file] = path.stat().st_size if path.is_file() else 0
        return entry.offset + self._nbytes <= self._sizes[entry.file]

    def _facts(self, entry: Entry) -> dict[str, Any]:
        try:
            with (self.path / entry.file).open("rb") as file:
                file.seek(entry.facts_offset)
                facts = json.loads(file.read(min(entry.facts_nbytes, MAX_FACTS_BYTES)))
        except (OSError, ValueError, RecursionError):
            return {}
        return facts if isinstance(facts, dict) else {}


def at_position(entries: Sequence[Entry], selection: Mapping[str, str], path: Path) -> list[Entry]:
    """Return the images of the position that is selected. Raises SourceError that lists the positions."""
    held = dict.fromkeys(entry.axes["position"] for entry in entries if "position" in entry.axes)
    labels = [str(label) for label in sorted(held, key=_as_listed)]
    text = selection.get("position")
    if text is None:
        if len(labels) > 1:
            listed = ", ".join(labels)
            raise SourceError(f"{path}: several positions: {listed}; select one: {path.name}?position={labels[0]}")
        return list(entries)
    chosen = text if text in labels else labels[int(text)] if text.isdecimal() and int(text) < len(labels) else None
    if chosen is None:
        raise SourceError(f"{path}: no position {text!r}{did_you_mean(text, labels)}")
    return [entry for entry in entries if str(entry.axes.get("position")) == chosen]


def _as_listed(label: int | str) -> tuple[bool, int]:
    """Sorts numbers before names, and names as they come."""
    return isinstance(label, str), 0 if isinstance(label, str) else label


def labels_of(entries: Sequence[Entry]) -> dict[str, list[int | str]]:
    """What the images are called along time, channel and z, and along any other axis that has several."""
    named = {name for entry in entries for name in entry.axes}
    names = [name for name in _AXES if name in named] + sorted(named - set(_AXES))
    labels = {name: dict.fromkeys(entry.axes.get(name, 0) for entry in entries) for name in names}
    times = [time for time in labels.get("time", {}) if isinstance(time, int)]
    if times and len(times) == len(labels["time"]) and max(times) - min(times) < MAX_SPREAD * len(times):
        labels["time"] |= dict.fromkeys(range(min(times), max(times) + 1))  # of which no plane has an image: gaps
    return {name: sorted(held, key=_as_listed) for name, held in labels.items() if len(held) > 1 or name in _AXES}


def plane_of(entry: Entry) -> dict[str, int | str]:
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
