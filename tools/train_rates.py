"""Train the two networks that give expected firing rates, on simulated indicators alone.

    python tools/train_rates.py          some 12 minutes of one core; writes streamfluo/calcium/expected_rate.npz

Each simulated trace has an indicator of its own: decay .2 to 2.5 s, rise up to .14 s with a slow onset, fluorescence
linear, cooperative or saturating in calcium; firing of .05 to 25 Hz in bursts and episodes; 7 to 60 frames/s; noise of
.025 to 1.7 of a pair of spikes, white, coloured or of photons, with drift and frames that fail. Maximised is the mean
correlation with the spikes, smoothed by .025 s. Of the inputs 40 % are those of a whole trace, as in `deconvolve`, the
others those known so far, as in `extract`. No recording is used.
"""

import argparse
import itertools
from pathlib import Path

import numba
import numpy as np
import scipy.ndimage as ndi
import scipy.signal as ss
from scipy.interpolate import CubicSpline

from streamfluo.calcium import expected_rate as er
from streamfluo.calcium.deconvolve import _baseline, noise_sigma
from streamfluo.calcium.extract.settled_rates import prior_rises, rise_bins, rise_quantiles
from streamfluo.calcium.kernels.spikes import _next_baseline, _next_noise, initial_levels

STEP_S, SECONDS = 0.005, 180.0
RATES_HZ = (60, 30, 30, 20, 15, 10, 7.8)
PICKED, WINDOW = 1200, 100  # samples of a trace that are trained on; frames that `extract` has seen beforehand
TRUTH_S = 0.025
NETWORKS = ((77, 3000, 4000, (48, 24)), (1, 9000, 7000, (64, 32)))  # seed, traces, steps, sizes
CELLS, POINTS, RATE = 16, 400, 3e-3  # traces and samples of each a step; learning rate
Recording = tuple[np.ndarray, float, np.ndarray]  # trace, interval [s], spikes in each sample
Example = tuple[np.ndarray, np.ndarray, np.ndarray]  # inputs (n, 35), truth (n,), unit (n,)


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def wander(rng: np.random.Generator, count: int, step_s: float, tau_s: float) -> np.ndarray:
    """An Ornstein–Uhlenbeck process (count,) of variance 1."""
    g = np.exp(-step_s / tau_s)
    walk: np.ndarray = ss.lfilter([np.sqrt(1 - g * g)], [1, -g], rng.standard_normal(count))
    return walk


def low_pass(x: np.ndarray, tau_s: float) -> np.ndarray:
    """First-order low pass of mean 1."""
    g = np.exp(-STEP_S / tau_s) if tau_s > 0 else 0.0
    out: np.ndarray = ss.lfilter([1 - g], [1, -g], x)
    return out


def firing(rng: np.random.Generator, count: int) -> np.ndarray:
    """Spikes in steps of 5 ms: a rate that wanders at two time scales, and bursts."""
    mean_hz = between(rng, 0.05, 3) if rng.random() < 0.8 else between(rng, 2, 25)
    rate = np.ones(count)
    for tau_s in (between(rng, 0.1, 1), between(rng, 1, 20)):
        strength = rng.uniform(0, 1.3)
        rate *= np.exp(strength * wander(rng, count, STEP_S, tau_s) - strength**2 / 2)
    if mean_hz > 2:
        rate = np.minimum(rate, 4)
    part, size = rng.random() * 0.7 if rng.random() < 0.6 else 0.0, rng.uniform(1, 5)
    events = rng.poisson(rate * mean_hz * STEP_S / (1 + part * size))
    spikes = events.astype(float)
    for at in np.flatnonzero(events):
        if rng.random() < part:
            gaps_s = rng.gamma(3, between(rng, 0.004, 0.02) / 3, rng.poisson(size))
            places = (at + np.cumsum(gaps_s) / STEP_S).astype(int)
            np.add.at(spikes, places[places < count], 1)
    return spikes


