"""Export of several planes: one stack with channel and slice in place, and what each plane's steps left beside it.

The stack has the time points that every plane has. Frames of the others are written plane by plane: nothing is filled,
nothing left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path

import numpy as np

from ..core.errors import SessionError
from ..core.names import plane_file_names
from ..core.plane import PlaneGrid
from ..core.spec import Spec
from .csv_writer import frame_rows, write_csv
from .reader import Session
from .stack_writer import Frame, StackWriter
from .time_points import time_points

Progress = Callable[[int], None]


def export_frames_of_planes(
    session: Session, stacks: StackWriter, out: Path, progress: Progress, spec: Spec
) -> list[Path]:
    """Write the frames of a session of several planes and return the files. Raises SessionError, OSError."""
    there = {name: session.plane(name).indices() for name in session.planes}
    if session.has_journal and session.damaged:
        there = {name: session.journal.of(name).whole_indices for name in session.planes}
    whole = reduce(np.intersect1d, there.values())
    exported = 0

    def count() -> None:
        nonlocal exported
        exported += 1
        progress(exported)

    written = _write_whole(session, stacks, out, count, spec, whole) if len(whole) else []
    for name, file_name in plane_file_names(session.planes).items():
        rest = np.setdiff1d(there[name], whole)
        if len(rest):
            stem = out / f"frames.incomplete.{file_name}"
            written += _write_rest(session.plane(name), stacks, stem, count, spec, rest)
    return written


def _write_whole(
    session: Session, stacks: StackWriter, out: Path, count: Callable[[], None], spec: Spec, whole: np.ndarray
) -> list[Path]:
    grid = [plane.name for plane in PlaneGrid.of(spec.planes).order]
    rows: list[tuple[int, ...]] = []

    def images() -> Iterator[Frame]:
        wanted = set(whole.tolist())
        for index, shown in time_points(session.blocks(), session.planes):
            if index in wanted and len(shown) == len(grid):
                rows.append((index, *(shown[name].t_ns for name in grid)))
                for name in grid:
                    count()
                    yield index, *shown[name]

    path = stacks.write(out / "frames", images(), len(whole), spec)
    if len(rows) != len(whole):
        raise SessionError(f"{session.path}: {len(rows)} of {len(whole)} time points could be read")
    return [path, write_csv(out / "frames.csv", *frame_rows(rows, grid))]


def _write_rest(
    plane: Session, stacks: StackWriter, stem: Path, count: Callable[[], None], spec: Spec, rest: np.ndarray
) -> list[Path]:
    """Write the frames of time points that other planes lack."""
    rows: list[tuple[int, int]] = []
    wanted = set(rest.tolist())

    def images() -> Iterator[Frame]:
        for index, t_ns, pixels in plane.each_frame(int(rest[0]), int(rest[-1]) + 1):
            if index in wanted:
                rows.append((index, t_ns))
                count()
                yield index, t_ns, pixels

    alone = plane.spec.with_(pixel_um=plane.spec.pixel_um or spec.pixel_um)
    return [
        stacks.write(stem, images(), len(rest), alone),
        write_csv(stem.with_name(f"{stem.name}.csv"), *frame_rows(rows)),
    ]
