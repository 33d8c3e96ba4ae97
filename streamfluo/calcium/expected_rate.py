"""Expected firing rate given a trace: a small network over averages of the samples around each, free of a model.

It is trained on simulated indicators alone (`tools/train_rates.py`; the idea is of Rupprecht et al. 2021): rise, decay,
cooperativity, saturation, noise, drift and firing vary from trace to trace, so that it gives the mean over what they
may be. Inputs are in units of the trace's own larger rises, with what these look like.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Averages from one to the next [s], around a sample; .04 s where a transient begins, as its times are no better known
EDGES_S = (-3, -2, -1.4, -1, -0.7, -0.5, -0.36, -0.26, -0.18, -0.14, -0.1, -0.06, -0.02,
           0.02, 0.06, 0.1, 0.14, 0.18, 0.24, 0.34, 0.5)  # fmt: skip
AHEAD_S, PAST_S = EDGES_S[-1], -EDGES_S[0]
_BEFORE_S, _AFTER_S = (-0.1, 0.0), (0.05, 0.2)  # a rise is the difference of these averages
RISE_QUANTILE = 0.985
_SQUARES_S, _CUBES_S = (0.06, 0.12, 0.25, 0.5, 1.0, 2.0), (0.06, 0.12, 0.2, 0.3, 0.5)  # lags of the increments
SHAPES = len(_SQUARES_S) + len(_CUBES_S)
INPUTS = len(EDGES_S) + 1 + SHAPES + 2  # averages, strength, look, interval and time seen
_LEAST_RISE = 0.5  # noise σ of one second
CLIP_BELOW = 6.0  # noise σ: what lies further below the baseline is no activity
_TYPICAL_S, _MOST_OBSERVED_S = 0.03, 200.0
_AT_ONCE = 512  # rows of inputs: a layer of them stays in the cache
_STRETCH = 8192  # samples at a time, of which each has a window


class Averages:
    """Weights of the averages (samples, 22) in the samples from `past` before to `ahead` after one, and their lags."""

    def __init__(self, interval_s: float, most_ahead: int | None = None) -> None:
        self.interval_s = interval_s
        self.past = int(np.ceil(PAST_S / interval_s)) + 1
        self.ahead = int(np.ceil(AHEAD_S / interval_s)) + 1
        self.ahead = self.ahead if most_ahead is None else min(self.ahead, most_ahead)
        self.samples = self.past + 1 + self.ahead
        boxes = [self._box(a, b) for a, b in itertools.pairwise(EDGES_S)]
        whole = self._box(EDGES_S[0], EDGES_S[-1])
        rise = self._box(*_AFTER_S) - self._box(*_BEFORE_S)
        self.weights = np.stack([*(box - whole for box in boxes), whole, rise], 1)
        spans = *itertools.pairwise(EDGES_S), (EDGES_S[0], EDGES_S[-1]), _AFTER_S, _BEFORE_S
        self.spans = np.array([self._span(*span) for span in spans])  # of the averages, the centre's from -½ to ½
        self.squares = [max(1, round(lag / interval_s)) for lag in _SQUARES_S]
        self.cubes = [max(1, round(lag / interval_s)) for lag in _CUBES_S]

    def _box(self, start_s: float, stop_s: float) -> np.ndarray:
        """Weights (samples,) of the average over a span of time; of its nearest sample where frames end before it."""
        places = np.arange(-self.past, self.ahead + 1)
        start, stop = self._span(start_s, stop_s)
        shared = np.clip(np.minimum(places + 0.5, stop) - np.maximum(places - 0.5, start), 0, None)
        return shared / shared.sum()

    def _span(self, start_s: float, stop_s: float) -> tuple[float, float]:
        stop = min(stop_s / self.interval_s, self.ahead + 0.5)
        return min(start_s / self.interval_s, stop - 0.01), stop

    def of(self, windows: np.ndarray) -> np.ndarray:
        """Return the averages (..., 21), less that of all, which is the last but one, and the rise: (..., 22)."""
        averages: np.ndarray = windows @ self.weights
        return averages

    def increments(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return squares (..., 6) and cubes (..., 5) of what the sample (the middle one) is above earlier ones."""
        now = windows[..., self.past, None]
        squares = (now - windows[..., [self.past - lag for lag in self.squares]]) ** 2
        return squares, (now - windows[..., [self.past - lag for lag in self.cubes]]) ** 3


def shapes(squares: np.ndarray, cubes: np.ndarray, rise: np.ndarray | float) -> np.ndarray:
    """Return what transients look like (..., 11), from mean squares and cubes of increments, in units of the rise."""
    look = np.concatenate([np.sqrt(squares), np.cbrt(cubes)], -1) / np.asarray(rise)[..., None]
    return np.clip(look, -4, 6)


def least_rise(rise: np.ndarray, noise: np.ndarray, interval_s: float) -> np.ndarray:
    """Return the unit of a trace: the quantile of its rises, or what noise σ alone makes."""
    return np.maximum(rise, _LEAST_RISE * noise * np.sqrt(interval_s))


