"""Images of a day's field that are compared with another day's: tissue and cells, of one contrast everywhere."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .day import Day

CONTRAST_RADII = 1.5  # contrast is taken relative to that around, σ in cell radii: shading and expression go
CENTRE_RADII, CENTRE_PX = 0.4, 1.0  # σ of a cell's centre; whole discs overlap by chance three times as often
LIMIT = 3.0  # of contrast: one bright cell or vessel shall not decide


def field_images(day: Day, radius_px: float) -> np.ndarray:
    """Return (2, y, x) float32: local contrast of the day's image beside its cells, and all cells' centres.

    Both have mean 0 and about variance 1; unknown pixels are 0, and cells in the first: what is bright there is bright
    on the days that a cell is active. With them 20 % common cells were too few to find the field by.
    """
    centres = np.zeros(day.shape)
    at = np.rint(day.centres_px).astype(int)
    centres[at[:, 0], at[:, 1]] = 1
    shown = ndimage.gaussian_filter(centres, max(CENTRE_RADII * radius_px, CENTRE_PX))
    shown -= shown.mean()
    cells = np.asarray(day.footprints.sum(1)).reshape(day.shape) > 0
    return np.stack([local_contrast(day.image, ~cells, radius_px), (shown / shown.std()).astype(np.float32)])


def local_contrast(image: np.ndarray, used: np.ndarray, radius_px: float) -> np.ndarray:
    """Return an image (y, x) less its surroundings, in units of their standard deviation; 0 where it is not used."""
    used = used & np.isfinite(image)
    if not used.any():
        return np.zeros(image.shape, np.float32)
    sigma = CONTRAST_RADII * radius_px
    weight = ndimage.gaussian_filter(used.astype(float), sigma)
    around = ndimage.gaussian_filter(np.where(used, image, 0.0), sigma) / np.maximum(weight, 1e-3)
    high = np.where(used, image - around, 0.0)
    weight = ndimage.gaussian_filter(used.astype(float), 2 * sigma)
    scatter = np.sqrt(ndimage.gaussian_filter(high**2, 2 * sigma) / np.maximum(weight, 1e-3))
    return _scaled(high / np.maximum(scatter, 1e-3 * scatter.max() + 1e-12))


def _scaled(image: np.ndarray) -> np.ndarray:
    sd = image.std()
    return np.asarray(np.clip(image / (sd if sd > 0 else 1), -LIMIT, LIMIT), np.float32)


def binned(images: np.ndarray, k: int) -> np.ndarray:
    """Return means of k × k pixels of images (n, y, x), of variance 1; what is left at the end of a side is cut off.

    Fine texture loses more variance to means than cells do, and shall not lose its say with it.
    """
    n, height, width = images.shape
    rows, columns = height // k, width // k
    cut = images[:, : rows * k, : columns * k].reshape(n, rows, k, columns, k)
    means = cut.mean((2, 4))
    sd = means.std((1, 2), keepdims=True)
    return np.asarray(means / np.where(sd > 0, sd, 1), np.float32)
