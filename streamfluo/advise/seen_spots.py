"""Spots in single frames of a sample: how many, how bright, and whether they stay."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..spots.find_spots import find_spots
from ..spots.fit_spots import fit_spots
from .sample import Sample

FRAMES = 8
NEAR_PX = 1.5
APART_FRAMES = 20
FITTED_FROM, MIN_FITTED, HALF_CROP_PX = 60.0, 10, 5  # light over the noise of a pixel; fits; px
MIN_SIDE_PX = 8


class SeenSpots(NamedTuple):
    """Mean number of spots in a frame, their median light over the noise σ of a pixel, and which part of them stays.

    `stay`: of a frame's spots, those within 1.5 px of one in the next frame that was looked at, 20 frames on or more;
    NaN in a shorter recording. `sigma_px`: median σ of the PSF fitted to `fitted` of them, NaN to none.
    """

    per_frame: float
    brightness: float
    stay: float
    sigma_px: float = float("nan")
    fitted: int = 0


def seen_spots(sample: Sample, sigma_px: float) -> SeenSpots:
    """Return what spots of a PSF of σ = sigma_px are seen in frames spread over a sample."""
    if min(sample.spec.shape) < MIN_SIDE_PX or not len(sample.pixels):
        return SeenSpots(0.0, 0.0, float("nan"))
    chosen = np.unique(np.linspace(0, len(sample.pixels) - 1, FRAMES).astype(int))
    found: list[np.ndarray] = []
    crops: list[np.ndarray] = []
    light: list[float] = []
    kept: list[float] = []
    for n in chosen:
        frame = sample.pixels[n].astype(np.float32)
        if not np.isfinite(frame).all() or np.ptp(frame) == 0:
            continue
        spots = find_spots(frame, sigma_px=sigma_px)
        noise = 1.4826 * float(np.median(np.abs(frame - np.median(frame))))
        found.append(np.stack([spots.y, spots.x], axis=1))
        bright = spots.photons / max(noise, 1e-9)
        light.extend(bright)
        crops += [_crop(frame, y, x) for y, x in found[-1][bright > FITTED_FROM]]
    for before, after in pairwise(found):
        if len(before) and np.diff(chosen).min() >= APART_FRAMES:
            apart = np.hypot(*(before[:, None] - after).T) if len(after) else np.full((1, len(before)), np.inf)
            kept.append(float((apart.min(0) < NEAR_PX).mean()))
    mean = float(np.mean([len(places) for places in found])) if found else 0.0
    sigma, fitted = _fitted_sigma(crops)
    stay = float(np.mean(kept)) if kept else float("nan")
    return SeenSpots(mean, float(np.median(light)) if light else 0.0, stay, sigma, fitted)


def _crop(frame: np.ndarray, y: float, x: float) -> np.ndarray:
    """The crop around a place, NaN beyond the frame's edge."""
    padded = np.pad(frame, HALF_CROP_PX, constant_values=np.nan)
    row, column = round(y), round(x)
    return np.asarray(padded[row : row + 2 * HALF_CROP_PX + 1, column : column + 2 * HALF_CROP_PX + 1])


def _fitted_sigma(crops: list[np.ndarray]) -> tuple[float, int]:
    """The median σ [px] of the fits to crops, and of how many."""
    if not crops:
        return float("nan"), 0
    sigma = np.asarray(fit_spots(np.stack(crops)).sigma, float)
    known = sigma[np.isfinite(sigma) & (sigma > 0)]
    return (float(np.median(known)), len(known)) if len(known) >= MIN_FITTED else (float("nan"), len(known))
