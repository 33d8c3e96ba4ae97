"""A folder of TIFF files as one recording: files in the natural order of their names, each one frame or a stack."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..core.errors import SourceError
from .planes import PlaneSource, Stack, Window, runs
from .tiff import TiffSource
from .tiff_metadata import About
from .tiff_pages import Chain

KEPT_OPEN = 4


class _Part(TiffSource):
    """One file of several: that its metadata name more frames than it holds is no fault (OME-TIFF over many files)."""

    def _pages(self, at: int, raw: bool, about: About, selection: Mapping[str, str]) -> tuple[Chain, int]:
        chain = Chain.walk(self._directories, at, self._frame_nbytes, raw)
        return chain, chain.whole(None, self.path)


class TiffFolderSource(PlaneSource):
    """The frames of all TIFF files in a folder, one after the other; `img_9.tif` comes before `img_10.tif`. An
    OME-TIFF over several files is such a folder.

    All files are looked at when it is opened (0.3 ms each). Raises SourceError for a file whose frames differ and for
    numbered files of which one is missing.
    """

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        self._files = sorted((p for p in path.iterdir() if p.suffix.lower() in (".tif", ".tiff")), key=natural)
        _check_numbers(self._files, path)
        self._inside = {key: selection[key] for key in ("channel", "z") if key in selection}
        self._opened: dict[int, TiffSource] = {}
        first = self._file(0)
        counts = []
        for n, file in enumerate(self._files):
            source = self._file(n)
            if (source.spec.shape, source.spec.dtype) != (first.spec.shape, first.spec.dtype):
                here, there = (f"{s.shape} {s.dtype}" for s in (source.spec, first.spec))
                raise SourceError(f"{path}: {file.name} is {here}, {self._files[0].name} {there}; move it elsewhere")
            counts.append(source.series.frames or 0)
        self._starts = np.cumsum([0, *counts])
        spec = first.spec
        axes = {"time": int(self._starts[-1])}
        return Stack(axes, spec.shape, spec.dtype, spec.interval_s, spec.pixel_um, first.series.t0_ns)

    def _planes(self, numbers: np.ndarray, window: Window) -> np.ndarray:
        parts = []
        for _, first, count in runs(numbers):
            at, stop = first, first + count
            while at < stop:
                n = int(np.searchsorted(self._starts, at, "right")) - 1
                source, upto = self._file(n), min(stop, int(self._starts[n + 1]))
                source.seek(at - int(self._starts[n]))
                parts.append(next(source.blocks(upto - at)).pixels[:, *window])
                at = upto
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
