"""Photon transfer over several light levels: one line through all of them, and the gain of each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .fit import READ_E2, Z95, PhotonTransfer, fit_photon_transfer, typical_gain
from .kernels.bins import Array
from .pixel_noise import Dark, Noise, Pixels

MAX_POINTS = 4_000_000


def fit_levels(levels: Sequence[Pixels], dark: Dark | None = None) -> PhotonTransfer:
    """Return the photon transfer of one field at several light levels, each pixel at each level a point of the line.

    Flicker is subtracted within each level; `gains` (p,) are each pixel's over all levels, of 1/K weighted by frames.
    Of more than 4 million points a regular subset of the pixels is taken for the line.
    """
    if len(levels) == 1:
        return fit_photon_transfer(levels[0], dark)
    pixels = levels[0].mean.size
    every = -(-pixels * len(levels) // MAX_POINTS)
    dark_level = 0.0 if dark is not None else _dark_level([_strided(level, every) for level in levels])
    steady = [_without_flicker(level, dark, dark_level) for level in levels]
    points = _joined([_strided(level, every) for level in steady])
    joined = fit_photon_transfer(points, _repeated(dark, len(levels), every))
    if joined.reason:
        return joined
    zero = np.zeros(pixels) + (dark.offset if dark is not None else -joined.intercept / joined.slope)
    floor = dark.variance if dark is not None and dark.variance is not None else 0.0
    if dark is not None and dark.variance is None:
        floor = joined.intercept + joined.slope * np.median(zero)
    return _with_gains(joined, steady, zero, floor)


def _dark_level(levels: Sequence[Pixels]) -> float:
    """The mean without light that a first line gives."""
    line = fit_photon_transfer(_joined(levels))
    return float(-line.intercept / line.slope + READ_E2 * line.slope) if not line.reason else 0.0


def _without_flicker(level: Pixels, dark: Dark | None, dark_level: float) -> Pixels:
    """The level as under an illumination that never changes; pixels that move are counted as saturated."""
    with np.errstate(invalid="ignore", divide="ignore"):
        x = level.mean - (dark.offset if dark is not None else 0.0)
        noise = Noise(level, dark, x, dark_level)
        flicker2, _, common, _ = noise.scalars(dark_level)
        variance = noise.variance - flicker2 * (x - dark_level) ** 2
        left_out = level.saturated | noise.moving(dark_level, 6.0)
    return _settled(level.mean, variance, left_out, int(noise.dof) + 1, level.rounded, common)


def _settled(
    mean: Array, variance: Array, left_out: np.ndarray, frames: int, rounded: bool, common: float = 0.0
) -> Pixels:
    """Pixels under an illumination that is known to be steady."""
    total = float(np.nansum(variance))
    return Pixels(mean, variance, variance, total, total, frames, frames - 1, left_out, rounded, common)


def _strided(level: Pixels, every: int) -> Pixels:
    if every == 1:
        return level
    mean, variance, left_out = (m[::every] for m in (level.mean, level.variance, level.saturated))
    return _settled(mean, variance, left_out, level.frames, level.rounded, level.common)


def _joined(levels: Sequence[Pixels]) -> Pixels:
    columns = zip(*((level.mean, level.variance, level.saturated) for level in levels), strict=True)
    mean, variance, left_out = (np.concatenate(column) for column in columns)
    frames, common = min(level.frames for level in levels), max(level.common for level in levels)
    return _settled(mean, variance, left_out, frames, levels[0].rounded, common)


def _repeated(dark: Dark | None, levels: int, every: int) -> Dark | None:
    if dark is None:
        return None
    maps = [np.tile(m[::every], levels) if isinstance(m, np.ndarray) else m for m in (dark.offset, dark.variance)]
    return Dark(maps[0], maps[1], dark.frames)  # type: ignore[arg-type]


def _with_gains(joined: PhotonTransfer, levels: Sequence[Pixels], zero: Array, floor: Array | float) -> PhotonTransfer:
    inverse, weight = np.zeros(zero.size), np.zeros(zero.size)
    for level in levels:
        x, y = level.mean - zero, level.variance - floor
        clear = joined.slope * x > 3 * np.sqrt(2 / level.frames) * (joined.slope * x + np.mean(floor))
        taken = np.where(clear & ~level.saturated & np.isfinite(y), float(level.frames), 0.0)
        inverse += taken * np.divide(y, x, out=np.zeros_like(x), where=taken > 0)
        weight += taken
    known = (weight > 0) & (inverse > 0)
    gains = np.full(zero.size, np.nan)
    gains[known] = weight[known] / inverse[known] * (1 - 2 / weight[known])
    used = ~np.any([level.saturated for level in levels], axis=0)
    joined = replace(joined, gains=gains, variance=None, used=used)
    if joined.scatter:  # the same pixels at every level: their scatter counts once
        gain, error = typical_gain(gains[used & known])
        low, high = gain * (1 - Z95 * error), gain * (1 + Z95 * error)
        joined = replace(joined, gain=gain, interval=(low, high))
    return joined
