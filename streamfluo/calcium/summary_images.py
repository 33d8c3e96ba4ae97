"""Summary images of a movie: local correlation, peak-to-noise ratio, and masks from a structural channel."""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndi

from ..core.errors import ConfigError

LEAST_FRAMES = 3  # in which a pixel, or both of a pair, must have been seen


def local_correlation(movie: np.ndarray) -> np.ndarray:
    """Return the mean temporal correlation (y, x) of each pixel of a movie (t, y, x) with its four neighbours.

    Each correlation is that of the frames in which both pixels are not NaN, three or more; NaN for a pixel that has
    fewer. Raises ConfigError for fewer than three frames.
    """
    frames = _movie(movie)
    total, neighbours = np.zeros((2, *frames.shape[1:]))
    for a, b in ((np.s_[..., 1:, :], np.s_[..., :-1, :]), (np.s_[..., 1:], np.s_[..., :-1])):
        correlation, seen = _correlation(frames[a], frames[b])
        for part in (a, b):
            total[part] += np.where(seen >= LEAST_FRAMES, correlation, 0)
            neighbours[part] += seen >= LEAST_FRAMES
    return _known(total / np.maximum(neighbours, 1), frames)


def _correlation(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the correlation of each pixel of two movies, 0 where one is constant, and the frames that both have."""
    means, seen = np.zeros((2, *one.shape[1:])), np.zeros(one.shape[1:])
    for pair in zip(one, other, strict=True):
        both = ~(np.isnan(pair[0]) | np.isnan(pair[1]))
        means += np.where(both, pair, 0)
        seen += both
    means /= np.maximum(seen, 1)
    variances, covariance = np.zeros_like(means), np.zeros_like(seen)
    for pair in zip(one, other, strict=True):
        both = ~(np.isnan(pair[0]) | np.isnan(pair[1]))
        deviations = np.where(both, pair - means, 0)
        variances += deviations**2
        covariance += deviations[0] * deviations[1]
    scale = np.sqrt(variances[0]) * np.sqrt(variances[1])
    return np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0), seen


def peak_to_noise(movie: np.ndarray) -> np.ndarray:
    """Return (maximum − mean) / noise σ of each pixel (y, x) of a movie (t, y, x); 0 where the noise is 0.

    The noise σ is √π/2 of the mean absolute difference of consecutive frames: that of normal noise, to which transients
    add their rise, not its square. NaN is left out; NaN for a pixel that fewer than three frames have, or no two
    consecutive ones. Raises ConfigError for fewer than three frames.
    """
    frames = _movie(movie)
    total, seen, steps, pairs = np.zeros((4, *frames.shape[1:]))
    highest, before = np.full(total.shape, -np.inf), np.full(total.shape, np.nan)
    for frame in frames.astype(float):
        step = np.abs(frame - before)
        total += np.where(np.isnan(frame), 0, frame)
        seen += ~np.isnan(frame)
        steps += np.where(np.isnan(step), 0, step)
        pairs += ~np.isnan(step)
        highest = np.fmax(highest, frame)
        before = frame
    with np.errstate(all="ignore"):
        noise, rise = steps / pairs * (np.sqrt(np.pi) / 2), highest - total / seen
    ratio = np.divide(rise, noise, out=np.zeros_like(rise), where=~(noise == 0))
    return _known(ratio, frames)


def _known(image: np.ndarray, frames: np.ndarray) -> np.ndarray:
    seen = len(frames) - np.isnan(frames).sum(0) if frames.dtype.kind == "f" else len(frames)
    return np.where(seen >= LEAST_FRAMES, image, np.nan)


def masks_from_structure(image: np.ndarray, neuron_sigma_px: float = 4.0, threshold: float = 3.0) -> np.ndarray:
    """Return masks (n, y, x) bool of the bright cells in a structural image (y, x), for `seeds` of extract.

    A difference of Gaussians is thresholded at `threshold` times its robust σ; touching cells are split between their
    peaks. Raises ConfigError for an image that is not finite or not (y, x).
    """
    picture = np.asarray(image, float)
    if picture.ndim != 2 or not np.isfinite(picture).all():
        raise ConfigError(f"masks_from_structure: expected a finite image (y, x), found {picture.shape}")
    cell = neuron_sigma_px / 2
    contrast = ndi.gaussian_filter(picture, cell) - ndi.gaussian_filter(picture, 4 * cell)
    sigma = 1.4826 * np.median(np.abs(contrast - np.median(contrast)))
    bright = contrast > threshold * sigma
    peaks = bright & (contrast == ndi.maximum_filter(contrast, size=2 * round(neuron_sigma_px) + 1))
    seeds, count = ndi.label(peaks)
    if not count:
        return np.zeros((0, *picture.shape), bool)
    nearest = ndi.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    owner = np.where(bright, seeds[tuple(nearest)], 0)
    masks = np.array([owner == label for label in range(1, count + 1)])
    large: np.ndarray = masks[masks.sum((1, 2)) >= np.pi * cell**2 / 2]
    return large


def _movie(movie: np.ndarray) -> np.ndarray:
    frames = np.asarray(movie)
    if frames.ndim != 3 or len(frames) < 3:
        raise ConfigError(f"a movie is (t, y, x) of three frames or more, found {frames.shape}")
    return frames
