"""Cells of a session of `sim:calcium` beside the cells that there were: pairs, F1, correlations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..session.reader import Session

if TYPE_CHECKING:
    from scipy import sparse

EDGE, OVERLAP = 0.2, 0.5  # masks are footprints above this part of their peak; a pair shares this part of its union
SKIP = 200  # frames until the first cells are learned: they do not count for traces and rates
RATE_FRAMES = 3  # spikes are compared in bins: the indicator tells no finer time


class Comparison:
    """A session of `sim:calcium` through `extract`, perhaps behind `motion`, beside its truth.

    A true and a found cell are a pair where their masks, footprints above a fifth of the peak, share half of their
    union; pairs are chosen by the Hungarian method. The place of the template in the tissue is free: the median
    difference of the shifts is taken out.
    """

    def __init__(self, session: Session, truth: Mapping[str, np.ndarray] | None = None) -> None:
        self.session, self.truth = session, session.truth if truth is None else truth
        self.skip = min(SKIP, session.frames // 2)
        steps = {facts.kind: step for step, facts in reversed(list(session.steps.items()))}
        values = session.values(steps["motion"]) if "motion" in steps else {}
        self.shift_px = values.get("shift_px", np.empty((0, 2)))
        self.valid = values.get("valid", np.empty(0)) > 0
        moved = self.truth["shift_px"][session.index(steps["motion"])] if "motion" in steps else np.empty((0, 2))
        error = (self.shift_px - moved)[self.valid]
        self.offset_px = np.median(error, 0) if len(error) else np.zeros(2)
        self.moved_px = moved + self.offset_px
        self.cells = None
        if "extract" in steps and "quality_now" in session.snapshot(steps["extract"]):
            self.cells = session.components(steps["extract"])
        self.kept = np.flatnonzero(self.cells.accepted) if self.cells is not None else np.empty(0, int)

    @cached_property
    def true_footprints(self) -> np.ndarray:
        """Footprints of the truth where the corrected frames show them, (K, y, x)."""
        from scipy import ndimage, sparse  # which other commands need not wait for

        parts = tuple(self.truth[f"A_{name}"] for name in ("data", "indices", "indptr"))
        flat = sparse.csc_matrix(parts, shape=tuple(self.truth["A_shape"])).toarray()
        images = flat.T.reshape(-1, *self.session.spec.shape)
        return np.array([ndimage.shift(image, -self.offset_px, order=1) for image in images])

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """(true cell, row of the found component) of each pair, those of the highest SNR first."""
        from scipy.optimize import linear_sum_assignment

        if self.cells is None or not len(self.kept):
            return []
        found = _masks(self.cells.footprints[:, self.kept])
        true = self.true_footprints.reshape(len(self.true_footprints), -1)
        true = true > EDGE * true.max(1, keepdims=True)
        both = true.astype(float) @ found
        union = true.sum(1)[:, None] + found.sum(0) - both
        overlap = both / np.maximum(union, 1)
        rows, columns = linear_sum_assignment(-np.where(overlap >= OVERLAP, overlap, 0))
        pairs = [(int(t), int(self.kept[c])) for t, c in zip(rows, columns, strict=True) if overlap[t, c] >= OVERLAP]
        return sorted(pairs, key=lambda pair: -float(self.cells.snr[pair[1]]))  # type: ignore[union-attr]

    @property
    def f1(self) -> tuple[float, float, float]:
        """F1, precision and recall of the accepted components."""
        precision, recall = len(self.pairs) / max(len(self.kept), 1), len(self.pairs) / len(self.truth["C"])
        return 2 * precision * recall / max(precision + recall, 1e-9), precision, recall

    @property
    def shift_error_px(self) -> float:
        """The rms error of the shifts of valid frames [px], NaN without any."""
        return rms((self.shift_px - self.moved_px)[self.valid])

    def traces_of(self, pair: tuple[int, int], true: str, found: str) -> tuple[np.ndarray, np.ndarray]:
        """What the truth and the component of a pair have under these names, from the component's birth on."""
        assert self.cells is not None
        start = max(self.skip, int(self.cells.birth_frame[pair[1]]))
        return self.truth[true][pair[0]][self.cells.frame][start:], getattr(self.cells, found)[pair[1]][start:]

    def correlation(self, true: str, found: str, bins: int = 1) -> float:
        """Median correlation over pairs, of sums of so many frames; NaN without any."""
        values = []
        for pair in self.pairs:
            a, b = (_binned(course, bins) for course in self.traces_of(pair, true, found))
            if len(a) > 1 and a.any() and b.any():
                values.append(np.corrcoef(a, b)[0, 1])
        return float(np.median(values)) if values else float("nan")


def rms(shift: np.ndarray) -> float:
    """Return the root of the mean square of vectors (n, 2), NaN without any."""
    return float(np.sqrt((shift**2).sum(1).mean())) if len(shift) else float("nan")


def _masks(footprints: sparse.csc_matrix) -> np.ndarray:
    dense = np.asarray(footprints.todense(), float)
    found: np.ndarray = dense > EDGE * dense.max(0)
    return found.astype(float)


def _binned(course: np.ndarray, frames: int) -> np.ndarray:
    whole = len(course) // frames * frames
    binned: np.ndarray = course[:whole].reshape(-1, frames).sum(1)
    return binned