class Indicator:
    """Fluorescence of calcium, in heights of a pair of spikes; `sharp`: it rises at once."""

    def __init__(self, rng: np.random.Generator, sharp: bool) -> None:
        decay_s, rise_s = between(rng, 0.2, 2.5), between(rng, 0.002, 0.14)
        onset_s = between(rng, 0.003, 0.5) * rise_s + 0.002
        self.rises_s = [] if sharp else [rise_s, onset_s] if rng.random() < 0.7 else [rise_s]
        self.power = 1.0 if rng.random() < 0.35 else rng.uniform(1.2, 2.4)
        self.calcium_s = decay_s * (self.power if rng.random() < 0.5 else 1.0)
        self.quadratic = between(rng, 0.05, 1) if rng.random() < 0.5 else 0.0
        self.full = between(rng, 2, 40) ** self.power if rng.random() < 0.5 else np.inf
        self.slow, self.slow_s = rng.uniform(0.05, 0.4) if rng.random() < 0.3 else 0.0, between(rng, 1, 5)
        pair = np.zeros(2000)
        pair[5:9] = 0.5
        self.unit = 1.0
        self.unit = float(self.shown(pair).max())

    def shown(self, spikes: np.ndarray) -> np.ndarray:
        """Fluorescence of spikes in steps of 5 ms."""
        x = ss.lfilter([1], [1, -np.exp(-STEP_S / self.calcium_s)], spikes)
        if self.power > 1:
            x = x + self.quadratic * x * x if self.quadratic else x**self.power
        x = x / (1 + x / self.full)
        for rise_s in self.rises_s:
            x = low_pass(x, rise_s)
        shown: np.ndarray = ((1 - self.slow) * x + self.slow * low_pass(x, self.slow_s)) / self.unit
        return shown


def recording(rng: np.random.Generator) -> Recording:
    """A trace of 180 s."""
    interval = 1 / rng.choice(RATES_HZ) if rng.random() < 0.7 else between(rng, 1 / 60, 1 / 7)
    count, sharp = int(SECONDS / STEP_S), rng.random() < 0.12
    spikes = firing(rng, count)
    heights = spikes * np.exp(0.25 * rng.standard_normal(count) * (rng.random() < 0.5))
    if sharp:  # spikes at the beginning of an exposure, as in a simulated movie
        stride = max(1, round(interval / STEP_S))
        interval, first = stride * STEP_S, np.arange(count) // stride * stride
        heights, spikes = (np.bincount(first, x, count) for x in (heights, spikes))
    clean = Indicator(rng, sharp).shown(heights)
    times = np.arange(int(SECONDS / interval) - 1) * interval + interval / 2
    exposure = interval if sharp else between(rng, 0.2, 1) * interval
    y = integrated(clean, times - exposure / 2, times + exposure / 2) / exposure
    y = y + disturbances(rng, y, interval)
    if not sharp and rng.random() < 0.3:  # the cell is scanned before or after the middle of the frame
        y = np.interp(times + rng.uniform(-0.2, 0.2) * interval, times, y)
    if not sharp and rng.random() < 0.2:
        y = resampled(rng, y, times, rng.uniform(0.8, 2) * interval)
    return y, interval, integrated(spikes / STEP_S, times - interval / 2, times + interval / 2)


