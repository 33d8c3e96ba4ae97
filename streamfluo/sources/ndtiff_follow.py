"""An NDTiff folder into which another program still writes, followed image by image: `folder?follow=1`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..core.block import Block
from ..core.errors import SourceError
from ..core.source import MAX_BLOCK_FRAMES
from .declared import MAX_TIME_NS, positive
from .following import Following
from .ndtiff import MAX_SPREAD, NDTiffSource, at_position, labels_of, plane_of
from .ndtiff_index import Entry, Index
from .plane_selection import Stack, selected_images

INTERVALS = 100  # of which the median is the interval


class FollowedNDTiffSource(Following, NDTiffSource):
    """The images of an NDTiff folder as its index names them, across the files that its writer begins.

    The index is read on from where it ended. The planes are those of the first time points: a second one must have
    begun, or no image come for GRACE_S. Raises SourceError, beside what Following does, for an image of another plane,
    size or pixel type, and at the end for an index that is damaged.
    """

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        self._index = Index(path / "NDTiff.index")
        entries = at_position(self._index.more(), selection, path)
        if not entries:
            raise SourceError(f"{path}: no image came into this folder")
        labels = labels_of(entries)
        times = labels.pop("time", [])
        if not times or not all(isinstance(at, int) for at in times):
            raise SourceError(f"{path}: its images are not counted along time; nothing of it grows, read it when whole")
        if not self._may_begin(len(entries), len(times)):
            raise SourceError(f"{path}: no second time point yet")
        self._begin(entries[0])
        self._first_time = int(times[0])
        self._labels = {axis: {label: n for n, label in enumerate(held)} for axis, held in labels.items()}
        self._alone = {axis: label for axis, label in plane_of(entries[0]).items() if axis not in labels}
        self._sides = tuple(len(held) for held in labels.values())
        if math.prod(self._sides) > MAX_SPREAD * len(entries):
            raise SourceError(f"{path}: {len(entries)} images of {math.prod(self._sides)} planes; its index is damaged")
        self._present = np.zeros((64, math.prod(self._sides)), bool)  # of each time point, with room behind the last
        self._last, self._listed, self._entries = -1, 0, {}
        self._late: list[Entry] = []  # whose pixels are not in their file yet
        described = self._described(self._facts(entries[0]), labels, entries)
        self._about = replace(described, interval_s=self._median_interval_s(entries), grows=True)
        self._columns = np.sort(selected_images(self._held(1), selection, path).numbers[:, 0])
        self._take_in(entries)
        return self._as_far_as_whole(final=False)

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block]:
        yield from super().blocks(max_frames)
        if self._index.problem and not self._index.cut and not self._interrupted.is_set():
            raise SourceError(f"{self._index.path}: {self._index.problem}; copy the folder again")

    def _grow(self) -> bool:
        self._take_in(self._index.more())
        return self._take(self._as_far_as_whole(final=False))

    def _finish(self) -> None:
        self._take_in(self._index.more())
        self._take(self._as_far_as_whole(final=True))

    def _take_in(self, entries: Sequence[Entry]) -> None:
        """Take in what the index names, each image once its pixels are in its file."""
        self._sizes.clear()
        self._listed += len(entries)
        listed, self._late = [*self._late, *entries], []
        for entry in listed:
            if (number := self._number_of(entry)) is None:
                continue
            if not self._is_whole(entry):
                self._late.append(entry)
                continue
            point, plane = divmod(number, self._present.shape[1])
            if point >= len(self._present):
                room = np.zeros((2 * (point + 1) - len(self._present), self._present.shape[1]), bool)
                self._present = np.concatenate([self._present, room])
            self._present[point, plane] = True
            self._entries[number] = entry
            self._last = max(self._last, point)

    def _number_of(self, entry: Entry) -> int | None:
        """Return the number of an image, None for one of another position, channel or slice than those selected, or
        before the first time point. Raises SourceError for an image that has no place among the others."""
        plane = plane_of(entry)
        for axis in {*plane, *self._labels}:
            label = plane.get(axis, 0)
            if label in self._labels.get(axis, ()) or label == self._alone.get(axis):
                continue
            if axis in self._selection:
                return None
            raise SourceError(
                f"{self.path}: image {dict(entry.axes)} is of another {axis} than those of the first time points; "
                f"select one, {self.path.name}?follow=1&{axis}=…, or read the folder when it is whole"
            )
        self._check_alike([entry])
        number = entry.axes.get("time", 0)
        if not isinstance(number, int):
            raise SourceError(f"{self.path}: image {dict(entry.axes)} is not counted along time, the first are")
        number -= self._first_time
        for axis, side in zip(self._labels, self._sides, strict=True):
            number = number * side + self._labels[axis][plane.get(axis, 0)]
        if number > MAX_SPREAD * self._listed:
            raise SourceError(f"{self.path}: image {dict(entry.axes)} is far behind all others; its index is damaged")
        return number if number >= 0 else None

    def _as_far_as_whole(self, final: bool) -> Stack:
        """Return the recording with the number of its whole time points noted. Raises SourceError if there are none."""
        present = self._present[: self._last + 1]
        chosen = present[:, self._columns]
        points = len(present) if final else self._awaited.whole_points(np.any(chosen, 1), np.all(chosen, 1))
        self._limit = max(self._limit or 0, points)
        if not self._limit:
            raise SourceError(f"{self.path}: no whole time point yet")
        return replace(self._held(len(present)), there=present.reshape(-1))

    def _held(self, points: int) -> Stack:
        return replace(self._about, axes={"time": points, **dict(zip(self._labels, self._sides, strict=True))})

    def _median_interval_s(self, entries: Sequence[Entry]) -> float | None:
        """Return the median interval of the first time points in the first plane, None where they have no times."""
        first = [entry for entry in entries if plane_of(entry) == plane_of(entries[0])][: INTERVALS + 1]
        facts = [(int(entry.axes["time"]), self._facts(entry).get("ElapsedTime-ms")) for entry in first]
        known = [(at, float(ms)) for at, ms in facts if isinstance(ms, int | float) and abs(ms) < MAX_TIME_NS]
        steps_s = [(ms - ms0) / (at - at0) / 1e3 for (at0, ms0), (at, ms) in pairwise(known) if at > at0]
        return positive(float(np.median(steps_s))) if steps_s else None
