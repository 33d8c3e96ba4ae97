"""The results of a sweep as rows: each combination on each recording, with what its session measured."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..catalogue.find import csv_cell
from ..catalogue.measures import CAMERA, FRAMES, measured
from ..catalogue.reading import PLANES
from ..core.errors import StreamfluoError
from ..core.params import literal
from ..report.recorded import parts_of
from ..reprocess.one_recording import Outcome
from ..session.files import put_in_place
from ..session.reader import Session, open_session
from ..sources.selection import path_and_query
from .grid import Axis, Point
from .truth import against_truth

TRUTH = "truth"
FIRST = ("f1", "cells", "found_share", "false_a_frame", "traces_r", "snr", "localisations")  # what people look at first


@dataclass(frozen=True)
class Row:
    """A session of a sweep: its point, what became of it, and its figures, `step.name` and `truth.name`."""

    point: Point
    became: str
    values: tuple[str, ...]
    figures: Mapping[str, float] = field(default_factory=dict)


def rows_of(points: Sequence[Point], outcomes: Mapping[str, Outcome], out: Path) -> Iterator[Row]:
    """Yield a row for each point, in their order; figures of what is done, now or before."""
    for point in points:
        outcome = outcomes.get(point.name)
        became: str = "not begun" if outcome is None else outcome.became
        values = tuple(change.partition("=")[2] for change in point.changes)
        figures: dict[str, float] = {}
        if became in ("done", "there"):
            try:
                figures = _figures(open_session(out / point.name), point)
            except StreamfluoError as error:
                became = f"unreadable: {error}"
        yield Row(point, became, values, figures)


def write_table(path: Path, axes: Sequence[Axis], rows: Sequence[Row]) -> Path:
    """Write the rows as CSV, put in place whole. Raises OSError."""
    names = figure_names(rows)
    aside = path.with_suffix(".part")
    with aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["session", "recording", *(axis.target for axis in axes), "became", *names])
        for row in rows:
            known = (repr(row.figures[name]) if name in row.figures else "" for name in names)
            words = (row.point.name, row.point.recording.name, *row.values, row.became)
            writer.writerow([*map(csv_cell, words), *known])
    put_in_place(aside, path)
    return path


def figure_names(rows: Sequence[Row]) -> list[str]:
    """Return the names of all figures, in the order in which they come up."""
    return list(dict.fromkeys(name for row in rows for name in row.figures))


def telling(rows: Sequence[Row], most: int) -> list[str]:
    """Return at most so many figures that the swept parameters change, those first that people look at first."""
    names = [name for name in figure_names(rows) if _varies(rows, name)]

    def rank(name: str) -> tuple[int, int, int]:
        short = name.rpartition(".")[2]
        known = FIRST.index(short) if short in FIRST else len(FIRST)
        return known, 0 if name.startswith(TRUTH) else 1, names.index(name)

    return sorted(names, key=rank)[:most]


def number_of(text: str) -> float | None:
    """Return a swept value as a number, None for one that is none."""
    value = literal(text)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _figures(session: Session, point: Point) -> dict[str, float]:
    found: dict[str, float] = {"frames": float(session.frames), "lost": float(session.lost)}
    for one in measured(session, parts_of(session, PLANES)):
        if one.kind not in (CAMERA, FRAMES):
            found[f"{one.step}.{one.name}"] = one.value
    truth = session.truth or _truth_of(point.recording.uri)
    return found | {f"{TRUTH}.{name}": value for name, value in against_truth(session, truth).items()}


def _truth_of(uri: str) -> Mapping[str, np.ndarray]:
    """The truth of a recording that is itself a session, of a simulation; empty otherwise."""
    location, query = path_and_query(uri)
    path = Path(location)
    try:
        return open_session(path).truth if (path / "session.json").exists() and not query else {}
    except StreamfluoError:
        return {}


def _varies(rows: Sequence[Row], name: str) -> bool:
    by_recording: dict[str, set[float]] = {}
    for row in rows:
        if name in row.figures:
            by_recording.setdefault(row.point.recording.name, set()).add(row.figures[name])
    return any(len(values) > 1 for values in by_recording.values())
