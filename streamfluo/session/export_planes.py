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
from ..core.plane import PlaneGrid
from ..core.spec import Spec
from .csv_writer import write_csv
from .reader import Session
from .stack_writer import write_stack
from .time_points import time_points

Progress = Callable[[int], None]


def as_file_name(name: str) -> str:
    """Return a name without what file systems may not take."""
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in name)


def plane_file_names(planes: tuple[str, ...]) -> dict[str, str]:
    """Return for each plane a name that files may have, `green-0`, with its number in front where two are alike."""
    plain = {name: as_file_name(name) for name in planes}
    unique = len({name.casefold() for name in plain.values()}) == len(planes)
    return plain if unique else {name: f"{n}-{plain[name]}" for n, name in enumerate(planes)}


def export_frames_of_planes(session: Session, to: str, out: Path, progress: Progress, spec: Spec) -> list[Path]:
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

    written = _write_whole(session, to, out, count, spec, whole) if len(whole) else []
    for name, file_name in plane_file_names(session.planes).items():
        rest = np.setdiff1d(there[name], whole)
        if len(rest):
            written += _write_rest(session.plane(name), to, out / f"frames.incomplete.{file_name}", count, spec, rest)
    return written


def _write_whole(
    session: Session, to: str, out: Path, count: Callable[[], None], spec: Spec, whole: np.ndarray
) -> list[Path]:
    grid = [plane.name for plane in PlaneGrid.of(spec.planes).order]
    rows: list[tuple[int, ...]] = []

    def images() -> Iterator[np.ndarray]:
        wanted = set(whole.tolist())
        for index, shown in time_points(session.blocks(), session.planes):
            if index in wanted and len(shown) == len(grid):
                rows.append((index, *(shown[name].t_ns for name in grid)))
                for name in grid:
                    count()
                    yield shown[name].pixels

    path = write_stack(to, out / "frames", images(), len(whole), spec)
    if len(rows) != len(whole):
        raise SessionError(f"{session.path}: {len(rows)} of {len(whole)} time points could be read")
    return [path, write_csv(out / "frames.csv", ("index", *(f"t_ns {name}" for name in grid)), rows)]


def _write_rest(
    plane: Session, to: str, stem: Path, count: Callable[[], None], spec: Spec, rest: np.ndarray
) -> list[Path]:
    """Write the frames of time points that other planes lack."""
    rows: list[tuple[int, int]] = []
    wanted = set(rest.tolist())

    def images() -> Iterator[np.ndarray]:
        for index, t_ns, pixels in plane.each_frame(int(rest[0]), int(rest[-1]) + 1):
            if index in wanted:
                rows.append((index, t_ns))
                count()
                yield pixels

    alone = plane.spec.with_(pixel_um=plane.spec.pixel_um or spec.pixel_um)
    return [
        write_stack(to, stem, images(), len(rest), alone),
        write_csv(stem.with_name(f"{stem.name}.csv"), ("index", "t_ns"), rows),
    ]