def integrated(x: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Integrals of x, in steps of 5 ms, over spans of time."""
    total, at = np.concatenate([[0], np.cumsum(x)]) * STEP_S, np.arange(len(x) + 1) * STEP_S
    out: np.ndarray = np.interp(stops, at, total) - np.interp(starts, at, total)
    return out


def disturbances(rng: np.random.Generator, clean: np.ndarray, interval: float) -> np.ndarray:
    """Noise of photons and camera, drift and slow glow, frames that fail."""
    sigma = np.sqrt(1 / 30 / interval) / between(rng, 0.6, 40)
    top, spread, count = np.percentile(clean, 99) + 1, clean.std(), len(clean)
    resting = between(rng, 0.1, 10) * top
    shot = np.sqrt(np.maximum(resting + clean, 0) / resting) if rng.random() < 0.7 else 1.0
    noise = sigma * rng.standard_normal(count) * shot
    if rng.random() < 0.3:
        noise = 0.9 * noise + 0.5 * sigma * ss.lfilter([np.sqrt(0.75)], [1, -0.5], rng.standard_normal(count))
    for _ in range(2):
        drift = between(rng, 0.02, 1) * (sigma if rng.random() < 0.5 else 0.5 * spread)
        noise += drift * wander(rng, count, interval, between(rng, 0.5, 30))
    if rng.random() < 0.2:
        phase = np.arange(count) * interval / between(rng, 30, 300) + rng.random()
        noise += spread * between(rng, 0.1, 2) * np.sin(2 * np.pi * phase)
    if rng.random() < 0.3:
        failed = rng.integers(0, count, rng.integers(1, 6))
        noise[failed] -= rng.uniform(0, 1, len(failed)) * top
    return noise


def resampled(rng: np.random.Generator, y: np.ndarray, times: np.ndarray, interval: float) -> np.ndarray:
    """The trace as taken at another interval and interpolated."""
    at = np.arange(times[0], times[-1], interval)
    step = times[1] - times[0]
    coarse = np.interp(at, times, ndi.uniform_filter1d(y, max(1, round(interval / step))))
    return np.interp(times, at, coarse) if rng.random() < 0.5 else CubicSpline(at, coarse)(np.minimum(times, at[-1]))


@numba.njit
def online_levels(y, noise, baseline):  # type: ignore[no-untyped-def]
    """Baseline and noise σ (2, T) as of each sample, as `extract` has them."""
    out = np.empty((2, len(y)))
    for t in range(len(y)):
        noise = _next_noise(noise, y[t] - y[max(t - 1, 0)])
        baseline = _next_baseline(baseline, y[t], noise, t + 1)
        out[0, t], out[1, t] = baseline, noise
    return out


def of_whole(rng: np.random.Generator, y: np.ndarray, interval: float, picked: np.ndarray) -> tuple:
    """Inputs and unit as `deconvolve` has them, rises known from a part of the trace."""
    averages, level, sigma = er.Averages(interval), _baseline(y, None, None, interval), noise_sigma(y)
    windows = er.windows_of(er.clipped(y, level, np.array(sigma)), averages)
    length = int(len(y) * rng.uniform(0.15, 1))
    start = rng.integers(0, len(y) - length + 1)
    part = windows[start : start + length]
    rise = er.least_rise(np.quantile(averages.of(part)[:, -1], er.RISE_QUANTILE), np.array(sigma), interval)
    look = er.shapes(*(sums.mean(0) for sums in averages.increments(part)), rise)
    ones = np.ones(len(picked))
    known = er.Known(level[picked], sigma * ones, rise * ones, np.tile(look, (len(picked), 1)), length * ones)
    return er.inputs(averages.of(windows[picked]), known, interval), known.rise


def so_far(y: np.ndarray, interval: float, picked: np.ndarray) -> tuple:
    """Inputs and unit as `extract` has them, with what is known as of each sample."""
    averages = er.Averages(interval)
    y = y * 0.9539 / np.median(np.abs(np.diff(y)))
    sigma, _, level = initial_levels(y[:WINDOW].copy())
    baseline, noise = online_levels(y, sigma, level)[:, np.minimum(np.arange(len(y)) + averages.ahead, len(y) - 1)]
    windows = er.windows_of(er.clipped(y, baseline, noise), averages)
    part, sums = averages.of(windows), np.concatenate(averages.increments(windows), 1)
    seen = WINDOW + np.arange(1, len(y) + 1.0)
    means = ((sums[:WINDOW].sum(0) + np.cumsum(sums, 0)) / seen[:, None])[picked]
    bins = rise_bins(part[:, -1])
    counts = prior_rises(float(noise[0]), interval)
    counts += np.bincount(bins[:WINDOW], minlength=len(counts))
    rise, before = np.empty(len(picked)), 0
    for n, t in enumerate(picked):
        np.add.at(counts, bins[before : t + 1], 1)
        rise[n], before = rise_quantiles(counts[None])[0], t + 1
    rise = er.least_rise(rise, noise[picked], interval)
    look = er.shapes(means[:, :-5], means[:, -5:], rise)
    known = er.Known(baseline[picked], noise[picked], rise, look, seen[picked])
    return er.inputs(part[picked], known, interval), rise


def example(rng: np.random.Generator) -> Example:
    """Inputs, truth and units at samples of a simulated trace with five spikes or more."""
    y, interval, spikes = recording(rng)
    while spikes.sum() < 5:
        y, interval, spikes = recording(rng)
    truth = ndi.gaussian_filter1d(spikes, TRUTH_S / interval)
    picked = np.sort(rng.permutation(len(y))[:PICKED])
    whole = rng.random() < 0.4
    values, unit = of_whole(rng, y, interval, picked) if whole else so_far(y, interval, picked)
    return tuple(x.astype(np.float32) for x in (values, truth[picked], unit / np.median(unit)))  # type: ignore[return-value]


class Network:
    """Layers of leaky rectifiers, a softplus at the end; Adam (Kingma & Ba 2015)."""

    def __init__(self, rng: np.random.Generator, sizes: tuple[int, ...], scale: tuple[np.ndarray, np.ndarray]) -> None:
        self.scale, self.count = scale, 0
        shapes = list(itertools.pairwise(sizes))
        self.weights = [(rng.standard_normal(s) * np.sqrt(1.5 / s[0])).astype(np.float32) for s in shapes]
        self.offsets = [np.zeros(size, np.float32) for size in sizes[1:]]
        self._moments = [[np.zeros_like(p) for p in (*self.weights, *self.offsets)] for _ in range(2)]

    def forward(self, values: np.ndarray) -> list[np.ndarray]:
        """Outputs of every layer."""
        layers = [(values - self.scale[0]) / self.scale[1]]
        for weights, offsets in zip(self.weights[:-1], self.offsets[:-1], strict=True):
            z = layers[-1] @ weights + offsets
            layers.append(np.maximum(z, 0.05 * z))
        return [*layers, (layers[-1] @ self.weights[-1] + self.offsets[-1])[:, 0]]

    def step(self, layers: list[np.ndarray], slope: np.ndarray, rate: float) -> None:
        """Take a step against the loss, whose slope in the last layer's output (n,) is given."""
        below, weight_slopes, offset_slopes = slope[:, None].astype(np.float32), [], []
        for n in range(len(self.weights) - 1, -1, -1):
            weight_slopes.insert(0, layers[n].T @ below)
            offset_slopes.insert(0, below.sum(0))
            if n:
                below = (below @ self.weights[n].T) * np.where(layers[n] > 0, 1, 0.05).astype(np.float32)
        self.count += 1
        mean, square = self._moments
        for k, (p, g) in enumerate(zip((*self.weights, *self.offsets), weight_slopes + offset_slopes, strict=True)):
            mean[k] = 0.9 * mean[k] + 0.1 * g
            square[k] = 0.999 * square[k] + 0.001 * g * g
            corrected = np.sqrt(square[k] / (1 - 0.999**self.count)) + 1e-8
            p -= rate * (mean[k] / (1 - 0.9**self.count) / corrected + 1e-5 * p)

    def layers(self, name: str) -> dict[str, np.ndarray]:
        """Weights and offsets that take inputs as they are."""
        first = self.weights[0] / self.scale[1][:, None]
        weights = [first, *self.weights[1:]]
        offsets = [self.offsets[0] - self.scale[0] @ first, *self.offsets[1:]]
        pairs = enumerate(zip(weights, offsets, strict=True))
        named = [(f"{name}_{n}_weights", w, f"{name}_{n}_offsets", b) for n, (w, b) in pairs]
        return {key: x.astype(np.float32) for w, x_w, b, x_b in named for key, x in ((w, x_w), (b, x_b))}


def slope_of(rate: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
    """Correlation with the truth (n,), and its slope in the rate (n,)."""
    a, b = truth - truth.mean(), rate - rate.mean()
    size_a, size_b = np.sqrt((a * a).sum()), np.sqrt((b * b).sum()) + 1e-6
    if size_a == 0:
        return 0.0, np.zeros(len(rate))
    r = float((a * b).sum() / size_a / size_b)
    return r, (a / size_a - r * b / size_b) / size_b


def train(examples: list[Example], hidden: tuple[int, ...], steps: int) -> Network:
    """Maximise the mean correlation of a trace's rate with its spikes."""
    rng = np.random.default_rng(1)
    some = np.concatenate([values[:100] for values, *_ in examples])
    network = Network(rng, (some.shape[1], *hidden, 1), (some.mean(0), some.std(0) + 1e-3))
    reached = 0.0
    for k in range(steps):
        chosen = [examples[n] for n in rng.integers(0, len(examples), CELLS)]
        points = [rng.integers(0, len(truth), POINTS) for _, truth, _ in chosen]
        layers = network.forward(np.concatenate([c[0][at] for c, at in zip(chosen, points, strict=True)]))
        unit = np.concatenate([c[2][at] for c, at in zip(chosen, points, strict=True)])
        rate = np.logaddexp(0, layers[-1]) * unit
        found = [slope_of(rate[n * POINTS :][:POINTS], c[1][points[n]]) for n, c in enumerate(chosen)]
        slope = -np.concatenate([s for _, s in found]) / CELLS * unit / (1 + np.exp(-layers[-1]))
        decay = 0.98 * 0.5 * (1 + np.cos(np.pi * k / steps)) + 0.02
        network.step(layers[:-1], slope, RATE * min(1, (k + 1) / 100) * decay)
        reached += (np.mean([r for r, _ in found]) - reached) / min(k + 1, 200)
        if (k + 1) % 1000 == 0:
            print(f"{k + 1} steps: mean correlation of the last 200, {reached:.3f}", flush=True)
    return network


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", type=float, default=1.0, help="of the traces and steps, for a trial")
    parser.add_argument("--out", type=Path, default=Path(er.__file__).with_suffix(".npz"))
    options = parser.parse_args()
    layers = {}
    for name, (seed, traces, steps, hidden) in enumerate(NETWORKS):
        seeds = np.random.SeedSequence(seed).spawn(int(options.part * traces))
        examples = [example(np.random.default_rng(one)) for one in seeds]
        layers |= train(examples, hidden, int(options.part * steps)).layers(str(name))
    np.savez(options.out, **layers)


if __name__ == "__main__":
    main()
