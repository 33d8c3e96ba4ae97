"""The textbook hidden Markov model in numpy and scipy, against which the kernels are tested."""

from itertools import product

import numpy as np
from scipy.stats import binom, norm


def transitions(emitters, p_on, p_off):
    """Return P(j on | i on): z' ~ Binomial(z, 1 − p_off) + Binomial(emitters − z, p_on)."""
    rows = [
        np.convolve(binom.pmf(np.arange(i + 1), i, 1 - p_off), binom.pmf(np.arange(off + 1), off, p_on))
        for i, off in zip(range(emitters + 1), range(emitters, -1, -1), strict=True)
    ]
    return np.array(rows)


def enumerated(emitters, p_on, p_off, p_bleach=0.0):
    """Return the states (a, z) and P((a, z)' | (a, z)), summed over all transitions of single emitters."""
    off, on, gone = range(3)
    one = np.array(
        [
            [1 - p_on, p_on, 0],
            [(1 - p_bleach) * p_off, (1 - p_bleach) * (1 - p_off), p_bleach],
            [0, 0, 1],
        ]
    )
    states = [(a, z) for a in range(emitters + 1) for z in range(a + 1)]
    matrix = np.zeros((len(states), len(states)))
    for n, (a, z) in enumerate(states):
        before = [on] * z + [off] * (a - z) + [gone] * (emitters - a)
        for after in product(range(3), repeat=emitters):
            probability = np.prod([one[b, c] for b, c in zip(before, after, strict=True)])
            alive = sum(c != gone for c in after)
            matrix[n, states.index((alive, after.count(on)))] += probability
    return states, matrix


def emission_probability(x, z, emission, brightness, width, p_outlier=0.01):
    """Return P(x | z emitters on) (t, z): density times bin width, plus outliers over 1024 bins."""
    mu, mu_bg, sigma = brightness
    mean = mu * z + mu_bg
    if emission == "lognormal":
        density = norm.pdf(np.log(x)[:, None], np.log(mean), sigma) / x[:, None]
    else:
        density = norm.pdf(x[:, None], mean, np.sqrt(np.maximum(mean, 0) + sigma**2))
    return np.where(np.isnan(x)[:, None], 1.0, (1 - p_outlier) * density * width + p_outlier / 1024)


def log_likelihood(emissions, matrix, initial):
    """Return log P by the scaled forward pass (Rabiner 1989, eqs. 90 to 92)."""
    total, state = 0.0, initial * emissions[0]
    for now in (*emissions[1:], None):
        total += np.log(state.sum())
        if now is not None:
            state = (state / state.sum()) @ matrix * now
    return total


def trace_log_likelihood(x, emitters, emission, parameters, **mixing):
    """Return log P(trace | emitters) for parameters (mu, mu_bg, sigma, p_on, p_off) and maybe p_bleach."""
    brightness, (p_on, p_off, *bleach) = parameters[:3], parameters[3:]
    duty = p_on / (p_on + p_off)
    if not any(bleach):
        z, matrix = np.arange(emitters + 1), transitions(emitters, p_on, p_off)
        initial = binom.pmf(z, emitters, duty)
    else:
        states, matrix = enumerated(emitters, p_on, p_off, *bleach)
        z = np.array([on for _, on in states])
        initial = np.array([binom.pmf(on, emitters, duty) if alive == emitters else 0.0 for alive, on in states])
    return log_likelihood(emission_probability(x, z, emission, brightness, **mixing), matrix, initial)
