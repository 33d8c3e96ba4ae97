"""The hidden Markov chain of y emitters that blink and bleach: its matrices, its start, and one step of it.

Of the emitters that are on each bleaches with probability p_bleach, for good; of those left each goes off with p_off,
each that was off comes on with p_on. A state is (a, z): a alive, z of them on. Without bleaching a stays y, and the
number on follows z' ~ Binomial(z, 1 − p_off) + Binomial(y − z, p_on); with it the states of all a ≤ y follow one
another, block a at a(a + 1)/2, and a step is bleaching, then blinking within each block (for y = 10: 506 products
instead of 66²). The start is stationary, all alive: z ~ Binomial(y, p_on / (p_on + p_off)).

Arrays carry LANES traces on their last axis, side by side in vector registers; the lanes of a matrix are those, or one
for all of them.
"""

import numpy as np
from numba import njit

LANES = 16  # 27 ns a step of y = 10; 8 lanes take 50, 32 no less


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


@njit(nogil=True, cache=True, inline="always")
def _add(state, chance, out):  # type: ignore[no-untyped-def]
    """out += state · chance, lane by lane."""
    if len(chance) > 1:
        for lane in range(len(out)):
            out[lane] += state[lane] * chance[lane]
    else:
        same = chance[0]  # read once: out could be its memory for all the compiler knows
        for lane in range(len(out)):
            out[lane] += state[lane] * same


@njit(nogil=True, cache=True, inline="always")
def _clear(row):  # type: ignore[no-untyped-def]
    for lane in range(len(row)):
        row[lane] = 0.0


@njit(nogil=True, cache=True)
def bleach_step(state, matrix, y, out):  # type: ignore[no-untyped-def]
    """Let some of the emitters that are on bleach: state (states, lane) to out."""
    for s in range(state_count(y, True)):
        _clear(out[s])
    for a in range(y + 1):
        for z in range(a + 1):
            here = state[a * (a + 1) // 2 + z]
            for k in range(z + 1):
                there, chance = out[(a - k) * (a - k + 1) // 2 + z - k], matrix[z, k]
                _add(here, chance, there)


@njit(nogil=True, cache=True)
def bleach_back(state, matrix, y, out):  # type: ignore[no-untyped-def]
    """The adjoint of `bleach_step`."""
    for a in range(y + 1):
        for z in range(a + 1):
            _clear(out[a * (a + 1) // 2 + z])
            here = out[a * (a + 1) // 2 + z]
            for k in range(z + 1):
                there, chance = state[(a - k) * (a - k + 1) // 2 + z - k], matrix[z, k]
                _add(there, chance, here)


@njit(nogil=True, cache=True)
def blink_step(state, matrix, y, bleaching, out):  # type: ignore[no-untyped-def]
    """Let the emitters of each block blink: state (states, lane) to out."""
    at = 0
    for a in range(first_block(y, bleaching), y + 1):
        for j in range(a + 1):
            after = out[at + j]
            _clear(after)
            for i in range(a + 1):
                before, chance = state[at + i], matrix[a, i, j]
                _add(before, chance, after)
        at += a + 1


@njit(nogil=True, cache=True)
def blink_back(state, matrix, y, bleaching, out):  # type: ignore[no-untyped-def]
    """The adjoint of `blink_step`."""
    at = 0
    for a in range(first_block(y, bleaching), y + 1):
        for i in range(a + 1):
            before = out[at + i]
            _clear(before)
            for j in range(a + 1):
                after, chance = state[at + j], matrix[a, i, j]
                _add(after, chance, before)
        at += a + 1


@njit(nogil=True, cache=True, error_model="numpy")
def weigh(state, light, y, bleaching, scale):  # type: ignore[no-untyped-def]
    """Multiply a state by light (z, lane), divide it by its sum, and leave that in scale (lane)."""
    at, lanes = 0, len(scale)
    for lane in range(lanes):
        scale[lane] = 0.0
    for a in range(first_block(y, bleaching), y + 1):
        for z in range(a + 1):
            here, bright = state[at + z], light[z]
            for lane in range(lanes):
                weighed = here[lane] * bright[lane]
                here[lane] = weighed
                scale[lane] += weighed
        at += a + 1
    for s in range(at):
        here = state[s]
        for lane in range(lanes):
            here[lane] /= scale[lane]
