"""Values by id of frames between which components come and go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.step_values import IDS, PRESENT

OfFrame = tuple[np.ndarray, np.ndarray]  # ids (K,), and the values of each name (n, K)


def values_by_id(names: Sequence[str], frames: Sequence[OfFrame]) -> dict[str, np.ndarray]:
    """Return values (t, K) float32 by name, ids ascending, 0 where one is not present (t, K)."""
    first = frames[0][0] if frames else np.empty(0, np.int64)
    if frames and all(np.array_equal(ids, first) for ids, _ in frames[1:]):
        ids, there = np.sort(first), np.ones((len(frames), len(first)), bool)
        values = np.empty((len(names), len(frames), len(ids)), np.float32)
        if ids.tobytes() == first.tobytes():
            for t, (_, rows) in enumerate(frames):  # stacked, one frame takes three times as long
                values[:, t] = rows
        else:
            order = np.argsort(first)
            for t, (_, rows) in enumerate(frames):
                values[:, t] = rows[:, order]
    else:
        ids = np.unique(np.concatenate([first, *(found for found, _ in frames)]))
        values, there = (
            np.zeros((len(names), len(frames), len(ids)), np.float32),
            np.zeros((len(frames), len(ids)), bool),
        )
        for t, (present, rows) in enumerate(frames):
            columns = np.searchsorted(ids, present)
            values[:, t, columns], there[t, columns] = rows, True
    return {IDS: ids, PRESENT: there, **dict(zip(names, values, strict=True))}
