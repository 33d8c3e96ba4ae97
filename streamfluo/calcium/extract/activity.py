"""Deconvolution of the components' activity, as frames come and behind the window."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..kernels.spikes import follow, follow_low, follow_past, follow_second, impulse, recent_all, recent_all_second
from .components import POOLS, Components

SPARSITY = 5.0  # λ in noise widths: of 0 … 5 the one whose traces come nearest to the truth on real transients
When = Literal["live", "late"]
_STATE = ("previous", "seen", "noise", "baseline", "value", "weight", "length", "pools", "samples")


class Calcium:
    """An AR process of order 1 or 2 with given time constants, run over the traces kept in `Components`."""

    def __init__(self, interval_s: float, decay_s: float, rise_s: float, order: int) -> None:
        self.g = float(np.exp(-interval_s / decay_s))
        self.order = order
        rise = float(np.exp(-interval_s / rise_s)) if order == 2 else 0.0
        response = impulse(np.array([self.g + rise, -self.g * rise]), POOLS)
        self._response = response / response.max()

    def follow(self, cells: Components, when: When, raw: np.ndarray, born: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take one sample of each trace (K,) that is born; return trace and spikes (K,) as they stand with it."""
        trace, spikes = np.empty((2, len(raw)))
        previous, seen, noise, baseline, value, weight, length, pools, samples = self._of(cells, when)
        if self.order == 1:
            follow(
                raw, born, previous, seen, cells.g, SPARSITY, noise, baseline, value, weight, length, pools, trace,
                spikes,
            )  # fmt: skip
        else:
            follow_second(
                raw, born, previous, seen, self._response, SPARSITY, noise, baseline, samples, value, weight, trace,
                spikes,
            )  # fmt: skip
        follow_low(raw, born, noise, getattr(cells, f"{when}_low"))
        return trace, spikes

    def past(self, cells: Components, place: int, history: np.ndarray) -> np.ndarray:
        """Take all samples (n,) of a new component; return its trace (n,) as each sample saw it."""
        one, trace = slice(place, place + 1), np.empty(len(history))
        previous, seen, noise, baseline, value, weight, length, pools, samples = (
            a[one] for a in self._of(cells, "live")
        )
        low, g = cells.live_low[one], cells.g[one]
        if self.order == 1:
            follow_past(history, previous, seen, g, SPARSITY, noise, baseline, low, value, weight, length, pools, trace)
            return trace
        born, now, spike = np.ones(1, bool), np.empty(1), np.empty(1)
        for j in range(len(history)):
            raw = history[j : j + 1]
            follow_second(
                raw, born, previous, seen, self._response, SPARSITY, noise, baseline, samples, value, weight, now, spike
            )
            follow_low(raw, born, noise, low)
            trace[j] = now[0]
        return trace

    def recent(self, cells: Components, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the late traces' newest `count` samples of activity and spikes (K, count)."""
        trace, spikes = np.empty((2, cells.count, count))
        if self.order == 1:
            recent_all(cells["g"], cells.late_value, cells.late_length, cells.late_pools, trace, spikes)
        else:
            recent_all_second(self._response, cells.late_value, cells.late_weight, trace, spikes)
        return trace, spikes

    def _of(self, cells: Components, when: When) -> tuple[np.ndarray, ...]:
        return tuple(getattr(cells, f"{when}_{name}") for name in _STATE)
