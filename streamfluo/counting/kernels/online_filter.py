"""The forward filter of many traces, one frame at a time, for every number of emitters."""

from typing import NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel
from .emission import Emission, EmissionModel, fill_emission
from .forward_backward import accumulate, step
from .transitions import StateSpaces, Transitions, condition, fill_initial, state_count, transition_matrices

ONLINE_LANES = 32


class FilterState(NamedTuple):
    """What the filter carries between frames: log P = logs + log(products).

    `states[chunk, candidate, state, lane]`: normalised forward variable. `products`, `logs` [chunk, candidate, lane].
    """

    states: np.ndarray
    products: np.ndarray
    logs: np.ndarray


@kernel
def online_transitions(kinetics, spaces):  # type: ignore[no-untyped-def]
    """Return the Transitions of kinetics[m, chunk, 3, lane]; m: one that all candidates share, or one for each."""
    models, chunks, _, lanes = kinetics.shape
    size = spaces.high + 1
    blinking = np.zeros((models, chunks, size, size, size, lanes))
    bleaching = np.zeros((models, chunks, size, size, lanes))
    for m in range(models):
        low = spaces.low if models == 1 else spaces.low + m
        for c in range(chunks):
            made, _ = transition_matrices(kinetics[m, c], StateSpaces(low, spaces.high, spaces.bleaches))
            blinking[m, c], bleaching[m, c] = made.blinking, made.bleaching
    return Transitions(kinetics, blinking, bleaching)


@kernel
def advance(x, seen, model, transitions, spaces, carried):  # type: ignore[no-untyped-def]
    """Advance a FilterState by the frames x (t, chunk, lane), `seen` frames after the first.

    model.brightness[m, chunk, 3, lane] and transitions [m, chunk, …]: m is one that all candidates share, or one for
    each; transitions have one chunk and lane that all traces share, or one for each.
    """
    states, bleaches = carried.states, spaces.bleaches
    candidates, most, lanes = states.shape[1:]
    each = len(model.brightness) > 1
    levels = spaces.low + candidates
    emission = Emission(np.empty((1, levels, lanes)), np.empty((1, lanes)), np.empty((1, lanes)))
    bleached, following, scale = np.empty((most, lanes)), np.empty((most, lanes)), np.empty(lanes)
    for c in range(x.shape[1]):
        for t in range(len(x)):
            for k in range(candidates):
                emitters = spaces.low + k
                m = k if each else 0
                own = c if transitions.blinking.shape[1] > 1 else 0
                if k == 0 or each:
                    fill_emission(
                        x[t, c].reshape(1, lanes), EmissionModel(model.camera, model.brightness[m, c], model.mixing),
                        emitters + 1 if each else levels, emission,
                    )  # fmt: skip
                state = states[c, k]
                if t + seen == 0:
                    fill_initial(
                        transitions.kinetics[m, own], emitters, bleaches, state[: state_count(emitters, bleaches)]
                    )
                else:
                    chain = Transitions(
                        transitions.kinetics[m, own], transitions.blinking[m, own], transitions.bleaching[m, own]
                    )
                    step(state, chain, emitters, bleaches, bleached, following)
                    state[: state_count(emitters, bleaches)] = following[: state_count(emitters, bleaches)]
                condition(state, emission.probability[0], emitters, bleaches, scale)
                accumulate(scale, emission.peak[0], carried.products[c, k], carried.logs[c, k])
