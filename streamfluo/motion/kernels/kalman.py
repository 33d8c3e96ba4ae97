"""Kalman filter of a random walk whose step variance is estimated (Kalman 1960, J. Basic Eng. 82:35)."""

from typing import NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel

RATE = 0.01
LARGEST = 3.0  # σ: larger steps are clipped in the estimate of their variance; larger innovations reset the filter


class FilterState(NamedTuple):
    """What the filter carries of each coordinate (n,).

    measured: the previous measurement; estimate and its variance, infinite before the first; step_square: the mean
    square of the measured steps.
    """

    measured: np.ndarray
    estimate: np.ndarray
    step_square: np.ndarray
    variance: np.ndarray


@kernel
def filter_step(measured, information, state):  # type: ignore[no-untyped-def]
    """Update the FilterState with measurements (n,) of a variance of 1 / information (n,)."""
    last, estimate, step_square, variance = state
    for k in range(len(measured)):
        noise, gain = 1 / max(information[k], 1e-12), 1.0
        if np.isfinite(variance[k]):
            square = min((measured[k] - last[k]) ** 2, LARGEST**2 * step_square[k])
            step_square[k] += RATE * (square - step_square[k])
            predicted = variance[k] + max(step_square[k] - 2 * noise, 0.02 * noise)
            if (measured[k] - estimate[k]) ** 2 <= LARGEST**2 * (predicted + noise):
                gain = predicted / (predicted + noise)
        last[k] = measured[k]
        estimate[k] += gain * (measured[k] - estimate[k])
        variance[k] = gain * noise  # (1 − gain) · predicted
