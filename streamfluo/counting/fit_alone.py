"""Maximum-likelihood fits of each trace on its own, all traces in one batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .batched_bfgs import minimise
from .fit import MU, P_BLEACH, P_OFF, P_ON, Coordinates, Search
from .initial_values import DUTY_CYCLES, initial_parameters, step_parameters
from .kernels.likelihood import Array, EmitterModel, evaluate

UNKNOWN_AT_0 = [MU, P_ON, P_OFF, P_BLEACH]  # parameters of which a trace without emitters says nothing
ROUGH_STEPS = 25  # with 10, a worse start wins now and then: 2 to 4 % fewer exact counts


def fit_alone(x: Array, intensity: Array, model: EmitterModel, search: Search) -> tuple[Array, Array]:
    """Return the maximum-likelihood parameters (n, 6) of each trace (t, n), and log-likelihoods (n,).

    The model has one candidate; `search.bounds` (n, 6, 2). Each start takes a few steps, the most likely converges.
    Cost of a trace of 1000 frames: 5 ms for few emitters, 50 ms for 10.
    """
    count = x.shape[1]
    guesses = _initial_values(intensity, model, search)
    if model.max_emitters == 0:  # background and noise alone
        bounds = search.bounds.copy()
        bounds[:, UNKNOWN_AT_0] = guesses[0][:, UNKNOWN_AT_0, None]
        search = replace(search, bounds=bounds)
    starts = len(guesses)
    which = np.tile(np.arange(count), starts)
    rough, losses = _climb(x[:, which], guesses.reshape(-1, 6), model, search, which, ROUGH_STEPS)
    best = losses.reshape(starts, count).argmin(0)
    chosen = rough.reshape(starts, count, 6)[best, np.arange(count)]
    found, losses = _climb(x, chosen, model, search, np.arange(count), search.max_steps)
    return found, -losses


def _climb(
    x: Array, start: Array, model: EmitterModel, search: Search, which: Array, steps: int
) -> tuple[Array, Array]:
    """Return the parameters (n, 6) and losses (n,) after at most `steps` steps from `start`, for traces `which`."""
    bounds = search.bounds[which]
    scale = start[:, MU].copy()
    coordinates = Coordinates(model, bounds, scale)

    def losses(active: Array, q: Array) -> tuple[Array, Array]:
        at = Coordinates(model, bounds[active], scale[active])
        parameters = at.back(q, start[active])
        logs, slopes = evaluate(x[:, active], parameters, model, True, search.threads)
        assert slopes is not None
        return -logs[:, 0], -at.slopes(parameters, slopes)

    q, loss = minimise(losses, coordinates.of(start), coordinates.bounds(), steps, 100 * search.done_limit)
    return coordinates.back(q, start), loss


def _initial_values(intensity: Array, model: EmitterModel, search: Search) -> Array:
    """Return the starting points (starts, n, 6)."""
    count = intensity.shape[1]
    seen = intensity if model.camera else np.log(intensity)
    if search.guesses is None:

        def initial(n: int, duty: float) -> Array:
            bounds, emitters = search.bounds[n], model.max_emitters
            return initial_parameters(seen[:, [n]], intensity[:, [n]], model.camera, bounds, emitters, duty)

        def stepped(n: int) -> Array:
            bounds, emitters = search.bounds[n], model.max_emitters
            return step_parameters(seen[:, [n]], intensity[:, [n]], model.camera, bounds, emitters)

        guesses = [[initial(n, duty) for n in range(count)] for duty in DUTY_CYCLES[: search.starts]]
        return np.array([*guesses, [stepped(n) for n in range(count)]])
    scores = np.array([evaluate(seen, np.tile(g, (count, 1)), model)[0][:, 0] for g in search.guesses])
    order = np.argsort(-scores, axis=0)[: search.starts]
    return np.asarray(search.guesses[order])
