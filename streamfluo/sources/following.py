"""Recordings that another program still writes, followed to their end: `?follow=1`."""

from __future__ import annotations

import hashlib
import threading
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

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
        self._interrupted, self._selection = threading.Event(), selection
        self._began_s = time.monotonic()
        while True:
            try:
                super().__init__(path, selection)
                return
            except SeveralPlanes:
                raise
            except SourceError:
                if time.monotonic() - self._began_s >= QUIET_S:
                    raise
                time.sleep(POLL_S)

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block]:
        grew, finished = time.monotonic(), False
        while not self._interrupted.is_set():
            for block in super().blocks(max_frames):
                yield block
                if self._interrupted.is_set():
                    return
            if finished:
                return
            began = time.monotonic()
            if self._grow():
                grew = time.monotonic()
            elif time.monotonic() - grew >= QUIET_S:
                finished = True
                self._finish()
            else:
                self._interrupted.wait(max(POLL_S, (SHARE - 1) * (time.monotonic() - began)))

    def interrupt(self) -> None:
        self._interrupted.set()

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
