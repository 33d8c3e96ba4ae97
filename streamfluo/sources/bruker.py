"""Folders of Prairie View (Bruker): TIFFs `NAME_Cycle00001_Ch1_000001.ome.tif` with the XML `NAME.xml` beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import SourceError
from .bruker_xml import Scan, scan_in
from .declared import facts_of_times, positive
from .plane_selection import Stack
from .tiff_folder import Images, TiffFolderSource, Time
from .tiff_names import Group, Page, groups_by_ome

_NAME = re.compile(r"(.*_Cycle(\d+))(?:_[A-Za-z]+)?_Ch(\d+)_(\d+)((?:\.ome)?\.tiff?)", re.IGNORECASE)


def is_bruker(folder: Path) -> bool:
    """Return whether a TIFF in a folder is called as Prairie View calls them."""
    return any(_NAME.fullmatch(file.name) for file in folder.iterdir())


class BrukerSource(TiffFolderSource):
    """The images of a Prairie View folder, as its XML names them: channels, slices, times, interval and pixel size.

    A cycle of a Z series is a time point, its frames are the slices; of other series the frames are in time, cycle
    after cycle. An image that the XML names and that is not there is a gap. Without the XML, OME-XML says what is what,
    or the names do. Raises SourceError for files that the XML does not name, and for cycles of several images where
    nothing says whether they are slices or times.
    """

    def _groups(self, files: Sequence[Path], selection: Mapping[str, str]) -> list[Group]:
        self._scan = scan_in(self.path)
        if self._scan is None or not self._scan.files:
            return groups_by_ome(files) or groups_by_cycle(files, self.path, self._scan)
        self.named_by = self._scan.path.name
        _check_named(self._scan, files)
        self._scan = at_position(self._scan, selection, self.path)
        return _groups_by_xml(self._scan, files)

    def _times(self, groups: Sequence[Group]) -> list[Time]:
        if self._scan is None or not self._scan.files:
            return super()._times(groups)
        return list(range(_time_points(self._scan)))

    def _laid_out(
        self, groups: Sequence[Group], found: Sequence[Images], lengths: Mapping[Time, int], inside: Sequence[str],
        taken: Mapping[str, str],
    ) -> Stack:  # fmt: skip
        check_cycles(self.path, self._scan, self._files, max(lengths.values()))
        self._slices = [int(z) for z in dict.fromkeys(group.labels.get("z", "0") for group in groups)]
        return super()._laid_out(groups, found, lengths, inside, taken)

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        held = super()._open(path, selection)
        if self._scan is None:
            return held
        held = replace(held, **facts_of(self._scan, held))
        return _with_times(held, self._scan, self._slices) if self._scan.files else held


def groups_by_cycle(files: Sequence[Path], path: Path, scan: Scan | None) -> list[Group]:
    """Return the files as groups of one channel each, in the order of cycle and number; of one slice each where the XML
    says that cycles are volumes. Raises SourceError for several cycles of several images of which nothing says what
    they are."""
    matches = {file: match for file in files if (match := _NAME.fullmatch(file.name))}
    if strangers := [file.name for file in files if file not in matches]:
        raise SourceError(f"{path}: {strangers[0]} is not called as the files of Prairie View are; move it elsewhere")
    volume = scan is not None and scan.is_volume
    slices = max(int(match[4]) for match in matches.values()) if volume else 1
    known = channel_labels(scan) if scan else {}
    found: dict[tuple[int, int], list[Page]] = {}
    for file, match in matches.items():
        name, cycle, channel, number, end = match.groups()
        z = int(number) - 1 if volume else 0
        if volume and scan is not None and scan.turned and int(cycle) % 2 == 0:
            z = slices - 1 - z
        time = f"{name}{end}" if volume else f"{name}_{number}{end}"
        found.setdefault((int(channel), z), []).append(Page(file, None, time))
    check_cycles(path, scan, files, max(len({match[4] for match in matches.values()}), 1))
    return _groups_of(found, {channel: known.get(channel, f"Ch{channel}") for channel, _ in found}, slices)


def check_cycles(path: Path, scan: Scan | None, files: Sequence[Path], images: int) -> None:
    """Raise SourceError if there are several cycles of so many images, and nothing says whether they are slices."""
    cycles = {match[2] for file in files if (match := _NAME.fullmatch(file.name))}
    if len(cycles) > 1 and images > 1 and (scan is None or not scan.sequences):
        raise SourceError(
            f"{path}: {len(cycles)} cycles of several images, which are slices or times; the XML of Prairie View says "
            f"what they are, copy it beside them, or take all files as one movie: {path.name}?axes=tyx"
        )


def facts_of(scan: Scan, held: Stack) -> dict[str, Any]:
    """Return pixel size, z step, interval and channel, as Stack names them, by the XML, else as they are held."""
    facts: dict[str, Any] = {"pixel_um": scan.pixel_um or held.pixel_um, "z_step_um": scan.z_step_um or held.z_step_um}
    facts["interval_s"] = _median_step_s(_times_s(scan)) or scan.frame_s or held.interval_s
    if len(scan.channels) == 1:
        facts["channels"] = tuple(scan.channels.values())
    return facts


def _with_times(held: Stack, scan: Scan, slices: Sequence[int]) -> Stack:
    """Return what a folder holds of these slices with the time of each image, and what was wrong with the XML."""
    at_s, user, facts = _times_s(scan), dict(held.user), dict[str, Any]()
    stated = [facts_of_times(column[: _stated(column)]) for column in at_s.T[slices]]
    if all(stated):
        user |= stated[0].get("user", {})
        times_ns = np.stack([_to_the_end(of_slice["times_ns"], len(at_s)) for of_slice in stated])
        by_axes = times_ns if "z" in held.axes else times_ns[0]
        facts["times_ns"] = np.broadcast_to(by_axes, tuple(held.axes.values())).reshape(-1)
    if not scan.whole:
        user["xml"] = f"{scan.path.name} breaks off after {len(scan.files)} images"
    return replace(held, user=user, **facts)


def at_position(scan: Scan, selection: Mapping[str, str], path: Path) -> Scan:
    """Return what the XML says of the stage position that is selected. Raises SourceError for several of them of which
    none is, or another one."""
    count = max(scan.positions(), default=0) + 1
    text = selection.get("position")
    if text is None and count == 1:
        return scan
    if text is None:
        raise SourceError(f"{path}: cycles of {count} stage positions; select one: {path.name}?position=0")
    if not text.isdecimal() or int(text) >= count:
        raise SourceError(f"{path}: no position {text!r}; there is position=0 to {count - 1}")
    return scan.at_position(int(text))


def _check_named(scan: Scan, files: Sequence[Path]) -> None:
    """Raise SourceError if there are files that the XML does not name."""
    beside = {file.name for file in files}
    if strangers := sorted(beside - {name for *_, name, _ in scan.files}):
        broken = "" if scan.whole else f"; it breaks off after {len(scan.files)} images"
        raise SourceError(
            f"{scan.path}: names other files than those beside it: {len(strangers)} more are there, {strangers[0]} "
            f"first{broken}; move them elsewhere, or the XML to read all files by their names"
        )


def _groups_by_xml(scan: Scan, files: Sequence[Path]) -> list[Group]:
    """The pages that the XML names and that are there, plane by plane."""
    beside = {file.name: file for file in files}
    starts, volume = scan.starts(), scan.is_volume
    found: dict[tuple[int, int], list[Page]] = {}
    for at, frame, channel, name, page in scan.files:
        time, z = (starts[at], scan.slice_of(at, frame)) if volume else (starts[at] + frame, 0)
        if name in beside:
            found.setdefault((channel, z), []).append(Page(beside[name], page, time))
    if not found:
        raise SourceError(f"{scan.path}: none of the files that it names is there; copy them beside it")
    return _groups_of(found, channel_labels(scan), scan.slices)


def _groups_of(found: Mapping[tuple[int, int], list[Page]], labels: Mapping[int, str], slices: int) -> list[Group]:
    """The pages of each channel and slice as groups, named where there are several."""
    groups = []
    for (channel, z), pages in sorted(found.items()):
        named = {"channel": labels[channel]} if len(labels) > 1 else {}
        groups.append(Group(named | ({"z": str(z)} if slices > 1 else {}), pages))
    return groups


def channel_labels(scan: Scan) -> dict[int, str]:
    """Return what each channel is called: Ch and its number where another has the same name."""
    names = list(scan.channels.values())
    return {n: name if names.count(name) == 1 else f"Ch{n}" for n, name in scan.channels.items()}


def _time_points(scan: Scan) -> int:
    return len(scan.sequences) if scan.is_volume else sum(len(sequence.times_s) for sequence in scan.sequences)


def _times_s(scan: Scan) -> np.ndarray:
    """The time of each frame [s] along time and slice, NaN where none is stated."""
    at_s = np.full((_time_points(scan), scan.slices), np.nan)
    for n, (start, sequence) in enumerate(zip(scan.starts(), scan.sequences, strict=True)):
        own = np.array(sequence.times_s)
        if scan.is_volume:
            at_s[start, [scan.slice_of(n, frame) for frame in range(len(own))]] = own
        else:
            at_s[start : start + len(own), 0] = own
    return at_s


def _stated(at_s: np.ndarray) -> int:
    """How many times there are up to the last that is stated."""
    return int(np.flatnonzero(np.isfinite(at_s)).max(initial=-1)) + 1


def _median_step_s(at_s: np.ndarray) -> float | None:
    """Return the median time between the first frames of time points."""
    steps_s = np.diff(np.fmin.reduce(at_s, axis=1))
    steps_s = steps_s[np.isfinite(steps_s)]
    return positive(np.median(steps_s)) if len(steps_s) else None


def _to_the_end(times_ns: np.ndarray, count: int) -> np.ndarray:
    """Return times of `count` time points: those of images that were not taken any more go on in even steps."""
    step_ns = int(np.median(np.diff(times_ns)))
    more = times_ns[-1] + step_ns * np.arange(1, count - len(times_ns) + 1)
    return np.concatenate([times_ns, more])
