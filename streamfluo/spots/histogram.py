"""Histogram of photon counts."""

from __future__ import annotations

from copy import copy
from typing import Self

import numpy as np

from ..core.errors import StateError
from ..core.state import State, require_array

BINS, BELOW = 256, 32  # bins of negative photon counts, which noise makes in dark spots
ROUNDING = 1e-9  # of a bin: what is 0 but for rounding is counted as 0, on whichever side it lies


class PhotonHistogram:
    """A histogram of 256 bins whose width doubles when a value lies outside: the order does not matter."""

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.width = 1.0

    def add(self, photons: np.ndarray) -> None:
        """Count photons (n,); NaN is ignored."""
        photons = photons[np.isfinite(photons)]
        if not len(photons):
            return
        while photons.max() >= self.width * (BINS - BELOW) or photons.min() < -self.width * BELOW:
            self._double()
        bins = np.minimum(np.floor(photons / self.width + ROUNDING).astype(np.int64) + BELOW, BINS - 1)
        self.counts += np.bincount(bins, minlength=BINS)

    def merge(self, other: Self) -> None:
        """Add what another one counted."""
        theirs = copy(other)
        while self.width < theirs.width:
            self._double()
        while theirs.width < self.width:
            theirs._double()
        self.counts = self.counts + theirs.counts

    def photons(self) -> np.ndarray:
        """Return the centres of the bins (256,)."""
        return (np.arange(BINS) - BELOW + 0.5) * self.width

    def state(self) -> State:
        """Return the counts and the width of a bin."""
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
