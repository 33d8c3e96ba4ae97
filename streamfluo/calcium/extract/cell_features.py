"""What a network is told of components: images of footprint and residual, figures of shape, trace and neighbours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .acceptance import FALLS_OF_NOISE, ONE_FALL, evidence_times, least_times
from .components import REJECTED, Components
from .motion_correlation import motion_correlation
from .params import ExtractParams

SIDE = 16  # of the images, which show 6 neuron_sigma_px
FEWEST = 5  # accepted components whose median size is taken for that of the field's cells
LAGS_S = (0.1, 0.3, 1.0)  # of the trace's autocorrelation
FIGURES = (
    "times", "bound", "snr", "explained", "falls", "falls_of_noise", "compactness", "fit", "size", "at_edge", "seen",
    "spread", "active", "strength", "moment", "residual_cosine", "residual_norm", "overlap", "together", "touching",
    "stronger", "modes", "resting", "level", "noise", "motion_corr", "motion_known", *(f"look{n}" for n in range(11)),
    "rise", "skewness", "asymmetry", "increments", *(f"autocorrelation{n}" for n in range(3)), "interval", "density",
)  # fmt: skip


class Context(NamedTuple):
    """What components are judged in: frames of a bin, frame interval [s], places (neuron_sigma_px²), size of a cell."""

    bin_frames: int
    interval_s: float
    places: float
    neuron_sigma_px: float


class Features(NamedTuple):
    """Of n components: images (n, 2 · 16 · 16) of footprint and residual; figures (n, FIGURES)."""

    images: np.ndarray
    figures: np.ndarray


def features(cells: Components, rows: np.ndarray, slots: np.ndarray, context: Context) -> Features:
    """Return what is known of components `rows` (n,), with the frames in the window in the order of `slots` (w,)."""
    footprint, residual = _images(cells, rows, context.neuron_sigma_px)
    parts = [_evidence(cells, context)[rows], _shape(cells, rows, context), _neighbours(cells, rows)]
    parts += [_course(cells, rows, context), _trace(cells["history"][np.ix_(rows, slots)], context)]
    density = np.log1p(100 * cells.count / max(1.0, context.places))  # of a damaged state nothing is seen
    parts.append(np.tile([np.log(context.interval_s / 0.05), density], (len(rows), 1)))
    figures = np.nan_to_num(np.concatenate(parts, 1), posinf=0, neginf=0)
    return Features(np.concatenate([footprint, residual], 1), figures)


def typical_area(cells: Components, neuron_sigma_px: float) -> float:
    """Return the median area of the accepted components [neuron_sigma_px²], NaN of fewer than five."""
    pixels = cells["pixels"][cells["accepted"]]
    return float(np.median(pixels)) / neuron_sigma_px**2 if len(pixels) >= FEWEST else float("nan")


def overlap_and_activity(cells: Components, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest cosine of footprints `rows` (n,) with a neighbour's, of their bins with a touching one's."""
    listed, other = _listed(cells, rows)
    energy = cells["energy"]
    if not cells.count:
        return np.empty(0), np.empty(0)
    alike = cells["overlap"][rows] / np.sqrt(np.maximum(energy[rows, None] * energy[other], 1e-30))
    both = np.maximum(cells["own"][rows, None] * cells["theirs"][rows], 1e-30)
    together = np.maximum(cells["shared"][rows], 0) / np.sqrt(both)
    return (
        np.where(listed, alike, 0).max(1, initial=0),
        np.where(listed & cells["touching"][rows], together, 0).max(1, initial=0).clip(0, 1),
    )


