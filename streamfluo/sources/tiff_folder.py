"""A folder of TIFF files as one recording: files in the natural order of their names, each one frame or a stack."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..core.errors import SourceError, did_you_mean
from .declared import check_planes
from .plane_selection import PLANE_AXES, SeveralPlanes, Stack
from .planes import PlaneSource, Window
from .tiff import TiffSource
from .tiff_metadata import About
from .tiff_names import AXES, Group, groups_of
from .tiff_pages import Chain

KEPT_OPEN = 4
Time = int | str
Images = tuple[Group, Time, np.ndarray]  # their plane, their time, (t, …, 2) file and number
STATED = ("axes", "channels", "slices")  # what a person may say of the pages of each file


class Part(TiffSource):
    """One file of several, all of its images: that its metadata name more than it holds is no fault (OME-TIFF over
    many files)."""

    stack: Stack

    def _pages(self, at: int, raw: bool, about: About, selection: Mapping[str, str]) -> tuple[Chain, int]:
        chain = Chain.walk(self._directories, at, self._frame_nbytes, raw)
        return chain, chain.whole(None, self.path)

    def _select(self, stack: Stack, selection: Mapping[str, str]) -> None:
        check_planes(self.path, math.prod(stack.axes.values()))
        self.stack = stack

    def images(self, numbers: np.ndarray, window: Window) -> np.ndarray:
        """Return images by number (n, y, x), cut to `window`."""
        return self._planes(numbers, window)


class TiffFolderSource(PlaneSource):
    """The TIFF files in a folder in the order of time, one plane or several; `img_9.tif` comes before `img_10.tif`.

    Which file belongs to which position, channel and slice its OME-XML says, else its name (tiff_names.py); where there
    are several, `?position=`, `channel=` and `z=` select one by label or number, `planes=` several, and `?axes=tyx`
    takes all files as one movie. Files of one time belong together by what else their names say; one that is missing of
    a plane is a gap. The files are looked at when it is opened (0.3 ms each). Raises SourceError for a file whose
    frames differ, and for numbered files of which one is missing in all planes.
    """

    selections = (*PlaneSource.selections, "position", *STATED, "follow")

    part: ClassVar[type[Part]] = Part
    named_by = "its OME-XML"  # what says which page is which

    @classmethod
    def open(cls, path: Path, selection: Mapping[str, str]) -> PlaneSource:
        from .bruker import is_bruker

        if "follow" in selection:
            from .bruker_follow import FollowedBrukerSource
            from .ndtiff_follow import FollowedNDTiffSource
            from .tiff_folder_follow import FollowedTiffFolderSource

            if any(path.glob("*NDTiffStack*.tif")):  # whose index is still to come
                return FollowedNDTiffSource(path, selection)
            return (FollowedBrukerSource if is_bruker(path) else FollowedTiffFolderSource)(path, selection)
        if "axes" not in selection and is_bruker(path):
            from .bruker import BrukerSource

            return BrukerSource(path, selection)
        return cls(path, selection)

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        groups, taken = selected_groups(self._groups(tiffs_in(path), selection), selection, path)
        self._files = list(dict.fromkeys(page.file for group in groups for page in group.pages))
        times = self._times(groups)
        by_page = groups[0].pages[0].number is not None
        self._stated = {"axes": "tyx"} if by_page else {key: selection[key] for key in STATED if key in selection}
        self._opened: dict[int, Part] = {}
        self._kept_open = KEPT_OPEN + len(groups)
        self._first = self._file(0).stack
        inside = axes_inside(self._first, selection)
        found = self._found_pages(groups) if by_page else self._found_files(groups, inside)
        lengths = dict.fromkeys(times, int(by_page))
        for _, time, images in found:
            lengths[time] = max(lengths[time], len(images))
        return self._laid_out(groups, found, lengths, inside, taken)

    def _groups(self, files: Sequence[Path], selection: Mapping[str, str]) -> list[Group]:
        """Which files, or pages of them, are of which plane and time."""
        return groups_of(files, "axes" not in selection)

    def _times(self, groups: Sequence[Group]) -> list[Time]:
        """The time points in order."""
        return _times_of(groups, self.path)

    def _laid_out(
        self, groups: Sequence[Group], found: Sequence[Images], lengths: Mapping[Time, int], inside: Sequence[str],
        taken: Mapping[str, str],
    ) -> Stack:  # fmt: skip
        """Return what the folder holds, of each time as many images along time as `lengths` says."""
        several = {axis: list(dict.fromkeys(group.labels.get(axis, "") for group in groups)) for axis in PLANE_AXES}
        several = {axis: labels for axis, labels in several.items() if len(labels) > 1}
        if both := set(several) & set(inside):
            raise SourceError(
                f"{self.path}: its files are of several planes along {min(both)}, and each of several too"
            )
        starts = dict(zip(lengths, np.cumsum([0, *lengths.values()]).tolist(), strict=False))
        sizes, first = [len(labels) for labels in several.values()], self._first
        where = np.full((*sizes, sum(lengths.values()), *(first.axes[axis] for axis in inside), 2), -1)
        for group, time, images in found:
            plane = tuple(labels.index(group.labels[axis]) for axis, labels in several.items())
            kept = images[: lengths[time]]
            where[plane][starts[time] : starts[time] + len(kept)] = kept
        self._where = where.reshape(-1, 2)
        channels = tuple(several.get("channel", (taken["channel"],) if "channel" in taken else first.channels))
        return replace(
            first, axes=dict(zip([*several, "time", *inside], where.shape[:-1], strict=True)), channels=channels,
            t0_ns=self._files[0].stat().st_mtime_ns if first.t0_ns is None else first.t0_ns,
            selected=frozenset(taken), there=self._where[:, 0] >= 0, slices=tuple(several.get("z", ())),
        )  # fmt: skip

    def _found_pages(self, groups: Sequence[Group]) -> list[Images]:
        """The pages that OME-XML names, one by one."""
        held = {file: math.prod(self._like_first(n).axes.values()) for n, file in enumerate(self._files)}
        numbers, found = {file: n for n, file in enumerate(self._files)}, []
        for group in groups:
            for file, number, time in group.pages:
                if number is None or not 0 <= number < held[file]:
                    raise SourceError(f"{file}: page {number} of {self.named_by} is not there; copy it again")
                found.append((group, time, np.array([[numbers[file], number]])))
        return found

    def _found_files(self, groups: Sequence[Group], inside: Sequence[str]) -> list[Images]:
        """The images of each file, (t, …, 2) with … the axes inside each."""
        numbers, found, first = {file: n for n, file in enumerate(self._files)}, [], self._first
        for group in groups:
            for file, _, time in group.pages:
                n, axes = numbers[file], self._axes_of(numbers[file])
                if axes is None:
                    continue
                if [axes.get(axis, 1) for axis in inside] != [first.axes[axis] for axis in inside]:
                    name = self._files[0].name
                    raise SourceError(f"{self.path}: {file.name} holds other planes than {name}; move it elsewhere")
                images = np.arange(math.prod(axes.values())).reshape(tuple(axes.values()) or (1,))
                order = [list(axes).index(axis) for axis in inside]
                images = images.transpose([k for k in range(images.ndim) if k not in order] + order)
                images = images.reshape(-1, *(first.axes[axis] for axis in inside))
                found.append((group, time, np.stack([np.full(images.shape, n), images], -1)))
        return found

    def _axes_of(self, n: int) -> Mapping[str, int] | None:
        """The axes of file n, None where there is none yet."""
        return self._like_first(n).axes

    def _like_first(self, n: int) -> Stack:
        """Return what file n holds: images like those of the first."""
        here, first = self._file(n).stack, self._first
        if (here.shape, here.dtype) != (first.shape, first.dtype):
            ours, theirs = (f"{tuple(stack.shape)} {stack.dtype}" for stack in (here, first))
            name = self._files[n].name
            raise SourceError(f"{self.path}: {name} is {ours}, {self._files[0].name} {theirs}; move it elsewhere")
        return here

    def _planes(self, numbers: np.ndarray, window: Window) -> np.ndarray:
        where = self._where[numbers]
        breaks = np.flatnonzero(np.diff(where[:, 0])) + 1
        parts = [self._file(int(run[0, 0])).images(run[:, 1], window) for run in np.split(where, breaks)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _file(self, n: int) -> Part:
        if n not in self._opened:
            while len(self._opened) >= self._kept_open:
                self._opened.pop(next(iter(self._opened))).close()
            self._opened[n] = self.part(self._files[n], self._stated)
        return self._opened[n]

    def close(self) -> None:
        super().close()
        for source in getattr(self, "_opened", {}).values():
            source.close()


def selected_groups(
    groups: Sequence[Group], selection: Mapping[str, str], path: Path
) -> tuple[list[Group], dict[str, str]]:
    """Return the groups that a selection leaves, and the labels it named. Raises SourceError that lists what there is
    along an axis of which nothing is selected."""
    taken: dict[str, str] = {}
    for axis in AXES:
        labels = list(dict.fromkeys(group.labels[axis] for group in groups if axis in group.labels))
        if not labels:
            continue
        if (text := selection.get(axis)) is None:
            if axis in PLANE_AXES and "planes" in selection:
                continue
            hint = f"{path.name}?{axis}={labels[0]}"
            if axis in PLANE_AXES:
                hint += f", or all of them: {path.name}?planes=all"
            kind = SeveralPlanes if axis in PLANE_AXES else SourceError
            raise kind(
                f"{path}: files of several planes: {axis} {', '.join(labels)}; select one: {hint}, or take all files "
                f"as one movie: {path.name}?axes=tyx"
            )
        chosen = text if text in labels else labels[int(text)] if text.isdecimal() and int(text) < len(labels) else ""
        if not chosen:
            raise SourceError(f"{path}: no {axis} {text!r}{did_you_mean(text, labels)}")
        taken[axis] = chosen
        groups = [group for group in groups if group.labels[axis] == chosen]
    return list(groups), taken


def _times_of(groups: Sequence[Group], path: Path) -> list[Time]:
    """Return the times that the groups have, in order. Raises SourceError for files that do not belong together, and
    for numbered ones of which one is missing."""
    pages = {page.time: page for group in groups for page in group.pages}
    times = list(pages)
    if len(groups) > 1:
        times.sort(key=lambda time: [(False, time, "")] if isinstance(time, int) else natural(Path(time)))
    for group in groups:
        names, own = " ".join(f"{axis} {label}" for axis, label in group.labels.items()), {p.time for p in group.pages}
        if len(groups) > 1 and not any(p.time in own for other in groups if other is not group for p in other.pages):
            raise SourceError(
                f"{path}: by their names the files of {names}, {group.pages[0].file.name} first, are of other times "
                f"than all the others; open one plane at a time"
            )
        if len(own) < len(group.pages):
            raise SourceError(f"{path}: two images of {names} are of one time; open one plane at a time")
    if groups[0].pages[0].number is None:  # what OME-XML counts it names
        _check_numbers({str(time): page.file for time, page in pages.items()}, path)
    return times


def axes_inside(stack: Stack, selection: Mapping[str, str]) -> list[str]:
    """The axes of each file along which it has several planes; a single axis that nobody names is time."""
    axes = [axis for axis, size in stack.axes.items() if size > 1 and axis != "time"]
    alone = len(axes) == 1 and stack.axes.get("time", 1) == 1 and not stack.grows
    if alone and (axes[0] not in PLANE_AXES or ("planes" not in selection and axes[0] not in selection)):
        return []
    return axes


def tiffs_in(path: Path) -> list[Path]:
    """Return the TIFF files of a folder, in the natural order of their names; hidden ones are none, as macOS leaves
    `._a.tif` beside `a.tif` on other disks."""
    files = (p for p in path.iterdir() if p.suffix.lower() in (".tif", ".tiff") and not p.name.startswith("."))
    return sorted(files, key=natural)


def natural(path: Path) -> list[tuple[bool, int, str]]:
    """Return a sort key that counts: 9 before 10."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", path.name)]


def _check_numbers(files: Mapping[str, Path], path: Path) -> None:
    """Files numbered one by one must all be there; by their names without the words for the plane."""
    names = sorted(files, key=lambda name: natural(Path(name)))
    if (at := break_in(names)) is not None:
        before, after = (files[name].name for name in names[at : at + 2])
        raise SourceError(f"{path}: {before} is followed by {after}; files between are missing")


def break_in(names: Sequence[str]) -> int | None:
    """Return which of the names, numbered one by one, is the last before one is missing."""
    parts = [re.fullmatch(r"(.*?)(\d+)(\D*)", name) for name in names]
    if len(names) < 2 or not all(parts) or len({(m[1], m[3]) for m in parts if m}) > 1:
        return None
    steps = np.diff([int(m[2]) for m in parts if m])
    if (steps == 1).sum() < 0.5 * len(steps) or (steps == 1).all():
        return None
    return int(np.flatnonzero(steps != 1)[0])
