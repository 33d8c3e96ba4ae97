"""What changes from frame to frame beyond noise: deviations of registered frames, and their products over time.

Noise of one frame has nothing to do with that of the next, so products of a frame with the next one hold fluorescence
alone, however few photons there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.fft

BIN_S = 0.1  # what is shorter than any indicator's decay is averaged
MAX_BINS = 500
MIN_SEEN = 0.95  # of the frames: a rim that is seen in fewer is left out
SHOWS_SD = 5.0  # standard errors of the covariance of neighbours from one bin to the next


class Fluctuations(NamedTuple):
    """Deviations from the mean of each run, binned in time.

    `bins` (n, y, x) [ADU] without what the whole field has in common; `first` (n,) whether a bin has none before it in
    its run; `step`: frames in a bin; `origin` (y, x) of `bins` within the frames; `noise_adu`: σ of a pixel in a bin.
    """

    bins: np.ndarray
    first: np.ndarray
    step: int
    origin: tuple[int, int]
    noise_adu: float

    @property
    def pairs(self) -> np.ndarray:
        """The bins (p,) that have one before them in their run."""
        return np.flatnonzero(~self.first)


class Autocorrelation(NamedTuple):
    """Mean product of a pixel with another one at a distance, a bin later.

    `radial` (r,) [ADU²] at 0, 1, 2 … px, `z`: of neighbours one and two pixels away, in standard errors.
    """

    radial: np.ndarray
    z: float


def seen_window(frames: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns that nearly all frames (t, y, x) have."""
    few = frames[:: max(1, len(frames) // 200)]
    seen = np.isfinite(few)
    if seen.all():
        return slice(0, frames.shape[1]), slice(0, frames.shape[2])
    spans = []
    for axis in (2, 1):
        share = seen.mean(axis=axis).mean(0)
        kept = np.flatnonzero(share >= MIN_SEEN * share.max())
        spans.append(slice(int(kept[0]), int(kept[-1]) + 1) if len(kept) else slice(0, 0))
    return spans[0], spans[1]


def fluctuations(frames: np.ndarray, runs: Sequence[slice], interval_s: float | None) -> Fluctuations:
    """Return the deviations of registered frames (t, y, x) float32, NaN where a pixel was not seen."""
    rows, columns = seen_window(frames)
    wanted = 1 if interval_s is None else max(1, round(BIN_S / interval_s))
    step = max(1, min(wanted, min(run.stop - run.start for run in runs) // 8))
    each = max(2, MAX_BINS // len(runs))
    parts, first = [], []
    for run in runs:
        count = min((run.stop - run.start) // step, each)
        if count < 2:
            continue
        taken = frames[run.start : run.start + count * step, rows, columns]
        part = taken.reshape(count, step, *taken.shape[1:]).mean(1, dtype=np.float32)
        part -= _mean_of_known(part)
        parts.append(np.nan_to_num(part, copy=False, nan=0.0, posinf=0.0, neginf=0.0))
        first.append(np.arange(count) == 0)
    shape = (0, rows.stop - rows.start, columns.stop - columns.start)
    bins = np.concatenate(parts) if parts else np.zeros(shape, np.float32)
    starts = np.concatenate(first) if first else np.zeros(0, bool)
    without_common(bins)
    steps = np.diff(bins, axis=0)[~starts[1:]] if len(bins) > 1 else bins
    noise = float(np.sqrt(np.mean(steps**2) / 2)) if steps.size else 0.0
    return Fluctuations(bins, starts, step, (rows.start, columns.start), noise)


def _mean_of_known(part: np.ndarray) -> np.ndarray:
    """The mean of bins (n, y, x) over those that are known."""
    mean = part.mean(0)
    if np.isfinite(mean).all():
        return mean
    known = np.isfinite(part)
    return np.asarray(np.where(known, part, 0).sum(0) / np.maximum(known.sum(0), 1))


def without_common(bins: np.ndarray) -> None:
    """Subtract from each pixel of deviations (n, y, x) its regression on the mean of all: bleaching, flicker, neuropil.

    Both are in place of models of their own: what the field has in common says nothing of the size of cells.
    """
    if not bins.size:
        return
    common = bins.mean((1, 2))
    power = float(common @ common)
    if power > 0:
        slope = np.tensordot(common, bins, 1) / power
        for deviation, level in zip(bins, common, strict=True):
            deviation -= np.float32(level) * slope.astype(np.float32)


def autocorrelation(found: Fluctuations, reach_px: int) -> Autocorrelation:
    """Return the mean product of each pixel with those around it, a bin later, by distance."""
    shape = found.bins.shape[1:]
    padded = [scipy.fft.next_fast_len(side + reach_px + 1, real=True) for side in shape]
    near: list[float] = []
    total, before = np.zeros((padded[0], padded[1] // 2 + 1)), None
    for n, image in enumerate(found.bins):
        spectrum = scipy.fft.rfft2(image, s=padded)
        if before is not None and not found.first[n]:
            total += (spectrum * before.conj()).real
            near.append(_neighbour_product(found.bins[n - 1], image))
        before = spectrum
    ones = scipy.fft.rfft2(np.ones(shape, np.float32), s=padded)
    pixels = scipy.fft.irfft2(np.abs(ones) ** 2, s=padded)
    mean = scipy.fft.irfft2(total, s=padded) / np.maximum(pixels, 1) / max(len(near), 1)
    products = np.array(near)
    error = float(products.std() / np.sqrt(len(products))) if len(products) > 2 else np.inf
    z = float(products.mean() / error) if error > 0 and np.isfinite(error) else 0.0
    return Autocorrelation(radial_mean(np.fft.fftshift(mean), reach_px), z)


def radial_mean(image: np.ndarray, reach_px: int) -> np.ndarray:
    """Return the mean of an image (y, x) over rings of one pixel around its middle, (reach + 1,)."""
    y, x = (side // 2 for side in image.shape)
    cut = image[y - reach_px : y + reach_px + 1, x - reach_px : x + reach_px + 1]
    dy, dx = np.ogrid[-reach_px : reach_px + 1, -reach_px : reach_px + 1]
    ring = np.rint(np.hypot(dy, dx)).astype(int).ravel()
    sums, counts = np.bincount(ring, cut.ravel()), np.bincount(ring)
    mean: np.ndarray = (sums / counts)[: reach_px + 1]
    return mean


def _neighbour_product(before: np.ndarray, after: np.ndarray) -> float:
    """The mean product of neighbours one pixel away along y and x."""
    down = float(np.vdot(before[:-1], after[1:])) + float(np.vdot(after[:-1], before[1:]))
    right = float(np.vdot(before[:, :-1], after[:, 1:])) + float(np.vdot(after[:, :-1], before[:, 1:]))
    count = 2 * (before[:-1].size + before[:, :-1].size)
    return (down + right) / max(count, 1)
