"""What the frames before say of a shift, where photons are few."""

from __future__ import annotations

import numpy as np

from ..core.state import State, require_array
from .kernels.kalman import steady

FIRST_STEP_PX = 0.5


class SteadiedShift:
    """A random walk's Kalman filter (Kalman 1960) for shifts (2,) measured with a known information (2,) [px⁻²].

    The walk's variance is learnt from the steps measured, less what noise has in them: tissue that moves by more than
    the noise is left as it was measured. At 4 photons a pixel errors become a tenth smaller.
    """

    def __init__(self) -> None:
        self._last_px, self._steadied_px = np.zeros((2, 2))
        self._steps, self._variance = np.zeros((2, 2))
        steady(np.zeros(2), np.zeros(2), *self._arrays().values())  # compiled before frames flow
        self._last_px[:] = self._steadied_px[:] = 0
        self.begin()

    def begin(self) -> None:
        """Nothing is known: the next shift is taken as it is."""
        self._steps[:], self._variance[:] = FIRST_STEP_PX**2, np.inf

    def missed(self) -> None:
        """A frame's shift was not measured; tissue moved on."""
        self._variance += self._steps

    def steadied(self, shift_px: np.ndarray, information: np.ndarray) -> np.ndarray:
        """Return the shift (2,) that this measurement and those before make likeliest."""
        steady(shift_px, information, *self._arrays().values())
        return self._steadied_px.copy()

    def state(self) -> State:
        """What it carries, as state entries."""
        return {f"steadying_{name}": array.copy() for name, array in self._arrays().items()}

    def restore(self, state: State) -> None:
        """Take over what `state` returned. Raises StateError."""
        for name, array in self._arrays().items():
            array[...] = require_array(state, f"steadying_{name}", array, "motion")

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "last_px": self._last_px, "steadied_px": self._steadied_px, "steps": self._steps,
            "variance": self._variance,
        }  # fmt: skip
