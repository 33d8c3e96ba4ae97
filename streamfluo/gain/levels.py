"""Photon transfer over several light levels: one line through all of them, and the gain of each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .doubts import shared_effects
from .fit import SCATTER_SD, fit_photon_transfer
from .kernels.bins import Array
from .pixel_noise import READ_E2, Dark, Noise, Pixels
from .shared_noise import Measured
from .transfer import MIN_PIXELS, Z95, PhotonTransfer, typical_gain

MAX_POINTS = 4_000_000
ROUNDS = 2  # over the dark level, which the share of a flickering illumination depends on


def fit_levels(levels: Sequence[Pixels], dark: Dark | None = None) -> PhotonTransfer:
    """Return the photon transfer of one field at several light levels, each pixel at each level a point of the line.

    Flicker is subtracted within each level; `gains` (p,) are each pixel's over all levels, of 1/K weighted by frames.
    Of more than 4 million points a regular subset of the pixels is taken for the line.
    """
    if len(levels) == 1:
        return fit_photon_transfer(levels[0], dark)
    every = -(-levels[0].mean.size * len(levels) // MAX_POINTS)
    repeated = _repeated(dark, len(levels), every)
    dark_level, rounds = (0.0, 1) if dark is not None else (_dark_level(levels), ROUNDS)
    for _ in range(rounds):
        steady = [_without_flicker(level, dark, dark_level) for level in levels]
        points = _joined([_strided(level, every) for level in steady])
        joined = fit_photon_transfer(points, repeated)
        if joined.reason:
            return joined
        scatter = _scatter(joined, steady, *_zero_and_floor(joined, steady, dark))
        if scatter:
            joined = fit_photon_transfer(points, repeated, scatter)
            if joined.reason:
                return joined
        dark_level = -joined.intercept / joined.slope
    return _with_gains(joined, steady, *_zero_and_floor(joined, steady, dark))


def _zero_and_floor(joined: PhotonTransfer, levels: Sequence[Pixels], dark: Dark | None) -> tuple[Array, Array | float]:
    """The mean of each pixel at which the line begins (p,), and its variance there."""
    zero = np.zeros(levels[0].mean.size) + (dark.offset if dark is not None else -joined.intercept / joined.slope)
    if dark is None:
        return zero, 0.0
    if dark.variance is not None:
        return zero, dark.variance
    return zero, joined.intercept + joined.slope * float(np.median(zero))


def _scatter(joined: PhotonTransfer, levels: Sequence[Pixels], zero: Array, floor: Array | float) -> float:
    """Relative σ of the pixels' gains: what their deviations from the line have in common at different levels."""
    ratios = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for level in levels:
            light = joined.slope * (level.mean - zero)
            taken = _is_clear(joined, level, zero, floor)
            ratio = np.where(taken, (level.variance - floor) / light, np.nan)
            ratios.append(
                ratio / np.nanmedian(ratio) - 1 if taken.sum() >= MIN_PIXELS else np.full(ratio.shape, np.nan)
            )
    products = np.concatenate([a * b for n, a in enumerate(ratios) for b in ratios[n + 1 :]])
    products = products[np.isfinite(products)]
    if len(products) < MIN_PIXELS:
        return joined.scatter
    kept = products[np.abs(products) < 10 * np.std(products)]
    common, error = float(kept.mean()), float(kept.std()) / np.sqrt(len(kept))
    return float(np.sqrt(common)) if common > max(SCATTER_SD * error, 1e-4) else 0.0


def _is_clear(joined: PhotonTransfer, level: Pixels, zero: Array, floor: Array | float) -> np.ndarray:
    """Which pixels (p,) of a level show the noise of light, three standard errors of it."""
    lit = joined.slope * (level.mean - zero)
    clear = lit > 3 * np.sqrt(2 / level.frames) * (lit + np.mean(floor))
    return np.asarray(clear & ~level.saturated & np.isfinite(level.variance))


