"""The shifts of earlier frames as a prior on the next one, where photons are few."""

from __future__ import annotations

import math

import numpy as np

from ..core.state import State, require_array, require_finite
from .kernels.kalman import FilterState, filter_step

FIRST_STEP_PX = 0.5


class ShiftFilter:
    """Kalman filter (Kalman 1960) of a random walk, for shifts (2,) [px] with a known information (2,) [px⁻²].

    The variance of the walk is estimated from the measured steps, minus the variance of their noise: motion larger than
    the noise stays as measured. At 4 photons a pixel the error is a tenth smaller.
    """

    def __init__(self) -> None:
        measured, estimate, step_square, variance = np.zeros((4, 2))
        self._state = FilterState(measured, estimate, step_square, variance)
        filter_step(np.zeros(2), np.zeros(2), tuple(self._state))  # compiled before frames flow
        measured[:] = estimate[:] = 0
        self.reset()

    def reset(self) -> None:
        """Forget all shifts: the next one stays as measured."""
        self._state.step_square[:], self._state.variance[:] = FIRST_STEP_PX**2, np.inf

    def predict(self) -> None:
        """Pass over a frame whose shift was not measured."""
        self._state.variance[:] += self._state.step_square

    def update(self, shift_px: np.ndarray, information: np.ndarray) -> np.ndarray:
        """Return the posterior mean (2,) [px] given this measurement and those before."""
        filter_step(shift_px, information, tuple(self._state))
        return self._state.estimate.copy()

    @property
    def error_px(self) -> float:
        """The standard error of the estimate along its worse axis."""
        return math.sqrt(max(self._state.variance.tolist()))

    def state(self) -> State:
        """Return what it carries, as entries of a state."""
        return {name: array.copy() for name, array in self._arrays().items()}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        for name, array in self._arrays().items():
            # infinite until a shift is known
            require = require_array if name == "steadying_variance" else require_finite
            array[...] = require(state, name, array, "motion")

    def _arrays(self) -> dict[str, np.ndarray]:
        """The arrays by the names that sessions know them by."""
        names = ("steadying_last_px", "steadying_steadied_px", "steadying_steps", "steadying_variance")
        return dict(zip(names, self._state, strict=True))
