"""Inputs with a clock of their own: when their samples were taken, by the clock that this machine received them."""

from __future__ import annotations

import numpy as np

from .clocks import fit_clock
from .input_samples import Samples

JUMP_NS = 500_000_000  # a clock that is ahead by so much all at once was set, or is another; late is only what comes
START_ERROR_NS = 600_000  # a known start lies evenly within 2 ms


def taken_ns(samples: Samples) -> tuple[np.ndarray, float]:
    """Return when samples (n,) were taken by this machine's clock [ns], and its standard error where it is largest.

    Their own clock is compared with when the last of each delivery came, by a robust line for each clock: one that goes
    back, or jumps, is another. That of a device which began at 0 is held to its start, by which it has no delay.
    """
    assert samples.own_ns is not None
    own, came = samples.own_ns, samples.t_ns
    if not len(own):
        return came, 0.0
    last = np.append(np.flatnonzero(np.diff(came)), len(came) - 1)
    first = np.append(0, last[:-1] + 1)
    begins = _begins(own[first], own[last], came[last])
    taken, error_ns = np.empty(len(own), np.int64), 0.0
    for start, stop in zip(begins, [*begins[1:], len(first)], strict=True):
        part = slice(first[start], last[stop - 1] + 1)
        found, its_error_ns = _of_one_clock(own[part], own[last[start:stop]], came[last[start:stop]])
        taken[part], error_ns = found, max(error_ns, its_error_ns)
    return taken, error_ns


def _begins(first_own: np.ndarray, last_own: np.ndarray, came: np.ndarray) -> list[int]:
    """At which deliveries another clock begins."""
    begins, ahead, most = [0], last_own - came, int(last_own[0] - came[0])
    back = np.append(False, first_own[1:] < last_own[:-1] - JUMP_NS) | (first_own == 0)
    for n in range(1, len(came)):
        if back[n] or ahead[n] > most + JUMP_NS:
            begins.append(n)
            most = int(ahead[n])
        most = max(most, int(ahead[n]))
    return begins


def _of_one_clock(own: np.ndarray, last_own: np.ndarray, came: np.ndarray) -> tuple[np.ndarray, float]:
    """When samples of one clock were taken, and how well that is known, from its deliveries."""
    known_start = last_own[0] == 0
    ends = slice(1, None) if known_start else slice(None)  # its time is when it began, not when it came
    if len(last_own[ends]) < 2:
        return own - last_own[0] + came[0], START_ERROR_NS if known_start and len(own) > 1 else np.inf
    clock = fit_clock(last_own[ends], came[ends])
    if known_start:
        since = np.rint(own * (1 + clock.drift)).astype(np.int64)
        return came[0] + since, float(np.hypot(clock.error_ns, START_ERROR_NS))
    return np.rint(clock.theirs(own)).astype(np.int64), clock.error_ns
