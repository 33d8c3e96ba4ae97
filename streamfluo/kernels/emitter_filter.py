"""Forward filter and forward–backward smoother for LANES traces at once and every number of emitters (Rabiner 1989).

States are normalised in every frame, their sums kept as logarithms: exact in float64 however long the trace is.
"""

import math

import numpy as np
from numba import njit

from .emitter_chain import (
    blink_back,
    blink_step,
    bleach_back,
    bleach_step,
    fill_start,
    first_block,
    state_count,
    weigh,
)
from .emitter_light import add_light_slopes

UNLIKELY = 1e-9  # of a posterior: such a y takes no part in the slopes
SLOPES = 6  # by mu, mu_bg, sigma, p_on, p_off, p_bleach


@njit(nogil=True, cache=True)
def step(state, blinking, bleaching, y, bleaches, lanes, own, spare):  # type: ignore[no-untyped-def]
    """One frame on: state (states, lane) through bleaching and blinking, in place; spare is as large."""
    n = state_count(y, bleaches)
    if bleaches:
        bleach_step(state[:n], bleaching, y, lanes, own, spare[:n])
        blink_step(spare[:n], blinking, y, bleaches, lanes, own, state[:n])
    else:
        blink_step(state[:n], blinking, y, bleaches, lanes, own, spare[:n])
        state[:n] = spare[:n]


@njit(nogil=True, cache=True)
def filter_forward(light, top, kinetics, blinking, bleaching, low, high, bleaches, lanes, own, logs):  # type: ignore[no-untyped-def]
    """Fill logs[y, lane] = log P(trace | y) for y = low … high; light (t, z, lane) relative to exp(top (t, lane))."""
    most = state_count(high, bleaches)
    state, spare, scale = np.empty((most, len(lanes))), np.empty((most, len(lanes))), np.empty(len(lanes))
    for y in range(low, high + 1):
        n = state_count(y, bleaches)
        fill_start(kinetics, y, bleaches, state[:n])
        for lane in range(len(lanes)):
            logs[y, lane] = 0.0
        for t in range(len(light)):
            if t:
                step(state, blinking, bleaching, y, bleaches, lanes, own, spare)
            weigh(state, light, t, y, bleaches, lanes, scale)
            for lane in range(len(lanes)):
                logs[y, lane] += math.log(scale[lane]) + top[t, lane]


@njit(nogil=True, cache=True)
def smooth(
    light, kinetics, blinking, by_on, by_off, bleaching, by_bleach, share, low, high, bleaches, lanes, own, part, slopes
):  # type: ignore[no-untyped-def]
    """Add what the smoothed states say to part[t, z, lane], P(z on) over y, and to slopes[3 … 5], by the kinetics.

    share[y, lane] is the weight of y. Slopes are Fisher's identity: the expected derivative of the log-probability of
    the path. Cost: three times that of the filter for each y of some weight.
    """
    frames, most = len(light), state_count(high, bleaches)
    past = np.empty((frames, most, len(lanes)))
    scales = np.empty((frames, len(lanes)))
    future, moved, spare = np.empty((3, most, len(lanes)))
    flows = np.empty((high + 1, high + 1, high + 1, len(lanes)))
    falls = np.empty((high + 1, high + 1, len(lanes)))
    for y in range(low, high + 1):
        if share[y].max() < UNLIKELY:
            continue
        n = state_count(y, bleaches)
        flows[first_block(y, bleaches) :], falls[:] = 0.0, 0.0
        _filter_and_keep(light, kinetics, blinking, bleaching, y, bleaches, lanes, own, past, scales, spare)
        for s in range(n):
            for lane in range(len(lanes)):
                future[s, lane] = share[y, lane]
        for t in range(frames - 1, -1, -1):
            _add_part(past[t], future, y, bleaches, t, lanes, part)
            if t == 0:
                break
            _shine(future, light, scales, t, y, bleaches, lanes)
            if bleaches:
                bleach_step(past[t - 1, :n], bleaching, y, lanes, own, moved[:n])
                _add_flows(moved, future, y, bleaches, lanes, flows)
                blink_back(future[:n], blinking, y, bleaches, lanes, own, moved[:n])
                _add_falls(past[t - 1], moved, y, lanes, falls)
                bleach_back(moved[:n], bleaching, y, lanes, own, future[:n])
            else:
                _add_flows(past[t - 1], future, y, bleaches, lanes, flows)
                blink_back(future[:n], blinking, y, bleaches, lanes, own, moved[:n])
                future[:n] = moved[:n]
        _add_start_slopes(past[0], future, kinetics, y, bleaches, lanes, own, slopes)
        _add_chain_slopes(flows, falls, by_on, by_off, by_bleach, y, bleaches, lanes, own, slopes)


