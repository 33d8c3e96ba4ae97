"""Expected firing rates of the components, half a second after each frame has left the window."""

from __future__ import annotations

import math

import numpy as np

from ..expected_rate import (
    CLIP_BELOW,
    RISE_QUANTILE,
    Averages,
    Known,
    inputs,
    least_rise,
    network_rate,
    shapes,
)
from ..kernels.rises import FIRST_RISE, RISE_BINS, RISE_RATIO, observe_rises, quantile_of_rises
from .buffer import Buffer
from .components import POOLS, Components

MOST_AHEAD = 34  # frames: rows wait for at most POOLS, and come every 5
_PRIOR_S, _PRIOR_RISE = 20.0, 10.0
# Samples, after which the rises are described again, and rates are given: every 25 costs .007 of the spikes'
# correlation.
AT_ONCE = 5
_KEPT_S = 600.0  # of a longer past every sample counts half, again and again


class SettledRates:
    """Appends a sample of each component, and gives the rates at samples half a second before, five at a time."""

    def __init__(self, interval_s: float) -> None:
        self.averages = averages = Averages(interval_s, MOST_AHEAD)
        self.samples = averages.samples + AT_ONCE - 1  # that are kept of each component
        self.rated = 0  # samples that there were when rates were given last
        self._keep = _KEPT_S / interval_s
        places = averages.spans + averages.past + 0.5
        inside = places.astype(np.int64)
        parts = np.column_stack([places - inside, 1 / np.diff(places)])
        lags = np.array(averages.squares + averages.cubes)
        self._packed = (inside, parts, averages.past, lags, len(averages.squares))

    def add(self, cells: Components, raw: np.ndarray, present: np.ndarray, count: int, buffer: Buffer) -> None:
        """Append samples (n, K) behind `count` earlier ones of the components present; `buffer` has what follows."""
        samples, told = cells["rate_samples"], present.sum(0)
        added = raw.T.copy()
        for k in np.flatnonzero((told > 0) & (cells["late_seen"] == told)).tolist():
            first = len(raw) - int(told[k])
            samples[k] = added[k, :first] = raw[first, k]
            self._begin(cells, k, cells.history[k, buffer.slots()])
        samples[:, np.arange(count, count + len(raw)) % self.samples] = added

    def rate(self, cells: Components, count: int) -> bool:
        """Give rates at the five samples that the last ones of `count` have told; return whether there were such."""
        ahead = self.averages.ahead
        if count < self.rated + AT_ONCE and self.rated:
            return False
        self.rated = count
        if count > ahead and cells.count:
            born = np.clip(cells["late_seen"] - ahead, 0, AT_ONCE)
            part = self._parts(cells, cells["rate_samples"], count % self.samples, born)
            self._forget(cells)
            self._describe(cells, np.flatnonzero(born))
            self._rate(cells, part, born, count - ahead)
        return True

    def finish(self, cells: Components, count: int) -> None:
        """Give the rates at the last samples, as if the very last one went on."""
        averages, last = self.averages, self.rated
        for stop in range(max(0, last - averages.ahead) + AT_ONCE, count + AT_ONCE, AT_ONCE):
            places = np.minimum(np.arange(stop - AT_ONCE - averages.past, stop + averages.ahead), count - 1)
            samples = np.ascontiguousarray(cells["rate_samples"][:, places % self.samples])
            nobody = np.zeros(cells.count, np.int64)
            part = self._parts(cells, samples, 0, nobody)
            self._rate(cells, part, np.where(cells["late_seen"] > 0, AT_ONCE, 0), stop)

    def _parts(self, cells: Components, samples: np.ndarray, start: int, learns: np.ndarray) -> np.ndarray:
        """Averages (K, 5, 22) around the newest centres of samples (K, n), the oldest at `start`.

        The components learn from so many of the newest ones (K,).
        """
        part = np.empty((cells.count, AT_ONCE, self.averages.weights.shape[1]))
        least = cells["late_baseline"] - CLIP_BELOW * cells["late_noise"]
        learned = (learns, cells.rate_sums, cells.rises, cells.rate_seen)
        observe_rises(samples, start, least, self._packed, learned, part)
        return part

    def _begin(self, cells: Components, k: int, history: np.ndarray) -> None:
        """Learn what a component's rises look like from the frames that are buffered."""
        averages, one = self.averages, slice(k, k + 1)
        ends = np.full(averages.past, history[0]), np.full(averages.ahead, history[-1])
        padded = np.concatenate((ends[0], history, ends[1]))[None]  # in a fifth of the time of np.pad
        cells.rate_sums[k], cells.rate_seen[k] = 0, 0
        cells.rises[k] = prior_rises(float(cells.late_noise[k]), averages.interval_s)
        least = cells.late_baseline[one] - CLIP_BELOW * cells.late_noise[one]
        learned = (np.array([len(history)]), cells.rate_sums[one], cells.rises[one], cells.rate_seen[one])
        part = np.empty((1, len(history), averages.weights.shape[1]))
        observe_rises(padded, 0, least, self._packed, learned, part)
        self._describe(cells, np.array([k]))

    def _rate(self, cells: Components, part: np.ndarray, born: np.ndarray, stop: int) -> None:
        """Write the rates at the five centres before `stop`, from the averages around them (K, 5, 22).

        0 where a component was born later, which is so at all but so many of the newest ones (K,).
        """
        rise = np.maximum(cells["rate_rise"], 1e-3)  # of those that wait for their first sample
        seen = np.maximum(cells["rate_seen"], 1)
        known = Known(cells["late_baseline"], cells["late_noise"], rise, cells["rate_look"], seen)
        values = inputs(part, known, self.averages.interval_s)
        rate = network_rate(values.reshape(-1, values.shape[2])).reshape(-1, AT_ONCE) * rise[:, None]
        rate[np.arange(AT_ONCE) < AT_ONCE - born[:, None]] = 0
        first = max(0, stop - AT_ONCE)
        cells["late_rate"][:, np.arange(first, stop) % POOLS] = rate[:, first - stop + AT_ONCE :]

    def _forget(self, cells: Components) -> None:
        long = cells["rate_seen"] > self._keep
        for name in ("rate_sums", "rises", "rate_seen"):
            cells[name][long] *= 0.5

    def _describe(self, cells: Components, rows: np.ndarray) -> None:
        """Describe the rises of components: their unit, and what they look like.

        The median look over all cells lost .01 in the correlation with real spikes.
        """
        rise = least_rise(rise_quantiles(cells.rises[rows]), cells.late_noise[rows], self.averages.interval_s)
        sums = cells.rate_sums[rows] / cells.rate_seen[rows, None]
        cells.rate_rise[rows], cells.rate_look[rows] = rise, shapes(sums[:, :-5], sums[:, -5:], rise)


def prior_rises(noise: float, interval_s: float) -> np.ndarray:
    """Return counts (bins,) as of 20 s, with transients of 10 noise σ of a frame of 1/30 s."""
    counts = np.zeros(RISE_BINS + 1)
    samples = _PRIOR_S / interval_s
    counts[0] = 0.97 * samples
    counts[rise_bin(_PRIOR_RISE * noise * math.sqrt(30 * interval_s))] = 0.03 * samples
    return counts


def rise_bin(rise: float) -> int:
    """Number of the histogram's bin of a rise [σ]; 0 below its first bound."""
    if not rise >= FIRST_RISE:
        return 0
    return min(int(math.log(rise / FIRST_RISE) / math.log(RISE_RATIO)) + 1, RISE_BINS)


def rise_quantiles(counts: np.ndarray) -> np.ndarray:
    """Rise (K,) [σ] below which a part of the counts (K, bins) lie, interpolated within its bin."""
    rises = np.empty(len(counts))
    quantile_of_rises(np.asarray(counts, float), RISE_QUANTILE, rises)
    return rises
