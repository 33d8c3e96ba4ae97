"""The hidden Markov chain of y emitters that blink and bleach: its matrices, its start, and one step of it.

Of the emitters that are on each bleaches with probability p_bleach, for good; of those left each goes off with p_off,
each that was off comes on with p_on. A state is (a, z): a alive, z of them on. Without bleaching a stays y, and the
number on follows z' ~ Binomial(z, 1 − p_off) + Binomial(y − z, p_on); with it the states of all a ≤ y follow one
another, block a at a(a + 1)/2, and a step is bleaching, then blinking within each block (for y = 10: 506 products
instead of 66²). The start is stationary, all alive: z ~ Binomial(y, p_on / (p_on + p_off)).

Arrays carry LANES traces on their last axis, side by side in vector registers; lanes of a matrix are those, or one for
all of them. `lanes` and `own` are tuples for their lengths, which the compiler so knows.
"""

import numpy as np
from numba import njit

LANES = 8


@njit(nogil=True, cache=True, inline="always")
def first_block(y, bleaching):  # type: ignore[no-untyped-def]
    """Fewest emitters alive that y emitters can come to."""
    return 0 if bleaching else y


@njit(nogil=True, cache=True)
def state_count(y, bleaching):  # type: ignore[no-untyped-def]
    """Number of states of y emitters."""
    return (y + 1) * (y + 2) // 2 if bleaching else y + 1


@njit(nogil=True, cache=True)
def _binomials(p, size):  # type: ignore[no-untyped-def]
    """Binomial(k; n, p) for n, k < size, by Pascal's triangle: sums of positive terms alone."""
    b = np.zeros((size, size))
    b[0, 0] = 1.0
    for n in range(1, size):
        for k in range(n + 1):
            b[n, k] = (1.0 - p) * b[n - 1, k] + (p * b[n - 1, k - 1] if k else 0.0)
    return b


@njit(nogil=True, cache=True)
def _slopes(b):  # type: ignore[no-untyped-def]
    """Derivative of those by p: n (Binomial(k − 1; n − 1) − Binomial(k; n − 1))."""
    d = np.zeros_like(b)
    for n in range(1, len(b)):
        for k in range(n + 1):
            d[n, k] = n * ((b[n - 1, k - 1] if k else 0.0) - b[n - 1, k])
    return d


@njit(nogil=True, cache=True)
def fill_matrices(kinetics, low, high, blinking, by_on, by_off, bleaching, by_bleach):  # type: ignore[no-untyped-def]
    """Fill the matrices of blocks low … high and their derivatives, for kinetics (p_on, p_off, p_bleach; lane).

    blinking[a, i, j, lane] = P(j of a on | i of a on) and its derivatives by p_on and p_off; bleaching[z, k, lane] =
    P(k of z bleach).
    """
    size = high + 1
    for m in range(kinetics.shape[1]):
        stay, come = _binomials(1.0 - kinetics[1, m], size), _binomials(kinetics[0, m], size)
        d_stay, d_come = _slopes(stay), _slopes(come)
        blinking[..., m], by_on[..., m], by_off[..., m] = 0.0, 0.0, 0.0
        for a in range(low, size):
            for i in range(a + 1):
                for k in range(i + 1):
                    for j in range(a - i + 1):
                        blinking[a, i, k + j, m] += stay[i, k] * come[a - i, j]
                        by_on[a, i, k + j, m] += stay[i, k] * d_come[a - i, j]
                        by_off[a, i, k + j, m] -= d_stay[i, k] * come[a - i, j]
        bleach = _binomials(kinetics[2, m], size)
        bleaching[:size, :size, m], by_bleach[:size, :size, m] = bleach, _slopes(bleach)


@njit(nogil=True, cache=True)
def fill_start(kinetics, y, bleaching, state):  # type: ignore[no-untyped-def]
    """Fill the stationary start of y emitters, all alive, into state (states, lane)."""
    state[:] = 0.0
    at = y * (y + 1) // 2 if bleaching else 0
    for lane in range(state.shape[1]):
        m = lane if kinetics.shape[1] > 1 else 0
        chances = _binomials(kinetics[0, m] / (kinetics[0, m] + kinetics[1, m]), y + 1)
        for z in range(y + 1):
            state[at + z, lane] = chances[y, z]


@njit(nogil=True, cache=True)
def bleach_step(state, matrix, y, lanes, own, out):  # type: ignore[no-untyped-def]
    """Let some of the emitters that are on bleach: state (states, lane) to out."""
    out[:] = 0.0
    for a in range(y + 1):
        for z in range(a + 1):
            for k in range(z + 1):
                here, there = a * (a + 1) // 2 + z, (a - k) * (a - k + 1) // 2 + z - k
                for lane in range(len(lanes)):
                    out[there, lane] += state[here, lane] * matrix[z, k, lane if len(own) > 1 else 0]


@njit(nogil=True, cache=True)
def bleach_back(state, matrix, y, lanes, own, out):  # type: ignore[no-untyped-def]
    """The adjoint of `bleach_step`."""
    for a in range(y + 1):
        for z in range(a + 1):
            here = a * (a + 1) // 2 + z
            for lane in range(len(lanes)):
                out[here, lane] = 0.0
            for k in range(z + 1):
                there = (a - k) * (a - k + 1) // 2 + z - k
                for lane in range(len(lanes)):
                    out[here, lane] += state[there, lane] * matrix[z, k, lane if len(own) > 1 else 0]


@njit(nogil=True, cache=True)
def blink_step(state, matrix, y, bleaching, lanes, own, out):  # type: ignore[no-untyped-def]
    """Let the emitters of each block blink: state (states, lane) to out."""
    at = 0
    for a in range(first_block(y, bleaching), y + 1):
        for j in range(a + 1):
            for lane in range(len(lanes)):
                out[at + j, lane] = 0.0
        for i in range(a + 1):
            for j in range(a + 1):
                for lane in range(len(lanes)):
                    out[at + j, lane] += state[at + i, lane] * matrix[a, i, j, lane if len(own) > 1 else 0]
        at += a + 1


@njit(nogil=True, cache=True)
def blink_back(state, matrix, y, bleaching, lanes, own, out):  # type: ignore[no-untyped-def]
    """The adjoint of `blink_step`."""
    at = 0
    for a in range(first_block(y, bleaching), y + 1):
        for i in range(a + 1):
            for lane in range(len(lanes)):
                out[at + i, lane] = 0.0
        for j in range(a + 1):
            for i in range(a + 1):
                for lane in range(len(lanes)):
                    out[at + i, lane] += state[at + j, lane] * matrix[a, i, j, lane if len(own) > 1 else 0]
        at += a + 1


@njit(nogil=True, cache=True)
def weigh(state, light, t, y, bleaching, lanes, scale):  # type: ignore[no-untyped-def]
    """Multiply a state by light[t, z, lane], divide it by its sum, and leave that in scale (lane)."""
    at = 0
    for lane in range(len(lanes)):
        scale[lane] = 0.0
    for a in range(first_block(y, bleaching), y + 1):
        for z in range(a + 1):
            for lane in range(len(lanes)):
                weighed = state[at + z, lane] * light[t, z, lane]
                state[at + z, lane] = weighed
                scale[lane] += weighed
        at += a + 1
    for lane in range(len(lanes)):
        scale[lane] = max(scale[lane], 1e-300)
    for s in range(at):
        for lane in range(len(lanes)):
            state[s, lane] /= scale[lane]
