"""How a template is smoothed before its slopes are taken, and what of the normal matrix its own noise causes."""

from __future__ import annotations

import numpy as np

from .interpolation_weights import interpolation_weights
from .kernels.template_images import SECANT


def _gaussian(sigma_px: float, radius: int) -> np.ndarray:
    x = np.arange(-radius, radius + 1)
    kernel = np.exp(-(x**2) / (2 * sigma_px**2))
    return (kernel / kernel.sum()).astype(np.float32)


# Smoothing kernels by increasing width: a narrow one for a template of little noise, a wide one for a noisy one.
KERNELS = (
    np.array([1, 2, 1], np.float32) / 4,
    np.array([1, 4, 6, 4, 1], np.float32) / 16,
    _gaussian(1.4, 5),
    _gaussian(2.0, 6),
)


def noise_shares(interpolation: np.ndarray) -> list[tuple[float, float]]:
    """For each smoothing kernel the noise bias of H per pixel of one frame: (slopes, intensity).

    The template's noise, correlated by interpolation, is in V and in the slopes alike: ⟨smoothed slope, slope⟩ and
    ⟨smoothed, itself⟩ of unit white noise.
    """
    weights = interpolation_weights((np.arange(40) + 0.5) / 40, interpolation).T.astype(float)
    correlation = np.mean([np.correlate(w, w, "full") for w in weights], axis=0)
    secant = np.array([-SECANT[2], -SECANT[1], -SECANT[0], 0, *SECANT])
    shares = []
    for kernel in KERNELS:
        slope = np.convolve(kernel, [-0.5, 0, 0.5])
        along, across = _inner(slope, secant, correlation), _inner(kernel, np.ones(1), correlation)
        shares.append((along * across, across**2))
    return shares


def _inner(one: np.ndarray, other: np.ndarray, correlation: np.ndarray) -> float:
    n = 41
    a, b = (np.pad(k, ((n - len(k)) // 2)) for k in (one, other))
    return float(np.convolve(a, correlation, "same") @ b)
