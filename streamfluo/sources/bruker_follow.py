"""A folder into which Prairie View (Bruker) still writes, followed file by file: `folder?follow=1`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from ..core.errors import SourceError
from .bruker import check_cycles, facts_of, groups_by_cycle
from .bruker_xml import scan_in
from .plane_selection import Stack
from .tiff_folder import Images, Time
from .tiff_folder_follow import FollowedTiffFolderSource
from .tiff_names import Group


class FollowedBrukerSource(FollowedTiffFolderSource):
    """The files of Prairie View as they come, by their names; what the XML says is taken in as far as it is written.

    Interval, pixel size and whether the images of a cycle are slices must stand in it when the recording is opened.
    Raises SourceError, beside what following a folder does, when a second cycle of several images begins and no XML
    says that they are slices.
    """

    stated: ClassVar[Mapping[str, str]] = {"axes": "tyx"}  # their OME-XML names all files of the recording

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        self._scan = scan_in(path)
        if self._scan is not None and any(self._scan.positions()):
            raise SourceError(f"{path}: cycles of several stage positions; read the folder when it is whole")
        held = super()._open(path, selection)
        return held if self._scan is None else replace(held, **facts_of(self._scan, held))

    def _groups(self, files: Sequence[Path], selection: Mapping[str, str]) -> list[Group]:
        try:
            return groups_by_cycle(files, self.path, self._scan)
        except SourceError:
            later = scan_in(self.path)  # it may have come since
            if later is None or later.is_volume or not later.sequences:
                raise
            self._scan = replace(later, channels=self._scan.channels if self._scan else {})
            return groups_by_cycle(files, self.path, self._scan)

    def _laid_out(
        self, groups: Sequence[Group], found: Sequence[Images], lengths: Mapping[Time, int], inside: Sequence[str],
        taken: Mapping[str, str],
    ) -> Stack:  # fmt: skip
        images = max(lengths.values())
        check_cycles(self.path, self._scan, self._files, images)
        if images > 1 and self._scan is not None and self._scan.is_volume:
            raise SourceError(f"{self.path}: each of its files holds several slices; read the folder when it is whole")
        return super()._laid_out(groups, found, lengths, inside, taken)
