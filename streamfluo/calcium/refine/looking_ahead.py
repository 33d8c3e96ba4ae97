"""Activity that is known beforehand: deconvolved over all frames, in place of what is known as of each frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.ndimage as ndi

from ..deconvolve import deconvolve
from ..extract.activity import Deconvolution
from ..extract.components import Components
from ..extract.params import DECAY_S, RISE_S
from ..spike_rate import SHARPEST_S
from ..time_constants import TimeConstants

SPARSITY = 7.0  # λ in noise σ: of 1 to 10 with the best traces of all frames on two movies; 5 as frames come
NETWORK_SHARE = 0.7  # of the rate; of .5, .7, 1 the best on real spikes
LEAST_FRAMES = 30
_ROWS, _DECIDING = 32, 24  # traces that are deconvolved at a time, and that decide the time constants
_DECIDING_FRAMES = 3000  # 10 s of a core


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
    ids: np.ndarray, raw: np.ndarray, constants: TimeConstants, interval_s: float, final: bool = True
) -> Course:
    """Deconvolve the traces `raw` (K, T) float32 of all frames, NaN where a frame is not valid; ids (K,) ascending.

    A few traces at a time, so that what is held beside the result does not grow with their number. What is not final
    has no rates, and transients that rise at once: exact, in a hundredth of the time.
    """
    known = ~np.isnan(raw).any(0)
    trace, rate, baseline = np.zeros((3, *raw.shape), np.float32)
    course = Course(ids, raw, trace, rate, baseline, np.ones(len(raw)), constants)
    if not len(raw) or known.sum() < LEAST_FRAMES:
        return course
    rise_s = constants.rise_s if final and constants.rise_s > 0 else None
    for start in range(0, len(raw), _ROWS):
        rows = slice(start, start + _ROWS)
        found = deconvolve(
            _filled(raw[rows], known), interval_s=interval_s, decay_s=constants.decay_s, rise_s=rise_s,
            order=1 if rise_s is None else 2, sparsity=SPARSITY, cooperativity=None if final else 1.0,
        )  # fmt: skip
        course.noise[rows] = found.noise
        course.trace[rows], course.baseline[rows] = found.trace, found.baseline
        if final:
            course.rate[rows] = rate_of(found.rate, found.spikes, interval_s)
    for array in (course.trace, course.rate, course.baseline):
        array[:, ~known] = np.nan
    return course


def rate_of(expected: np.ndarray, spikes: np.ndarray, interval_s: float) -> np.ndarray:
    """Return rates (K, T) from those that the network expects and from deconvolved spikes: a weighted geometric mean.

    Real spikes are met as well as by the network alone (mean correlation of six sets .891, .887), simulated ones that
    decay without a rise better (.90, .82).
    """
    smooth = ndi.gaussian_filter1d(spikes, SHARPEST_S / interval_s, axis=-1)
    rate = np.maximum(expected, 0) ** NETWORK_SHARE * smooth ** (1 - NETWORK_SHARE)
    wanted, found = expected.sum(-1, keepdims=True), rate.sum(-1, keepdims=True)
    scaled: np.ndarray = rate * np.divide(wanted, found, out=np.zeros_like(found), where=found > 0)
    return scaled


def _largest(raw: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Rows (n,) of the traces with the largest transients, of which a few decide the time constants."""
    part = raw[:, known]
    steps = np.median(np.abs(np.diff(part, axis=1)), axis=1)
    height = part.std(1) / np.maximum(steps, np.float32(1e-9))
    return np.sort(np.argsort(-height, kind="stable")[:_DECIDING])


def time_constants(
    raw: np.ndarray, given: tuple[float | None, float | None], order: int, interval_s: float
) -> TimeConstants:
    """Return decay and rise [s] that traces `raw` (K, T) share, from a stretch of those with the largest transients.

    given: decay and rise time [s], None: estimated.
    """
    decay_s, rise_s = given
    known = ~np.isnan(raw).any(0)
    if not len(raw) or known.sum() < LEAST_FRAMES or (decay_s and (rise_s or order == 1)):
        return TimeConstants(decay_s or DECAY_S, 0.0 if order == 1 else rise_s or RISE_S)
    part = _filled(raw[_largest(raw, known)], known)[:, :_DECIDING_FRAMES]
    found = deconvolve(part, interval_s=interval_s, decay_s=decay_s, rise_s=rise_s, order=order, cooperativity=1.0)
    return TimeConstants(found.decay_s, found.rise_s)


def _filled(raw: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Traces with frames that are not known interpolated."""
    if known.all() or not known.any():
        return np.nan_to_num(raw)
    frames = np.arange(raw.shape[1])
    return np.array([np.interp(frames, frames[known], row[known]) for row in raw], np.float32)


class LookingAhead(Deconvolution):
    """A deconvolution to which the activity of some components is known in all frames.

    Footprints are learned from that; what speaks for a component is still what is known as of each frame, for which its
    bounds were found: with activity known ahead, 7 true cells of 413 accepted had too little of it.
    """

    def __init__(self, course: Course, interval_s: float, order: int) -> None:
        super().__init__(interval_s, course.constants.decay_s, course.constants.rise_s, order)
        self._course, self._frames = course, list[int]()
        self._of, self._rows = np.empty(0, np.int64), (np.empty(0, np.int64), np.empty(0, np.int64))

    def rows(self, cells: Components) -> tuple[np.ndarray, np.ndarray]:
        """Return where the components whose activity is known stand in `cells`, and in the course."""
        if not np.array_equal(self._of, cells["id"]):
            self._of, self._rows = cells["id"].copy(), self._course.rows(cells)
        return self._rows

    def begin(self, cells: Components) -> None:
        """Let noise and baseline of the components begin as they are over all frames."""
        here, there = self.rows(cells)
        for when in ("live", "late"):
            getattr(cells, f"{when}_noise")[here] = self._course.noise[there]
            for name in ("baseline", "low"):
                getattr(cells, f"{when}_{name}")[here] = np.nan_to_num(self._course.baseline[there, 0])

    def see(self, number: int, cells: Components) -> None:
        """Go on to frame `number`: its least squares solution is where the demixing begins."""
        here, there = self.rows(cells)
        cells["activity"][here] = np.nan_to_num(self._course.raw[there, number])
        self._frames.append(number)

    def ahead_of_bin(self, cells: Components) -> np.ndarray | None:
        here, there = self.rows(cells)
        ahead = np.full(cells.count, np.nan)
        bins = self._course.trace[:, self._frames]
        ahead[here] = bins[there].sum(1) / np.sqrt(max(1, len(self._frames)))
        self._frames = []
        return ahead
