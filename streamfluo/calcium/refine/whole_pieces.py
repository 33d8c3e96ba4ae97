"""Pieces of one cell in a refined recording: what carries one signal over all frames is given as one."""

from __future__ import annotations

import numpy as np

from ..extract.components import Components
from ..extract.params import ExtractParams
from ..extract.pieces import BIN, merge_pieces
from ..extract.tables import Tables

PER_SIGMA = 1.4826  # of the median absolute value of a normal distribution


class WholeSignals:
    """Bins of the demixed activity of all frames, in place of the newest ones."""

    def __init__(self, raw: np.ndarray) -> None:
        known = raw[:, ~np.isnan(raw).any(0)].astype(float)
        count = known.shape[1] // BIN
        self.bins = known[:, : count * BIN].reshape(len(raw), count, BIN).sum(2)

    def of(self, _cells: Components, _number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the signals (K, bins), and how many bins of each are known (K,): all."""
        return self.bins, np.full(len(self.bins), self.bins.shape[1], np.int64)


def joined(cells: Components, raw: np.ndarray, params: ExtractParams, tables: Tables, index: int) -> np.ndarray:
    """Make pieces of components whose activity `raw` (K, T) is one over all frames; return that of wholes from all
    their pieces, (K, T) float32. `tables` tell of new pieces as of frame `index`."""
    if not params.merges or not cells.count:
        return raw
    steps = np.diff(raw[:, ~np.isnan(raw).any(0)].astype(float), axis=1)
    if steps.shape[1] < BIN:
        return raw
    cells["own_noise"][:] = np.maximum(PER_SIGMA * np.median(np.abs(steps), axis=1) / np.sqrt(2), 1e-6)
    before = set(cells["id"][cells["whole"] >= 0].tolist())
    signals = WholeSignals(raw)
    for piece, whole in merge_pieces(cells, signals, signals.bins.shape[1], params):
        if piece not in before:
            tables.add_event(index, piece, "merged", f"the same signal as {whole}")
    rows = cells.wholes()
    pieces = np.flatnonzero(rows >= 0)
    given, heads = raw.copy(), np.unique(rows[pieces])
    given[heads] = cells["share"][heads, None] * raw[heads]
    np.add.at(given, rows[pieces], (cells["share"][pieces, None] * raw[pieces]).astype(np.float32))
    return given
