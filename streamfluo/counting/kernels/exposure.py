"""The forward filter of a camera that integrates: a frame's light depends on the emitters on at its start and its end.

The chain runs from edge to edge of frames. A frame with i emitters on at its start and j at its end is even (none
switched: the light of i), a ramp (one switched, at any time: uniform between the light of i and of j), or mixed
(several switched: Gaussian in the time on, with its mean and variance). Noise and outliers are those of `emission`.
"""

import math
from typing import NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel
from .emission import HALF_LOG_TAU

IMPROBABLE = 1e-7  # of a state, or of a step: left out
FAR = 7.0  # standard deviations, beyond which an intensity is an outlier
LEAST = 1e-200  # of the probability of a frame, where there are no outliers
ROOT_HALF = math.sqrt(0.5)


class Exposure(NamedTuple):
    """Probabilities of going from i to j emitters on, for every number of emitters n: arrays [n, i, j].

    `even` [n, i], `ramp`, `mixed` sum to P(j | i). `light`, `variance`: of the time on where mixed, in frames.
    `initial` [n, i]: stationary.
    """

    even: np.ndarray
    ramp: np.ndarray
    mixed: np.ndarray
    light: np.ndarray
    variance: np.ndarray
    initial: np.ndarray


@kernel
def exposed_logs(x, brightness, camera, mixing, exposure, numbers):  # type: ignore[no-untyped-def]
    """Return log P(trace | n) (n, number) of x (t, n): electrons, or log-intensity; NaN: not measured.

    brightness (n, 3): mu, mu_bg, sigma. numbers (n, first and last): those that are evaluated, others have −inf. Cost
    of a trace of 1000 frames and up to 10 emitters: 6 ms.
    """
    count, size = x.shape[1], len(exposure.initial)
    logs, nothing = np.full((count, size), -np.inf), np.empty(0)
    for n in range(count):
        noise = _levels(brightness[n], camera, size)
        flat, ramps = _shared_light(x[:, n], noise, camera, mixing)
        for emitters in range(numbers[n, 0], numbers[n, 1] + 1):
            logs[n, emitters] = _forward(
                x[:, n], brightness[n], camera, mixing, exposure, emitters, flat, ramps, nothing
            )
    return logs


@kernel
def exposed_quantiles(x, brightness, camera, mixing, exposure, emitters):  # type: ignore[no-untyped-def]
    """Return the quantile (t, n) of each frame of x given those before, outliers left out; emitters (n,)."""
    below, size = np.zeros(x.T.shape), len(exposure.initial)
    for n in range(x.shape[1]):
        noise = _levels(brightness[n], camera, size)
        flat, ramps = _shared_light(x[:, n], noise, camera, mixing)
        _forward(x[:, n], brightness[n], camera, mixing, exposure, emitters[n], flat, ramps, below[n])
    return below.T


@kernel
def _levels(brightness, camera, size):  # type: ignore[no-untyped-def]
    """Return the mean and the noise (2, z) of each number on; the next mean follows at z = size."""
    levels = np.empty((2, size + 1))
    for z in range(size + 1):
        mean = brightness[0] * z + brightness[1]
        levels[0, z] = mean if camera else math.log(mean)
        levels[1, z] = math.sqrt((max(mean, 0.0) if camera else 0.0) + brightness[2] ** 2)
    return levels


@kernel
def _shared_light(x, levels, camera, mixing):  # type: ignore[no-untyped-def]
    """Return the probabilities (t, z) of an even frame of z, and of a ramp between z and z + 1."""
    size = levels.shape[1] - 1
    flat, ramps = np.zeros((2, len(x), size))
    width = math.exp(mixing[0])
    for t in range(len(x)):
        scale = width if camera else width * math.exp(-x[t])
        for z in range(size):
            away = (x[t] - levels[0, z]) / levels[1, z]
            if abs(away) < FAR:
                flat[t, z] = scale * math.exp(-0.5 * away * away - HALF_LOG_TAU) / levels[1, z]
            noise = 0.5 * (levels[1, z] + levels[1, z + 1])
            low, high = (levels[0, z] - x[t]) / noise, (levels[0, z + 1] - x[t]) / noise
            if low < FAR and high > -FAR:
                part = 0.5 * (math.erf(high * ROOT_HALF) - math.erf(low * ROOT_HALF))
                ramps[t, z] = scale * part / (levels[0, z + 1] - levels[0, z])
    return flat, ramps


@kernel
def _forward(x, brightness, camera, mixing, exposure, emitters, flat, ramps, below):  # type: ignore[no-untyped-def]
    """Return log P(trace | emitters); fill below (t,), if it has a length, with the quantiles."""
    size = emitters + 1
    centre, spread, height = np.empty((3, size, size))
    for i in range(size):
        for j in range(size):
            mean = brightness[0] * exposure.light[emitters, i, j] + brightness[1]
            partly = brightness[0] ** 2 * exposure.variance[emitters, i, j]
            noise = max(mean, 0.0) if camera else 0.0
            centre[i, j] = mean if camera else math.log(mean)
            spread[i, j] = math.sqrt(noise + brightness[2] ** 2 + partly / (1.0 if camera else mean * mean))
            height[i, j] = mixing[0] - math.log(spread[i, j]) - HALF_LOG_TAU
    outlier, total, levels = max(math.exp(mixing[1]), LEAST), 0.0, _levels(brightness, camera, size)
    state, following = exposure.initial[emitters, :size].copy(), np.empty(size)
    for t in range(len(x)):
        following[:] = 0.0
        seen = not math.isnan(x[t])
        level = x[t] if seen and not camera else 0.0  # the density is of x, not of its logarithm
        for i in range(size):
            if state[i] < IMPROBABLE:
                continue
            for j in range(size):
                even = exposure.even[emitters, i] if i == j else 0.0
                ramp, mixed = exposure.ramp[emitters, i, j], exposure.mixed[emitters, i, j]
                step = even + ramp + mixed
                if step < IMPROBABLE:
                    continue
                likely = step
                if seen:
                    likely = outlier * step + even * flat[t, i] + ramp * ramps[t, min(i, j)]
                    away = (x[t] - centre[i, j]) / spread[i, j]
                    if mixed > IMPROBABLE and abs(away) < FAR:
                        likely += mixed * math.exp(height[i, j] - 0.5 * away * away - level)
                    if len(below):
                        below[t] += state[i] * (
                            mixed * _normal_below(away) + even * _normal_below((x[t] - levels[0, i]) / levels[1, i])
                        )
                        if ramp > 0:
                            below[t] += state[i] * ramp * _ramp_below(x[t], levels, min(i, j))
                following[j] += state[i] * likely
        scale = following.sum()
        total += math.log(scale)
        for j in range(size):
            state[j] = following[j] / scale
        if len(below) and not seen:
            below[t] = math.nan
    return total


@kernel
def _normal_below(away):  # type: ignore[no-untyped-def]
    return 0.5 * math.erfc(-away * ROOT_HALF)


@kernel
def _ramp_below(x, levels, z):  # type: ignore[no-untyped-def]
    """Return the quantile of x among ramps between z and z + 1: the integral of the normal distribution over them."""
    noise = 0.5 * (levels[1, z] + levels[1, z + 1])
    low, high = (x - levels[0, z + 1]) / noise, (x - levels[0, z]) / noise
    integral = 0.0
    for away, sign in ((high, 1.0), (low, -1.0)):
        density = math.exp(-0.5 * away * away - HALF_LOG_TAU) if abs(away) < 38 else 0.0
        integral += sign * (away * _normal_below(away) + density)
    return integral / (high - low)
