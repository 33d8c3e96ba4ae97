"""What a sequence file asks of a microscope: channels and slices as planes, time points as their frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ..core.errors import FrameError, SourceError, did_you_mean
from ..core.plane import MAX_PLANES, Plane, as_channel, checked_planes
from .camera_params import one_line

MAX_BYTES = 1 << 20
MAX_TIME_POINTS = 1 << 20


@dataclass(frozen=True)
class Sequence:
    """A useq.MDASequence: the image of each `planes` key (channel's number, slice's number), `points` times over.

    `interval_s` is that between two time points, None where they differ or come as fast as they can.
    """

    events: Any
    planes: Mapping[tuple[int, int], Plane]
    points: int
    interval_s: float | None


def read_sequence(path: Path, uri: str) -> Sequence:
    """Read a useq.MDASequence from a YAML or JSON file.

    Raises SourceError for a file that is none, and for a sequence without frames, with more planes than a stream has,
    of several positions, or with channels that are not at every time point.
    """
    events, where = _parsed(path, uri), f"{uri}: {path}"
    positions, at_once = events.stage_positions, events.model_copy(update={"time_plan": None})
    if len(positions) > 1 or at_once.sizes.get("g", 0) > 1 or any(p.sequence is not None for p in positions):
        found = f"{len(positions)} positions" if len(positions) > 1 else "a grid or a sequence at a position"
        raise SourceError(f"{where}: has {found}; a stream is of one, write one file for each and run them in turn")
    seldom = [channel.config for channel in events.channels if channel.acquire_every > 1]
    if seldom:
        raise SourceError(
            f"{where}: channel {seldom[0]!r} is not at every time point; leave acquire_every out, "
            "or write a file of its own for it"
        )
    points = _points(events.time_plan, where)
    one_point = list(islice(at_once, MAX_PLANES + 1))
    if not one_point and not events.time_plan:
        raise SourceError(f"{where}: has no frames; give it channels, a z_plan or a time_plan")
    if len(one_point) > MAX_PLANES:
        raise SourceError(f"{where}: has more than {MAX_PLANES} planes; a stream has at most so many")
    planes = {}
    for event in one_point:
        number, z = event.index.get("c", 0), event.index.get("z", 0)
        channel = as_channel(event.channel.config if event.channel else "", number)
        exposure_s = event.exposure / 1e3 if event.exposure else None
        planes[number, z] = Plane(channel, z, event.z_pos if "z" in event.index else None, exposure_s=exposure_s)
    try:
        checked_planes(planes.values())
    except FrameError as error:
        raise SourceError(f"{where}: {error}") from None
    return Sequence(events, planes or {(0, 0): Plane("0")}, points, _interval_s(events.time_plan))


def _parsed(path: Path, uri: str) -> Any:
    import useq

    try:
        import yaml
    except ImportError:
        raise SourceError(f'{uri}: needs PyYAML; install it with pip install "streamfluo[camera]"') from None
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SourceError(f"{uri}: cannot read the sequence {path}: {error.strerror}") from None
    if len(text) > MAX_BYTES:
        raise SourceError(f"{uri}: {path} is larger than a sequence can be, {MAX_BYTES >> 20} MiB")
    try:
        written = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise SourceError(f"{uri}: {path} is no YAML: {one_line(error)[:200]}") from None
    known = list(useq.MDASequence.model_fields)
    if not isinstance(written, dict):
        raise SourceError(f"{uri}: {path} is no sequence; it has keys such as channels, z_plan and time_plan")
    for key in written:
        if key not in known and key not in ("uid", "replace"):
            raise SourceError(f"{uri}: {path}: no part {str(key)[:80]!r} of a sequence{did_you_mean(str(key), known)}")
    try:
        return useq.MDASequence.model_validate(written)
    except (ValueError, TypeError, OverflowError) as error:
        raise SourceError(f"{uri}: {path} is no sequence: {_first_of(error)}") from None


def _first_of(error: Exception) -> str:
    """The first thing that pydantic found wrong, in one line."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return one_line(error)[:200]
    first = errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place or 'the file'}: {' '.join(first['msg'].split())}"[:200]


def _points(plan: Any, where: str) -> int:
    """How many time points a plan has: as few as one, as many as can be counted before they are all listed."""
    points = sum(1 for _ in islice(plan, MAX_TIME_POINTS + 1)) if plan else 1
    if not 1 <= points <= MAX_TIME_POINTS:
        raise SourceError(f"{where}: time_plan: found {points} time points; 1 to {MAX_TIME_POINTS} can be")
    return points


def _interval_s(plan: Any) -> float | None:
    """The time between two time points, if the plan has one for all of them."""
    phases = getattr(plan, "phases", None) or ([plan] if plan else [])
    found = {phase.interval.total_seconds() for phase in phases if getattr(phase, "interval", None) is not None}
    interval_s = found.pop() if len(found) == 1 else 0.0
    return interval_s if interval_s > 0 else None
