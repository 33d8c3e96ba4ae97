"""The most likely path of the number of emitters that are on, for a trace and its parameters (Viterbi 1967)."""

import numpy as np

from .kernels.emission import fill_light
from .kernels.transitions import fill_matrices, fill_start, state_count

_NEVER = -1e300


def likely_path(x, y, parameters, model):  # type: ignore[no-untyped-def]
    """Return the number on (t,) along the likeliest path of y emitters; x (t,): electrons or log-intensity.

    Cost: 30 µs a frame with bleaching and y = 10, 10 µs without.
    """
    size, bleaches = y + 1, model.bleaching
    matrices = np.zeros((3, size, size, size, 1))
    falls = np.zeros((2, size, size, 1))
    kinetics = np.ascontiguousarray(parameters[3:, None])
    fill_matrices(kinetics, 0 if bleaches else y, y, *matrices, *falls)
    states = [(a, z) for a in range(0 if bleaches else y, size) for z in range(a + 1)]
    start = np.zeros((state_count(y, bleaches), 1))
    fill_start(kinetics, y, bleaches, start)
    with np.errstate(divide="ignore"):
        move = np.log(_whole(states, matrices[0, ..., 0], falls[0, ..., 0], bleaches))
        score = np.log(start[:, 0])
    light, outlier, top = np.empty((len(x), size, 1)), np.empty((len(x), 1)), np.empty((len(x), 1))
    fill_light(
        np.ascontiguousarray(x[:, None]), model.camera, parameters[:3, None].copy(), model.mixing, size, light,
        outlier, top,
    )  # fmt: skip
    seen = np.log(light[:, [z for _, z in states], 0])
    score, back = np.maximum(score, _NEVER) + seen[0], np.empty((len(x), len(states)), np.int32)
    for t in range(1, len(x)):
        each = score[:, None] + move
        back[t] = each.argmax(0)
        score = np.maximum(each.max(0), _NEVER) + seen[t]
    path = np.empty(len(x), np.int64)
    at = int(score.argmax())
    for t in range(len(x) - 1, -1, -1):
        path[t] = states[at][1]
        at = int(back[t, at]) if t else at
    return path


def _whole(states, blinking, bleaching, bleaches):  # type: ignore[no-untyped-def]
    """The chain's matrix over all its states."""
    matrix = np.zeros((len(states), len(states)))
    place = {state: n for n, state in enumerate(states)}
    for (a, z), n in place.items():
        for k in range(z + 1 if bleaches else 1):
            chance = bleaching[z, k] if bleaches else 1.0
            for j in range(a - k + 1):
                matrix[n, place[a - k, j]] += chance * blinking[a - k, z - k, j]
    return matrix