@njit(nogil=True, cache=True)
def _filter_and_keep(light, kinetics, blinking, bleaching, y, bleaches, lanes, own, past, scales, spare):  # type: ignore[no-untyped-def]
    n = state_count(y, bleaches)
    fill_start(kinetics, y, bleaches, past[0, :n])
    for t in range(len(light)):
        if t:
            if bleaches:
                bleach_step(past[t - 1, :n], bleaching, y, lanes, own, spare[:n])
                blink_step(spare[:n], blinking, y, bleaches, lanes, own, past[t, :n])
            else:
                blink_step(past[t - 1, :n], blinking, y, bleaches, lanes, own, past[t, :n])
        weigh(past[t], light, t, y, bleaches, lanes, scales[t])


@njit(nogil=True, cache=True)
def _shine(future, light, scales, t, y, bleaches, lanes):  # type: ignore[no-untyped-def]
    """What is to come, seen from just before frame t was measured: future · light / scale."""
    at = 0
    for a in range(first_block(y, bleaches), y + 1):
        for z in range(a + 1):
            for lane in range(len(lanes)):
                future[at + z, lane] *= light[t, z, lane] / scales[t, lane]
        at += a + 1


@njit(nogil=True, cache=True)
def _add_part(past, future, y, bleaches, t, lanes, part):  # type: ignore[no-untyped-def]
    at = 0
    for a in range(first_block(y, bleaches), y + 1):
        for z in range(a + 1):
            for lane in range(len(lanes)):
                part[t, z, lane] += past[at + z, lane] * future[at + z, lane]
        at += a + 1


@njit(nogil=True, cache=True)
def _add_flows(before, after, y, bleaches, lanes, flows):  # type: ignore[no-untyped-def]
    """flows[a, i, j] += P(past, i) · P(future | j): the expected count of i → j but for the matrix itself."""
    at = 0
    for a in range(first_block(y, bleaches), y + 1):
        for i in range(a + 1):
            for j in range(a + 1):
                for lane in range(len(lanes)):
                    flows[a, i, j, lane] += before[at + i, lane] * after[at + j, lane]
        at += a + 1


@njit(nogil=True, cache=True)
def _add_falls(before, after, y, lanes, falls):  # type: ignore[no-untyped-def]
    for a in range(y + 1):
        for z in range(a + 1):
            for k in range(z + 1):
                here, there = a * (a + 1) // 2 + z, (a - k) * (a - k + 1) // 2 + z - k
                for lane in range(len(lanes)):
                    falls[z, k, lane] += before[here, lane] * after[there, lane]


@njit(nogil=True, cache=True)
def _add_start_slopes(past, future, kinetics, y, bleaches, lanes, own, slopes):  # type: ignore[no-untyped-def]
    at = y * (y + 1) // 2 if bleaches else 0
    for lane in range(len(lanes)):
        m = lane if len(own) > 1 else 0
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
def _add_chain_slopes(flows, falls, by_on, by_off, by_bleach, y, bleaches, lanes, own, slopes):  # type: ignore[no-untyped-def]
    for lane in range(len(lanes)):
        m = lane if len(own) > 1 else 0
        for a in range(first_block(y, bleaches), y + 1):
            for i in range(a + 1):
                for j in range(a + 1):
                    slopes[3, lane] += flows[a, i, j, lane] * by_on[a, i, j, m]
                    slopes[4, lane] += flows[a, i, j, lane] * by_off[a, i, j, m]
        if bleaches:
            for z in range(y + 1):
                for k in range(z + 1):
                    slopes[5, lane] += falls[z, k, lane] * by_bleach[z, k, m]
