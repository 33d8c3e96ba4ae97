"""Deconvolution of the components' activity, as frames come and when they leave the window."""

from __future__ import annotations

import numpy as np

from ..kernels import spikes as kernels
from ..kernels.frame_values import follow_frame, follow_products
from ..time_constants import TimeConstants, impulse_response
from .components import POOLS, Components, Packed

LEAST_F0 = 5.0  # noise σ of one frame: ΔF/F has a noise of .2 there; below, 1818 and −92 were seen
SPARSITY = 5.0  # λ in noise σ: of 0 … 5 the value with the best traces on real transients


class Deconvolution:
    """An AR(1) or AR(2) process of known time constants, applied to the traces stored in `Components`.

    As samples come it is of order 1 always: the first sample of a rise tells next to nothing, and a spike is known when
    it has risen.
    """

    def __init__(self, interval_s: float, decay_s: float, rise_s: float, order: int) -> None:
        self.interval_s, self.order = interval_s, order
        self._response = np.zeros(POOLS)
        self._responses, self._products = np.zeros((2, POOLS, POOLS))
        self.take(TimeConstants(decay_s, rise_s if order == 2 else 0.0))

    def take(self, constants: TimeConstants) -> None:
        """Deconvolve with these time constants from now on; spikes already found keep their heights."""
        self.g = float(np.exp(-self.interval_s / constants.decay_s))
        p, q, scale = impulse_response(constants, self.interval_s)
        samples = np.arange(1, POOLS + 1)
        self._response[:] = scale * (p**samples - q**samples) / (p - q)
        lags = np.arange(POOLS) - np.arange(POOLS)[:, None]
        self._responses[...] = np.where(lags >= 0, self._response[lags], 0)
        self._products[...] = self._responses @ self._responses.T

    def renew(self, cells: Components) -> None:
        """Make what is known of the components that of the time constants taken last."""
        cells["g"][:] = self.g
        residual = cells["late_samples"] - cells["late_weight"] - cells["late_value"] @ self._responses
        cells["late_slope"][:] = residual @ self._responses.T

    def follow(self, cells: Components, frame: Packed, design: Packed, modes: np.ndarray, slot: int) -> np.ndarray:
        """Demix a frame and deconvolve its activity, which the window has in `slot`; modes (M,) are updated.

        frame: what `follow_frame` or `follow_products` takes. Returns trace, raw activity above the baseline, spikes
        and ΔF/F (4, K).
        """
        out = np.empty((4, cells.count))
        deconvolution = cells.levels("live"), cells.pools("live"), SPARSITY, LEAST_F0
        following = cells.bin_sum, cells.bin_trace, cells.history, cells.product, slot, cells.resting
        pieces = cells.share, cells.wholes()
        kernel = follow_frame if len(frame) == 4 else follow_products  # pixels, or products with them
        kernel(frame, design, (cells["activity"], modes), deconvolution, (following, pieces), out)
        out[2] /= self.interval_s
        return out

    def append_late(self, cells: Components, raw: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Deconvolve the samples of each present trace (n, K) that leave the window.

        Returns the 8th percentile (n, K) as of each.
        """
        levels, lows = cells.levels("late"), np.empty(raw.shape)
        if self.order == 1:
            out = np.empty((2, raw.shape[1]))
            for sample, here, low in zip(raw, present, lows, strict=True):
                kernels.deconvolve_samples(sample, here, levels, cells.pools("late"), SPARSITY, out)
                low[:] = cells["late_low"]
        else:
            penalty = SPARSITY * float(self._response.max())
            kernels.deconvolve_samples_ar2(raw, present, levels, self._windows(cells), penalty, lows)
        return lows

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
        if self.order == 1:
            kernels.newest_traces(cells.pools("late"), trace, spikes)
        else:
            kernels.newest_traces_ar2(self._windows(cells), trace, spikes)
        return trace, spikes

    def _windows(self, cells: Components) -> Packed:
        return cells.windows(self._response, self._products)
