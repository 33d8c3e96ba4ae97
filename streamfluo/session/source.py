"""A session of our own as a source: its recorded frames, or the file it refers to. Any frame again, gaps as gaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..core.block import Block
from ..core.errors import SessionError, SourceError
from ..core.source import MAX_BLOCK_FRAMES, Gap, Series, Source
from ..sources.planes import parse_roi
from ..sources.selection import parse_frames
from .reader import open_session


class SessionSource(Source):
    """The raw frames of a session folder, under the indices they were recorded with.

    `?frames=a:b` are indices and `roi=` a window; either makes a series of its own, that still counts as recorded.
    Raises SourceError for a folder that is no session or holds no frames.
    """

    selections = ("frames", "roi")
    path: Path

    @classmethod
    def open(cls, path: Path, selection: Mapping[str, str]) -> SessionSource:
        """Return the source that reads the session at `path`."""
        return cls(path, selection)

    def __init__(self, path: Path, selection: Mapping[str, str]) -> None:
        self.path = path
        try:
            session = open_session(path)
            spec, series = session.spec, session.series
        except SessionError as error:
            raise SourceError(str(error)) from None
        if not session.has_journal:
            raise SourceError(f"{path}: holds no raw frames; they are in {session.facts.get('reference')}, open that")
        self._journal = session.journal
        stop = int(self._journal.indices[-1]) + 1 if len(self._journal.indices) else 0
        if not stop:
            raise SourceError(f"{path}: no frame was recorded")
        chosen = parse_frames(selection.get("frames"), stop, str(path))
        self._start, self._stop = chosen.start, chosen.stop
        self._window = parse_roi(selection.get("roi"), spec.shape, path)
        self.spec = spec.cut(*self._window)
        query = "&".join(f"{key}={value}" for key, value in selection.items())
        uid = f"{series['uid']}-{query}" if query else series["uid"]
        self.series = Series(uid, series["source"], series["t0_ns"], self._stop - self._start, series["user"])
        self._next = self._start

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block | Gap]:
        for block in self._journal.blocks(self._next, max_frames):
            if block.index >= self._stop:
                break
            if block.index > self._next:
                yield Gap(self._next, block.index - self._next, "transport")
            block = block.cut(block.index, self._stop)
            self._next = block.stop
            yield Block(block.index, block.times_ns, block.pixels[:, *self._window], self.spec.channel)

    def seek(self, index: int) -> None:
        if not self._start <= index <= self._stop:
            raise SourceError(f"{self.path}: no frame {index}; there are {self._start} to {self._stop - 1}")
        self._next = index
