"""Forward filter and forward–backward smoother for LANES traces at once and every number of emitters (Rabiner 1989).

States are normalised in every frame, their sums kept as logarithms: exact in float64 however long the trace is.
"""

import math

import numpy as np
from numba import njit

from .transitions import bleach_back, bleach_step, blink_back, blink_step, fill_start, first_block, state_count, weigh

UNLIKELY = 1e-6  # of a posterior: such a y takes no part in the slopes
SMALL = 1e-40  # times a frame that is e^-600 as likely as the likeliest is still a float
SLOPES = 6  # by mu, mu_bg, sigma, p_on, p_off, p_bleach


@njit(nogil=True, cache=True)
def step(state, blinking, bleaching, y, bleaches, between, out):  # type: ignore[no-untyped-def]
    """One frame on: state (states, lane) through bleaching, to `between`, and blinking, to out."""
    if bleaches:
        bleach_step(state, bleaching, y, between)
        blink_step(between, blinking, y, bleaches, out)
    else:
        blink_step(state, blinking, y, bleaches, out)


@njit(nogil=True, cache=True)
def count(scale, top, product, logs):  # type: ignore[no-untyped-def]
    """Count a frame's scale (lane) and top (lane) in: log P = logs + log(product). A logarithm costs as much as a y."""
    small, lanes = 1.0, len(scale)
    for lane in range(lanes):
        product[lane] *= scale[lane]
        logs[lane] += top[lane]
        small = min(small, product[lane])
    if small < SMALL:
        for lane in range(lanes):
            logs[lane] += math.log(product[lane])
            product[lane] = 1.0


@njit(nogil=True, cache=True)
def filter_forward(light, top, kinetics, blinking, bleaching, low, high, bleaches, logs):  # type: ignore[no-untyped-def]
    """Fill logs[y, lane] = log P(trace | y) for y = low … high; light (t, z, lane) relative to exp(top (t, lane))."""
    most = state_count(high, bleaches)
    lanes = light.shape[2]
    state, between, later = np.empty((3, most, lanes))
    scale, product = np.empty((2, lanes))
    for y in range(low, high + 1):
        fill_start(kinetics, y, bleaches, state[: state_count(y, bleaches)])
        logs[y], product[:] = 0.0, 1.0
        for t in range(len(light)):
            if t:
                step(state, blinking, bleaching, y, bleaches, between, later)
                state, later = later, state
            weigh(state, light[t], y, bleaches, scale)
            count(scale, top[t], product, logs[y])
        for lane in range(lanes):
            logs[y, lane] += math.log(product[lane])


@njit(nogil=True, cache=True)
def smooth(light, kinetics, blinking, by_on, by_off, bleaching, by_bleach, share, low, high, bleaches, part, slopes):  # type: ignore[no-untyped-def]
    """Add what the smoothed states say to part[t, z, lane], P(z on) over y, and to slopes[3 … 5], by the kinetics.

    share[y, lane] is the weight of y. Slopes are Fisher's identity: the expected derivative of the log-probability of
    the path. Cost: three times that of the filter for each y of some weight.
    """
    frames, most, lanes = len(light), state_count(high, bleaches), light.shape[2]
    past = np.empty((frames, most, lanes))
    scales = np.empty((frames, lanes))
    future, moved, between = np.empty((3, most, lanes))
    flows = np.empty((high + 1, high + 1, high + 1, lanes))
    falls = np.empty((high + 1, high + 1, lanes))
    for y in range(low, high + 1):
        if share[y].max() < UNLIKELY:
            continue
        n = state_count(y, bleaches)
        flows[first_block(y, bleaches) :], falls[:] = 0.0, 0.0
        _filter_and_keep(light, kinetics, blinking, bleaching, y, bleaches, past, scales, between)
        for s in range(n):
            for lane in range(lanes):
                future[s, lane] = share[y, lane]
        for t in range(frames - 1, -1, -1):
            _add_part(past[t], future, y, bleaches, t, part)
            if t == 0:
                break
            _shine(future, light, scales, t, y, bleaches)
            if bleaches:
                bleach_step(past[t - 1], bleaching, y, moved)
                _add_flows(moved, future, y, bleaches, flows)
                blink_back(future, blinking, y, bleaches, moved)
                _add_falls(past[t - 1], moved, y, falls)
                bleach_back(moved, bleaching, y, future)
            else:
                _add_flows(past[t - 1], future, y, bleaches, flows)
                blink_back(future, blinking, y, bleaches, moved)
                future, moved = moved, future
        _add_start_slopes(past[0], future, kinetics, y, bleaches, slopes)
        _add_chain_slopes(flows, falls, by_on, by_off, by_bleach, y, bleaches, slopes)


