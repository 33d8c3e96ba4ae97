"""The hidden Markov chain of a number of emitters that blink and bleach: transition matrices, initial state, one step.

In each frame an emitter that is on bleaches with probability p_bleach, for good; one that stays goes off with p_off,
one that is off comes on with p_on. A state is (a, z): a emitters are alive, z of them are on. Without bleaching a is
constant, and z' ~ Binomial(z, 1 − p_off) + Binomial(a − z, p_on). With bleaching the states are ordered in blocks,
block a at a(a + 1)/2; a step is bleaching, then blinking within each block (10 emitters: 506 products instead of 66²).
The initial distribution is stationary with all emitters alive: z ~ Binomial(emitters, p_on / (p_on + p_off)).

The last axis of an array holds LANES traces side by side, for vector registers. A matrix has as many lanes, or a single
one that all traces share. Arrays are never unpacked from a larger one: numba would take their rows for strided, and
compile every kernel a second time, and a slower one, for those.
"""

from typing import NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part

LANES = 16  # a step of 10 emitters takes 27 ns; with 8 lanes 50, with 32 no less


class StateSpaces(NamedTuple):
    """The state spaces of `low` … `high` emitters; `bleaches`: whether a state counts the emitters alive."""

    low: int
    high: int
    bleaches: bool


class Transitions(NamedTuple):
    """Transition matrices and the kinetics (p_on, p_off, p_bleach; lane) they follow from.

    `blinking[a, i, j, lane]`: P(j of a on | i of a on). `bleaching[z, k, lane]`: P(k of z bleach).
    """

    kinetics: np.ndarray
    blinking: np.ndarray
    bleaching: np.ndarray


class TransitionSlopes(NamedTuple):
    """Derivatives of `Transitions`: of blinking by p_on and p_off, of bleaching by p_bleach."""

    by_on: np.ndarray
    by_off: np.ndarray
    by_bleach: np.ndarray


@kernel(inline="always")
def first_block(emitters, bleaches):  # type: ignore[no-untyped-def]
    """Return the smallest number of emitters that can be alive."""
    return 0 if bleaches else emitters


@kernel
def state_count(emitters, bleaches):  # type: ignore[no-untyped-def]
    """Return the number of states."""
    return (emitters + 1) * (emitters + 2) // 2 if bleaches else emitters + 1


@kernel
def _binomials(p, size):  # type: ignore[no-untyped-def]
    """Return Binomial(k; n, p) for n, k < size, by Pascal's triangle: every term is positive, nothing cancels."""
    b = np.zeros((size, size))
    b[0, 0] = 1.0
    for n in range(1, size):
        for k in range(n + 1):
            b[n, k] = (1.0 - p) * b[n - 1, k] + (p * b[n - 1, k - 1] if k else 0.0)
    return b


@kernel
def _slopes(b):  # type: ignore[no-untyped-def]
    """Return the derivative of `_binomials` by p: n (Binomial(k − 1; n − 1) − Binomial(k; n − 1))."""
    d = np.zeros_like(b)
    for n in range(1, len(b)):
        for k in range(n + 1):
            d[n, k] = n * ((b[n - 1, k - 1] if k else 0.0) - b[n - 1, k])
    return d


@kernel
def transition_matrices(kinetics, spaces):  # type: ignore[no-untyped-def]
    """Return (Transitions, TransitionSlopes) for kinetics (p_on, p_off, p_bleach; lane); blocks not used are 0."""
    size, lanes = spaces.high + 1, kinetics.shape[1]
    blocks, steps = np.zeros((3, size, size, size, lanes)), np.zeros((2, size, size, lanes))
    blinking, by_on, by_off = blocks[0], blocks[1], blocks[2]
    bleaching, by_bleach = steps[0], steps[1]
    for m in range(lanes):
        stay, come = _binomials(1.0 - kinetics[1, m], size), _binomials(kinetics[0, m], size)
        d_stay, d_come = _slopes(stay), _slopes(come)
        for a in range(first_block(spaces.low, spaces.bleaches), size):
            for i in range(a + 1):
                for k in range(i + 1):
                    for j in range(a - i + 1):
                        blinking[a, i, k + j, m] += stay[i, k] * come[a - i, j]
                        by_on[a, i, k + j, m] += stay[i, k] * d_come[a - i, j]
                        by_off[a, i, k + j, m] -= d_stay[i, k] * come[a - i, j]
        bleach = _binomials(kinetics[2, m], size)
        bleaching[..., m], by_bleach[..., m] = bleach, _slopes(bleach)
    return Transitions(kinetics, blinking, bleaching), TransitionSlopes(by_on, by_off, by_bleach)


