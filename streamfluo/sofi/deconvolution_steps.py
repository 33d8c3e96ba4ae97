"""Deconvolution of images, mirror-extended at the borders.

`xp` is where the images are: numpy, or the array namespace of a card, whose Fourier transforms are taken then.
"""

import numpy as np
import scipy.fft
from scipy.fft import next_fast_len

GUARD = np.sqrt(np.finfo(float).eps)


def _transforms(xp):  # type: ignore[no-untyped-def]
    return scipy.fft if xp is np else xp.fft  # numpy's own take twice as long


def convolve(image, psf, xp=np):  # type: ignore[no-untyped-def]
    """Return the image (y, x), mirrored beyond its borders, convolved with a PSF of odd sides."""
    margins = [(side // 2, side // 2) for side in psf.shape]
    return _convolve_inside(xp.pad(image, margins, "symmetric"), psf, xp)


def _convolve_inside(image, kernel, xp=np):  # type: ignore[no-untyped-def]
    """Convolve where the kernel lies entirely inside the image, by FFT (scipy.signal takes a second to load)."""
    shape = [next_fast_len(side, real=True) for side in image.shape]
    fft = _transforms(xp)
    convolved = fft.irfft2(fft.rfft2(image, shape) * fft.rfft2(kernel, shape), shape)
    return convolved[kernel.shape[0] - 1 : image.shape[0], kernel.shape[1] - 1 : image.shape[1]]


def lucy_step(estimate, data, psf, xp=np):  # type: ignore[no-untyped-def]
    """Return one Richardson–Lucy step from an estimate: estimate · [(data / (estimate ∗ psf)) ∗ psf mirrored].

    The divisor is at least √eps of its largest value; 0 / 0 is 0.
    """
    blurred = convolve(estimate, psf, xp)
    least = GUARD * xp.maximum(xp.abs(blurred).max(), np.finfo(float).tiny)
    ratio = data / xp.maximum(blurred, least)
    return estimate * convolve(ratio, psf[::-1, ::-1], xp)


def shrink_kernel(image, psf, exponent, iterations, xp=np):  # type: ignore[no-untyped-def]
    """Return the image after Richardson–Lucy steps with psf^(λ^k / (λ − 1)), k = 1 … n, each on the result of the last.

    λ is `exponent`; the powers are normalised to a sum of 1.
    """
    peak = psf / psf.max()
    for k in range(1, iterations + 1):
        kernel = peak ** (exponent**k / (exponent - 1))
        image = lucy_step(image, image, kernel / kernel.sum(), xp)
    return image


def gaussian_psf(sigma_px):  # type: ignore[no-untyped-def]
    """Return a Gaussian (side, side) with sum 1, cut at 4 σ."""
    reach = max(1, int(np.ceil(4 * sigma_px)))
    line = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma_px**2))
    psf = np.outer(line, line)
    return psf / psf.sum()


def blind_lucy(psf, data, estimate):  # type: ignore[no-untyped-def]
    """Return the PSF after one Richardson–Lucy step with the estimate as the blurring kernel; its sum stays 1."""
    ratio = data / np.maximum(convolve(estimate, psf), GUARD * max(data.max(), np.finfo(float).tiny))
    margins = [(side // 2, side // 2) for side in psf.shape]
    shifted = np.pad(estimate, margins, "symmetric")
    seen = _convolve_inside(shifted, ratio[::-1, ::-1])[::-1, ::-1]
    psf = np.maximum(psf * seen, 0)
    return psf / psf.sum()


def wiener_filter(image, psf, snr, xp=np):  # type: ignore[no-untyped-def]
    """Return the image filtered by H* / (|H|² + 1 / snr), mirrored beyond its borders."""
    margins = [(side // 2, side // 2) for side in psf.shape]
    padded = xp.pad(image, margins, "symmetric")
    kernel = xp.zeros_like(padded)
    kernel[: psf.shape[0], : psf.shape[1]] = psf
    fft = _transforms(xp)
    transfer = fft.rfft2(xp.roll(kernel, tuple(-(side // 2) for side in psf.shape), (0, 1)))
    filtered = fft.rfft2(padded) * transfer.conj() / (xp.abs(transfer) ** 2 + 1 / snr)
    result = fft.irfft2(filtered, padded.shape)
    return result[margins[0][0] : -margins[0][0] or None, margins[1][0] : -margins[1][0] or None]