def _listed(cells: Components, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which places of the lists of neighbours of `rows` (n, N) are in use, and whom they list, 0 where nobody."""
    listed = np.arange(cells.neighbour.shape[1]) < cells["neighbours"][rows, None]
    return listed, np.where(listed, cells["neighbour"][rows], 0)


def _evidence(cells: Components, context: Context) -> np.ndarray:
    """Evidence (K, 6) as the rule of acceptance has it, by the usual bounds whatever is stated."""
    usual = ExtractParams(neuron_sigma_px=context.neuron_sigma_px)
    times, _ = evidence_times(cells, usual, context.bin_frames)
    explained, snr = cells.explained_and_snr()
    least = least_times(times[cells["verdict"] != REJECTED], context.places)
    of_noise = FALLS_OF_NOISE * cells["live_seen"] / context.bin_frames + ONE_FALL
    falls = np.sqrt(np.maximum(cells["falls"] - of_noise, 0) / np.maximum(cells["peak"], 1e-30))
    columns = (
        np.log(np.clip(times, 0.02, 50)), np.full(cells.count, np.log(np.clip(least, 1, 8))), np.log(snr + 0.1),
        explained, np.minimum(falls, 2), np.log((cells["falls"] + 10) / of_noise),
    )  # fmt: skip
    return np.stack(columns, 1)


def _shape(cells: Components, rows: np.ndarray, context: Context) -> np.ndarray:
    """Compactness, correlation, size, edge, time and bins seen, fit of the regression (n, 11)."""
    own, peak, seen = (cells[name][rows] for name in ("own", "peak", "live_seen"))
    spread = own**2 / np.maximum(peak, 1e-30)
    moment = np.maximum(cells["moment"][rows], 1e-6)
    box = cells["box"][rows].reshape(len(rows), -1)
    slope = cells["gathered"][rows].reshape(len(rows), -1) / moment[:, None].astype(np.float32)
    norm, left = np.sqrt((box**2).sum(1)) + 1e-12, np.sqrt((slope**2).sum(1))
    within = box * (box > 0) + slope * (box > 0)
    cosine = (within * box).sum(1) / (np.sqrt((within**2).sum(1)) * norm + 1e-12)
    columns = (
        cells["compactness"][rows], cells["fit"][rows],
        np.log(np.sqrt(cells["pixels"][rows] + 1.0) / context.neuron_sigma_px), cells["at_edge"][rows],
        np.log(seen + 1.0), np.log(spread + 0.1), spread * context.bin_frames / (seen + 1.0),
        np.log(own / (spread + 0.1) + 1.0) / 2, np.log(moment + 1.0), cosine, np.minimum(left / norm, 3),
    )  # fmt: skip
    return np.stack(columns, 1)


def _neighbours(cells: Components, rows: np.ndarray) -> np.ndarray:
    """Similarity to neighbours (n, 4): of footprint, of activity, how many touch, SNR of the strongest of these."""
    overlap, together = overlap_and_activity(cells, rows)
    listed, other = _listed(cells, rows)
    touching = listed & cells["touching"][rows]
    strength = np.sqrt(np.sqrt(cells["peak"])) + 0.1
    strongest = np.where(touching, strength[other] if cells.count else 1.0, 0.1).max(1, initial=0.1)
    ratio = np.clip(np.log(strongest / strength[rows]), -3, 3)
    return np.stack([overlap, together, np.log1p(touching.sum(1)), ratio], 1)


def _course(cells: Components, rows: np.ndarray, context: Context) -> np.ndarray:
    """Background under the footprint, level, noise, motion, and what rises look like (n, 18)."""
    energy = np.maximum(cells["energy"][rows], 1e-30)
    noise = np.maximum(cells["live_noise"][rows], 1e-6)
    motion = motion_correlation(cells["motion"][rows])
    rise = cells["rate_rise"][rows] / (noise * np.sqrt(context.interval_s))
    columns = [
        (cells["mode_overlap"][rows] ** 2).sum(1) / energy,
        np.log(np.clip(cells["resting"][rows] * np.sqrt(energy), 0.1, 1e5)),
        np.clip(cells["level"][rows] / noise, -10, 30), np.log(noise * np.sqrt(energy)), np.nan_to_num(motion),
        np.isfinite(motion), *cells["rate_look"][rows].T, np.log(np.clip(rise, 0.05, 100)),
    ]  # fmt: skip
    return np.stack(columns, 1)


def _trace(history: np.ndarray, context: Context) -> np.ndarray:
    """Skewness, how much further it rises than falls, skewness of increments, and autocorrelation of (n, w) (n, 6)."""
    lags = [min(max(1, round(lag / context.interval_s)), history.shape[1] - 2) for lag in LAGS_S]
    smooth = (history[:, :-2] + history[:, 1:-1] + history[:, 2:]) / 3
    ranked, count = np.sort(smooth, axis=1), smooth.shape[1]
    low, middle, high = (ranked[:, int(part * (count - 1))] for part in (0.02, 0.5, 0.98))
    steps = history[:, lags[0] + 1 :] - history[:, : -lags[0] - 1]
    centred = history - history.mean(1, keepdims=True)
    variance = np.maximum((centred**2).mean(1), 1e-12)
    columns = [
        _skewness(smooth), np.log((high - middle + 1e-3) / (middle - low + 1e-3)), _skewness(steps),
        *((centred[:, lag:] * centred[:, :-lag]).mean(1) / variance for lag in lags),
    ]  # fmt: skip
    return np.stack(columns, 1)


def _skewness(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(1, keepdims=True)
    squares = centred * centred
    skewness: np.ndarray = (squares * centred).mean(1) / np.maximum(squares.mean(1), 1e-12) ** 1.5
    return skewness


def _images(cells: Components, rows: np.ndarray, neuron_sigma_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Footprints and residuals (n, 16 · 16) around the footprints' centres, in units of the footprint's norm."""
    box = cells["box"][rows]
    moment = np.maximum(cells["moment"][rows], 1e-6).astype(np.float32)
    residual = cells["gathered"][rows] / moment[:, None, None]
    weight = np.maximum(box, 0)
    total = weight.sum((1, 2)) + 1e-12
    along_y, along_x = (
        _tents((weight.sum(other) * np.arange(box.shape[axis])).sum(1) / total, box.shape[axis], neuron_sigma_px)
        for axis, other in ((1, 2), (2, 1))
    )
    both = (along_y @ np.concatenate([box, residual], 2)).reshape(len(rows), 2 * SIDE, -1)  # rows of one, and the other
    both = (both @ along_x.transpose(0, 2, 1)).reshape(len(rows), SIDE, 2, SIDE)
    shown, left = both[:, :, 0], both[:, :, 1]
    norm = np.sqrt((shown**2).sum((1, 2), keepdims=True)) + 1e-12
    return (shown / norm).reshape(len(rows), -1), np.clip(left / norm, -1, 1).reshape(len(rows), -1)


def _tents(centre: np.ndarray, size: int, neuron_sigma_px: float) -> np.ndarray:
    """Weights (n, 16, size) of pixels in 16 samples about a centre (n,): linear, as wide as the samples are apart."""
    step = 6 * neuron_sigma_px / SIDE
    places = centre[:, None] + step * (np.arange(SIDE) - (SIDE - 1) / 2)
    width = max(1.0, step)
    tents = np.maximum(0, 1 - np.abs(places[..., None] - np.arange(size)) / width) / width
    return tents.astype(np.float32)
