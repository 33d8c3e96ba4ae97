"""Onsets of transients in traces that come frame by frame: where the mean rises above that of the frames before."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..core.errors import StateError
from ..core.state import State, require_array, require_int

NOISE_FRAMES = 256  # differences of consecutive frames that the noise is the median of
LEAST_STEPS = 64  # of them, for a noise
RENEWED_FRAMES = 32  # the noise is taken anew at multiples of so many of the frame index
# Bends, m₁ − 2 m₂ + m₃ of the means of three stretches of `after` frames, one each `after` frames, 26 s of .2 s. Their
# median is noise that is not white, as of real traces, and that decays and drift hardly enter: with σ by consecutive
# frames alone three of five sets of real traces have 11 to 18 times as many false events.
BENDS, LEAST_BENDS = 128, 32
_NORMAL = 0.6745 * np.sqrt(2)  # median of |a − b| of normal a and b of σ 1
_BENT = 0.6745 * np.sqrt(6) / np.sqrt(1.5)  # of bends, where σ of a contrast is 1


class Transient(NamedTuple):
    """Onset of a transient, column of its trace, rise of the mean, that in its σ, frame that it was found in."""

    frame: int
    column: int
    amplitude: float
    snr: float
    found_frame: int


class Onsets:
    """Follows traces, one a column, by the contrast of the last `after` frames with twice as many before them.

    A transient begins where the contrast exceeds `threshold` σ of its own: that of white noise with the trace's median
    absolute difference of consecutive frames, or what its means over stretches scatter by, if larger. Its onset is the
    first of the `after` frames at the highest contrast, known once `after` frames brought no higher one or the contrast
    is below the threshold; the next one can begin when it was below half of it. Half of the frames on either side must
    be known.
    """

    def __init__(self, after: int, threshold: float, columns: int = 0) -> None:
        self._after, self._before, self.threshold = after, 2 * after, threshold
        self.next_index = 0
        self._window = np.full((3 * after, columns), np.nan)  # at index modulo its length
        self._steps = np.full((NOISE_FRAMES, columns), np.nan)  # likewise
        self._bends = np.full((BENDS, columns), np.nan)  # at index // after, modulo its length
        self._noise, self._scatter, self._best, self._snr = np.full((4, columns), np.nan)
        self._best_at = np.full(columns, -1)  # -1: not in a rise
        self._armed = np.ones(columns, bool)
        self.share = np.nan  # of the columns with a contrast those that exceed the threshold in the newest frame

    def grow(self, columns: int) -> None:
        """Have so many columns."""
        old, new = self._arrays(), Onsets(self._after, self.threshold, columns)._arrays()
        for name, array in new.items():
            array[..., : old[name].shape[-1]] = old[name]
        self._take(new)

    def follow(self, index: int, values: np.ndarray) -> list[Transient]:
        """Take a frame's values (columns,), NaN where unknown; return the transients that are known now."""
        began = index // RENEWED_FRAMES * RENEWED_FRAMES
        for ring in (self._window, self._steps):
            for missing in range(max(self.next_index, index - len(ring)), index):
                ring[missing % len(ring)] = np.nan
        numbers = range(-(-self.next_index // self._after), -(-index // self._after))
        for missing in numbers[-BENDS:]:
            self._bends[missing % BENDS] = np.nan
        if self.next_index <= began:
            self._renew_noise()
        earlier = self._window[(index - 1) % len(self._window)]
        self._steps[index % NOISE_FRAMES] = np.abs(values - earlier)
        self._window[index % len(self._window)] = values
        self.next_index = index + 1
        return self._judge(index)

    def _renew_noise(self) -> None:
        steps = _median(self._steps, LEAST_STEPS)
        self._noise[:] = np.where(steps > 0, steps / _NORMAL, np.nan)
        self._scatter[:] = _median(self._bends, LEAST_BENDS) / _BENT

    def _judge(self, index: int) -> list[Transient]:
        contrast, sigma = self._contrast(index)
        with np.errstate(invalid="ignore"):
            z = contrast / sigma
            over, rising = z > self.threshold, self._best_at >= 0
            higher = np.where(rising, contrast > self._best, over & self._armed)
            self.share = float(over.sum() / known) if (known := np.count_nonzero(~np.isnan(z))) else np.nan
        self._best[higher], self._snr[higher], self._best_at[higher] = contrast[higher], z[higher], index
        ended = rising & ~higher & (~over | (index - self._best_at >= self._after))
        found = [self._transient(column, index) for column in np.flatnonzero(ended).tolist()]
        self._best_at[ended], self._armed[ended] = -1, False
        with np.errstate(invalid="ignore"):
            self._armed |= (self._best_at < 0) & ~(z >= self.threshold / 2)
        return found

    def _transient(self, column: int, index: int) -> Transient:
        onset = int(self._best_at[column]) - self._after + 1
        return Transient(onset, column, float(self._best[column]), float(self._snr[column]), index)

    def _contrast(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the contrast of each column as of a frame and its σ, NaN where too little is known."""
        recent = self._window[np.arange(index + 1, index + 1 + len(self._window)) % len(self._window)]
        known = ~np.isnan(recent)
        thirds = (3, self._after, recent.shape[1])
        sums, counts = np.where(known, recent, 0).reshape(thirds).sum(1), known.reshape(thirds).sum(1)
        if index % self._after == 0:
            means = np.where(2 * counts >= self._after, sums / np.maximum(counts, 1), np.nan)
            self._bends[index // self._after % BENDS] = np.abs(means[0] - 2 * means[1] + means[2])
        few, many = counts[0] + counts[1], counts[2]
        enough = (2 * few >= self._before) & (2 * many >= self._after)
        few, many = np.maximum(few, 1), np.maximum(many, 1)
        contrast = np.where(enough, sums[2] / many - (sums[0] + sums[1]) / few, np.nan)
        white = self._noise * np.sqrt(1 / few + 1 / many)
        return contrast, np.where(self._scatter > white, self._scatter, white)

    def finish(self) -> list[Transient]:
        """Return the transients that have begun, at the end of all frames."""
        rising, index = np.flatnonzero(self._best_at >= 0), self.next_index - 1
        found = [self._transient(column, index) for column in rising.tolist()]
        self._best_at[rising], self._armed[rising] = -1, False
        return found

    def state(self) -> State:
        """Return all carried values as state entries."""
        return {"next_index": self.next_index, **{name: array.copy() for name, array in self._arrays().items()}}

    def restore(self, state: State, columns: int, where: str) -> None:
        """Take over what `state` returned, of so many columns. Raises StateError."""
        like = Onsets(self._after, self.threshold, columns)._arrays()
        self._take({name: require_array(state, name, array, where) for name, array in like.items()})
        self.next_index = require_int(state, "next_index", where)
        if self.next_index < 0 or (self._best_at >= self.next_index).any():
            raise StateError(f"{where}: state 'best_at' is of frames that have not come; the state was damaged")

    def _arrays(self) -> dict[str, np.ndarray]:
        rings = {"window": self._window, "steps": self._steps, "bends": self._bends}
        levels = {"noise": self._noise, "scatter": self._scatter, "best": self._best, "snr": self._snr}
        return {**rings, **levels, "best_at": self._best_at, "armed": self._armed}

    def _take(self, arrays: dict[str, np.ndarray]) -> None:
        self._window, self._steps, self._bends = (arrays[name] for name in ("window", "steps", "bends"))
        self._noise, self._scatter, self._best = (arrays[name] for name in ("noise", "scatter", "best"))
        self._snr, self._best_at, self._armed = (arrays[name] for name in ("snr", "best_at", "armed"))


def _median(values: np.ndarray, least: int) -> np.ndarray:
    """Return the median of the known values (n, columns) of each column, NaN of fewer than `least`."""
    known = np.count_nonzero(~np.isnan(values), 0)
    ordered, columns = np.sort(values, 0), np.arange(len(known))  # NaN is last
    low, high = np.maximum(known - 1, 0) // 2, np.minimum(known // 2, len(values) - 1)
    return np.where(known >= least, (ordered[low, columns] + ordered[high, columns]) / 2, np.nan)
