"""A random walk's Kalman filter, its step learnt on the way."""

import numpy as np
from numba import njit

RATE = 0.01
LARGEST = 3.0  # of its standard deviation that a step counts with, and from which on it is believed as it is measured


@njit(nogil=True, cache=True)
def steady(measured, information, last, steadied, steps, variance):  # type: ignore[no-untyped-def]
    """Take the next measured values (n,), of a noise of 1 / information (n,), and move what is believed (Kalman 1960).

    last, steadied, steps, variance (n,): the value measured before, what is believed, the mean square of the steps
    measured, and the variance of what is believed, infinite where nothing is.
    """
    for k in range(len(measured)):
        noise, share = 1 / max(information[k], 1e-12), 1.0
        if np.isfinite(variance[k]):
            square = min((measured[k] - last[k]) ** 2, LARGEST**2 * steps[k])
            steps[k] += RATE * (square - steps[k])
            expected = variance[k] + max(steps[k] - 2 * noise, 0.02 * noise)
            if (measured[k] - steadied[k]) ** 2 <= LARGEST**2 * (expected + noise):
                share = expected / (expected + noise)
        last[k] = measured[k]
        steadied[k] += share * (measured[k] - steadied[k])
        variance[k] = share * noise  # (1 − share) · expected
