"""Simulated traces of emitters, for tests."""

import numpy as np

BRIGHTNESS = {"lognormal": (2000.0, 5000.0, 0.05), "camera": (1000.0, 1000.0, 15.8)}


def simulated(emission, emitters, frames, seed=0, kinetics=(0.05, 0.08, 0.0)):
    """Return traces (n, frames) and the number of emitters that are on, with kinetics (p_on, p_off, p_bleach)."""
    p_on, p_off, p_bleach = kinetics
    rng = np.random.default_rng(seed)
    z = np.zeros((len(emitters), frames), int)
    for n, count in enumerate(emitters):
        on, alive = rng.random(count) < p_on / (p_on + p_off), np.ones(count, bool)
        for t in range(frames):
            if t:
                alive &= ~(on & (rng.random(count) < p_bleach))
                on = np.where(on, rng.random(count) >= p_off, rng.random(count) < p_on) & alive
            z[n, t] = on.sum()
    mu, mu_bg, sigma = BRIGHTNESS[emission]
    mean = mu * z + mu_bg
    if emission == "lognormal":
        return mean * np.exp(sigma * rng.normal(size=z.shape)), z
    return rng.poisson(mean) + sigma * rng.normal(size=z.shape), z
