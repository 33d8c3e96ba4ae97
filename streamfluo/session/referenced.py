"""The frames of a session that recorded none: read again from the file or the simulation that it refers to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..core.block import Block
from ..core.errors import SessionError
from ..core.plane import plane_in
from ..core.source import Source
from ..sources.opening import open_source, stays
from ..sources.selection import path_and_query


def referenced(folder: Path, reference: str | None, series_uid: str, start: int, plane: str) -> Iterator[Block]:
    """Yield the frames of a plane from index `start` on, those of all planes for "".

    Never of a camera or a stream, whoever wrote the session in `folder`. Raises SessionError where nothing is named, or
    it is another series by now.
    """
    with _opened(folder, reference, series_uid) as source:
        source.seek(start)
        for item in source.blocks():
            if isinstance(item, Block) and plane in ("", plane_in(source.spec.plane_names, item.plane)):
                yield item


def referenced_times(folder: Path, reference: str | None, series_uid: str, plane: str) -> np.ndarray:
    """Return the time (T,) [ns] of each frame of a plane by index; none where only reading all pixels would tell.

    Raises SessionError as `referenced` does.
    """
    with _opened(folder, reference, series_uid) as source:
        times_ns = source.times_ns(plane)
    return np.empty(0, np.int64) if times_ns is None else times_ns


def _opened(folder: Path, reference: str | None, series_uid: str) -> Source:
    if reference is None:
        raise SessionError(f"{folder}: no raw frames were recorded, and no file is named that has them")
    if not stays(reference):
        raise SessionError(
            f"{folder}: its frames are said to be at {reference}, which is no file and no simulation; not opened"
        )
    source = open_source(reference)
    if source.series.uid != series_uid:
        source.close()
        raise SessionError(f"{folder}: {reference} has changed since this session")
    return source


def file_of(reference: str) -> Path:
    """Return the file that a session refers to, without what is selected of it."""
    return Path(path_and_query(reference)[0])


def before(blocks: Iterator[Block], stop: int, planes: int) -> Iterator[Block]:
    """Yield the blocks before index `stop`, of so many planes, and read no further."""
    passed: set[str] = set()
    for block in blocks:
        if block.index < stop:
            yield block.cut(block.index, stop)
        if block.stop >= stop:
            passed.add(block.plane)
            if len(passed) == planes:
                return
