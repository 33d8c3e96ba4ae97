"""The forward filter of a camera that integrates: a frame's light depends on the emitters on at its start and its end.

The chain runs from edge to edge of frames. A frame with i emitters on at its start and j at its end is even (none
switched: the light of i), a ramp (one switched, at any time: uniform between the light of i and of j), or mixed
(several switched: Gaussian in the time on, with its mean and variance). Noise and outliers are those of `emission`.
"""

import math
from typing import NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from .emission import HALF_LOG_TAU

IMPROBABLE = 1e-7  # of a state, or of a step: left out
FAR = 7.0  # standard deviations, beyond which an intensity is an outlier
SELDOM = 1e-300
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
def fill_mixtures(stays, comes, mean, variance, exposure):  # type: ignore[no-untyped-def]
    """Fill `mixed`, `light` and `variance` of an Exposure whose `even` and `ramp` are known.

    stays, comes (n, k): binomial probabilities that k of n that are on stay so, of n that are off come on. mean,
    variance (i, j): of the time on of one emitter, given its states at the edges.
    """
    size = len(exposure.initial)
    for n in range(size):
        for i in range(n + 1):
            weights, first, second = np.zeros((3, size))
            for k in range(i + 1):
                for c in range(n - i + 1):
                    weight = stays[i, k] * comes[n - i, c]
                    numbers = ((k, 1, 1), (i - k, 1, 0), (c, 0, 1), (n - i - c, 0, 0))
                    light, spread = 0.0, 0.0
                    for number, start, end in numbers:
                        light += number * mean[start, end]
                        spread += number * variance[start, end]
                    weights[k + c] += weight
                    first[k + c] += weight * light
                    second[k + c] += weight * (spread + light * light)
            for j in range(n + 1):
                even, middle = exposure.even[n, i] if i == j else 0.0, 0.5 * (i + j)
                switched = max(weights[j] - even, SELDOM)
                exposure.mixed[n, i, j] = max(weights[j] - even - exposure.ramp[n, i, j], SELDOM)
                # ramps are taken as uniform, which leaves no moments to three switches
                light = min(max((first[j] - even * middle) / switched, 0.0), size - 1.0)
                spread = (second[j] - even * middle**2) / switched - light * light
                exposure.light[n, i, j] = light
                exposure.variance[n, i, j] = min(max(spread, 1e-4), size - 1.0)


@kernel
def exposed_logs(x, brightness, camera, mixing, exposure, numbers):  # type: ignore[no-untyped-def]
    """Return log P(trace | n) (n, number) of x (t, n): electrons, or log-intensity; NaN: not measured.

    brightness (n, 3): mu, mu_bg, sigma. numbers (n, first and last): those that are evaluated, others have −inf. Cost
    of a trace of 1000 frames and up to 10 emitters: 4 ms.
    """
    count, size = x.shape[1], len(exposure.initial)
    logs, nothing = np.full((count, size), -np.inf), np.empty((2, 0))
    for n in range(count):
        noise = _levels(brightness[n], camera, size)
        flat, ramps = _shared_light(x[:, n], noise, camera, mixing)
        for emitters in range(numbers[n, 0], numbers[n, 1] + 1):
            logs[n, emitters] = _forward(
                x[:, n], brightness[n], camera, mixing, exposure, emitters, flat, ramps, nothing
            )
    return logs


