"""How many measurements had how many photons."""

from __future__ import annotations

import numpy as np

from ..core.errors import StateError
from ..core.state import State, require_array

BINS, BELOW = 256, 32  # of them for negative photons, which dark spots have by chance


class PhotonHistogram:
    """Counts in 256 bins whose width doubles when a value lies beyond the last one, so that order never matters."""

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.width = 1.0

    def add(self, photons: np.ndarray) -> None:
        """Count values (n,); NaN is passed over."""
        photons = photons[np.isfinite(photons)]
        if not len(photons):
            return
        while photons.max() >= self.width * (BINS - BELOW) or photons.min() < -self.width * BELOW:
            self._double()
        bins = np.floor(photons / self.width).astype(np.int64) + BELOW
        self.counts += np.bincount(bins, minlength=BINS)

    def photons(self) -> np.ndarray:
        """Return the middles of the bins."""
        return (np.arange(BINS) - BELOW + 0.5) * self.width

    def state(self) -> State:
        """Return counts and width."""
        return {"counts": self.counts.copy(), "width": self.width}

    def restore(self, state: State) -> None:
        """Take over what `state` returned. Raises StateError."""
        self.counts = require_array(state, "counts", self.counts, "spots")
        width = state.get("width")
        if not (isinstance(width, float) and width > 0):
            raise StateError(f"spots: state 'width' must be a positive number, found {width!r}")
        self.width = width

    def _double(self) -> None:
        merged = np.zeros(BINS, np.int64)
        np.add.at(merged, (np.arange(BINS) - BELOW) // 2 + BELOW, self.counts)
        self.counts, self.width = merged, 2 * self.width
