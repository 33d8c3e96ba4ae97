"""A folder of TIFFs into which another program still writes, followed file by file: `folder?follow=1`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from ..core.errors import SourceError
from .following import Following
from .plane_selection import Stack
from .tiff_folder import (
    KEPT_OPEN,
    Images,
    Part,
    TiffFolderSource,
    Time,
    axes_inside,
    break_in,
    natural,
    selected_groups,
    tiffs_in,
)
from .tiff_follow import while_growing
from .tiff_metadata import About, stated_axes
from .tiff_names import Group, groups_by_name
from .tiff_pages import Chain


class GrowingPart(Part):
    """One file of several, as far as its pages are whole."""

    def _pages(self, at: int, raw: bool, about: About, selection: Mapping[str, str]) -> tuple[Chain, int]:
        chain = Chain.walk(self._directories, at, self._frame_nbytes, raw)
        if chain.differs or not len(chain.data):
            raise SourceError(f"{self.path}: {chain.problem or 'no whole page yet'}")
        return chain, len(chain.data)

    def _understood(self, about: About, selection: Mapping[str, str], pages: int) -> About:
        return while_growing(stated_axes(about, selection, pages, self.path), pages, self.path)


class FollowedTiffFolderSource(Following, TiffFolderSource):
    """The TIFF files of a folder as they come: numbered ones, and those that roll over to the next while they grow.

    A file is taken as far as its pages are whole; names say which plane it is of, OME-XML does not. The planes are
    those of the first time. Raises SourceError, beside what Following does, for numbered files of which one is missing
    in all planes when later ones have been there for GRACE_S.
    """

    part = GrowingPart
    stated: ClassVar[Mapping[str, str]] = {}  # what is known of the pages of each file

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        self._opened, self._files, self._stated = {}, [], dict(self.stated)
        self._known: dict[int, tuple[int, Mapping[str, int]]] = {}  # size and axes of each file, when it was looked at
        self._settled: dict[Time, int] = {}  # times that have been given, with as many images along time
        self._waits = False
        self._seen: object = None
        self._newest: list[Path] = []  # of each plane: it may still grow
        times = [page.time for group in self._groups(tiffs_in(path), selection) for page in group.pages]
        if not times:
            raise SourceError(f"{path}: no TIFF is in this folder any more")
        if not self._may_begin(len(times), len(set(times))):
            raise SourceError(f"{path}: no second file yet")
        return self._arranged(final=False)

    def _groups(self, files: Sequence[Path], selection: Mapping[str, str]) -> list[Group]:
        return groups_by_name(files)

    def _grow(self) -> bool:
        seen = self.path.stat().st_mtime_ns, [file.stat().st_size for file in self._newest]
        if seen == self._seen and not self._waits:
            return False
        self._seen = seen
        return self._take(self._arranged(final=False))

    def _finish(self) -> None:
        self._take(self._arranged(final=True))

    def _arranged(self, final: bool) -> Stack:
        """Return the time points that are whole in all planes, up to the first that may still become whole."""
        groups = self._groups(tiffs_in(self.path), self._selection)
        groups, taken = selected_groups(groups, self._selection, self.path)
        self._kept_open = KEPT_OPEN + len(groups)
        self._newest = [group.pages[-1].file for group in groups]
        known = set(self._files)
        self._files += [page.file for group in groups for page in group.pages if page.file not in known]
        if not self._known:
            self._first = self._file(0).stack
        inside = axes_inside(self._first, self._selection)
        found = self._found_files(groups, inside)
        lengths = self._whole_lengths(groups, found, final)
        if not sum(lengths.values()):
            raise SourceError(f"{self.path}: no whole time point yet")
        return self._laid_out(groups, [images for images in found if images[1] in lengths], lengths, inside, taken)

    def _axes_of(self, n: int) -> Mapping[str, int] | None:
        nbytes = self._files[n].stat().st_size
        if n not in self._known or self._known[n][0] != nbytes:
            if n in self._opened:
                self._opened.pop(n).close()
            try:
                self._known[n] = nbytes, self._like_first(n).axes
            except SourceError:
                if self._files[n] not in self._newest:
                    raise
                return None
        return self._known[n][1]

    def _whole_lengths(self, groups: Sequence[Group], found: Sequence[Images], final: bool) -> dict[Time, int]:
        """How many images along time each time has in all planes, up to the first time that is not whole.

        That one is waited for, and taken with gaps when later ones have been there for GRACE_S, or at the end.
        """
        held: dict[Time, list[int]] = {}
        for _, at, images in found:
            held.setdefault(at, []).append(len(images))
        newest = natural(Path(str(next(reversed(self._settled))))) if self._settled else []
        order = {at: natural(Path(str(at))) for at in held}  # what comes too late has no place any more
        times = sorted((at for at in held if at in self._settled or order[at] > newest), key=order.__getitem__)
        broken, lengths = break_in([str(at) for at in times]), dict[Time, int]()
        if times:
            self._awaited.came(order[times[-1]])
        self._waits = False
        for n, at in enumerate(times):
            whole = len(held[at]) == len(groups) and min(held[at]) == max(held[at])
            given, over = final or at in self._settled, self._awaited.is_over(order[at])
            if not given and (n == len(times) - 1 or not (whole or over)):
                self._waits = n < len(times) - 1
                lengths[at] = min(held[at]) if len(held[at]) == len(groups) else 0
                break
            lengths[at] = self._settled.setdefault(at, max(held[at]))
            if broken == n:
                self._waits = not (final or over)
                if self._waits:
                    break
                raise SourceError(f"{self.path}: {at} is followed by {times[n + 1]}; files between are missing")
        return lengths
