"""What the XML of a Prairie View recording (Bruker) says: which file is of which channel, slice and time, and when.

Its elements are read one by one and none is kept, so that an XML of 100 MB takes no more memory than the names in it.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from xml.parsers import expat

from ..core.errors import SourceError
from .declared import positive

PIECE_BYTES = 1 << 20  # that are parsed at once
MAX_HEAD_BYTES = 4096  # within which the first element stands
_VALUES = ("PVStateValue", "Key")  # since Prairie View 5, before
_KEPT = ("framePeriod", "rastersPerFrame", "micronsPerPixel", "positionCurrent")
_STAGE = ("XAxis", "YAxis")
SAME_PLACE_UM = 10.0  # a stage comes back to within less


@dataclass
class Sequence:
    """One `Sequence` element: a cycle of a volume, or of frames one after the other; `times_s` of its frames, NaN where
    they have none."""

    kind: str
    times_s: array[float] = field(default_factory=lambda: array("d"))
    stage_um: dict[str, float] = field(default_factory=dict)  # where the stage was, by axis


@dataclass
class Scan:
    """What the XML says: `files` has (sequence, frame in it, channel, file, page) of each image, from 0 on; `channels`
    the name of each channel number; `values` what is the same for all frames. `turned`: every second volume is scanned
    the other way round. `whole`: the XML is."""

    path: Path
    sequences: list[Sequence] = field(default_factory=list)
    files: list[tuple[int, int, int, str, int]] = field(default_factory=list)
    channels: dict[int, str] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    turned: bool = False
    whole: bool = True

    @cached_property
    def is_volume(self) -> bool:
        """Whether the frames of a sequence are the slices of a volume. Raises SourceError if they are of some only."""
        kinds = {"ZSeries" in sequence.kind for sequence in self.sequences}
        if len(kinds) > 1:
            both = " and ".join(sorted({sequence.kind for sequence in self.sequences}))
            raise SourceError(f"{self.path}: sequences of several kinds, {both}; move the files of one kind elsewhere")
        return kinds == {True}

    @cached_property
    def slices(self) -> int:
        """How many slices a volume has, 1 where there is none."""
        return max((len(sequence.times_s) for sequence in self.sequences), default=1) if self.is_volume else 1

    @property
    def pixel_um(self) -> float | None:
        """The side of a pixel, None where it is not square."""
        x, y = (positive(self.values.get(f"micronsPerPixel {axis}Axis")) for axis in "XY")
        return x if x is not None and (y is None or math.isclose(x, y, rel_tol=0.01)) else None

    @property
    def z_step_um(self) -> float | None:
        """The depth between slices."""
        return positive(self.values.get("micronsPerPixel ZAxis")) if self.is_volume else None

    @property
    def frame_s(self) -> float | None:
        """What a frame takes, as many scans as are averaged; None for a volume, whose way back is not in it."""
        period_s = positive(self.values.get("framePeriod"))
        averaged = positive(self.values.get("rastersPerFrame")) or 1.0
        return None if period_s is None or self.is_volume else period_s * max(1.0, averaged)

    def positions(self) -> list[int]:
        """Return which stage position each sequence is of: they are cycles, as the time points are."""
        places: list[tuple[float, ...]] = []
        numbers = []
        for sequence in self.sequences:
            here = tuple(sequence.stage_um.get(a, self.values.get(f"positionCurrent {a}", 0.0)) for a in _STAGE)
            near = (n for n, place in enumerate(places) if math.dist(place, here) < SAME_PLACE_UM)
            if (number := next(near, len(places))) == len(places):
                places.append(here)
            numbers.append(number)
        return numbers

    def at_position(self, position: int) -> Scan:
        """Return what the XML says of one stage position alone."""
        kept = [n for n, number in enumerate(self.positions()) if number == position]
        at = {sequence: n for n, sequence in enumerate(kept)}
        files = [(at[n], frame, channel, name, page) for n, frame, channel, name, page in self.files if n in at]
        return replace(self, sequences=[self.sequences[n] for n in kept], files=files)

    def starts(self) -> list[int]:
        """Return the time point of the first frame of each sequence; without volumes a sequence follows the one before
        in time."""
        if self.is_volume:
            return list(range(len(self.sequences)))
        return [0, *accumulate(len(sequence.times_s) for sequence in self.sequences)][:-1]

    def slice_of(self, sequence: int, frame: int) -> int:
        """Return the slice that a frame of a volume is of."""
        return self.slices - 1 - frame if self.turned and sequence % 2 else frame


def scan_in(folder: Path) -> Scan | None:
    """Return what the XML of Prairie View in a folder says, None where there is none. Raises SourceError for several of
    them."""
    found = [path for path in sorted(folder.glob("*.xml")) if path.is_file() and _is_scan(path)]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise SourceError(f"{folder}: several recordings, {names}; put each into a folder of its own")
    return read_scan(found[0]) if found else None


def _is_scan(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(MAX_HEAD_BYTES)
    return b"<PVScan" in head


def read_scan(path: Path) -> Scan:
    """Return what an XML says, as far as it goes: it may still be written."""
    reader = _Reader(Scan(path))
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.begin
    parser.EndElementHandler = reader.end
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                parser.Parse(piece, False)
            parser.Parse(b"", True)
    except expat.ExpatError:
        reader.scan.whole = False
    return reader.scan


class _Reader:
    """Takes in one element after the other."""

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self._key, self._axis, self._texts, self._framed = "", "", dict[str, str](), False

    def begin(self, tag: str, facts: Mapping[str, str]) -> None:
        scan = self.scan
        if tag == "Sequence":
            scan.turned = scan.turned or facts.get("bidirectionalZ") == "True"
            scan.sequences.append(Sequence(facts.get("type", "")))
        elif tag == "Frame" and scan.sequences:
            self._framed = True
            scan.sequences[-1].times_s.append(_number(facts.get("absoluteTime", facts.get("relativeTime"))))
        elif tag == "File" and self._framed:
            self._take_file(facts)
        elif tag in _VALUES and facts.get("key") in _KEPT:
            self._key = facts["key"]
            self._keep(self._key, facts.get("value"))
        elif tag == "IndexedValue" and self._key:
            self._keep(f"{self._key} {facts.get('index')}", facts.get("value"))
        elif tag == "SubindexedValues" and self._key:
            self._axis = facts.get("index", "")
        elif tag == "SubindexedValue" and self._key and self._axis in _STAGE:
            self._keep_stage(facts.get("value"))

    def end(self, tag: str) -> None:
        if tag == "Frame":
            self._framed = False
        elif tag in _VALUES:
            self._key = ""

    def _take_file(self, facts: Mapping[str, str]) -> None:
        scan, name = self.scan, facts.get("filename", "")
        channel, page = (int(n) if (n := facts.get(key, "1")).isdecimal() else 1 for key in ("channel", "page"))
        scan.channels.setdefault(channel, facts.get("channelName") or f"Ch{channel}")
        text = self._texts.setdefault(name, name)  # one file may have all pages
        at = len(scan.sequences) - 1
        scan.files.append((at, len(scan.sequences[at].times_s) - 1, channel, text, max(0, page - 1)))

    def _keep_stage(self, text: str | None) -> None:
        """Keep where the stage is in a sequence, or at the beginning; several numbers of an axis are of its devices."""
        if not self.scan.sequences:
            self._keep(f"{self._key} {self._axis}", text)
        elif not math.isnan(number := _number(text)):
            self.scan.sequences[-1].stage_um.setdefault(self._axis, number)
        self._axis = ""

    def _keep(self, name: str, text: str | None) -> None:
        """Keep the first of a value; that of a later frame is what it was there."""
        if not math.isnan(number := _number(text)):
            self.scan.values.setdefault(name, number)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
