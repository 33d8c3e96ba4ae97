"""Inputs whose clock is set by pulses: those of a line that the frames, or another input, recorded as well."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from ..core.errors import ConfigError
from .clocks import Clock
from .files import read_toml
from .pulses import TOLERANCE_NS, match_pulses, pulse_clock

WITHIN_NS = 2e9  # of what arrival says
LOST = 1.5  # sampling intervals: over more of them samples were lost, and with them when a pulse began


class SharedPulses(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """pulses of an [[input]]: which of its columns has the pulses that set its clock, and who has them too."""

    of: Annotated[str, Meta(description='the input that has the same pulses; "frames": each frame is one')]
    column: Annotated[int, Meta(ge=0, le=255, description="which column of a sample has them")] = 0
    level: Annotated[
        float | None, Meta(description="a pulse begins where the value rises to this; none: where it rises at all")
    ] = None
    same_start: Annotated[
        bool, Meta(description="the first pulse of both is the same one: needed where they come at even intervals")
    ] = False


class PulseLine(NamedTuple):
    """When pulses began [ns], and by how much a time may be off because the line was sampled [ns]."""

    t_ns: np.ndarray
    half_ns: float = 0.0


def stated_pulses(session: Path) -> dict[str, SharedPulses]:
    """Return what a session's config says of pulses, by input; nothing of a config that cannot be read."""
    try:
        entries = read_toml(session / "config.toml", "config").get("input", [])
        stated = {entry["name"]: entry["pulses"] for entry in entries if "pulses" in entry}
        return msgspec.convert(stated, dict[str, SharedPulses])
    except (ConfigError, msgspec.ValidationError, TypeError, KeyError):
        return {}


def pulse_line(t_ns: np.ndarray, value: np.ndarray, column: int = 0, level: float | None = None) -> PulseLine:
    """Return when pulses began, of samples (n,) and their values (n, columns), or texts, each of which is one.

    Of a line that is sampled more often than it has pulses they began between two samples.
    """
    if value.ndim == 1:
        return PulseLine(np.sort(t_ns))
    if len(t_ns) < 2 or column >= value.shape[1]:
        return PulseLine(t_ns[:0])
    order = np.argsort(t_ns, kind="stable")
    t_ns, line = t_ns[order], value[order, column]
    rises = line[1:] > line[:-1] if level is None else (line[1:] >= level) & (line[:-1] < level)
    at = np.flatnonzero(rises) + 1
    if 2 * len(at) > len(line):  # a message for each, with a number that goes up
        return PulseLine(t_ns[at])
    every_ns = float(np.median(np.diff(t_ns)))
    gap_ns = t_ns[at] - t_ns[at - 1]
    return PulseLine((t_ns[at] - gap_ns // 2)[gap_ns <= LOST * every_ns], every_ns / 2)


class PulseClock(NamedTuple):
    """The clock by which times become those of the line that has the same pulses, and how many match; or why none."""

    clock: Clock | None
    pulses: int
    undetermined: str = ""


def clock_of_pulses(ours: PulseLine, lines: Mapping[str, PulseLine], stated: SharedPulses) -> PulseClock:
    """Return the clock of an input by its pulses; `ours` are times that arrival says, by which they are near."""
    if stated.of not in lines:
        return PulseClock(None, 0, f"there is no {stated.of!r} that has the pulses")
    theirs = lines[stated.of]
    tolerance_ns = TOLERANCE_NS + ours.half_ns + theirs.half_ns
    match = match_pulses(ours.t_ns, theirs.t_ns, tolerance_ns, (-WITHIN_NS, WITHIN_NS), stated.same_start)
    if match.undetermined:
        return PulseClock(None, 0, match.undetermined)
    return PulseClock(pulse_clock(ours.t_ns, theirs.t_ns, match), len(match.ours))
