"""A TIFF that another program still writes, followed page by page: `recording.tif?follow=1`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core.errors import SourceError
from .following import Following
from .tiff import TiffSource
from .tiff_metadata import About
from .tiff_pages import Chain


class FollowedTiffSource(Following, TiffSource):
    """The pages of a TIFF in the order they are written, each once its time point is whole.

    Raises SourceError, beside what Following does, if a page differs from the first.
    """

    def _pages(self, at: int, raw: bool, about: About, selection: Mapping[str, str]) -> tuple[Chain, int]:
        self._chain = Chain(self._directories.size, self._frame_nbytes, raw)
        self._last, self._seen = at, dict[int, int]()
        if not self._extend(at):
            raise SourceError(f"{self.path}: no whole page yet")
        return self._chain, len(self._chain.data)

    def _understood(self, about: About, selection: Mapping[str, str], pages: int) -> About:
        if pages < about.pages_needed:
            raise SourceError(f"{self.path}: no second volume yet, which would show whether flyback is in the file")
        self._about = while_growing(about, pages, self.path)
        return self._about

    def _grow(self) -> bool:
        self._directories.size = self._chain.size = self.path.stat().st_size
        last = self._directories.read(self._last)
        if last is None or not last.following or not self._extend(last.following):
            return False
        self._at = np.array(self._chain.data if self._raw else self._chain.directories)
        return self._take(self._described(self._about))

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


def while_growing(about: About, pages: int, path: Path) -> About:
    """Return what a file of so many pages says of itself while it grows: of time there is as much as there are pages.

    Raises SourceError while its first time point is not whole, and where time is not what grows.
    """
    if not about.open_ended and len(about.sizes) < 2:
        return replace(about, sizes={}, grows=True)
    if not about.open_ended and next(iter(about.sizes)) != "time":
        named = ", ".join(f"{axis} {size}" for axis, size in about.sizes.items())
        raise SourceError(f"{path}: its time points are not written one after the other ({named}); read it when whole")
    if pages < math.prod(size for axis, size in about.sizes.items() if axis != "time"):
        raise SourceError(f"{path}: no whole time point yet")
    return replace(about, open_ended=True, grows=True)
