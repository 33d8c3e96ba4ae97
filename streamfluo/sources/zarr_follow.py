"""A Zarr array that another program still writes, followed chunk by chunk: `recording.zarr?follow=1`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core.errors import SourceError
from .following import Following
from .plane_selection import Stack
from .zarr_store import ZarrSource


class FollowedZarrSource(Following, ZarrSource):
    """The time points of an array that becomes longer, or of one whose chunks are written into it, in turn.

    Chunks are taken when those of a later time have begun, as a writer may come back to the last; at the end, all.
    """

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        return self._as_far_as_whole(super()._open(path, selection), final=False)

    def _grow(self) -> bool:
        return self._take(self._as_far_as_whole(super()._open(self.path, self._selection), final=False))

    def _finish(self) -> None:
        self._take(self._as_far_as_whole(super()._open(self.path, self._selection), final=True))

    def _as_far_as_whole(self, stack: Stack, final: bool) -> Stack:
        """Return the recording with the number of its whole time points noted. Raises SourceError if there are none."""
        if "time" not in stack.axes:
            raise SourceError(f"{self.path}: no axis of time; nothing of it grows, read it without follow=1")
        axis, side = list(stack.axes).index("time"), (self._array.shards or self._array.chunks)
        others = tuple(n for n in range(self._array.ndim) if n != axis)
        there = self._present  # as it was when the recording said which images there are: more may have come since
        begun, whole = np.asarray(there.any(others)), np.asarray(there.all(others))
        last = int(np.flatnonzero(begun).max(initial=0))
        done = self._awaited.whole_points(begun, whole)  # what is missing of them is a gap, or zeros
        points = stack.axes["time"] if final else min(done, last) * side[axis]
        self._limit = max(self._limit or 0, points)
        if not self._limit:
            raise SourceError(f"{self.path}: no whole time point yet")
        return replace(stack, grows=True)
