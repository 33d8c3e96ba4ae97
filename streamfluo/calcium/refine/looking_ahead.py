"""Activity that is known beforehand: deconvolved over all frames, in place of what is known as of each frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..deconvolve import deconvolve
from ..extract.activity import Deconvolution
from ..extract.components import Components, When
from ..time_constants import TimeConstants


class Course(NamedTuple):
    """Components by `ids` (K,) ascending, all (K, T) float32: `raw`, denoised `trace`, `baseline`; `noise` σ (K,)."""

    ids: np.ndarray
    raw: np.ndarray
    trace: np.ndarray
    rate: np.ndarray
    baseline: np.ndarray
    noise: np.ndarray
    constants: TimeConstants

    def rows(self, cells: Components) -> tuple[np.ndarray, np.ndarray]:
        """Return where the components that are known stand in `cells`, and here."""
        at = np.searchsorted(self.ids, cells["id"]).clip(max=max(0, len(self.ids) - 1))
        known = np.flatnonzero(self.ids[at] == cells["id"]) if len(self.ids) else np.empty(0, np.int64)
        return known, at[known]


def course_of(
    ids: np.ndarray, raw: np.ndarray, constants: dict[str, float | None], order: int, interval_s: float
) -> Course:
    """Deconvolve the traces `raw` (K, T) float32 of all frames, NaN where a frame is not valid; ids (K,) ascending."""
    shape, known = raw.shape, ~np.isnan(raw).any(0)
    trace, rate, baseline = np.zeros((3, *shape), np.float32)
    noise, found = np.ones(shape[0]), TimeConstants(0.4, 0.05 if order == 2 else 0.0)
    if shape[0]:
        given = constants
        filled = _filled(raw, known)
        first = deconvolve(filled, interval_s=interval_s, order=order, **given)
        found = TimeConstants(first.decay_s, first.rise_s)
        trace[:], rate[:], baseline[:], noise = first.trace, first.rate, first.baseline, np.atleast_1d(first.noise)
        for array in (trace, rate, baseline):
            array[:, ~known] = np.nan
    return Course(ids, raw, trace, rate, baseline, noise, found)


def _filled(raw: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Traces with frames that are not known interpolated."""
    if known.all() or not known.any():
        return np.nan_to_num(raw)
    frames = np.arange(raw.shape[1])
    return np.array([np.interp(frames, frames[known], row[known]) for row in raw], np.float32)


class LookingAhead(Deconvolution):
    """A deconvolution to which the activity of some components is known in all frames; `now` is the frame's number."""

    def __init__(self, course: Course, interval_s: float, order: int) -> None:
        super().__init__(interval_s, course.constants.decay_s, course.constants.rise_s, order)
        self._course, self.now = course, 0
        self._of, self._rows = np.empty(0, np.int64), (np.empty(0, np.int64), np.empty(0, np.int64))

    def rows(self, cells: Components) -> tuple[np.ndarray, np.ndarray]:
        """Return where the components whose activity is known stand in `cells`, and in the course."""
        if not np.array_equal(self._of, cells["id"]):
            self._of, self._rows = cells["id"].copy(), self._course.rows(cells)
        return self._rows

    def update(self, cells: Components, when: When, raw: np.ndarray, present: np.ndarray) -> np.ndarray:
        out = super().update(cells, when, raw, present)
        here, there = self.rows(cells)
        course = self._course
        out[0, here] = course.trace[there, self.now]
        cells.live_noise[here] = course.noise[there]
        cells.live_baseline[here] = cells.live_low[here] = course.baseline[there, self.now]
        return out