@njit(nogil=True, cache=True)
def _filter_and_keep(light, kinetics, blinking, bleaching, y, bleaches, past, scales, between):  # type: ignore[no-untyped-def]
    fill_start(kinetics, y, bleaches, past[0, : state_count(y, bleaches)])
    for t in range(len(light)):
        if t:
            step(past[t - 1], blinking, bleaching, y, bleaches, between, past[t])
        weigh(past[t], light[t], y, bleaches, scales[t])


@njit(nogil=True, cache=True, error_model="numpy")
def _shine(future, light, scales, t, y, bleaches):  # type: ignore[no-untyped-def]
    """What is to come, seen from just before frame t was measured: future · light / scale."""
    at, lanes = 0, future.shape[1]
    for a in range(first_block(y, bleaches), y + 1):
        for z in range(a + 1):
            here, bright, scale = future[at + z], light[t, z], scales[t]
            for lane in range(lanes):
                here[lane] *= bright[lane] / scale[lane]
        at += a + 1


@njit(nogil=True, cache=True)
def _add_part(past, future, y, bleaches, t, part):  # type: ignore[no-untyped-def]
    at, lanes = 0, past.shape[1]
    for a in range(first_block(y, bleaches), y + 1):
        for z in range(a + 1):
            before, after, on = past[at + z], future[at + z], part[t, z]
            for lane in range(lanes):
                on[lane] += before[lane] * after[lane]
        at += a + 1


@njit(nogil=True, cache=True)
def _add_flows(before, after, y, bleaches, flows):  # type: ignore[no-untyped-def]
    """flows[a, i, j] += P(past, i) · P(future | j): the expected count of i → j but for the matrix itself."""
    at, lanes = 0, before.shape[1]
    for a in range(first_block(y, bleaches), y + 1):
        for i in range(a + 1):
            for j in range(a + 1):
                here, there, flow = before[at + i], after[at + j], flows[a, i, j]
                for lane in range(lanes):
                    flow[lane] += here[lane] * there[lane]
        at += a + 1


@njit(nogil=True, cache=True)
def _add_falls(before, after, y, falls):  # type: ignore[no-untyped-def]
    lanes = before.shape[1]
    for a in range(y + 1):
        for z in range(a + 1):
            for k in range(z + 1):
                here, there = before[a * (a + 1) // 2 + z], after[(a - k) * (a - k + 1) // 2 + z - k]
                fall = falls[z, k]
                for lane in range(lanes):
                    fall[lane] += here[lane] * there[lane]


@njit(nogil=True, cache=True)
def _add_start_slopes(past, future, kinetics, y, bleaches, slopes):  # type: ignore[no-untyped-def]
    at = y * (y + 1) // 2 if bleaches else 0
    for lane in range(past.shape[1]):
        m = lane if kinetics.shape[1] > 1 else 0
        p_on, p_off = kinetics[0, m], kinetics[1, m]
        total = p_on + p_off
        whole = ons = 0.0
        for z in range(y + 1):
            chance = past[at + z, lane] * future[at + z, lane]
            whole += chance
            ons += chance * z
        by_part = ons * total / p_on - (y * whole - ons) * total / p_off
        slopes[3, lane] += by_part * p_off / total**2
        slopes[4, lane] -= by_part * p_on / total**2


@njit(nogil=True, cache=True)
def _add_chain_slopes(flows, falls, by_on, by_off, by_bleach, y, bleaches, slopes):  # type: ignore[no-untyped-def]
    for lane in range(flows.shape[3]):
        m = lane if by_on.shape[3] > 1 else 0
        for a in range(first_block(y, bleaches), y + 1):
            for i in range(a + 1):
                for j in range(a + 1):
                    slopes[3, lane] += flows[a, i, j, lane] * by_on[a, i, j, m]
                    slopes[4, lane] += flows[a, i, j, lane] * by_off[a, i, j, m]
        if bleaches:
            for z in range(y + 1):
                for k in range(z + 1):
                    slopes[5, lane] += falls[z, k, lane] * by_bleach[z, k, m]
