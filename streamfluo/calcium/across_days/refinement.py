"""A day's map refined by the cells that are certain: their centres are surer than patches of an image."""

from __future__ import annotations

import numpy as np

from .field_map import FieldMap
from .field_match import MODELS, fitted
from .pair_model import Fitted
from .pairs import Placed

CERTAIN = 0.8
FEWEST = 8  # pairs: fewer say less than the patches did
GAIN = 0.95  # of the error of left-out cells that a richer model must come below
SPACING_RADII = 5.0
FOLDS = 10


def refined(
    field_map: FieldMap, day: int, components: Placed, fit: Fitted, cell: np.ndarray, radius_px: float
) -> FieldMap:
    """Return a day's map with its certain cells where the same cells of other days lie."""
    at, weight = _targets(day, components, fit, cell)
    rows = np.flatnonzero((components.day == day) & (weight > 0))
    if len(rows) < FEWEST:
        return field_map
    there, at, weight = field_map(components.place[rows]), at[rows], weight[rows]
    fold, spacing = np.arange(len(rows)) % FOLDS, SPACING_RADII * radius_px
    least, best = GAIN * _error(field_map(at) - there, weight), field_map
    for model in MODELS:
        errors = np.empty_like(there)
        for out in (fold == k for k in range(min(FOLDS, len(rows)))):
            errors[out] = fitted(model, at[~out], there[~out], weight[~out], spacing)(at[out]) - there[out]
        if (error := _error(errors, weight)) < least:
            least, best = GAIN * error, fitted(model, at, there, weight, spacing)
    return best


def _targets(day: int, components: Placed, fit: Fitted, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean place (n, 2) of the other days' components of each one's cell, and how many they are, by certain pairs."""
    a, b = fit.pairs.a, fit.pairs.b
    used = (fit.probability > CERTAIN) & (cell[a] == cell[b])
    total, count = np.zeros((len(cell), 2)), np.zeros(len(cell))
    for one, other in ((a[used], b[used]), (b[used], a[used])):
        np.add.at(total, one, components.place[other])
        np.add.at(count, one, 1)
    return total / np.maximum(count, 1)[:, None], np.where(components.day == day, np.sqrt(count), 0)


def _error(errors: np.ndarray, weight: np.ndarray) -> float:
    """Root of the weighted median square, which a few wrong pairs do not move."""
    square = (errors**2).sum(1)
    order = np.argsort(square)
    half = np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)
    return float(np.sqrt(square[order][min(half, len(order) - 1)]))
