"""Which files of a folder belong to which plane: what OME-XML says, else what their names say."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import tifffile

from .declared import in_one_line

# Words with a number behind them: Bruker's Ch1, Micro-Manager's Pos0, channel000, z003; single letters stand alone.
_WORDS = {
    "position": r"(?<![a-z])(?:position|pos|stage|xy)[_-]?(\d+)(?![a-z\d])",
    "channel": r"(?<![a-z])(?:channel|ch|c)[_-]?(\d+)(?![a-z\d])",
    "z": r"(?<![a-z])(?:slice|plane|z)[_-]?(\d+)(?![a-z\d])",
}
AXES = tuple(_WORDS)


_Label = tuple[int, str]  # a plane's number along an axis, and what it is called


class Page(NamedTuple):
    """Page `number` of a file; None: all that the file has. `time` is the same for the pages of one time in all planes:
    OME's number, or the file's name without the words that name its plane."""

    file: Path
    number: int | None
    time: int | str


class Group(NamedTuple):
    """The pages of one plane in the order of time, and the plane: the label of each axis along which there are more."""

    labels: Mapping[str, str]
    pages: list[Page]


def groups_of(files: Sequence[Path], by_name: bool) -> list[Group]:
    """Return the files (in natural order) as groups of one plane each; one group where nothing tells them apart."""
    if not by_name:
        return [Group({}, [Page(file, None, file.name) for file in files])]
    return groups_by_ome(files) or groups_by_name(files)


def groups_by_name(files: Sequence[Path]) -> list[Group]:
    """Return the files (in natural order) as groups of one plane each, as their names tell them apart."""
    found: dict[tuple[str, ...], list[Page]] = {}
    for file in files:
        matches = [re.search(word, file.name, re.IGNORECASE) for word in _WORDS.values()]
        labels, time = tuple(m[0].strip("_-") if m else "" for m in matches), file.name
        for m in sorted((m for m in matches if m), key=lambda m: m.start(), reverse=True):
            time = time[: m.start()] + time[m.end() :]
        found.setdefault(labels, []).append(Page(file, None, time))
    several = [n for n in range(len(AXES)) if len({labels[n] for labels in found}) > 1]
    return [Group({AXES[n]: labels[n] for n in several}, pages) for labels, pages in found.items()]


def groups_by_ome(files: Sequence[Path]) -> list[Group]:
    """Planes as OME-XML lays them over files; none where it does not name every one of these files."""
    with in_one_line(f"{files[0]}: not a TIFF that can be read"), tifffile.TiffFile(files[0]) as tif:
        text = tif.ome_metadata if tif.is_ome else None
    try:
        root = ElementTree.fromstring(text) if text else None
        entries: list[Any] = sorted(_ome_entries(root)) if root is not None else []
    except (ElementTree.ParseError, KeyError, ValueError, IndexError):
        return []
    beside = {file.name: file for file in files}
    if {name for *_, name, _ in entries} != set(beside):
        return []
    along = [set(labels) for labels in list(zip(*entries, strict=True))[: len(AXES)]]
    found: dict[tuple[_Label, ...], list[Page]] = {}
    for *plane, time, name, number in entries:
        found.setdefault(tuple(plane), []).append(Page(beside[name], number, time))
    return [
        Group({AXES[n]: _name(plane[n], along[n]) for n in range(len(AXES)) if len(along[n]) > 1}, pages)
        for plane, pages in found.items()
    ]


def _name(label: _Label, others: Collection[_Label]) -> str:
    """What a plane is called: its number where another has the same name."""
    number, text = label
    return str(number) if any(text == other and number != n for n, other in others) else text


def _ome_entries(root: ElementTree.Element) -> Iterator[tuple[_Label, _Label, _Label, int, str, int]]:
    """(position, channel, z, t, file, page) of each plane, the first three as number and label."""
    for at, image in enumerate(root.findall("{*}Image")):
        position = (at, image.get("Name") or str(at))
        channels = [c.get("Name") or str(n) for n, c in enumerate(image.findall("{*}Pixels/{*}Channel"))]
        for data in image.findall("{*}Pixels/{*}TiffData"):
            uuid = data.find("{*}UUID")
            name = uuid.get("FileName", "") if uuid is not None else ""
            if int(data.get("PlaneCount", 1)) != 1 or not name:
                raise ValueError("planes are not named one by one")
            c, z, t, page = (int(data.get(key, 0)) for key in ("FirstC", "FirstZ", "FirstT", "IFD"))
            yield position, (c, channels[c] if c < len(channels) else str(c)), (z, str(z)), t, name, page
