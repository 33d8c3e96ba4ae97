"""A linear Gaussian model of a signal and of cells that follow it: learned from running sums.

    x_t = A x_{t−1} + b + w,  w ~ N(0, W)        z_kt = h_k · x_t + c_k + q,  q ~ N(0, Q_k), independent of each other

with u = (1, x) each is a regression, and its noise the covariance of what it leaves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..core.state import State
from .activity import restored

RELATIVE = 1e-9  # of each diagonal element: what a constant or repeated signal needs to be solved for
LEAST_VARIANCE = 1e-30  # of a signal that never changes
LEAST = 1e-9  # of its second moment: what a cell, or the signal, has as noise at least


class Model(NamedTuple):
    """A (d, d), b (d,), W (d, d) of the signal; h (K, d), c (K,), Q (K,) of the cells: infinite for those left out."""

    transition: np.ndarray
    drift: np.ndarray
    transition_noise: np.ndarray
    tuning: np.ndarray
    baseline: np.ndarray
    noise: np.ndarray


class Sums:
    """Sums of products over frames, of the signal (d,) with itself a frame later, and with each of K cells."""

    def __init__(self, columns: int, cells: int = 0) -> None:
        size = columns + 1
        self.pairs = np.zeros((size, size))  # Σ u uᵀ of the first of two frames on end
        self.later = np.zeros((size, columns))  # Σ u xᵀ of the first and the second
        self.squares = np.zeros((columns, columns))  # Σ x xᵀ of the second
        self.frames = np.zeros((cells, size, size))  # Σ u uᵀ of the frames that a cell was there in
        self.with_signal = np.zeros((cells, size))  # Σ z u
        self.power = np.zeros(cells)  # Σ z²

    def grow(self, cells: int) -> None:
        """Make room for new cells."""
        more = cells - len(self.power)
        if more > 0:
            self.frames = np.pad(self.frames, ((0, more), (0, 0), (0, 0)))
            self.with_signal = np.pad(self.with_signal, ((0, more), (0, 0)))
            self.power = np.pad(self.power, (0, more))

    def add(self, before: np.ndarray | None, signal: np.ndarray, cells: np.ndarray, values: np.ndarray) -> None:
        """Take a frame's signal (d,), that of the frame before if it is known, and the values of some cells."""
        u = np.concatenate(([1.0], signal))
        if before is not None:
            first = np.concatenate(([1.0], before))
            self.pairs += first[:, None] * first
            self.later += first[:, None] * signal
            self.squares += signal[:, None] * signal
        self.frames[cells] += u[:, None] * u
        self.with_signal[cells] += values[:, None] * u
        self.power[cells] += values**2

    def model(self, least_frames: int) -> Model | None:
        """Return the regressions' solution, None before as many pairs; a cell takes part after so many frames."""
        columns, pairs = len(self.squares), self.pairs[0, 0]
        if pairs < least_frames:
            return None
        of_signal = _solved(self.pairs, self.later).T
        left = (self.squares - of_signal @ self.later) / pairs
        transition_noise = (left + left.T) / 2
        diagonal = np.arange(columns)
        least = LEAST * self.squares[diagonal, diagonal] / pairs + LEAST_VARIANCE
        transition_noise[diagonal, diagonal] = np.maximum(transition_noise[diagonal, diagonal], least)
        frames = self.frames[:, 0, 0]
        of_cells = _solved(self.frames, self.with_signal[..., None])[..., 0]
        with np.errstate(all="ignore"):
            left_of_cells = (self.power - (of_cells * self.with_signal).sum(1)) / (frames - columns - 1)
            noise = np.maximum(left_of_cells, LEAST * self.power / frames)
        noise[(frames < least_frames) | (self.power == 0)] = np.inf
        parts = (of_signal[:, 1:], of_signal[:, 0], transition_noise, of_cells[:, 1:], of_cells[:, 0], noise)
        return Model(*map(np.ascontiguousarray, parts))  # products of other strides have other last digits

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean (d,) and covariance (d, d) of the signal."""
        mean = self.pairs[0, 1:] / self.pairs[0, 0]
        covariance = self.pairs[1:, 1:] / self.pairs[0, 0] - mean[:, None] * mean
        return mean, covariance

    def state(self) -> State:
        """Return all sums as state entries."""
        return {name: array.copy() for name, array in vars(self).items()}

    def restore(self, state: State, where: str) -> None:
        """Restore what `state` returned. Raises StateError."""
        for name, array in vars(self).items():
            setattr(self, name, restored(state, name, array.shape, where))


class Filter:
    """The Kalman filter of a model in its information form, whose cost grows with the cells and not with their cube.

    It runs once for each of `factors` (F,) of the cells' noise: means are (F, d), covariances (F, d, d).
    """

    def __init__(self, model: Model, factors: np.ndarray) -> None:
        self._model, self._factors = model, factors
        self._weights = model.tuning / model.noise[:, None]  # (K, d)
        self._information = self._weights[:, :, None] * model.tuning[:, None, :]  # (K, d, d)
        self._used = np.isfinite(model.noise)

    def predict(self, mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return means and covariances a frame later."""
        a = self._model.transition
        return mean @ a.T + self._model.drift, a @ covariance @ a.T + self._model.transition_noise

    def observe(
        self, mean: np.ndarray, covariance: np.ndarray, cells: np.ndarray, values: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return means and covariances given the values of some cells: P' = (1 + P S)⁻¹ P with S = Σ h hᵀ / Q."""
        used = cells < len(self._used)
        used[used] = self._used[cells[used]]
        cells, values = cells[used], values[used]
        information = self._information[cells].sum(0) / self._factors[:, None, None]
        seen = (values - self._model.baseline[cells]) @ self._weights[cells] / self._factors[:, None]
        narrowed = np.linalg.solve(np.eye(mean.shape[1]) + covariance @ information, covariance)
        narrowed = (narrowed + narrowed.transpose(0, 2, 1)) / 2
        gained = seen - (information @ mean[..., None])[..., 0]
        return mean + (narrowed @ gained[..., None])[..., 0], narrowed


def _solved(products: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Solve normal equations (…, n, n) x = (…, n, m), each diagonal element a billionth larger."""
    size = np.arange(products.shape[-1])
    raised = products.copy()
    diagonal = raised[..., size, size]
    raised[..., size, size] = np.where(diagonal > 0, diagonal * (1 + RELATIVE), 1.0)
    found: np.ndarray = np.linalg.solve(raised, targets)
    return found
