"""What a model predicts of each frame from those before: the distribution of the number of emitters on."""

import numpy as np

from ...pixels.kernels.kernel import kernel
from .forward_backward import step
from .transitions import condition, fill_initial, first_block, state_count


@kernel
def predictions(emission, transitions, emitters, bleaches):  # type: ignore[no-untyped-def]
    """Return P(z on in frame t | frames before t) (t, z, lane) of traces with `emitters` emitters."""
    frames, _, lanes = emission.probability.shape
    states = state_count(emitters, bleaches)
    state, bleached, following = np.zeros((states, lanes)), np.zeros((states, lanes)), np.zeros((states, lanes))
    predicted, scale = np.zeros((frames, emitters + 1, lanes)), np.empty(lanes)
    fill_initial(transitions.kinetics, emitters, bleaches, state)
    for t in range(frames):
        if t:
            step(state, transitions, emitters, bleaches, bleached, following)
            state, following = following, state
        at = 0
        for a in range(first_block(emitters, bleaches), emitters + 1):
            for z in range(a + 1):
                for lane in range(lanes):
                    predicted[t, z, lane] += state[at + z, lane]
            at += a + 1
        condition(state, emission.probability[t], emitters, bleaches, scale)
    return predicted
