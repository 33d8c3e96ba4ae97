"""Forward filter and forward–backward smoother for LANES traces at once and every number of emitters (Rabiner 1989).

States are normalised in every frame, and the logarithms of the scale factors are summed: no trace underflows float64.
"""

import math
from typing import NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from .transitions import (
    bleach_back,
    bleach_step,
    blink_back,
    blink_step,
    condition,
    fill_initial,
    first_block,
    state_count,
)

UNLIKELY = 1e-6  # posterior weight below which a number of emitters is left out of the slopes
SMALL = 1e-40  # still a float64 after a frame whose probability is e^-600 of the peak
SLOPES = 6  # derivatives by mu, mu_bg, sigma, p_on, p_off, p_bleach


class Forward(NamedTuple):
    """Normalised forward variables `alpha[t, state, lane]` and their scale factors `scales[t, lane]`."""

    alpha: np.ndarray
    scales: np.ndarray


class ExpectedTransitions(NamedTuple):
    """Expected numbers of transitions divided by the transition matrix.

    `blinking[a, i, j, lane]`: from i to j emitters on, of a alive. `bleaching[z, k, lane]`: k of z emitters bleach.
    """

    blinking: np.ndarray
    bleaching: np.ndarray


@kernel(inline="always")
def step(state, transitions, emitters, bleaches, bleached, out):  # type: ignore[no-untyped-def]
    """Apply the transition matrix to state (state, lane), into out; `bleached` is scratch of the same shape.

    Inlined, as passing the matrices costs 5 % of the filter.
    """
    if bleaches:
        bleach_step(state, transitions.bleaching, emitters, bleached)
        blink_step(bleached, transitions.blinking, emitters, bleaches, out)
    else:
        blink_step(state, transitions.blinking, emitters, bleaches, out)


@kernel
def accumulate(scale, peak, product, logs):  # type: ignore[no-untyped-def]
    """Multiply a frame's scale and exp(peak) into the likelihood: log P = logs + log(product), all (lane).

    The product postpones logarithms, each of which costs as much as the step of another number of emitters.
    """
    small, lanes = 1.0, len(scale)
    for lane in range(lanes):
        product[lane] *= scale[lane]
        logs[lane] += peak[lane]
        small = min(small, product[lane])
    if small < SMALL:
        for lane in range(lanes):
            logs[lane] += math.log(product[lane])
            product[lane] = 1.0


@kernel
def filter_forward(emission, transitions, spaces, logs):  # type: ignore[no-untyped-def]
    """Fill logs[n, lane] = log P(trace | n emitters) for every number of emitters n in `spaces`."""
    bleaches = spaces.bleaches
    most, lanes = state_count(spaces.high, bleaches), emission.probability.shape[2]
    state, bleached, following = np.empty((most, lanes)), np.empty((most, lanes)), np.empty((most, lanes))
    scale, product = np.empty(lanes), np.empty(lanes)
    for emitters in range(spaces.low, spaces.high + 1):
        fill_initial(transitions.kinetics, emitters, bleaches, state[: state_count(emitters, bleaches)])
        logs[emitters], product[:] = 0.0, 1.0
        for t in range(len(emission.probability)):
            if t:
                step(state, transitions, emitters, bleaches, bleached, following)
                state, following = following, state
            condition(state, emission.probability[t], emitters, bleaches, scale)
            accumulate(scale, emission.peak[t], product, logs[emitters])
        for lane in range(lanes):
            logs[emitters, lane] += math.log(product[lane])


@part
def smooth(emission, transitions, transition_slopes, spaces, weights, slopes):  # type: ignore[no-untyped-def]
    """Return the occupancy P(z on) (t, z, lane), and add the derivatives by the kinetics to slopes[3 … 5, lane].

    weights[n, lane] is the posterior of n emitters. Slopes follow from Fisher's identity: they are the expected
    derivatives of the complete-data log-likelihood. Cost: three times the filter, for each n above UNLIKELY.
    """
    bleaches, size = spaces.bleaches, spaces.high + 1
    frames, lanes = len(emission.probability), emission.probability.shape[2]
    most = state_count(spaces.high, bleaches)
    occupancy = np.zeros((frames, size, lanes))
    forward = Forward(np.empty((frames, most, lanes)), np.empty((frames, lanes)))
    alpha = forward.alpha
    beta, moved = np.empty((most, lanes)), np.empty((most, lanes))
    expected = ExpectedTransitions(np.empty((size, size, size, lanes)), np.empty((size, size, lanes)))
    for emitters in range(spaces.low, size):
        if weights[emitters].max() < UNLIKELY:
            continue
        expected.blinking[first_block(emitters, bleaches) :], expected.bleaching[:] = 0.0, 0.0
        _fill_forward(emission, transitions, emitters, bleaches, forward)
        for s in range(state_count(emitters, bleaches)):
            for lane in range(lanes):
                beta[s, lane] = weights[emitters, lane]
        for t in range(frames - 1, -1, -1):
            _add_occupancy(alpha[t], beta, emitters, bleaches, occupancy[t])
            if t == 0:
                break
            _condition_beta(beta, emission.probability[t], forward.scales[t], emitters, bleaches)
            if bleaches:
                bleach_step(alpha[t - 1], transitions.bleaching, emitters, moved)
                _add_blinking(moved, beta, emitters, bleaches, expected.blinking)
                blink_back(beta, transitions.blinking, emitters, bleaches, moved)
                _add_bleaching(alpha[t - 1], moved, emitters, expected.bleaching)
                bleach_back(moved, transitions.bleaching, emitters, beta)
            else:
                _add_blinking(alpha[t - 1], beta, emitters, bleaches, expected.blinking)
                blink_back(beta, transitions.blinking, emitters, bleaches, moved)
                beta, moved = moved, beta
        _add_initial_slopes(alpha[0], beta, transitions.kinetics, emitters, bleaches, slopes)
        _add_transition_slopes(expected, transition_slopes, emitters, bleaches, slopes)
    return occupancy


