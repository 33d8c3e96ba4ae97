"""Summary images of a movie: local correlation, peak-to-noise ratio, and masks from a structural channel."""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndi

from ..core.errors import ConfigError


def local_correlation(movie: np.ndarray) -> np.ndarray:
    """Return the mean temporal correlation (y, x) of each pixel of a movie (t, y, x) with its four neighbours.

    Raises ConfigError for fewer than three frames.
    """
    frames = _movie(movie)
    mean, sigma = frames.mean(0, dtype=np.float64), frames.std(0, dtype=np.float64)
    total, neighbours = np.zeros((2, *mean.shape))
    for a, b in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        product = np.zeros(mean[a].shape)
        for frame in frames:
            deviation = frame - mean
            product += deviation[a] * deviation[b]
        scale = sigma[a] * sigma[b] * len(frames)
        correlation = np.divide(product, scale, out=np.zeros_like(product), where=scale > 0)
        for part in (a, b):
            total[part] += correlation
            neighbours[part] += 1
    return total / np.maximum(neighbours, 1)


def peak_to_noise(movie: np.ndarray) -> np.ndarray:
    """Return (maximum − median) / noise σ of each pixel (y, x) of a movie (t, y, x); 0 where the noise is 0.

    The noise σ comes from the median absolute difference of consecutive frames. Raises ConfigError for fewer than three
    frames.
    """
    frames = _movie(movie).astype(np.float32)
    noise = np.median(np.abs(np.diff(frames, axis=0)), axis=0) / (0.6745 * np.sqrt(2))
    rise = frames.max(0) - np.median(frames, axis=0)
    return np.divide(rise, noise, out=np.zeros_like(rise), where=noise > 0)


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
