"""The forward filter of many traces, a frame at a time, for every number of emitters."""

import numpy as np
from numba import njit

from .emission import fill_light
from .forward_backward import count, step
from .transitions import fill_matrices, fill_start, state_count, weigh

LIVE_LANES = 32


@njit(nogil=True, cache=True)
def fill_live(kinetics, low, high, bleaches, blinking, bleaching):  # type: ignore[no-untyped-def]
    """Fill blinking[m, c] and bleaching[m, c] for kinetics[m, c]: m one for all candidates or one for each."""
    _, by_on, by_off = np.zeros((3, high + 1, high + 1, high + 1, kinetics.shape[3]))
    by_bleach = np.zeros((high + 1, high + 1, kinetics.shape[3]))
    for m in range(len(blinking)):
        for c in range(blinking.shape[1]):
            first = 0 if bleaches else (low if len(blinking) == 1 else low + m)
            fill_matrices(
                kinetics[m, c], first, high, blinking[m, c], by_on, by_off, bleaching[m, c], by_bleach
            )  # fmt: skip


@njit(nogil=True, cache=True)
def advance(x, seen, camera, brightness, mixing, kinetics, blinking, bleaching, low, bleaches, states, products, logs):  # type: ignore[no-untyped-def]
    """Take frames x (t, chunk, lane) into states[chunk, y, state, lane] and logs, products [chunk, y, lane].

    seen: how many frames came before. brightness[m, chunk, 3, lane] and matrices[m, chunk]: m is one for all
    candidates or one for each; lanes of matrices are one for all traces or one for each. log P = logs + log(products).
    """
    candidates, most, lanes = states.shape[1:]
    high = low + candidates - 1
    light, outlier, top = np.empty((1, high + 1, lanes)), np.empty((1, lanes)), np.empty((1, lanes))
    between, later, scale = np.empty((most, lanes)), np.empty((most, lanes)), np.empty(lanes)
    for c in range(x.shape[1]):
        for t in range(len(x)):
            for k in range(candidates):
                y = low + k
                m = k if len(brightness) > 1 else 0
                own = c if blinking.shape[1] > 1 else 0
                if k == 0 or len(brightness) > 1:
                    fill_light(x[t : t + 1, c], camera, brightness[m, c], mixing, y + 1 if len(brightness) > 1 else
                               high + 1, light, outlier, top)  # fmt: skip
                state = states[c, k]
                if t + seen == 0:
                    fill_start(kinetics[m, own], y, bleaches, state[: state_count(y, bleaches)])
                else:
                    step(state, blinking[m, own], bleaching[m, own], y, bleaches, between, later)
                    state[: state_count(y, bleaches)] = later[: state_count(y, bleaches)]
                weigh(state, light[0], y, bleaches, scale)
                count(scale, top[0], products[c, k], logs[c, k])
