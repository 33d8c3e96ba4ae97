"""The figures of each rig over months, of a catalogue: which of them drift, step, or are outside their limits now."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..core.errors import ConfigError, did_you_mean
from ..core.findings import counted, spelled
from .columns import COLUMNS, NUMBER
from .database import opened
from .filters import Names
from .find import Query, Row, found_in
from .trend import MIN_DAYS, Trend, trend_of

# What a rig does, rather than a sample; `--measure` asks for any other.
OF_A_RIG = (
    "gain_e_per_adu", "offset_adu", "read_noise_e", "photons", "psf_sigma_px", "precision_px", "motion_px", "drift_px",
    "correlation", "snr", "saturated_share", "bleaching", "lost_share",
)  # fmt: skip
WARNS = ("drift", "step", "changed", "outside")
BY = ("rig", "camera", "host", "source")


class Figure(NamedTuple):
    """One figure of one rig over time: `group` says which, `step` where it was measured ("" of the session itself)."""

    group: str
    step: str
    name: str
    sessions: int
    since: datetime
    trend: Trend
    changes: tuple[str, ...] = ()

    @property
    def warns(self) -> bool:
        """Whether somebody should look at it."""
        return self.trend.verdict in WARNS

    @property
    def said(self) -> str:
        """What became of it, in a sentence."""
        trend, days = self.trend, len(self.trend.day)
        if trend.verdict == "undetermined":
            return f"cannot tell: {counted(self.sessions, 'session')} on {counted(days, 'day')}, {MIN_DAYS} days needed"
        if trend.verdict == "steady":
            return "steady"
        change = _change(trend)
        if trend.verdict == "drift":
            return f"drifts by {change} a month"
        if trend.verdict == "outside":
            return f"outside its limits on {_date(self.since, trend.day[-1])}: {change} from its median"
        if trend.verdict == "changed":
            return f"changed by {change}, at once or by and by"
        also = f"; {' and '.join(self.changes)} changed then" if self.changes else ""
        return f"stepped by {change} on {_date(self.since, trend.at)}{also}"


def trends_in(file: Path, query: Query, measures: Sequence[str] = (), by: str = "rig") -> list[Figure]:
    """Return the figures of each rig that a catalogue has, those that warn first; sessions that are gone count too.

    by: what tells rigs apart, beside the camera: rig, camera, host, source, or a word of the sender, `user.laser`.
    Raises ConfigError for what the catalogue does not have, CatalogueError.
    """
    with opened(file) as connection:
        names = Names.of(connection)
        if by not in BY and by not in names.words:
            raise ConfigError(f"--by: {by!r} is none of {', '.join((*BY, *names.words))}{did_you_mean(by, BY)}")
        for name in measures:
            if names.known(name) == "word" or (name in COLUMNS and COLUMNS[name][0] != NUMBER):
                raise ConfigError(f"--measure: {name} is no number")
        rows = found_in(connection, query._replace(gone=True, sort="began", reverse=True)).rows
    series = defaultdict[tuple[str, str, str], list[tuple[float, float, Row]]](list)
    for row in rows:
        if (began := _seconds(row.fields["began"])) is None:
            continue
        for step, name, value in _values(row, measures):
            series[_group(row, by), step, name].append((began, value, row))
    found = [_figure(*key, points) for key, points in series.items()]
    return sorted(found, key=lambda figure: (not figure.warns, figure.group, figure.step, figure.name))


def _figure(group: str, step: str, name: str, points: Sequence[tuple[float, float, Row]]) -> Figure:
    times, values = (np.array([point[n] for point in points]) for n in (0, 1))
    trend = trend_of(times, values)
    first = math.floor(times.min() / 86400.0) * 86400.0
    changes: tuple[str, ...] = ()
    if trend.verdict == "step":
        at = first + trend.at * 86400.0
        before, behind = ([row for time, _, row in points if (time < at) == early] for early in (True, False))
        changes = tuple(said for key, said in (("version", "streamfluo's version"), ("config_sha256", "the config"))
                        if _differs(before, behind, key))  # fmt: skip
    return Figure(group, step, name, len(points), datetime.fromtimestamp(first, UTC), trend, changes)


def _differs(before: Sequence[Row], behind: Sequence[Row], key: str) -> bool:
    """Whether no session before shares what a column says with one behind: what changed then may be the reason."""
    return not {row.fields[key] for row in before} & {row.fields[key] for row in behind}


def _values(row: Row, measures: Sequence[str]) -> list[tuple[str, str, float]]:
    """(step's kind, name, value) of each figure of a session that is looked at; of several planes each one's last."""
    found: dict[tuple[str, str], float] = {}
    if row.fields["frames"] and (not measures or any(name in COLUMNS for name in measures)):
        for name in measures or OF_A_RIG:
            if name in COLUMNS and row.fields[name] is not None:
                found["", name] = float(row.fields[name])
    for step, values in row.measures.items():
        for name, value in values.items():
            kind = row.kinds[step]
            if {name, f"{kind}.{name}", f"{step}.{name}"} & {*(measures or OF_A_RIG)}:
                found[kind, name] = value
    return [(step, name, value) for (step, name), value in found.items()]


def _group(row: Row, by: str) -> str:
    said = [str(row.value(by) or "")]
    if by == "rig" and row.fields["camera"]:
        said.append(str(row.fields["camera"]))
    return ", ".join(word for word in said if word) or "(not said)"


def _seconds(began: object) -> float | None:
    try:
        return datetime.fromisoformat(str(began)).timestamp() if began else None
    except ValueError:
        return None


def _change(trend: Trend) -> str:
    sign = "−" if trend.change < 0 else "+"
    size = abs(trend.change)
    return f"{sign}{spelled(100 * size, 2)} %" if trend.relative else f"{sign}{spelled(size, 2)}"


def _date(since: datetime, day: float) -> str:
    return (since + timedelta(days=float(day))).strftime("%Y-%m-%d")
