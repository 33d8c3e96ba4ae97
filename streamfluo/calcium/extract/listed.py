"""Which components are shown: looked up anew only where one has come, gone, or been judged."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Listed(NamedTuple):
    """Accepted components, their `ids` ascending, in `rows` (n,); how many they and the candidates are, `counts`.

    wholes (K,): for each component the row of the whole that it is a piece of, -1 of others.
    """

    ids: np.ndarray
    rows: np.ndarray
    counts: tuple[int, int]
    wholes: np.ndarray


class Listing:
    """The list of components, kept for as long as what it follows from stays: eight lookups took 40 µs a frame."""

    def __init__(self) -> None:
        self._key: tuple[bytes, ...] = ()
        self._listed = listed(*np.zeros((4, 0), np.int64))

    def of(self, ids: np.ndarray, accepted: np.ndarray, rejected: np.ndarray, whole: np.ndarray) -> Listed:
        """Return the list of components of these ids, all (K,)."""
        key = ids.tobytes(), accepted.tobytes(), rejected.tobytes(), whole.tobytes()
        if key != self._key:
            self._key, self._listed = key, listed(ids, accepted, rejected, whole)
        return self._listed


def listed(ids: np.ndarray, accepted: np.ndarray, rejected: np.ndarray, whole: np.ndarray) -> Listed:
    """Return the list of components of these ids, all (K,). Those that a person has rejected are no candidates."""
    rows = np.flatnonzero(accepted)
    rows = rows[np.argsort(ids[rows])]
    candidates = np.count_nonzero((accepted == 0) & (rejected == 0) & (whole < 0))
    return Listed(ids[rows], rows, (len(rows), int(candidates)), _wholes(ids, whole))


def _wholes(ids: np.ndarray, whole: np.ndarray) -> np.ndarray:
    rows = np.full(len(ids), -1, np.int64)
    if whole.max(initial=-1) >= 0:
        pieces = np.flatnonzero(whole >= 0)
        order = np.argsort(ids)
        rows[pieces] = order[np.searchsorted(ids, whole[pieces], sorter=order)]
    return rows
