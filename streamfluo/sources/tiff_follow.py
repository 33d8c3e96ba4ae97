"""A TIFF that another program still writes, followed page by page: `recording.tif?follow=1`."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ..core.block import Block
from ..core.errors import SourceError
from ..core.source import MAX_BLOCK_FRAMES, Series
from .plane_selection import Stack
from .tiff import TiffSource
from .tiff_metadata import About
from .tiff_pages import Chain

POLL_S = 0.05
QUIET_S = 10.0  # a file that has not grown for so long is finished


class FollowedTiffSource(TiffSource):
    """The pages of a TIFF in the order they are written, each once it is whole, until none comes for ten seconds.

    Every page is a frame; the series has no length beforehand. Raises SourceError if no first page comes within ten
    seconds, or a page differs from the first.
    """

    def __init__(self, path: Path, selection: Mapping[str, str]) -> None:
        if selection.get("follow") != "1":
            raise SourceError(f"{path}: follow=1 follows a file that grows, found follow={selection.get('follow')}")
        for key in selection:
            if key not in ("follow", "roi"):
                raise SourceError(f"{path}: {key} cannot be selected of a file that grows")
        self._interrupted = threading.Event()
        deadline = time.monotonic() + QUIET_S
        while True:
            try:
                super().__init__(path, selection)
                return
            except SourceError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(POLL_S)

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block]:
        grew = time.monotonic()
        while not self._interrupted.is_set():
            if self._next == self._numbers.shape[1]:
                if self._grow():
                    grew = time.monotonic()
                elif time.monotonic() - grew >= QUIET_S:
                    return
                else:
                    self._interrupted.wait(POLL_S)
                continue
            yield from super().blocks(max_frames)

    def interrupt(self) -> None:
        self._interrupted.set()

    def _pages(self, at: int, raw: bool, about: About, selection: Mapping[str, str]) -> tuple[Chain, int]:
        self._chain = Chain(self._directories.size, self._frame_nbytes, raw)
        self._last, self._seen = at, dict[int, int]()
        if not self._extend(at):
            raise SourceError(f"{self.path}: no whole page yet")
        return self._chain, len(self._chain.data)

    def _select(self, stack: Stack, selection: Mapping[str, str]) -> None:
        super()._select(stack, selection)
        pixels = np.ascontiguousarray(self._planes(self._numbers[0, :1], self._window))
        uid = hashlib.blake2b(pixels.tobytes() + str(self.path.resolve()).encode(), digest_size=16).hexdigest()
        self.series = Series(uid, self.series.source, self.series.t0_ns, None, self.series.user)

    def _grow(self) -> bool:
        """Take in the pages written since; returns whether there are any."""
        self._directories.size = self._chain.size = self.path.stat().st_size
        last = self._directories.read(self._last)
        if last is None or not last.following or not self._extend(last.following):
            return False
        self._at = np.array(self._chain.data if self._raw else self._chain.directories)
        before, count = self._numbers.size, len(self._at)
        self._numbers = np.arange(count)[None]
        interval_ns = (self.spec.interval_s or 0) * 1e9
        self._times_ns = np.rint(np.arange(count) * interval_ns).astype(np.int64)[None]
        return count > before

    def _extend(self, at: int) -> bool:
        """Follow the list of pages from `at` on, as far as they are whole; returns whether one was."""
        before = len(self._chain.data)
        while at and (found := self._directories.read(at)) is not None:
            if max(map(sum, zip(found.offsets, found.counts, strict=True))) > self._directories.size:
                break
            if at in self._seen:
                raise SourceError(f"{self.path}: its pages lead back to page {self._seen[at]}; record it again")
            self._seen[at] = len(self._seen)
            self._chain.add(at, found)
            if self._chain.problem is not None:
                raise SourceError(f"{self.path}: {self._chain.problem}")
            self._last, at = at, found.following
        return len(self._chain.data) > before