@kernel
def exposed_residuals(x, brightness, camera, mixing, exposure, emitters):  # type: ignore[no-untyped-def]
    """Return of each frame of x (t, n) its quantile given those before, and who came on less those expected.

    Outliers are left out of the quantile. emitters (n,).
    """
    found, size = np.zeros((x.shape[1], 2, len(x))), len(exposure.initial)
    for n in range(x.shape[1]):
        noise = _levels(brightness[n], camera, size)
        flat, ramps = _shared_light(x[:, n], noise, camera, mixing)
        _forward(x[:, n], brightness[n], camera, mixing, exposure, emitters[n], flat, ramps, found[n])
    return found[:, 0].T, found[:, 1].T


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
def _forward(x, brightness, camera, mixing, exposure, emitters, flat, ramps, residual):  # type: ignore[no-untyped-def]
    """Return log P(trace | emitters); fill residual (2, t), if it has a length, with quantiles and who switched on."""
    size = emitters + 1
    even, ramp, mixed = exposure.even[emitters], exposure.ramp[emitters], exposure.mixed[emitters]
    centre, sharp, height, step = np.empty((4, size, size))
    for i in range(size):
        for j in range(size):
            mean = brightness[0] * exposure.light[emitters, i, j] + brightness[1]
            partly = brightness[0] ** 2 * exposure.variance[emitters, i, j]
            noise = max(mean, 0.0) if camera else 0.0
            centre[i, j] = mean if camera else math.log(mean)
            sharp[i, j] = 1 / math.sqrt(noise + brightness[2] ** 2 + partly / (1.0 if camera else mean * mean))
            height[i, j] = math.exp(mixing[0] - HALF_LOG_TAU) * sharp[i, j]
            step[i, j] = (even[i] if i == j else 0.0) + ramp[i, j] + mixed[i, j]
    outlier, total, levels = max(math.exp(mixing[1]), LEAST), 0.0, _levels(brightness, camera, size)
    state, following = exposure.initial[emitters, :size].copy(), np.empty(size)
    for t in range(len(x)):
        following[:], came = 0.0, 0.0
        seen = not math.isnan(x[t])
        per = 1.0 if camera or not seen else math.exp(-x[t])  # the density is of x, not of its logarithm
        for i in range(size):
            before = state[i]
            if before < IMPROBABLE:
                continue
            floor = before * (outlier if seen else 1.0)
            for j in range(size):
                following[j] += floor * step[i, j]
                came += floor * step[i, j] * max(j - i, 0)
            if not seen:
                continue
            following[i] += before * even[i] * flat[t, i]
            if i + 1 < size:
                up = before * ramp[i, i + 1] * ramps[t, i]
                following[i + 1] += up
                came += up
            if i:
                following[i - 1] += before * ramp[i, i - 1] * ramps[t, i - 1]
            for j in range(size):
                weight = before * mixed[i, j]
                if weight > IMPROBABLE:  # an outlier is likelier than less
                    away = (x[t] - centre[i, j]) * sharp[i, j]
                    if abs(away) < FAR:
                        likely = weight * per * height[i, j] * math.exp(-0.5 * away * away)
                        following[j] += likely
                        came += likely * max(j - i, 0)
        scale = following.sum()
        if residual.shape[1]:
            residual[0, t] = _below(x[t], state, even, ramp, mixed, centre, sharp, levels) if seen else math.nan
            residual[1, t] = came / scale - _expected(state, step)
        total += math.log(scale)
        for j in range(size):
            state[j] = following[j] / scale
    return total


@part
def _expected(state, step):  # type: ignore[no-untyped-def]
    """Return how many more are on at the end of a frame, where there are more, in the mean."""
    came = 0.0
    for i in range(len(state)):
        for j in range(i + 1, len(state)):
            came += state[i] * step[i, j] * (j - i)
    return came


@part
def _below(x, state, even, ramp, mixed, centre, sharp, levels):  # type: ignore[no-untyped-def]
    """Return the quantile of x, given the distribution (i,) of those on at the frame's start; outliers left out."""
    quantile = 0.0
    for i in range(len(state)):
        if state[i] < IMPROBABLE:
            continue
        quantile += state[i] * even[i] * _normal_below((x - levels[0, i]) / levels[1, i])
        for j in range(len(state)):
            if mixed[i, j] > IMPROBABLE:
                quantile += state[i] * mixed[i, j] * _normal_below((x - centre[i, j]) * sharp[i, j])
            if ramp[i, j] > 0:
                quantile += state[i] * ramp[i, j] * _ramp_below(x, levels, min(i, j))
    return quantile


@kernel
def _normal_below(away):  # type: ignore[no-untyped-def]
    return 0.5 * math.erfc(-away * ROOT_HALF)


@part
def _ramp_below(x, levels, z):  # type: ignore[no-untyped-def]
    """Return the quantile of x among ramps between z and z + 1: the integral of the normal distribution over them."""
    noise = 0.5 * (levels[1, z] + levels[1, z + 1])
    low, high = (x - levels[0, z + 1]) / noise, (x - levels[0, z]) / noise
    integral = 0.0
    for away, sign in ((high, 1.0), (low, -1.0)):
        density = math.exp(-0.5 * away * away - HALF_LOG_TAU) if abs(away) < 38 else 0.0
        integral += sign * (away * _normal_below(away) + density)
    return integral / (high - low)
