"""Deconvolution of the components' activity, as frames come and when they leave the window."""

from __future__ import annotations

import numpy as np

from ..kernels import spikes as kernels
from ..time_constants import TimeConstants, impulse_response
from .components import POOLS, Components, Packed, When

SPARSITY = 5.0  # λ in noise σ: of 0 … 5 the value with the best traces on real transients


class Deconvolution:
    """An AR(1) or AR(2) process of known time constants, applied to the traces stored in `Components`."""

    def __init__(self, interval_s: float, decay_s: float, rise_s: float, order: int) -> None:
        self.interval_s, self.order = interval_s, order
        self._response = np.zeros(POOLS)
        self.take(TimeConstants(decay_s, rise_s if order == 2 else 0.0))

    def take(self, constants: TimeConstants) -> None:
        """Deconvolve with these time constants from now on; spikes already found keep their heights."""
        self.g = float(np.exp(-self.interval_s / constants.decay_s))
        p, q, scale = impulse_response(constants, self.interval_s)
        samples = np.arange(1, POOLS + 1)
        self._response[:] = scale * (p**samples - q**samples) / (p - q)

    def update(self, cells: Components, when: When, raw: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Deconvolve the next sample of each present trace (K,); return activity and spikes as of it (2, K)."""
        out = np.empty((2, len(raw)))
        step = kernels.deconvolve_samples if self._is_first_order(when) else kernels.deconvolve_samples_ar2
        step(raw, present, cells.levels(when), self._process(cells, when), SPARSITY, out)
        return out

    def update_history(self, cells: Components, k: int, history: np.ndarray) -> np.ndarray:
        """Deconvolve all samples (n,) of the new component k; return its activity (n,) as of each sample."""
        trace = np.empty(len(history))
        kernels.deconvolve_history(k, history, cells.levels("live"), cells.pools("live"), SPARSITY, trace)
        return trace

    def ahead_of_bin(self, cells: Components) -> np.ndarray | None:
        """Return the activity (K,) in the bin that ends now, where all frames have told it; None: of no component."""
        return None

    def newest(self, cells: Components, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return activity and spikes (K, count) of the newest samples that left the window."""
        trace, spikes = np.empty((2, cells.count, count))
        read = kernels.newest_traces if self.order == 1 else kernels.newest_traces_ar2
        read(self._process(cells, "late"), trace, spikes)
        return trace, spikes

    def _process(self, cells: Components, when: When) -> Packed:
        return cells.pools(when) if self._is_first_order(when) else cells.windows(when, self._response)

    def _is_first_order(self, when: When) -> bool:
        """Live always: the first sample of a rise tells next to nothing, and a spike is known when it has risen."""
        return self.order == 1 or when == "live"
