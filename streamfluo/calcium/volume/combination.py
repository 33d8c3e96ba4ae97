"""One trace of a cell from its sections, weighted so that its noise is least.

A section's trace is x_n = g_n c + what is its own, of variance ν_n²: noise, neuropil, what bleeds in. The
weighted least squares estimate of g_r c, with r the section that the cell's values are in units of, is

    g_r · Σ g_n x_n / ν_n² / Σ g_n² / ν_n²

over the sections that are known in the frame. g_n² is the part that the section shares with the others (ρ, `sameness`)
of what its trace carries beside its noise, ν_n² the rest of its variance, at least that of its noise. Slices are taken
at different times: to first order the sum is the cell's activity at the mean of their times, weighted alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Weights(NamedTuple):
    """What a section n of a cell adds: `gain` (n,) g_n / ν_n² and `precision` (n,) g_n² / ν_n², `unit` (n,) g_r of its
    cell; `cells` (K,) ids, ascending, and `cell` (n,) the place of each section's in them, -1 of one in no cell."""

    gain: np.ndarray
    precision: np.ndarray
    unit: np.ndarray
    cells: np.ndarray
    cell: np.ndarray

    @classmethod
    def of(cls, cell: np.ndarray, active: np.ndarray, signal: np.ndarray, own: np.ndarray) -> Weights:
        """Return the weights of sections (n,) from the ids of their cells, and variances of what is shared and own.

        A cell's values are in units of its first section. A section that is alone has the weight 1, whatever is known.
        """
        cells = np.unique(cell[active])
        place = np.where(active, np.searchsorted(cells, cell), -1)
        g = np.sqrt(np.where(np.isfinite(signal) & (signal > 0), signal, 1.0))
        variance = np.maximum(own, 1e-6)
        unit = np.ones(len(cell))
        for k in range(len(cells)):
            rows = np.flatnonzero(place == k)
            if len(rows) == 1:
                g[rows] = 1.0
            unit[rows] = g[rows[0]]
        return cls(g / variance, g**2 / variance, unit, cells, place)

    def combined(self, values: np.ndarray) -> np.ndarray:
        """Return the values (K,) of the cells from those of their sections (n,), NaN where none is known."""
        return self._over_precision(values, self.unit * self.gain)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Return the mean (K,) over the sections of each cell, weighted by what each tells of it, NaN of none."""
        return self._over_precision(values, self.precision)

    def _over_precision(self, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Σ weight · value over Σ precision (K,), over the sections of each cell that are known."""
        known = np.isfinite(values) & (self.cell >= 0)
        at, count = self.cell[known], len(self.cells)
        total = np.bincount(at, weight[known] * values[known], count)
        precision = np.bincount(at, self.precision[known], count)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(total / precision)

    def share(self) -> np.ndarray:
        """Return what part of its cell each section tells (n,), 0 of one in no cell."""
        whole = np.bincount(self.cell[self.cell >= 0], self.precision[self.cell >= 0], len(self.cells))
        return np.where(self.cell >= 0, self.precision / np.append(whole, 1.0)[self.cell], 0.0)