@kernel
def fill_initial(kinetics, emitters, bleaches, state):  # type: ignore[no-untyped-def]
    """Fill state (state, lane) with the stationary distribution of emitters that are all alive."""
    state[:] = 0.0
    at = emitters * (emitters + 1) // 2 if bleaches else 0
    for lane in range(state.shape[1]):
        m = lane if kinetics.shape[1] > 1 else 0
        stationary = _binomials(kinetics[0, m] / (kinetics[0, m] + kinetics[1, m]), emitters + 1)
        for z in range(emitters + 1):
            state[at + z, lane] = stationary[emitters, z]


@kernel(inline="always")
def _add(state, probability, out):  # type: ignore[no-untyped-def]
    """out += state · probability, lane by lane."""
    if len(probability) > 1:
        for lane in range(len(out)):
            out[lane] += state[lane] * probability[lane]
    else:
        same = probability[0]  # read once: the compiler must assume that out may alias it
        for lane in range(len(out)):
            out[lane] += state[lane] * same


@kernel(inline="always")
def _clear(row):  # type: ignore[no-untyped-def]
    for lane in range(len(row)):
        row[lane] = 0.0


@kernel
def bleach_step(state, matrix, emitters, out):  # type: ignore[no-untyped-def]
    """Apply the bleaching matrix to state (state, lane), into out."""
    for s in range(state_count(emitters, True)):
        _clear(out[s])
    for a in range(emitters + 1):
        for z in range(a + 1):
            here = state[a * (a + 1) // 2 + z]
            for k in range(z + 1):
                there, probability = out[(a - k) * (a - k + 1) // 2 + z - k], matrix[z, k]
                _add(here, probability, there)


@part
def bleach_back(state, matrix, emitters, out):  # type: ignore[no-untyped-def]
    """Apply the transpose of `bleach_step`."""
    for a in range(emitters + 1):
        for z in range(a + 1):
            _clear(out[a * (a + 1) // 2 + z])
            here = out[a * (a + 1) // 2 + z]
            for k in range(z + 1):
                there, probability = state[(a - k) * (a - k + 1) // 2 + z - k], matrix[z, k]
                _add(there, probability, here)


@kernel
def blink_step(state, matrix, emitters, bleaches, out):  # type: ignore[no-untyped-def]
    """Apply the blinking matrix to each block of state (state, lane), into out."""
    at = 0
    for a in range(first_block(emitters, bleaches), emitters + 1):
        for j in range(a + 1):
            after = out[at + j]
            _clear(after)
            for i in range(a + 1):
                before, probability = state[at + i], matrix[a, i, j]
                _add(before, probability, after)
        at += a + 1


@kernel
def blink_back(state, matrix, emitters, bleaches, out):  # type: ignore[no-untyped-def]
    """Apply the transpose of `blink_step`."""
    at = 0
    for a in range(first_block(emitters, bleaches), emitters + 1):
        for i in range(a + 1):
            before = out[at + i]
            _clear(before)
            for j in range(a + 1):
                after, probability = state[at + j], matrix[a, i, j]
                _add(after, probability, before)
        at += a + 1


@kernel(error_model="numpy")
def condition(state, emission, emitters, bleaches, scale):  # type: ignore[no-untyped-def]
    """Multiply state by the emission probability (z, lane), normalise it, and fill scale (lane) with the divisor."""
    at, lanes = 0, len(scale)
    for lane in range(lanes):
        scale[lane] = 0.0
    for a in range(first_block(emitters, bleaches), emitters + 1):
        for z in range(a + 1):
            here, likelihood = state[at + z], emission[z]
            for lane in range(lanes):
                product = here[lane] * likelihood[lane]
                here[lane] = product
                scale[lane] += product
        at += a + 1
    for s in range(at):
        here = state[s]
        for lane in range(lanes):
            here[lane] /= scale[lane]
