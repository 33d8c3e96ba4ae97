"""Fits of emitters to each trace by itself, all traces side by side."""

from __future__ import annotations

import numpy as np

from .batched_bfgs import minimise
from .fit import MU, Coordinates, Search
from .initial_values import ON_PARTS, guess_parameters
from .kernels.likelihood import Array, EmitterModel, evaluate

ROUGH_STEPS = 25  # with 10 a worse start is followed now and then: 2 to 4 points of exactness


def fit_alone(x: Array, intensity: Array, model: EmitterModel, search: Search) -> tuple[Array, Array]:
    """Return the likeliest parameters (n, 6) of each trace (t, n) and log-likelihoods (n,); y = min_y = max_y.

    `search.bounds` (n, 6, 2). Several starts go a few steps, the likeliest goes on. Cost: 5 ms a trace of 1000
    frames for a small y, 50 ms for y = 10.
    """
    count = x.shape[1]
    guesses = _guesses(intensity, model, search)
    starts = len(guesses)
    which = np.tile(np.arange(count), starts)
    rough, losses = _followed(x[:, which], guesses.reshape(-1, 6), model, search, which, ROUGH_STEPS)
    best = losses.reshape(starts, count).argmin(0)
    chosen = rough.reshape(starts, count, 6)[best, np.arange(count)]
    found, losses = _followed(x, chosen, model, search, np.arange(count), search.max_steps)
    return found, -losses


def _followed(
    x: Array, start: Array, model: EmitterModel, search: Search, which: Array, steps: int
) -> tuple[Array, Array]:
    bounds = search.bounds[which]
    scale = start[:, MU].copy()
    whole = Coordinates(model, bounds, scale)
    low, high = whole.bounds()

    def losses(active: Array, q: Array) -> tuple[Array, Array]:
        at = Coordinates(model, bounds[active], scale[active])
        parameters = at.back(q, start[active])
        logs, slopes = evaluate(x[:, active], parameters, model, True, search.threads)
        assert slopes is not None
        return -logs[:, 0], -at.slopes(parameters, slopes)

    settled = search.done_limit * 100
    q, loss = minimise(losses, whole.of(start), low, high, steps, settled)
    return whole.back(q, start), loss


def _guesses(intensity: Array, model: EmitterModel, search: Search) -> Array:
    """Parameters to begin with (starts, n, 6)."""
    count = intensity.shape[1]
    seen = intensity if model.camera else np.log(intensity)
    if search.guesses is None:
        return np.array(
            [
                [
                    guess_parameters(seen[:, [n]], intensity[:, [n]], model.camera, search.bounds[n], model.max_y, part)
                    for n in range(count)
                ]
                for part in ON_PARTS[: search.starts]
            ]
        )
    scores = np.array([evaluate(seen, np.tile(g, (count, 1)), model)[0][:, 0] for g in search.guesses])
    order = np.argsort(-scores, axis=0)[: search.starts]
    return np.asarray(search.guesses[order])
