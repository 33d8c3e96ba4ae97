"""What is swept: parameters with the values that each takes, every combination of them, checked before any begins."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

from ..core.errors import ConfigError, StreamfluoError, did_you_mean
from ..core.params import build_params, literal, with_present_names
from ..core.registry import find_operator
from ..engine.building import named_planes
from ..engine.chain import Chain
from ..engine.config import Config, parse_config, with_overrides
from ..reprocess.one_recording import Stated, Task
from ..reprocess.recordings import MAX_NAME, UNSAFE, Recording
from ..sources.opening import open_source


class Axis(NamedTuple):
    """A parameter, `step.key`, and the values that it takes as they were written."""

    target: str
    values: tuple[str, ...]


class Point(NamedTuple):
    """One combination on one recording: its changes, as `--set` has them, and the name of its session."""

    recording: Recording
    changes: tuple[str, ...]
    name: str


def axes_of(texts: Sequence[str]) -> list[Axis]:
    """Return what `step.key=1,2,3` each sweep. Raises ConfigError for what is no such thing, or twice the same."""
    axes: list[Axis] = []
    for text in texts:
        target, equals, stated = text.partition("=")
        values = [value.strip() for value in _apart(stated)]
        if not equals or "." not in target or not all(values) or not values:
            raise ConfigError(f"--sweep {text}: write step.key=value,value,…")
        again = [value for n, value in enumerate(values) if literal(value) in [literal(v) for v in values[:n]]]
        if again:
            raise ConfigError(f"--sweep {text}: {again[0]} is there twice")
        if target.strip() in [axis.target for axis in axes]:
            raise ConfigError(f"--sweep {text}: {target.strip()} is swept twice; write all of its values once")
        axes.append(Axis(target.strip(), tuple(values)))
    return axes


def points_of(axes: Sequence[Axis], recordings: Sequence[Recording], most: int) -> list[Point]:
    """Return every combination on every recording. Raises ConfigError for more than `most`."""
    sizes = [len(axis.values) for axis in axes]
    if (count := math.prod(sizes) * len(recordings)) > most:
        spelled = " × ".join(map(str, sizes))
        of = f" on {len(recordings)} recordings" if len(recordings) > 1 else ""
        said = f"--sweep: {spelled} values{of} are {count:,} sessions, more than {most:,}"
        raise ConfigError(f"{said}; sweep fewer, or say --most {count}")
    points = [
        Point(recording, changes, point_name(recording.name, changes))
        for recording in recordings
        for changes in _changes(axes)
    ]
    names: dict[str, Point] = {}
    for point in points:
        if (other := names.setdefault(point.name.casefold(), point)) is not point:
            said = " and ".join(f"{p.recording.name} with {', '.join(p.changes)}" for p in (other, point))
            raise ConfigError(f"--sweep: {said} would both be {point.name!r}; rename a recording")
    return points


def point_name(recording: str, changes: Sequence[str]) -> str:
    """Return the name of a combination's session: the recording's, and what is changed; a hash where that is long."""
    named = "_".join([recording, *(UNSAFE.sub("", change) for change in changes)])
    exact = all(not UNSAFE.search(change) for change in changes)
    if exact and len(named) <= MAX_NAME:
        return named
    digest = hashlib.sha256("\n".join([recording, *changes]).encode()).hexdigest()[:10]
    return f"{named[: MAX_NAME - 11]}-{digest}"


def check(axes: Sequence[Axis], stated: Stated, uri: str) -> None:
    """Check the parameters of a config, then each value of each one that is swept by itself, these with the frames of a
    recording where it can be opened.

    Raises ConfigError for a step or parameter that is not there, and for a value that is not taken.
    """
    where, text, changes = stated
    config = parse_config(text, where, changes)
    _check_parameters(config)
    ids = [step.id for step in config.steps]
    for axis in axes:
        name = axis.target.partition(".")[0]
        if name not in (*ids, "source"):
            raise ConfigError(f"--sweep {axis.target}: no step {name!r} in {where}{did_you_mean(name, ids)}")
    for axis in axes:
        for value in axis.values:
            config = parse_config(text, where, (*changes, f"{axis.target}={value}"))
            try:
                _build(config, uri)
            except ConfigError as error:
                raise ConfigError(f"--sweep {axis.target}={value}: {error}") from None


def tasks_of(points: Sequence[Point], stated: Stated, out: str) -> list[Task]:
    """Return the tasks of a reprocessing that these are."""
    where, text, changes = stated
    return [
        Task((where, text, (*changes, *point.changes)), Recording(point.name, point.recording.uri), out)
        for point in points
    ]


def _build(config: Config, uri: str) -> None:
    """Build the chain for the frames of a recording; of one that cannot be opened check the steps' parameters."""
    try:
        source = open_source(uri, planes=bool(named_planes(config.steps)))
    except StreamfluoError:  # it is its outcome
        _check_parameters(config)
        return
    with source:
        Chain(config, with_overrides(config, source.spec))


def _check_parameters(config: Config) -> None:
    """Check the steps' parameters as far as they can be without frames."""
    for step in config.steps:
        place = f"{config.where}: step {step.id!r}"
        kind = find_operator(step.kind, place)
        params = with_present_names(kind.Params, step.params)
        build_params(kind.Params, {n: v for n, v in params.items() if n not in kind.from_file}, place)


def _changes(axes: Sequence[Axis]) -> Iterator[tuple[str, ...]]:
    targets = [axis.target for axis in axes]
    for values in product(*(axis.values for axis in axes)):
        yield tuple(f"{target}={value}" for target, value in zip(targets, values, strict=True))


def _apart(stated: str) -> Iterator[str]:
    """The values of a list, at commas that are in no brackets and no quotes."""
    depth, quote, begin = 0, "", 0
    for n, letter in enumerate(stated):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[{(":
            depth += 1
        elif letter in "]})":
            depth -= 1
        elif letter == "," and not depth:
            yield stated[begin:n]
            begin = n + 1
    yield stated[begin:]
