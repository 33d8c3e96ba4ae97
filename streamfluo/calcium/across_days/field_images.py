"""Images of a day's field that are compared with another day's: tissue and cells, of one contrast everywhere."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .day import Day

CONTRAST_RADII = 1.5  # contrast is taken relative to that around, σ in cell radii: shading and expression go
CENTRE_RADII, CENTRE_PX = 0.4, 1.0  # σ of a cell's centre; whole discs overlap by chance three times as often
LIMIT = 3.0  # of contrast: one bright cell or vessel shall not decide


def field_images(day: Day, radius_px: float) -> np.ndarray:
    """Return (2, y, x) float32: local contrast of the day's image, and all cells' centres.

    Both have mean 0 and about variance 1; unknown pixels are 0.
    """
    centres = np.zeros(day.shape)
    at = np.rint(day.centres_px).astype(int)
    centres[at[:, 0], at[:, 1]] = 1
    shown = ndimage.gaussian_filter(centres, max(CENTRE_RADII * radius_px, CENTRE_PX))
    shown -= shown.mean()
    return np.stack([local_contrast(day.image, radius_px), (shown / shown.std()).astype(np.float32)])


def local_contrast(image: np.ndarray, radius_px: float) -> np.ndarray:
    """Return an image (y, x) less its surroundings, in units of their standard deviation; 0 where it is not known."""
    known = np.isfinite(image)
    if not known.any():
        return np.zeros(image.shape, np.float32)
    filled = np.where(known, image, np.median(image[known])).astype(float)
    sigma = CONTRAST_RADII * radius_px
    high = filled - ndimage.gaussian_filter(filled, sigma)
    scatter = np.sqrt(ndimage.gaussian_filter(high**2, 2 * sigma))
    flat = high / np.maximum(scatter, 1e-3 * scatter.max() + 1e-12)
    return _scaled(np.where(known, flat, 0))


def _scaled(image: np.ndarray) -> np.ndarray:
    sd = image.std()
    return np.asarray(np.clip(image / (sd if sd > 0 else 1), -LIMIT, LIMIT), np.float32)


def binned(images: np.ndarray, k: int) -> np.ndarray:
    """Return means of k × k pixels of images (n, y, x); what is left at the end of a side is cut off."""
    n, height, width = images.shape
    rows, columns = height // k, width // k
    cut = images[:, : rows * k, : columns * k].reshape(n, rows, k, columns, k)
    return np.asarray(cut.mean((2, 4)), np.float32)
