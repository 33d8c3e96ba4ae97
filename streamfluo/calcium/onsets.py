"""Onsets of transients in traces that come frame by frame: where the mean rises above that of the frames before."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..core.errors import StateError
from ..core.state import State, require_array, require_int

NOISE_FRAMES = 256  # differences of consecutive frames that the noise is the median of
LEAST_STEPS = 64  # of them, for a noise
RENEWED_FRAMES = 32  # the noise is taken anew at multiples of so many of the frame index
_NORMAL = 0.6745 * np.sqrt(2)  # median of |a − b| of normal a and b of σ 1


class Transient(NamedTuple):
    """Onset of a transient, column of its trace, rise of the mean, that in its σ, frame that it was found in."""

    frame: int
    column: int
    amplitude: float
    snr: float
    found_frame: int


class Onsets:
    """Follows traces, one a column, by the contrast of the last `after` frames with the `before` ones before them.

    A transient begins where the contrast exceeds `threshold` σ of its own, which follows from the trace's noise: the
    median absolute difference of consecutive frames. Its onset is the first of the `after` frames at the highest
    contrast, known once `after` frames brought no higher one or the contrast is below the threshold; the next one can
    begin when it was below half of it. Half of the frames on either side must be known.
    """

    def __init__(self, after: int, before: int, threshold: float, columns: int = 0) -> None:
        self._after, self._before, self.threshold = after, before, threshold
        self.next_index = 0
        self._window = np.full((after + before, columns), np.nan)  # at index modulo its length
        self._steps = np.full((NOISE_FRAMES, columns), np.nan)  # likewise
        self._noise, self._best, self._snr = np.full((3, columns), np.nan)
        self._best_at = np.full(columns, -1)  # -1: not in a rise
        self._armed = np.ones(columns, bool)
        self.share = np.nan  # of the columns with a contrast those that exceed the threshold in the newest frame

    def grow(self, columns: int) -> None:
        """Have so many columns."""
        old, new = self._arrays(), Onsets(self._after, self._before, self.threshold, columns)._arrays()
        for name, array in new.items():
            array[..., : old[name].shape[-1]] = old[name]
        self._take(new)

    def follow(self, index: int, values: np.ndarray) -> list[Transient]:
        """Take a frame's values (columns,), NaN where unknown; return the transients that are known now."""
        began = index // RENEWED_FRAMES * RENEWED_FRAMES
        for ring in (self._window, self._steps):
            for missing in range(max(self.next_index, index - len(ring)), index):
                ring[missing % len(ring)] = np.nan
        if self.next_index <= began:
            self._renew_noise()
        earlier = self._window[(index - 1) % len(self._window)]
        self._steps[index % NOISE_FRAMES] = np.abs(values - earlier)
        self._window[index % len(self._window)] = values
        self.next_index = index + 1
        return self._judge(index)

    def _renew_noise(self) -> None:
        known = np.count_nonzero(~np.isnan(self._steps), 0)
        ordered, columns = np.sort(self._steps, 0), np.arange(len(known))  # NaN is last
        middle = (ordered[np.maximum(known - 1, 0) // 2, columns] + ordered[known // 2 % NOISE_FRAMES, columns]) / 2
        self._noise[:] = np.where((known >= LEAST_STEPS) & (middle > 0), middle / _NORMAL, np.nan)

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
        sums, counts = np.where(known, recent, 0), known
        (early, late), (few, many) = (
            (part[: self._before].sum(0), part[self._before :].sum(0)) for part in (sums, counts)
        )
        enough = (2 * few >= self._before) & (2 * many >= self._after)
        few, many = np.maximum(few, 1), np.maximum(many, 1)
        contrast = np.where(enough, late / many - early / few, np.nan)
        return contrast, self._noise * np.sqrt(1 / few + 1 / many)

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
        like = Onsets(self._after, self._before, self.threshold, columns)._arrays()
        self._take({name: require_array(state, name, array, where) for name, array in like.items()})
        self.next_index = require_int(state, "next_index", where)
        if self.next_index < 0 or (self._best_at >= self.next_index).any():
            raise StateError(f"{where}: state 'best_at' is of frames that have not come; the state was damaged")

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "window": self._window, "steps": self._steps, "noise": self._noise, "best": self._best, "snr": self._snr,
            "best_at": self._best_at, "armed": self._armed,
        }  # fmt: skip

    def _take(self, arrays: dict[str, np.ndarray]) -> None:
        self._window, self._steps, self._noise, self._best, self._snr = list(arrays.values())[:5]
        self._best_at, self._armed = arrays["best_at"], arrays["armed"]
