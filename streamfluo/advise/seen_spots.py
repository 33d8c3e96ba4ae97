"""Spots in single frames of a sample: how many, how bright, and whether they stay."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..spots.find_spots import find_spots
from .sample import Sample

FRAMES = 8
NEAR_PX = 1.5
MIN_SIDE_PX = 8


class SeenSpots(NamedTuple):
    """Mean number of spots in a frame, their median light over the noise σ of a pixel, and which part of them stays.

    `stay`: of a frame's spots, those within 1.5 px of one in the next frame that was looked at.
    """

    per_frame: float
    brightness: float
    stay: float


def seen_spots(sample: Sample, sigma_px: float) -> SeenSpots:
    """Return what spots of a PSF of σ = sigma_px are seen in frames spread over a sample."""
    if min(sample.spec.shape) < MIN_SIDE_PX or not len(sample.pixels):
        return SeenSpots(0.0, 0.0, float("nan"))
    chosen = np.unique(np.linspace(0, len(sample.pixels) - 1, FRAMES).astype(int))
    found: list[np.ndarray] = []
    light: list[float] = []
    kept: list[float] = []
    for n in chosen:
        frame = sample.pixels[n].astype(np.float32)
        if not np.isfinite(frame).all() or np.ptp(frame) == 0:
            continue
        spots = find_spots(frame, sigma_px=sigma_px)
        noise = 1.4826 * float(np.median(np.abs(frame - np.median(frame))))
        found.append(np.stack([spots.y, spots.x], axis=1))
        light.extend(spots.photons / max(noise, 1e-9))
    for before, after in pairwise(found):
        if len(before):
            apart = np.hypot(*(before[:, None] - after).T) if len(after) else np.full((1, len(before)), np.inf)
            kept.append(float((apart.min(0) < NEAR_PX).mean()))
    mean = float(np.mean([len(places) for places in found])) if found else 0.0
    return SeenSpots(mean, float(np.median(light)) if light else 0.0, float(np.mean(kept)) if kept else float("nan"))
