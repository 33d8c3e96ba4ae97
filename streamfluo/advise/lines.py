"""Lines that bidirectional scanning shifts: every second one, by the same distance along x."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.fft

MOST_PX, STEP_PX = 6.0, 0.05
GROUPS, MOST_FRAMES = 8, 100
SHOWS_SD = 4.0
MOST_ERROR_PX = 0.5
LEAST_PX = 0.25  # less is nothing to correct
MIN_ROWS, MIN_COLUMNS = 32, 32


class LineOffset(NamedTuple):
    """How far odd lines lie to the right of even ones [px], and its standard error; NaN: undetermined."""

    offset_px: float
    error_px: float

    @property
    def shows(self) -> bool:
        """Whether lines are shifted by more than chance, and by enough to matter."""
        return abs(self.offset_px) > max(LEAST_PX, SHOWS_SD * self.error_px)


def line_offset(frames: np.ndarray) -> LineOffset:
    """Return the shift of odd lines against those beside them, over raw frames (t, y, x).

    Raw ones, as registration mixes the lines; noise of one line is not that of the next, so it averages out.
    """
    rows, columns = frames.shape[1:]
    if rows < MIN_ROWS or columns < MIN_COLUMNS or not len(frames):
        return LineOffset(np.nan, np.inf)
    cross = np.zeros((rows - 2, columns // 2 + 1), complex)
    for frame in frames[:: max(1, len(frames) // MOST_FRAMES)]:
        cross += _cross_spectra(frame)
    cross[1::2] = cross[1::2].conj()  # line 2 lies against lines 1 and 3 as they lie against it, the other way round
    frequency = scipy.fft.rfftfreq(columns)
    shifts = np.arange(-MOST_PX, MOST_PX + STEP_PX / 2, STEP_PX)
    waves = np.exp(2j * np.pi * np.outer(shifts, frequency))
    parts = np.array_split(np.arange(len(cross)), GROUPS)

    def best(rows: np.ndarray) -> float:
        return float(shifts[int(np.argmax((waves @ cross[rows].sum(0)).real))])

    each = np.array([best(part) for part in parts])
    error = 1.2533 * float(each.std()) / np.sqrt(GROUPS - 1)  # of their median, were they normal
    found = best(np.arange(len(cross)))
    if error > MOST_ERROR_PX or abs(found) > MOST_PX - 2 * STEP_PX or not np.abs(cross).sum() > 0:
        return LineOffset(np.nan, np.inf)
    return LineOffset(found, max(error, STEP_PX / 2))


def _cross_spectra(frame: np.ndarray) -> np.ndarray:
    """The cross-spectrum of each line but the first and the last with the mean of the two beside it."""
    known = np.isfinite(frame)
    lines = np.where(known, frame, frame[known].mean() if known.any() else 0.0).astype(float)
    lines -= lines.mean(1, keepdims=True)
    ends = np.minimum(np.arange(frame.shape[1]), np.arange(frame.shape[1])[::-1]) / 8
    spectra = scipy.fft.rfft(lines * np.clip(ends, 0, 1), axis=1)
    return np.asarray(spectra[1:-1] * ((spectra[:-2] + spectra[2:]) / 2).conj())
