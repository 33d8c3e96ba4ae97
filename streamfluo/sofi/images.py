"""Interpolation, compression, linearisation and balancing of images; projections of a movie."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy

from ..pixels.cosine_interpolation import interpolate_cosine
from ..pixels.kernels.two_state import balanced, linear_root
from .array_checks import as_image, as_stack, require
from .compression import compress_locally


class Balance(NamedTuple):
    """Maps (y, x): on-ratio 0 … 1, brightness [ADU a frame while on], density [emitters in a PSF]; NaN: no solution."""

    on_ratio: np.ndarray
    brightness: np.ndarray
    density: np.ndarray


def fourier_interpolate(image: Any, factor: int) -> np.ndarray:
    """Return the image, or movie, (…, (y − 1)·factor + 1, (x − 1)·factor + 1), float64; negative values stay negative.

    Cosine interpolation (DCT-II) along both axes, exact at the pixels. Raises FrameError.
    """
    array = np.asarray(image)
    require(
        array.ndim >= 2 and array.size > 0 and array.dtype.kind in "biuf",
        f"fourier_interpolate: an image is (y, x) of numbers, found {array.shape} {array.dtype}",
    )
    require(isinstance(factor, int) and factor >= 1, f"fourier_interpolate: factor is 1, 2, 3 …, found {factor!r}")
    return np.asarray(interpolate_cosine(array.astype(float), factor))


def ldrc(image: Any, mask: Any, window: tuple[int, int] = (25, 25)) -> np.ndarray:
    """Return the image with its dynamic range compressed locally to that of the mask, (y, x) in the mask's unit.

    In a `window` (h, w) at every position the image is stretched to 0 … max(mask); a pixel is the average over the
    windows that cover it, constant windows give zero. A mask of another size is resampled first:
    piecewise cubic, with aligned corners, which takes seconds for 512 × 512. Yi & Weiss 2019, Opt. Express 27:33252.
    Raises FrameError.
    """
    image, mask = as_image(image, "ldrc"), as_image(mask, "ldrc", "mask")
    fits = len(window) == 2 and all(1 <= w <= side for w, side in zip(window, image.shape, strict=True))
    require(fits, f"ldrc: window is (h, w) inside the image {image.shape}, found {window}")
    if mask.shape != image.shape:
        mask = _resampled(mask, image.shape)
    return np.asarray(compress_locally(image, mask, tuple(window)))


def linearise(image: Any, order: int) -> np.ndarray:
    """Return the signed order-th root of a cumulant image [ADU], which is linear in brightness.

    Geissbuehler et al. 2012, Opt. Nanoscopy 1:4. Raises FrameError.
    """
    require(isinstance(order, int) and order >= 1, f"linearise: order is 1, 2, 3 …, found {order!r}")
    return np.asarray(linear_root(np.asarray(image, float), order))


def balance(k2: Any, k3: Any, k4: Any) -> Balance:
    """Return maps of on-ratio, brightness and density of two-state emitters from noise-free cumulants.

    With a = k3/k2 and b = k4/k2: ε = √(3a² − 2b), ρ = ½ − a/2ε, N = k2 / (ε² ρ(1 − ρ)); NaN without a solution.
    Exact at an isolated emitter. Geissbuehler et al. 2012, Opt. Nanoscopy 1:4. Raises FrameError.
    """
    images = [np.asarray(k, float) for k in (k2, k3, k4)]
    shapes = [k.shape for k in images]
    require(len(set(shapes)) == 1, f"balance: k2, k3 and k4 have one shape, found {shapes}")
    return Balance(*balanced(*images))


def average_image(stack: Any) -> np.ndarray:
    """Return the mean of a movie (t, y, x) over time (y, x), float64 [ADU]. Raises FrameError."""
    return np.asarray(as_stack(stack, "average_image").mean(0, dtype=float))


def minimum_image(stack: Any) -> np.ndarray:
    """Return the smallest value of each pixel (y, x) of a movie (t, y, x), in its type [ADU]. Raises FrameError."""
    return np.asarray(as_stack(stack, "minimum_image").min(0))


def total_signal(stack: Any) -> np.ndarray:
    """Return the sum over the pixels of each frame (t,) of a movie (t, y, x), float64 [ADU]. Raises FrameError."""
    return np.asarray(as_stack(stack, "total_signal").sum((1, 2), dtype=float))


def _resampled(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    require(min(mask.shape) > 1, f"ldrc: a mask {mask.shape} cannot be resampled to {shape}")
    known = np.meshgrid(*(np.arange(side) for side in mask.shape), indexing="ij")
    wanted = np.meshgrid(*(np.linspace(0, a - 1, b) for a, b in zip(mask.shape, shape, strict=True)), indexing="ij")
    return np.asarray(
        scipy.interpolate.griddata(tuple(k.ravel() for k in known), mask.ravel(), tuple(wanted), method="cubic")
    )
