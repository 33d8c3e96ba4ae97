"""Deconvolution of cumulant images."""

from __future__ import annotations

from typing import Any

import numpy as np

from .array_checks import as_image, as_psf, require
from .deconvolution_steps import blind_lucy, lucy_step, shrink_kernel, wiener_filter


def shrinking_kernel_deconvolve(image: Any, psf: Any, exponent: float = 1.5, iterations: int = 20) -> np.ndarray:
    """Return the image (y, x) after single Richardson–Lucy steps with psf^(λ^k / (λ − 1)), k = 1 … iterations.

    Each step's result is the data of the next, which limits noise amplification; λ is `exponent` > 1. The image is
    mirrored beyond its borders, the PSF (odd sides) normalised. Yi & Weiss 2019, Opt. Express 27:33252 (after
    Richardson 1972, J. Opt. Soc. Am. 62:55). Raises FrameError.
    """
    image, psf = as_image(image, "shrinking_kernel_deconvolve"), as_psf(psf, "shrinking_kernel_deconvolve")
    require(exponent > 1, f"shrinking_kernel_deconvolve: exponent is above 1, found {exponent}")
    require(iterations >= 0, f"shrinking_kernel_deconvolve: iterations is 0 or more, found {iterations}")
    return np.asarray(shrink_kernel(image, psf, exponent, iterations))


def richardson_lucy(
    image: Any, psf: Any, iterations: int, blind: bool = False
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Return the Richardson–Lucy estimate (y, x) that starts from the image; with `blind` also the estimated PSF.

    Blind: a step of the PSF after each step of the image (Fish et al. 1995, J. Opt. Soc. Am. A 12:58); use few
    iterations, as even a correct PSF is sharpened further. Negative pixels count as zero, as the method is for counts.
    Richardson 1972, J. Opt. Soc. Am. 62:55. Raises FrameError.
    """
    image, psf = np.maximum(as_image(image, "richardson_lucy"), 0), as_psf(psf, "richardson_lucy")
    require(iterations >= 0, f"richardson_lucy: iterations is 0 or more, found {iterations}")
    estimate = image
    for _ in range(iterations):
        estimate = lucy_step(estimate, image, psf)
        if blind:
            psf = blind_lucy(psf, image, estimate)
    return (np.asarray(estimate), psf) if blind else np.asarray(estimate)


def wiener(image: Any, psf: Any, snr: float) -> np.ndarray:
    """Return the image (y, x) filtered by H* / (|H|² + 1 / snr), H the PSF's transform, snr a ratio of powers.

    Mirrored beyond its borders. Wiener 1949, Extrapolation, Interpolation and Smoothing. Raises FrameError.
    """
    image, psf = as_image(image, "wiener"), as_psf(psf, "wiener")
    require(snr > 0, f"wiener: snr is a positive ratio of powers, found {snr}")
    return np.asarray(wiener_filter(image, psf, snr))
