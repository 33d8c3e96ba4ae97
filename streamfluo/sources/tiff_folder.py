"""A folder of TIFF files as one recording: files in the natural order of their names, each one frame or a stack."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..core.errors import SourceError, did_you_mean
from .plane_selection import Stack
from .planes import PlaneSource, Window
from .tiff import TiffSource
from .tiff_metadata import About
from .tiff_names import AXES, Group, groups_of
from .tiff_pages import Chain

KEPT_OPEN = 4
INSIDE = ("channel", "z", "axes", "channels", "slices")  # what may be selected of each file


class _Part(TiffSource):
    """One file of several: that its metadata name more frames than it holds is no fault (OME-TIFF over many files)."""

    def _pages(self, at: int, raw: bool, about: About, selection: Mapping[str, str]) -> tuple[Chain, int]:
        chain = Chain.walk(self._directories, at, self._frame_nbytes, raw)
        return chain, chain.whole(None, self.path)


class TiffFolderSource(PlaneSource):
    """One plane of the TIFF files in a folder, in the order of time; `img_9.tif` comes before `img_10.tif`.

    Which file belongs to which position, channel and slice its OME-XML says, else its name (tiff_names.py); where there
    are several, `?position=`, `channel=` and `z=` select one by label or number, and `?axes=tyx` takes all files as one
    movie. The files of the plane are looked at when it is opened (0.3 ms each). Raises SourceError for a file whose
    frames differ and for numbered files of which one is missing.
    """

    selections = (*PlaneSource.selections, "position", "axes", "channels", "slices")

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        files = sorted((p for p in path.iterdir() if p.suffix.lower() in (".tif", ".tiff")), key=natural)
        group = selected_group(groups_of(files, "axes" not in selection), selection, path)
        self._files = list(dict.fromkeys(page.file for page in group.pages))
        _check_numbers(self._files, path)
        by_page = group.pages[0].number is not None
        inside = {key: selection[key] for key in INSIDE if key in selection and key not in group.labels}
        self._inside = {"axes": "tyx"} if by_page else inside
        self._opened: dict[int, TiffSource] = {}
        first = self._file(0)
        places = list[np.ndarray]()
        for n, file in enumerate(self._files):
            source = self._file(n)
            if (source.spec.shape, source.spec.dtype) != (first.spec.shape, first.spec.dtype):
                here, there = (f"{s.shape} {s.dtype}" for s in (source.spec, first.spec))
                raise SourceError(f"{path}: {file.name} is {here}, {self._files[0].name} {there}; move it elsewhere")
            places.append(np.column_stack(np.broadcast_arrays(n, np.arange(source.series.frames or 0))))
        starts = dict(zip(self._files, np.cumsum([0, *map(len, places)]).tolist(), strict=False))
        self._where = np.concatenate(places)
        if by_page:
            held = dict(zip(self._files, map(len, places), strict=True))
            missing = next((p for p in group.pages if not 0 <= (p.number or 0) < held[p.file]), None)
            if missing is not None:
                raise SourceError(f"{missing.file}: page {missing.number} of its OME-XML is not there; copy it again")
            self._where = self._where[[starts[file] + (number or 0) for file, number in group.pages]]
        spec, label = first.spec, group.labels.get("channel", first.spec.channel)
        axes, taken = {"time": len(self._where)}, frozenset({*group.labels, *inside})
        channels = (label,) if label else ()
        return Stack(
            axes, spec.shape, spec.dtype, spec.interval_s, spec.pixel_um, first.series.t0_ns, channels, selected=taken
        )

    def _planes(self, numbers: np.ndarray, window: Window) -> np.ndarray:
        parts, where = [], self._where[numbers]
        breaks = np.flatnonzero((np.diff(where, axis=0) != (0, 1)).any(1)) + 1
        for run in np.split(where, breaks):
            source = self._file(int(run[0, 0]))
            source.seek(int(run[0, 1]))
            parts.append(next(source.blocks(len(run))).pixels[:, *window])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _file(self, n: int) -> TiffSource:
        if n not in self._opened:
            while len(self._opened) >= KEPT_OPEN:
                self._opened.pop(next(iter(self._opened))).close()
            self._opened[n] = _Part(self._files[n], self._inside)
        return self._opened[n]

    def close(self) -> None:
        super().close()
        for source in getattr(self, "_opened", {}).values():
            source.close()


def selected_group(groups: Sequence[Group], selection: Mapping[str, str], path: Path) -> Group:
    """Return the only group that a selection leaves. Raises SourceError that lists what there is along an axis."""
    for axis in AXES:
        labels = list(dict.fromkeys(group.labels[axis] for group in groups if axis in group.labels))
        if not labels:
            continue
        if (text := selection.get(axis)) is None:
            raise SourceError(
                f"{path}: files of several planes: {axis} {', '.join(labels)}; select one: "
                f"{path.name}?{axis}={labels[0]}, or take all files as one movie: {path.name}?axes=tyx"
            )
        chosen = text if text in labels else labels[int(text)] if text.isdecimal() and int(text) < len(labels) else ""
        if not chosen:
            raise SourceError(f"{path}: no {axis} {text!r}{did_you_mean(text, labels)}")
        groups = [group for group in groups if group.labels[axis] == chosen]
    return groups[0]


def natural(path: Path) -> list[tuple[bool, int, str]]:
    """Return a sort key that counts: 9 before 10."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", path.name)]


def _check_numbers(files: list[Path], path: Path) -> None:
    """Files numbered one by one must all be there."""
    parts = [re.fullmatch(r"(.*?)(\d+)(\D*)", file.name) for file in files]
    if len(files) < 2 or not all(parts) or len({(m[1], m[3]) for m in parts if m}) > 1:
        return
    numbers = [int(m[2]) for m in parts if m]
    steps = np.diff(numbers)
    if (steps == 1).sum() >= 0.5 * len(steps) and (steps != 1).any():
        at = int(np.flatnonzero(steps != 1)[0])
        raise SourceError(f"{path}: {files[at].name} is followed by {files[at + 1].name}; files between are missing")
