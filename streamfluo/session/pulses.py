"""Pulses that two clocks recorded: which of one train is which of the other, or that this cannot be said."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .clocks import Clock, fit_clock

TOLERANCE_NS = 5_000_000.0  # two times of one pulse are no further apart than this, once offset and drift are known
LEAST, CHUNK = 8, 200  # pulses by which an offset is found
MAX_DRIFT = 200e-6  # quartz is within 100 ppm
RUNNER_UP = 0.6  # another offset at which so large a part of the pulses fits as well leaves the offset open
SIGMAS = 3.0  # by which the best offset is above another: coincidences of unrelated pulses are counts
MATCHED, STRETCH = 0.5, 32  # of the train with fewer pulses, everywhere where the trains overlap
TRIES = (0.5, 0.25, 0.75, 0.0, 1.0)  # parts of a train by which an offset is looked for, one after the other


class Match(NamedTuple):
    """Pulses of one train, `ours` by place, and those of the other that they are; or why that is undetermined."""

    ours: np.ndarray
    theirs: np.ndarray
    undetermined: str = ""


def match_pulses(
    ours_ns: np.ndarray,
    theirs_ns: np.ndarray,
    tolerance_ns: float = TOLERANCE_NS,
    about: tuple[float, float] = (-np.inf, np.inf),
    same_start: bool = False,
) -> Match:
    """Match two trains of pulse times (n,) and (m,) [ns], rising, some of which the other may lack.

    The offset, theirs less ours, lies within `about` [ns]; `same_start`: the first pulse of both is the same one.
    Trains that fit at several offsets, as periodic ones do, are undetermined: nothing says which one is right.
    """
    ours, theirs = (np.asarray(t, np.int64) for t in (ours_ns, theirs_ns))
    if (fewest := min(len(ours), len(theirs))) < LEAST:
        return _undetermined(f"{fewest} pulses, {LEAST} or more are needed")
    # Times from a common beginning: of nanoseconds since 1970 a float has every 256th.
    level = int(theirs[0] - ours[0])
    a, b = (ours - ours[0]).astype(float), (theirs - theirs[0]).astype(float)
    low, high = about[0] - level, about[1] - level
    why = "no offset at which they fit"
    for part in (0.0,) if same_start else TRIES:
        first = round(part * max(0, len(a) - CHUNK))
        chunk = a[first : first + CHUNK]
        reach = tolerance_ns + MAX_DRIFT / 2 * np.ptp(chunk)
        if same_start:
            low, high = max(low, -reach), min(high, reach)
        offset, said = _offset(chunk, b, reach, (low, high), alone=same_start)
        why = said or why
        if offset is not None:
            found = _followed(a, b, offset, (first, first + len(chunk)), (reach, tolerance_ns))
            if not found.undetermined:
                return found
            why = found.undetermined
    return _undetermined(why)


def _undetermined(why: str) -> Match:
    nothing = np.empty(0, np.int64)
    return Match(nothing, nothing, why)


def _offset(
    chunk: np.ndarray, b: np.ndarray, reach: float, within: tuple[float, float], alone: bool
) -> tuple[float | None, str]:
    """The offset at which most of a chunk's pulses have one of the other train within reach, if no other one compares;
    or why there is none. `alone`: it lies within reach of a known one, and there is nothing to compare."""
    starts, stops = (np.searchsorted(b, chunk + edge) for edge in within)
    if not (counts := np.maximum(0, stops - starts)).any():
        return None, ""
    places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(starts, counts)
    apart = np.sort(b[places] - np.repeat(chunk, counts))
    fits = np.searchsorted(apart, apart + 2 * reach, side="right") - np.arange(len(apart))
    best = int(np.argmax(fits))
    offset = float(np.median(apart[best : best + fits[best]]))
    far = np.abs(apart + reach - offset) > 2 * reach
    runner_up = int(fits[far].max(initial=0)) if not alone else 0
    possible = int(((chunk + offset >= b[0]) & (chunk + offset <= b[-1])).sum())
    if fits[best] < max(LEAST, MATCHED * possible):
        return None, f"at the best offset {fits[best]} of {possible} pulses fit"
    if runner_up > RUNNER_UP * fits[best] or fits[best] - runner_up < SIGMAS * np.sqrt(runner_up):
        return (
            None,
            f"{fits[best]} pulses fit at one offset and {runner_up} at another; irregular intervals tell them apart",
        )
    return offset, ""


def _followed(
    a: np.ndarray, b: np.ndarray, offset: float, known: tuple[int, int], reaches: tuple[float, float]
) -> Match:
    """The pairs of the whole trains, from those of a chunk on to twice as many at a time, by a clock that is fitted to
    the pairs so far."""
    start, stop = known
    ours, theirs = _pairs(a[start:stop] + offset, b, reaches[0])
    ours = ours + start
    while True:
        if len(ours) < LEAST:
            return _undetermined(f"{len(ours)} pulses fit, {LEAST} or more are needed")
        clock = fit_clock(a[ours], b[theirs])
        if abs(clock.drift) > 5 * MAX_DRIFT:
            return _undetermined(f"one clock would run {1e6 * clock.drift:.0f} ppm faster than the other")
        if (start, stop) == (0, len(a)) and reaches[0] == reaches[1]:
            break
        if reaches[0] == reaches[1]:
            more = stop - start
            start, stop = max(0, start - more), min(len(a), stop + more)
        reaches = (reaches[1], reaches[1])
        ours, theirs = _pairs(clock.theirs(a[start:stop]), b, reaches[1])
        ours = ours + start
    return _checked(Match(ours, theirs), clock.theirs(a), b)


def _checked(match: Match, predicted: np.ndarray, b: np.ndarray) -> Match:
    """A match of whole trains, unless there is a stretch where both have pulses, and those are others."""
    edges = np.append(np.arange(0, len(predicted), STRETCH), len(predicted))
    for start, stop in pairwise(edges.tolist()):
        first, last = np.searchsorted(b, (predicted[start], predicted[stop - 1]))
        possible = min(stop - start, last - first)
        fit = int(np.diff(np.searchsorted(match.ours, (start, stop)))[0])
        if possible >= LEAST and fit < MATCHED * possible:
            what = f"of pulses {start} to {stop} {fit} fit where {possible} could"
            return _undetermined(f"{what}; a clock was set, or they are another line's")
    return match


def _pairs(predicted: np.ndarray, b: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Which predicted times and which of a train are each other's nearest, and within reach."""
    theirs, ours = _nearest(b, predicted), _nearest(predicted, b)
    mutual = ours[theirs] == np.arange(len(predicted))
    places = np.flatnonzero(mutual & (np.abs(b[theirs] - predicted) <= reach))
    return places, theirs[places]


def _nearest(sorted_times: np.ndarray, times: np.ndarray) -> np.ndarray:
    right = np.clip(np.searchsorted(sorted_times, times), 1, max(1, len(sorted_times) - 1))
    right = np.minimum(right, len(sorted_times) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(times - sorted_times[left] <= sorted_times[right] - times, left, right)


def pulse_clock(ours_ns: np.ndarray, theirs_ns: np.ndarray, match: Match) -> Clock:
    """Return the other clock by the pulses that match."""
    return fit_clock(ours_ns[match.ours], theirs_ns[match.theirs])
