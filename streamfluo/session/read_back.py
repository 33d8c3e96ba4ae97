"""Reading an export back: every frame of a session, its time and what the sender said of it, compared bit by bit."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..core.block import Block
from ..core.errors import SessionError
from ..core.names import plane_file_names
from ..core.plane import PlaneGrid
from .csv_writer import TIME
from .reader import Session
from .stack_writer import stack_frames
from .time_points import Shown, time_points

USER = "frames.user.jsonl"

Pause = Callable[[int], None]  # told how many bytes were worked on; may wait, or raise


def write_user(session: Session, out: Path, pause: Pause) -> None:
    """Write what the sender said of single frames, a line each, where there is any. Raises OSError."""
    with (out / USER).open("w", encoding="utf-8") as file:
        for line in _said(session, pause):
            file.write(line)
        empty = not file.tell()
    if empty:
        (out / USER).unlink()


def compare(session: Session, to: str, out: Path, pause: Pause) -> int:
    """Compare all frames of a session with those that were exported to `out`, and return how many there are.

    Raises SessionError at the first that differs, is missing or too many.
    """
    compared = (
        _compare_planes(session, to, out, pause) if len(session.planes) > 1 else _compare(session, to, out, pause)
    )
    if compared != (there := sum(len(session.plane(name).indices()) for name in session.planes)):
        raise SessionError(f"{out}: {compared} of {there} frames are there")
    if (out / USER).exists():
        with (out / USER).open(encoding="utf-8") as file:
            for said, written in zip_longest(_said(session, pause), file):
                if said != written:
                    raise SessionError(f"{out / USER}: {str(written)[:80]!r} where the session has {str(said)[:80]!r}")
    return compared


def _said(session: Session, pause: Pause) -> Iterator[str]:
    for block in session.blocks():
        pause(block.nbytes)
        for index, user in sorted(block.user.items()):
            of = {"plane": block.plane} if len(session.planes) > 1 else {}
            yield json.dumps({"index": index, **of, "user": user}) + "\n"


def _compare(session: Session, to: str, out: Path, pause: Pause) -> int:
    if not (out / "frames.csv").exists():
        return 0
    with _rows(out / "frames.csv") as rows:
        expected = _frames(session.blocks(), pause)
        return _same(out, expected, zip_longest(rows, stack_frames(to, out / "frames", session.spec)))


def _compare_planes(session: Session, to: str, out: Path, pause: Pause) -> int:
    grid = [plane.name for plane in PlaneGrid.of(session.spec.planes).order]
    compared = 0
    whole: set[int] = set()
    if (out / "frames.csv").exists():
        with _rows(out / "frames.csv") as rows:
            whole = {row[0] for row in rows}
        with _rows(out / "frames.csv") as rows:
            pages = stack_frames(to, out / "frames", session.spec)
            points = time_points(_paced(session.blocks(), pause), session.planes)
            expected = (_shown(index, shown, name) for index, shown in points if index in whole for name in grid)
            told = ([row[0], row[1 + n]] for row in rows for n in range(len(grid)))
            compared += _same(out, expected, zip_longest(told, pages))
    for name, file_name in plane_file_names(session.planes).items():
        stem = out / f"frames.incomplete.{file_name}"
        if not (beside := stem.with_name(f"{stem.name}.csv")).exists():
            continue
        with _rows(beside) as rows:
            plane = session.plane(name)
            rest = (f for f in _frames(plane.blocks(), pause) if f[0] not in whole)
            compared += _same(out, rest, zip_longest(rows, stack_frames(to, stem, plane.spec)))
    return compared


def _shown(index: int, shown: Mapping[str, Shown], name: str) -> tuple[int, int, np.ndarray]:
    if name not in shown:
        raise SessionError(f"frame {index}: exported with all planes, the session has none of {name}")
    return index, *shown[name]


def _frames(blocks: Iterator[Block], pause: Pause) -> Iterator[tuple[int, int, np.ndarray]]:
    for block in _paced(blocks, pause):
        for n, pixels in enumerate(block.pixels):
            yield block.index + n, int(block.times_ns[n]), pixels


def _paced(blocks: Iterator[Block], pause: Pause) -> Iterator[Block]:
    for block in blocks:
        pause(2 * block.nbytes)
        yield block


def _same(
    out: Path, expected: Iterator[tuple[int, int, np.ndarray]], found: Iterator[tuple[list[int] | None, Any]]
) -> int:
    count = 0
    for one, other in zip_longest(expected, found):
        if one is None or other is None or other[0] is None or other[1] is None:
            raise SessionError(f"{out}: {count} frames are in both; then one of them has no more")
        index, t_ns, pixels = one
        row, (page, t_s) = other
        if row != [index, t_ns] or t_s not in (None, t_ns / 1e9):
            raise SessionError(f"{out}: frame {index} at {t_ns} ns was written as {row}, {t_s} s")
        if (page.shape, page.dtype) != (pixels.shape, pixels.dtype) or page.tobytes() != pixels.tobytes():
            raise SessionError(f"{out}: frame {index} is read back with other pixels")
        count += 1
    return count


class _rows:
    """The rows of a list of frames, index and times [ns]; the same times in seconds are left out."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Iterator[list[int]]:
        self._file: IO[str] = self._path.open(newline="", encoding="utf-8")
        rows = csv.reader(self._file)
        whole = [n for n, name in enumerate(next(rows, [])) if not name.startswith(TIME)]
        return ([int(row[n]) for n in whole] for row in rows)

    def __exit__(self, *_: object) -> None:
        self._file.close()