def _dark_level(levels: Sequence[Pixels]) -> float:
    """The mean without light that the line of one level gives, the brightest that gives any."""
    for level in sorted(levels, key=lambda level: -float(np.nanmedian(level.mean))):
        line = fit_photon_transfer(level)
        if not line.reason:
            return float(-line.intercept / line.slope + (READ_E2 * line.slope if level.excess_noise == 1 else 0.0))
    return 0.0


def _without_flicker(level: Pixels, dark: Dark | None, dark_level: float) -> Pixels:
    """The level as under an illumination that never changes; pixels that move are counted as saturated."""
    with np.errstate(invalid="ignore", divide="ignore"):
        x = level.mean - (dark.offset if dark is not None else 0.0)
        noise = Noise(level, dark, x, dark_level)
        flicker2, _, common, _, _ = noise.scalars(dark_level)
        variance = noise.variance - flicker2 * (x - dark_level) ** 2
        left_out = level.saturated | noise.moving(dark_level, 6.0)
        effects = shared_effects(level, noise, dark, dark_level)
    frames = int(noise.dof) + 1
    return _settled(level, (level.mean, variance, left_out), frames, common, effects)


def _settled(
    of: Pixels,
    columns: tuple[Array, Array, np.ndarray],
    frames: int,
    common: float,
    effects: tuple[tuple[str, Measured], ...],
) -> Pixels:
    """Pixels (mean, variance, left out) under an illumination that is known to be steady."""
    mean, variance, left_out = columns
    total = float(np.nansum(variance))
    return replace(
        of, mean=mean, variance=variance, steps_variance=variance, total_variance=total, total_steps_variance=total,
        frames=frames, pairs=frames - 1, saturated=left_out, common=common, shared=None, effects=effects,
    )  # fmt: skip


def _strided(level: Pixels, every: int) -> Pixels:
    if every == 1:
        return level
    columns = level.mean[::every], level.variance[::every], level.saturated[::every]
    return _settled(level, columns, level.frames, level.common, level.effects)


def _joined(levels: Sequence[Pixels]) -> Pixels:
    columns = zip(*((level.mean, level.variance, level.saturated) for level in levels), strict=True)
    joined = tuple(np.concatenate(column) for column in columns)
    frames, common = min(level.frames for level in levels), max(level.common for level in levels)
    effects = tuple(effect for level in levels for effect in level.effects)
    return _settled(levels[0], joined, frames, common, effects)  # type: ignore[arg-type]


def _repeated(dark: Dark | None, levels: int, every: int) -> Dark | None:
    if dark is None:
        return None
    maps = [np.tile(m[::every], levels) if isinstance(m, np.ndarray) else m for m in (dark.offset, dark.variance)]
    return replace(dark, offset=maps[0], variance=maps[1])  # type: ignore[arg-type]


def _with_gains(joined: PhotonTransfer, levels: Sequence[Pixels], zero: Array, floor: Array | float) -> PhotonTransfer:
    inverse, weight = np.zeros(zero.size), np.zeros(zero.size)
    for level in levels:
        x, y = level.mean - zero, level.variance - floor
        taken = np.where(_is_clear(joined, level, zero, floor), float(level.frames), 0.0)
        inverse += taken * np.divide(y, x, out=np.zeros_like(x), where=taken > 0)
        weight += taken
    known = (weight > 0) & (inverse > 0)
    gains = np.full(zero.size, np.nan)
    gains[known] = levels[0].excess_noise * weight[known] / inverse[known] * (1 - 2 / weight[known])
    used = ~np.any([level.saturated for level in levels], axis=0)
    joined = replace(joined, gains=gains, variance=None, used=used)
    if joined.scatter:  # the same pixels at every level: their scatter counts once
        gain, error = typical_gain(gains[used & known])
        error = float(np.hypot(error, joined.doubt))
        low, high = gain * (1 - Z95 * error), gain * (1 + Z95 * error)
        joined = replace(joined, gain=gain, interval=(low, high))
    return joined