class Known(NamedTuple):
    """What is known of each trace (n,): baseline, noise σ, unit and look (n, 11) of its rises, samples they are of."""

    baseline: np.ndarray
    noise: np.ndarray
    rise: np.ndarray
    look: np.ndarray
    seen: np.ndarray


def inputs(averages: np.ndarray, known: Known, interval_s: float) -> np.ndarray:
    """Return the network's inputs (n, m, 35) float32 from averages (n, m, 22) around m samples of each trace.

    Where m is 1 also (n, 35) from (n, 22).
    """
    count, values = averages.shape[-1] - 1, np.empty((*averages.shape[:-1], INPUTS), np.float32)
    each = [slice(None), *[None] * (averages.ndim - 2)]  # of each trace, the same for its samples

    def same(of_each: np.ndarray) -> np.ndarray:
        return np.asarray(of_each[tuple(each)])

    found = values[..., :count]
    np.divide(averages[..., :-1], same(known.rise)[..., None], out=found, casting="same_kind")
    found[..., -1] = (averages[..., -2] - same(known.baseline)) / same(known.rise)
    np.arcsinh(found, out=found)
    strength = np.clip(np.log(known.rise / (known.noise * np.sqrt(interval_s))), -4, 6)
    observed_s = np.minimum(known.seen * interval_s, _MOST_OBSERVED_S)
    values[..., count], values[..., count + 1 : -2] = same(strength), same(known.look)
    values[..., -2], values[..., -1] = np.log(interval_s / _TYPICAL_S), same(np.log(observed_s))
    return values


def clipped(samples: np.ndarray, baseline: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return samples, none of them further below the baseline than noise can be."""
    return np.maximum(samples, baseline - CLIP_BELOW * noise)


@lru_cache(maxsize=1)
def _networks() -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """Weights and offsets of each layer of each network; the first layer takes inputs as they are."""
    with np.load(Path(__file__).with_name("expected_rate.npz")) as file:
        arrays = {name: file[name] for name in file.files}
    names = sorted({name.rsplit("_", 1)[0] for name in arrays})
    return [[(arrays[f"{name}_weights"], arrays[f"{name}_offsets"]) for name in names if name[0] == n] for n in "01"]


def network_rate(values: np.ndarray) -> np.ndarray:
    """Return the expected rate (n,) up to a factor, in the unit of each trace, from inputs (n, 35): of two networks.

    Their mean is nearer to real spikes than either.
    """
    rate = np.empty(len(values))
    for start in range(0, len(values), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        x = values[rows].astype(np.float32, copy=False)
        of_each = [_softplus(layers, x) for layers in _networks()]
        rate[rows] = sum(of_each) / np.float32(len(of_each))
    return rate


def _softplus(layers: Sequence[tuple[np.ndarray, np.ndarray]], x: np.ndarray) -> np.ndarray:
    """Return the output (n,) of one network, log(1 + exp) of its last layer, from inputs (n, 35)."""
    for weights, offsets in layers[:-1]:
        x = x @ weights
        x += offsets
        np.maximum(x, np.float32(0.05) * x, out=x)
    weights, offsets = layers[-1]
    x = (x @ weights + offsets)[:, 0]
    found: np.ndarray = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))  # logaddexp takes four times as long
    return found


def windows_of(samples: np.ndarray, averages: Averages) -> np.ndarray:
    """Return the samples around each of a trace (T,) as (T, samples); its ends are repeated."""
    padded = np.pad(samples, (averages.past, averages.ahead), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, averages.samples)


def expected_rates(traces: np.ndarray, baseline: np.ndarray, noise: np.ndarray, interval_s: float) -> np.ndarray:
    """Return expected rates (K, T) of traces, up to a factor; baseline (K, T); noise σ (K,); rates are 0 without it."""
    averages, found = Averages(interval_s), np.zeros(traces.shape)
    for k in np.flatnonzero(noise > 0):
        windows = windows_of(clipped(traces[k], baseline[k], noise[k]), averages)
        spans = [slice(start, start + _STRETCH) for start in range(0, len(windows), _STRETCH)]
        parts = [_sums(averages, windows[span]) for span in spans]
        heights = np.concatenate([height for height, *_ in parts])
        rise = least_rise(np.quantile(heights, RISE_QUANTILE), noise[k], interval_s)
        squares, cubes = (np.sum([part[n] for part in parts], axis=0) / len(heights) for n in (1, 2))
        look = shapes(squares, cubes, rise)
        for span in spans:
            level = baseline[k, span]
            ones = np.ones(len(level))
            known = Known(level, noise[k] * ones, rise * ones, np.tile(look, (len(level), 1)), len(heights) * ones)
            found[k, span] = network_rate(inputs(averages.of(windows[span]), known, interval_s)) * rise
    return found


def _sums(averages: Averages, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rises (n,) of a stretch, and its sums of squares and of cubes of increments."""
    squares, cubes = averages.increments(windows)
    return averages.of(windows)[:, -1], squares.sum(0), cubes.sum(0)
