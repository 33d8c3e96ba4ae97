"""Emitters that switch on and off and bleach, in continuous time: how much of each frame each one was on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

OFF, ON, BLEACHED = 0, 1, 2

_NEVER = 1e18  # mean dwell of a state that is not left, in frames
_GROUP = 2048  # emitters drawn at once: 2048 × 1024 frames are 17 MB
_CYCLES = 2**20  # off-on cycles drawn at once, 8 MB an array


class Rates(NamedTuple):
    """Switching rates per frame: off → on, on → off, and on → bleached."""

    on: float
    off: float
    bleach: float


def equilibrium(rates: Rates, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return states (count,) of emitters that have long switched and never bleached; on where nothing switches."""
    total = rates.on + rates.off
    return (rng.random(count) < (rates.on / total if total else 1.0)).astype(np.int8)


def run_telegraph(
    state: np.ndarray, rates: Rates, frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (on fraction (frames, N) float32, when each bleached (N,) in frames or inf, state after (N,)).

    Exact: dwell times are exponential, and as they have no memory, those under way at the end are drawn anew from
    the state there by the next call. Cost grows with the switches: 40 to 80 ns each.
    """
    fraction = np.empty((frames, len(state)), np.float32)
    bleached_at, after = np.full(len(state), np.inf), state.copy()
    for start in range(0, len(state), _GROUP):
        group = slice(start, start + _GROUP)
        fraction[:, group] = _run_group(after[group], bleached_at[group], rates, frames, rng)
    return fraction, bleached_at, after


def _run_group(
    state: np.ndarray, bleached_at: np.ndarray, rates: Rates, frames: int, rng: np.random.Generator
) -> np.ndarray:
    """On fraction (frames, n); changes `state` and `bleached_at` in place."""
    width = frames + 2
    change = np.zeros(len(state) * width)
    time = np.zeros(len(state))
    left = np.flatnonzero(state != BLEACHED)
    while left.size:
        starts, ends, dies = _draw_cycles(time[left], state[left] == ON, rates, frames, rng)
        seen = (starts < frames) & (np.cumsum(dies, axis=1) - dies == 0)
        row = np.broadcast_to(left[:, None], seen.shape)[seen] * width
        change += _light_changes(row, starts[seen], np.minimum(ends[seen], frames), len(change))
        last_on = seen & (ends >= frames)
        died = seen & dies & (ends < frames)
        gone = died.any(1)
        state[left] = np.where(gone, BLEACHED, np.where(last_on.any(1), ON, OFF))
        bleached_at[left[gone]] = ends[died]
        time[left] = ends[:, -1]
        left = left[~gone & (ends[:, -1] < frames)]
    fraction = np.cumsum(change.reshape(len(state), width), axis=1)[:, :frames]
    return np.clip(fraction, 0, 1).T  # sums of changes miss 0 and 1 by rounding


def _draw_cycles(
    time: np.ndarray, on: np.ndarray, rates: Rates, frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts and ends (n, m) of the next m times on, and whether each ended in bleaching."""
    leaving = rates.off + rates.bleach
    mean_off, mean_on = 1 / rates.on if rates.on else _NEVER, 1 / leaving if leaving else _NEVER
    expected = int(1.2 * frames / (mean_off + mean_on)) + 4
    size = (len(time), max(1, min(expected, _CYCLES // len(time))))
    off_dwell = rng.standard_exponential(size) * mean_off
    off_dwell[on, 0] = 0
    ends = time[:, None] + np.cumsum(off_dwell + rng.standard_exponential(size) * mean_on, axis=1)
    starts = np.concatenate([time[:, None], ends[:, :-1]], axis=1) + off_dwell
    dies = rng.random(size) < rates.bleach / leaving if rates.bleach else np.zeros(size, bool)
    return starts, ends, dies


def _light_changes(row: np.ndarray, starts: np.ndarray, ends: np.ndarray, size: int) -> np.ndarray:
    """What each frame's light differs by from the frame before: a switch counts in its own frame and in the next."""
    times, sign = np.concatenate([starts, ends]), np.repeat([1.0, -1.0], len(starts))
    frame = np.floor(times)
    at = np.concatenate([row, row]) + frame.astype(np.int64)
    late = times - frame
    return np.bincount(np.concatenate([at, at + 1]), np.concatenate([sign * (1 - late), sign * late]), size)
