"""Traces of emitters simulated one by one, for tests."""

import numpy as np

LIGHT = {"lognormal": (2000.0, 5000.0, 0.05), "camera": (1000.0, 1000.0, 15.8)}


def simulated(emission, ys, frames, seed=0, p_on=0.05, p_off=0.08, p_bleach=0.0):
    """Return traces (n, frames) and how many emitters are on in them."""
    rng = np.random.default_rng(seed)
    z = np.zeros((len(ys), frames), int)
    for n, y in enumerate(ys):
        on, alive = rng.random(y) < p_on / (p_on + p_off), np.ones(y, bool)
        for t in range(frames):
            if t:
                alive &= ~(on & (rng.random(y) < p_bleach))
                on = np.where(on, rng.random(y) >= p_off, rng.random(y) < p_on) & alive
            z[n, t] = on.sum()
    mu, mu_bg, sigma = LIGHT[emission]
    mean = mu * z + mu_bg
    if emission == "lognormal":
        return mean * np.exp(sigma * rng.normal(size=z.shape)), z
    return rng.poisson(mean) + sigma * rng.normal(size=z.shape), z
