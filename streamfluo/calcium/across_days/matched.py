"""Components of two sessions that are the same cell: of one recording by their footprints, of two by registration."""

from __future__ import annotations

import numpy as np

from ...core.findings import Matched
from ...core.loaded import RecordedStep
from .day import check_alike, day_of_step, radius_px
from .field_map import FieldMap
from .pairs import near_pairs, placed
from .registration import register_days

LEAST_CORRELATION = 0.5  # of two footprints of one cell, seen in the same frames


def matched_components(step: RecordedStep, other: RecordedStep, same_frames: bool) -> Matched:
    """Return the accepted components of two recorded steps that are the same cells (`Operator.matched`).

    Of the same frames two footprints match that correlate by half at least, so that the sum of correlations is largest;
    each once. Raises SessionError where one has no component, or fields cannot be registered.
    """
    days = [day_of_step("A", step), day_of_step("B", other)]
    check_alike(days)
    counts = len(days[0]), len(days[1])
    if same_frames:
        pairs = near_pairs(placed(days, [FieldMap.identity()] * 2, radius_px(days)))
        across = (pairs.a < counts[0]) & (pairs.b >= counts[0])
        a, b, correlation = pairs.a[across], pairs.b[across] - counts[0], pairs.correlation[across]
        a, b, correlation = _assigned(a, b, correlation, counts)
        return Matched("cells", counts, np.stack([days[0].ids[a], days[1].ids[b]], 1), correlation)
    found = register_days(days)
    ids = found.ids()
    both = ids[(ids >= 0).all(1)]
    first = found.day == 0
    by_id = dict(zip(found.component[first].tolist(), found.probability[first].tolist(), strict=True))
    return Matched("cells", counts, both, np.array([by_id[int(i)] for i in both[:, 0]]))


def _assigned(
    a: np.ndarray, b: np.ndarray, correlation: np.ndarray, counts: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs (n,) of the largest sum of correlations, each component once."""
    from scipy.optimize import linear_sum_assignment

    matrix = np.zeros(counts)
    matrix[a, b] = np.where(correlation >= LEAST_CORRELATION, correlation, 0.0)
    rows, columns = linear_sum_assignment(-matrix)
    kept = matrix[rows, columns] > 0
    return rows[kept], columns[kept], matrix[rows, columns][kept]
