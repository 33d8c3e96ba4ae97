"""A session of our own as a source: its recorded frames, or the file it refers to. Any frame again, gaps as gaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..core.block import Block
from ..core.errors import FrameError, SessionError, SourceError
from ..core.plane import ONE_PLANE, plane_in, select_planes
from ..core.source import MAX_BLOCK_FRAMES, Gap, Series, Source
from ..sources.opening import open_source, stays
from ..sources.planes import parse_roi
from ..sources.selection import parse_frames, path_and_query
from .events import changes_in
from .reader import open_session
from .referenced import file_of


class SessionSource(Source):
    """The raw frames of a session folder, under the indices they were recorded with.

    `?frames=a:b` are indices, `roi=` a window, `planes=green,red/1` some of several planes; each makes a series of its
    own, that still counts as recorded. Raises SourceError for a folder that is no session or holds no frames.
    """

    selections = ("frames", "roi", "planes")
    path: Path

    @classmethod
    def open(cls, path: Path, selection: Mapping[str, str]) -> Source:
        """Return the source that reads the session at `path`; of one without raw frames the source it refers to."""
        return cls(path, selection) if (path / "journal").is_dir() else _referred(path, selection)

    def __init__(self, path: Path, selection: Mapping[str, str]) -> None:
        self.path = path
        try:
            session = open_session(path)
            spec, series = session.spec, session.series
        except SessionError as error:
            raise SourceError(str(error)) from None
        if not session.has_journal:
            raise SourceError(f"{path}: holds no raw frames; they are in {session.facts.get('reference')}, open that")
        self._names = _selected(selection.get("planes"), spec.plane_names, path)
        self._journal = session.journal.of(*self._names) if len(self._names) == 1 else session.journal
        stop = int(self._journal.indices[-1]) + 1 if len(self._journal.indices) else 0
        if not stop:
            raise SourceError(f"{path}: no frame was recorded")
        chosen = parse_frames(selection.get("frames"), stop, str(path))
        self._start, self._stop = chosen.start, chosen.stop
        self._window = parse_roi(selection.get("roi"), spec.shape, path)
        if len(self._names) == 1:
            spec = spec.plane(*self._names)
        self.spec = spec.with_(planes=tuple(p for p in spec.planes if p.name in self._names)).cut(*self._window)
        # its series keeps the source of the recording, whose selections say nothing of this folder
        self.query = query = "&".join(f"{key}={value}" for key, value in selection.items())
        uid = f"{series['uid']}-{query}" if query else series["uid"]
        frames = (self._stop - self._start) * len(self._names)
        self.series = Series(uid, series["source"], series["t0_ns"], frames, series["user"])
        self._next = self._start
        self.changes = changes_in(session.events, self._names[0] if len(self._names) == 1 else ONE_PLANE)

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block | Gap]:
        reached = dict.fromkeys(self._names, self._next)
        for block in self._journal.blocks(self._next, max_frames):
            plane = plane_in(self.spec.plane_names, block.plane)
            name = self._names[0] if len(self._names) == 1 else block.plane
            if plane is None or block.index >= self._stop:
                continue
            if block.index > reached[name]:
                yield Gap(reached[name], block.index - reached[name], "transport", plane)
            block = block.cut(block.index, self._stop)
            reached[name] = block.stop
            self._next = min(reached.values())
            channel = block.channel if self.spec.planes else self.spec.channel
            yield Block(block.index, block.times_ns, block.pixels[:, *self._window], channel, block.z, block.user)

    def seek(self, index: int) -> None:
        if not self._start <= index <= self._stop:
            raise SourceError(f"{self.path}: no frame {index}; there are {self._start} to {self._stop - 1}")
        self._next = index


def _selected(text: str | None, names: Sequence[str], path: Path) -> tuple[str, ...]:
    """The planes that a selection names, all without one. Raises SourceError."""
    if text is None or text == "all":
        return tuple(names)
    try:
        found = select_planes([part.strip() for part in text.split(",")], names)
    except FrameError as error:
        raise SourceError(f"{path}: planes={text}: {error}") from None
    return found


def _referred(path: Path, selection: Mapping[str, str]) -> Source:
    """The source that a session without raw frames was made of, where it is there and the same still.

    Raises SourceError where it is not: it was moved, or has changed since.
    """
    try:
        session = open_session(path)
        reference, uid, events = session.facts.get("reference"), session.series["uid"], session.events
    except SessionError as error:
        raise SourceError(str(error)) from None
    if not isinstance(reference, str) or not stays(reference):
        raise SourceError(f"{path}: holds no raw frames, and names no file that has them")
    if reference == str(path) or _is_session_without_frames(reference):
        raise SourceError(f"{path}: holds no raw frames, nor does {reference}, of which it was made")
    if not _is_there(reference):
        raise SourceError(f"{path}: holds no raw frames; they were in {reference}, which is not there: moved since?")
    source = open_source(reference)
    if source.series.uid != uid:
        source.close()
        raise SourceError(f"{path}: holds no raw frames; they were in {reference}, which has changed since")
    if selection:
        source.close()
        query = "&".join(f"{key}={value}" for key, value in selection.items())
        source = open_source(f"{reference}{'&' if path_and_query(reference)[1] else '?'}{query}")
    source.changes = changes_in(events)
    return source


def _is_session_without_frames(reference: str) -> bool:
    folder = file_of(reference)
    return (folder / "session.json").exists() and not (folder / "journal").is_dir()


def _is_there(reference: str) -> bool:
    return not file_of(reference).is_absolute() or file_of(reference).exists()
