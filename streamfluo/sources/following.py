"""Recordings that another program still writes, followed to their end: `?follow=1`."""

from __future__ import annotations

import hashlib
import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.block import Block
from ..core.errors import SourceError
from ..core.source import MAX_BLOCK_FRAMES
from .plane_selection import SeveralPlanes, Stack, selected_images
from .planes import PlaneSource, image_times_ns

POLL_S = 0.05
QUIET_S = 10.0  # a recording that has not grown for so long is finished
GRACE_S = 2.0  # how long an image may come later than those after it
SHARE = 4  # looking takes at most one part in so many of the time


class Awaited:
    """Which time points are not waited for any more: those before one that has been there for GRACE_S.

    Time points are what grows with time: numbers, or names as they sort.
    """

    def __init__(self) -> None:
        self._came: deque[tuple[float, Any]] = deque()  # the last time point of all, when it came
        self._newest: Any = None
        self.before: Any = None

    def came(self, last: Any) -> None:
        """Note the last time point of which something is there now."""
        now = time.monotonic()
        if self._newest is None or last > self._newest:
            self._newest = last
            self._came.append((now, last))
        while self._came and now - self._came[0][0] >= GRACE_S:
            self.before = self._came.popleft()[1]

    def is_over(self, point: Any) -> bool:
        """Return whether what is missing of a time point is a gap."""
        return self.before is not None and bool(point < self.before)

    def whole_points(self, begun: np.ndarray, whole: np.ndarray) -> int:
        """Return how many time points are whole, or not waited for, from the first on; of each whether it has `begun`
        and is `whole`."""
        self.came(int(np.flatnonzero(begun).max(initial=0)))
        done = whole.copy()
        done[: self.before or 0] = True
        return len(done) if done.all() else int(np.argmin(done))


class Following(PlaneSource):
    """Time points in the order they are written, each once it is whole in all planes, until none comes for ten seconds.

    Stands before the reader of a format among a class's bases. The series has no length beforehand. What is still
    missing GRACE_S after something later came, or at the end, is a gap. Raises SourceError if no first time point comes
    within ten seconds.
    """

    _limit: int | None = None  # how many time points are whole, where the recording names more

    def __init__(self, path: Path, selection: Mapping[str, str]) -> None:
        if selection.get("follow") != "1":
            raise SourceError(f"{path}: follow=1 follows a file that grows, found follow={selection.get('follow')}")
        for key in selection:
            if key not in ("follow", "roi", "channel", "z", "planes", "dataset", "position"):
                raise SourceError(f"{path}: {key} cannot be selected of a file that grows")
        self._interrupted, self._selection, self._awaited = threading.Event(), selection, Awaited()
        self._at_first, self._grew_s = 0, time.monotonic()
        while True:
            try:
                super().__init__(path, selection)
                return
            except SeveralPlanes:
                raise
            except SourceError:
                if time.monotonic() - self._grew_s >= QUIET_S:
                    raise
                time.sleep(POLL_S)

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block]:
        grew, finished, rest_s = time.monotonic(), False, 0.0
        while not self._interrupted.is_set():
            looked = time.monotonic()
            for block in super().blocks(max_frames):
                yield block
                if self._interrupted.is_set():
                    return
            if finished:
                return
            self._interrupted.wait(max(0.0, looked + rest_s - time.monotonic()))
            began = time.monotonic()
            if growing := self._grow():
                grew = time.monotonic()
            elif time.monotonic() - grew >= QUIET_S:
                finished = True
                self._finish()
            rest_s = max(0.0 if growing or finished else POLL_S, (SHARE - 1) * (time.monotonic() - began))

    def interrupt(self) -> None:
        self._interrupted.set()

    def _may_begin(self, images: int, times: int) -> bool:
        """Return whether the first time points tell which planes there are: a second one has begun, or there were no
        more `images` for GRACE_S."""
        if images != self._at_first:
            self._at_first, self._grew_s = images, time.monotonic()
        return times > 1 or time.monotonic() - self._grew_s >= GRACE_S

    @abstractmethod
    def _grow(self) -> bool:
        """Take in what was written since; returns whether there are new time points."""

    def _finish(self) -> None:
        """Take in what is left, though it is not whole."""

    def _select(self, stack: Stack, selection: Mapping[str, str]) -> None:
        super()._select(stack, selection)
        self._take(stack)
        first = self._numbers[:, 0] if self._there is None else self._numbers[self._there][:1]
        pixels = np.ascontiguousarray(self._planes(first[:1], self._window))
        uid = hashlib.blake2b(pixels.tobytes() + str(self.path.resolve()).encode(), digest_size=16).hexdigest()
        self.series = replace(self.series, uid=uid, frames=None)

    def _take(self, stack: Stack) -> bool:
        """Make the recording's whole time points those that there are; returns whether there are more than before."""
        before, numbers = self._numbers.shape[1], selected_images(stack, self._selection, self.path).numbers
        if len(numbers) != len(self._numbers):
            raise SourceError(f"{self.path}: {len(numbers)} planes, at first there were {len(self._numbers)}")
        numbers = numbers[:, : self._limit]
        there = None if stack.there is None else stack.there[numbers]
        self._there = None if there is None or there.all() else there
        self._times_ns, self._numbers = image_times_ns(stack, numbers, self.spec.interval_s), numbers
        return numbers.shape[1] > before
