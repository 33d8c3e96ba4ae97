"""Running power sums of each trace, from which its cumulants follow."""

from __future__ import annotations

import numpy as np

from ...core.state import State, require_array
from ..kernels.crosschecks import cumulant_count

ORDERS = 4


class PowerSums:
    """Σ d, … Σ d⁴ of each trace, d = intensity − its first value; memory 48 bytes a trace."""

    def __init__(self, count: int) -> None:
        self._pivot, self._number, self._sums = np.full(count, np.nan), np.zeros(count), np.zeros((ORDERS, count))

    def grow(self, new: int) -> None:
        """Add `new` traces without measurements."""
        self._pivot = np.pad(self._pivot, (0, new), constant_values=np.nan)
        self._number, self._sums = np.pad(self._number, (0, new)), np.pad(self._sums, ((0, 0), (0, new)))

    def add(self, frame: np.ndarray) -> None:
        """Add one frame (n,); NaN: not measured."""
        seen = np.isfinite(frame)
        self._pivot = np.where(np.isnan(self._pivot) & seen, frame, self._pivot)
        d = np.where(seen, frame - self._pivot, 0.0)
        power = np.ones_like(d)
        self._number += seen
        for k in range(ORDERS):
            power = power * d
            self._sums[k] += power

    def estimate(self, camera: bool, sigma: np.ndarray) -> np.ndarray:
        """Return the number of emitters (n,) from noise-corrected cumulants; NaN: no solution.

        Camera: factorial cumulants have no shot noise, and sigma² is subtracted. Lognormal: E[x^k] = E[m^k] e^(k²σ²/2).
        """
        with np.errstate(all="ignore"):
            central = self._sums / self._number
            raw = [np.ones_like(sigma), self._pivot + central[0]]
            p, m = self._pivot, central
            raw += [
                p**2 + 2 * p * m[0] + m[1],
                p**3 + 3 * p**2 * m[0] + 3 * p * m[1] + m[2],
                p**4 + 4 * p**3 * m[0] + 6 * p**2 * m[1] + 4 * p * m[2] + m[3],
            ]
            if not camera:
                raw = [r / np.exp(k * k * sigma**2 / 2) for k, r in enumerate(raw)]
            k1, k2, k3, k4 = _cumulants(*raw[1:])
            if camera:
                k2 = k2 - sigma**2
                k2, k3, k4 = k2 - k1, k3 - 3 * k2 + 2 * k1, k4 - 6 * k3 + 11 * k2 - 6 * k1
            return np.asarray(cumulant_count(k2, k3, k4))

    def state(self) -> State:
        return {"pivot": self._pivot.copy(), "number": self._number.copy(), "sums": self._sums.copy()}

    def restore(self, state: State) -> None:
        self._pivot = require_array(state, "pivot", self._pivot, "count")
        self._number = require_array(state, "number", self._number, "count")
        self._sums = require_array(state, "sums", self._sums, "count")


def _cumulants(m1: np.ndarray, m2: np.ndarray, m3: np.ndarray, m4: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the first four cumulants from the raw moments."""
    c2 = m2 - m1**2
    c3 = m3 - 3 * m1 * m2 + 2 * m1**3
    c4 = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    return m1, c2, c3, c4 - 3 * c2**2
