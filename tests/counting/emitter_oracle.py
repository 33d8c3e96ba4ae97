"""Counting by the textbook, in plain numpy and scipy: what the kernels are held against."""

from itertools import product

import numpy as np
from scipy.stats import binom, norm


def transitions(y, p_on, p_off):
    """P(j on | i on) of y emitters, by the law of z' ~ Binomial(z, 1 − p_off) + Binomial(y − z, p_on)."""
    rows = [
        np.convolve(binom.pmf(np.arange(i + 1), i, 1 - p_off), binom.pmf(np.arange(y - i + 1), y - i, p_on))
        for i in range(y + 1)
    ]
    return np.array(rows)


def enumerated(y, p_on, p_off, p_bleach=0.0):
    """P((a, z)' | (a, z)) of y emitters that are off, on or bleached, by walking through every one of their fates."""
    off, on, gone = range(3)
    one = np.array(
        [
            [1 - p_on, p_on, 0],
            [(1 - p_bleach) * p_off, (1 - p_bleach) * (1 - p_off), p_bleach],
            [0, 0, 1],
        ]
    )
    states = [(a, z) for a in range(y + 1) for z in range(a + 1)]
    matrix = np.zeros((len(states), len(states)))
    for n, (a, z) in enumerate(states):
        before = [on] * z + [off] * (a - z) + [gone] * (y - a)
        for after in product(range(3), repeat=y):
            chance = np.prod([one[b, c] for b, c in zip(before, after, strict=True)])
            alive = sum(c != gone for c in after)
            matrix[n, states.index((alive, after.count(on)))] += chance
    return states, matrix


def light(x, z, emission, mu, mu_bg, sigma, width, p_outlier=0.1, bins=1024):
    """P(x | z emitters on) (t, z): a density times a bin's width, and the outliers."""
    mean = mu * z + mu_bg
    if emission == "lognormal":
        density = norm.pdf(np.log(x)[:, None], np.log(mean), sigma) / x[:, None]
    else:
        density = norm.pdf(x[:, None], mean, np.sqrt(np.maximum(mean, 0) + sigma**2))
    return np.where(np.isnan(x)[:, None], 1.0, (1 - p_outlier) * density * width + p_outlier / bins)


def log_likelihood(light_of_states, matrix, start):
    """The forward pass, a state at a time (Rabiner 1989, eqs. 90 to 92)."""
    total, state = 0.0, start * light_of_states[0]
    for now in (*light_of_states[1:], None):
        total += np.log(state.sum())
        if now is not None:
            state = (state / state.sum()) @ matrix * now
    return total


def trace_log_likelihood(x, y, emission, mu, mu_bg, sigma, p_on, p_off, p_bleach=0.0, **mixing):
    """log P(trace | y)."""
    if not p_bleach:
        z = np.arange(y + 1)
        start = binom.pmf(z, y, p_on / (p_on + p_off))
        return log_likelihood(light(x, z, emission, mu, mu_bg, sigma, **mixing), transitions(y, p_on, p_off), start)
    states, matrix = enumerated(y, p_on, p_off, p_bleach)
    z = np.array([on for _, on in states])
    start = np.array([binom.pmf(on, y, p_on / (p_on + p_off)) if alive == y else 0.0 for alive, on in states])
    return log_likelihood(light(x, z, emission, mu, mu_bg, sigma, **mixing), matrix, start)