@part
def _fill_forward(emission, transitions, emitters, bleaches, forward):  # type: ignore[no-untyped-def]
    alpha, bleached = forward.alpha, np.empty(forward.alpha.shape[1:])
    fill_initial(transitions.kinetics, emitters, bleaches, alpha[0, : state_count(emitters, bleaches)])
    for t in range(len(alpha)):
        if t:
            step(alpha[t - 1], transitions, emitters, bleaches, bleached, alpha[t])
        condition(alpha[t], emission.probability[t], emitters, bleaches, forward.scales[t])


@kernel(error_model="numpy")
def _condition_beta(beta, emission, scale, emitters, bleaches):  # type: ignore[no-untyped-def]
    """Multiply the backward variable by emission (z, lane) / scale (lane) of its frame."""
    at, lanes = 0, beta.shape[1]
    for a in range(first_block(emitters, bleaches), emitters + 1):
        for z in range(a + 1):
            here, likelihood = beta[at + z], emission[z]
            for lane in range(lanes):
                here[lane] *= likelihood[lane] / scale[lane]
        at += a + 1


@part
def _add_occupancy(alpha, beta, emitters, bleaches, occupancy):  # type: ignore[no-untyped-def]
    """Add alpha · beta to occupancy (z, lane) of one frame."""
    at, lanes = 0, alpha.shape[1]
    for a in range(first_block(emitters, bleaches), emitters + 1):
        for z in range(a + 1):
            before, after, on = alpha[at + z], beta[at + z], occupancy[z]
            for lane in range(lanes):
                on[lane] += before[lane] * after[lane]
        at += a + 1


@kernel
def _add_blinking(alpha, beta, emitters, bleaches, expected):  # type: ignore[no-untyped-def]
    """expected[a, i, j, lane] += alpha(a, i) · beta(a, j)."""
    at, lanes = 0, alpha.shape[1]
    for a in range(first_block(emitters, bleaches), emitters + 1):
        for i in range(a + 1):
            for j in range(a + 1):
                before, after, here = alpha[at + i], beta[at + j], expected[a, i, j]
                for lane in range(lanes):
                    here[lane] += before[lane] * after[lane]
        at += a + 1


@part
def _add_bleaching(alpha, beta, emitters, expected):  # type: ignore[no-untyped-def]
    """expected[z, k, lane] += alpha(a, z) · beta(a − k, z − k), summed over a."""
    lanes = alpha.shape[1]
    for a in range(emitters + 1):
        for z in range(a + 1):
            for k in range(z + 1):
                before, after = alpha[a * (a + 1) // 2 + z], beta[(a - k) * (a - k + 1) // 2 + z - k]
                here = expected[z, k]
                for lane in range(lanes):
                    here[lane] += before[lane] * after[lane]


@part
def _add_initial_slopes(alpha, beta, kinetics, emitters, bleaches, slopes):  # type: ignore[no-untyped-def]
    at = emitters * (emitters + 1) // 2 if bleaches else 0
    for lane in range(alpha.shape[1]):
        m = lane if kinetics.shape[1] > 1 else 0
        p_on, p_off = kinetics[0, m], kinetics[1, m]
        rate = p_on + p_off
        total = on = 0.0
        for z in range(emitters + 1):
            weight = alpha[at + z, lane] * beta[at + z, lane]
            total += weight
            on += weight * z
        by_duty = on * rate / p_on - (emitters * total - on) * rate / p_off
        slopes[3, lane] += by_duty * p_off / rate**2
        slopes[4, lane] -= by_duty * p_on / rate**2


@part
def _add_transition_slopes(expected, transition_slopes, emitters, bleaches, slopes):  # type: ignore[no-untyped-def]
    by_on, by_off, by_bleach = transition_slopes
    for lane in range(expected.blinking.shape[3]):
        m = lane if by_on.shape[3] > 1 else 0
        for a in range(first_block(emitters, bleaches), emitters + 1):
            for i in range(a + 1):
                for j in range(a + 1):
                    slopes[3, lane] += expected.blinking[a, i, j, lane] * by_on[a, i, j, m]
                    slopes[4, lane] += expected.blinking[a, i, j, lane] * by_off[a, i, j, m]
        if bleaches:
            for z in range(emitters + 1):
                for k in range(z + 1):
                    slopes[5, lane] += expected.bleaching[z, k, lane] * by_bleach[z, k, m]
