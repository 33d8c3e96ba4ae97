"""Interpolation of images by the type-II discrete cosine transform (DCT-II)."""

import numpy as np
import scipy

from .kernels.seen import inside, seen_window


def interpolate_seen(images, factor):  # type: ignore[no-untyped-def]
    """Return `interpolate_cosine` of images (n, y, x) of which not all was seen: NaN outside the seen rows and columns.

    Inside them a NaN pixel takes the value of the nearest seen one, and the points within a pixel of it are NaN.
    """
    if not np.isnan(images).any():
        return interpolate_cosine(images, factor)
    height, width = ((side - 1) * factor + 1 for side in images.shape[1:])
    fine = np.full((len(images), height, width), np.nan)
    for image, out in zip(images, fine, strict=True):
        rows, columns = inside(seen_window(image))
        part, missing = image[rows, columns], np.isnan(image[rows, columns])
        if not part.size:
            continue
        nearest = scipy.ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
        within = interpolate_cosine(part[tuple(nearest)], factor)
        on_grid = np.zeros(within.shape, bool)
        on_grid[::factor, ::factor] = missing
        within[scipy.ndimage.binary_dilation(on_grid, np.ones((2 * factor - 1,) * 2))] = np.nan
        at = tuple(slice(part.start * factor, (part.stop - 1) * factor + 1) for part in (rows, columns))
        out[at] = within
    return fine


def interpolate_cosine(images, factor):  # type: ignore[no-untyped-def]
    """Return (…, (y − 1)·factor + 1, (x − 1)·factor + 1): the images (…, y, x) at steps of 1/factor pixels.

    Separable: x(u) = 1/n [X_0 + 2 Σ_k X_k cos(π k (u + ½) / n)] with X the DCT-II; at u = 0, 1, 2 … it is the image.
    Two transforms of factor times the length along each axis.
    """
    for axis in (-2, -1):
        images = _along(images, factor, axis)
    return images


def _along(images, factor, axis):  # type: ignore[no-untyped-def]
    n = images.shape[axis]
    if factor == 1 or n == 1:
        return np.array(images)
    spectrum = np.moveaxis(scipy.fft.dct(images, 2, axis=axis), axis, -1)
    # u + ½ = (i + factor/2) / factor: integer steps of a DCT-I for even factors, half steps of a DCT-III for odd ones
    length = n * factor + (factor % 2 == 0)
    padded = np.zeros((*spectrum.shape[:-1], length), spectrum.dtype)
    padded[..., :n] = spectrum / (2 * n)
    fine = scipy.fft.dct(padded, 1 if factor % 2 == 0 else 3, axis=-1)
    first = factor // 2
    return np.ascontiguousarray(np.moveaxis(fine[..., first : first + (n - 1) * factor + 1], -1, axis))


def interpolate_mirrored(images, factor, xp):  # type: ignore[no-untyped-def]
    """`interpolate_cosine` of images of the array namespace `xp`, by Fourier transforms alone.

    The transform of an image and its mirror image, 2 n long, is the DCT-II but for the phase of half a pixel: padded to
    2 n · factor it gives the points between.
    """
    for axis in (-2, -1):
        n = images.shape[axis]
        if factor == 1 or n == 1:
            continue
        spectrum = xp.fft.rfft(xp.concatenate([images, xp.flip(images, axis)], axis), axis=axis)
        kept = [slice(None)] * images.ndim
        kept[axis] = slice(0, n)
        fine = xp.fft.irfft(spectrum[tuple(kept)], 2 * n * factor, axis=axis)
        kept[axis] = slice(0, (n - 1) * factor + 1)
        images = fine[tuple(kept)] * factor
    return images
