"""The emission model: the likelihood of an intensity when z emitters are on, and its derivatives.

The mean is m_z = mu · z + mu_bg. Lognormal: log x ~ N(log m_z, sigma²). Camera, in electrons: x ~ N(m_z, m_z + sigma²),
shot noise and a constant noise of sigma (read noise, and that of a subtracted background). An outlier falls into any of
`bins` bins with probability p_outlier / bins: P_z(x) = (1 − p_outlier) · density_z(x) · width + p_outlier / bins is the
probability of a bin around an intensity that is not rounded.
"""

import math
from typing import NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel

HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
FAINTEST = -600.0  # log-likelihood relative to the frame's most likely z: smaller values are set to it
LOG2_E, LN2_HIGH, LN2_LOW = 1 / math.log(2), 0.693145751953125, 1.42860682030941723212e-6
POWERS_OF_2 = 2.0 ** np.arange(-900, 1)


class EmissionModel(NamedTuple):
    """Parameters of the emission model.

    `camera`: camera or lognormal. `brightness` (mu, mu_bg, sigma; lane). `mixing`: logarithms of
    (1 − p_outlier) · width and of p_outlier / bins.
    """

    camera: bool
    brightness: np.ndarray
    mixing: tuple[float, float]


class Emission(NamedTuple):
    """Emission probabilities of a trace, relative to exp(peak) in each frame.

    `probability[t, z, lane]` = P_z(x_t) / exp(peak); `outlier[t, lane]`: the outliers' part of it; `peak[t, lane]`.
    """

    probability: np.ndarray
    outlier: np.ndarray
    peak: np.ndarray


@kernel(inline="always")
def _exp(x):  # type: ignore[no-untyped-def]
    """Return e^x for FAINTEST ≤ x ≤ 0 within two ulp. It vectorises: 1.7 ns instead of the library's 8.

    A NaN would index the table of powers outside of it: max(FAINTEST, x) is FAINTEST then, max(x, FAINTEST) is NaN.
    """
    doublings = math.floor(x * LOG2_E + 0.5)
    r = x - doublings * LN2_HIGH - doublings * LN2_LOW
    p = 1 / 6227020800.0
    p = p * r + 1 / 479001600.0
    p = p * r + 1 / 39916800.0
    p = p * r + 1 / 3628800.0
    p = p * r + 1 / 362880.0
    p = p * r + 1 / 40320.0
    p = p * r + 1 / 5040.0
    p = p * r + 1 / 720.0
    p = p * r + 1 / 120.0
    p = p * r + 1 / 24.0
    p = p * r + 1 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return p * POWERS_OF_2[np.int64(doublings) + len(POWERS_OF_2) - 1]


@kernel(error_model="numpy")
def fill_emission(x, model, levels, emission):  # type: ignore[no-untyped-def]
    """Fill an Emission for z < levels from x (t, lane): electrons, or the logarithm of intensities.

    A NaN is not measured: its probability and outlier are 1, its peak is 0. Cost: 3 ns for each z.
    """
    lanes = x.shape[1]
    centre, spread, height = np.empty((levels, lanes)), np.empty((levels, lanes)), np.empty((levels, lanes))
    _moments(model, centre, spread)
    for z in range(levels):
        for lane in range(lanes):
            height[z, lane] = model.mixing[0] - math.log(spread[z, lane]) - HALF_LOG_TAU
    for t in range(len(x)):
        seen, best, outlier = x[t], emission.peak[t], emission.outlier[t]
        best[:] = model.mixing[1]
        for z in range(levels):
            here, m, s, h = emission.probability[t, z], centre[z], spread[z], height[z]
            for lane in range(lanes):
                value = seen[lane] if seen[lane] == seen[lane] else m[lane]  # NaN would index the table of powers
                away = (value - m[lane]) / s[lane]
                here[lane] = h[lane] - 0.5 * away * away - (0.0 if model.camera else value)  # density of x, not log x
                best[lane] = max(best[lane], here[lane])
        for lane in range(lanes):
            outlier[lane] = math.exp(model.mixing[1] - best[lane])
        for z in range(levels):
            here = emission.probability[t, z]
            for lane in range(lanes):
                here[lane] = _exp(max(FAINTEST, here[lane] - best[lane])) + outlier[lane]
        for lane in range(lanes):
            if math.isnan(seen[lane]):
                best[lane], outlier[lane] = 0.0, 1.0
                emission.probability[t, :, lane] = 1.0


@kernel
def _moments(model, centre, spread):  # type: ignore[no-untyped-def]
    """Fill the mean and standard deviation (z, lane) of the Gaussian of each z, in electrons or log-intensity."""
    for z in range(len(centre)):
        for lane in range(centre.shape[1]):
            mean = model.brightness[0, lane] * z + model.brightness[1, lane]
            sigma = model.brightness[2, lane]
            centre[z, lane] = mean if model.camera else math.log(mean)
            spread[z, lane] = math.sqrt(max(mean, 0.0) + sigma * sigma) if model.camera else sigma


@kernel(error_model="numpy")
def add_emission_slopes(x, model, emission, occupancy, slopes):  # type: ignore[no-untyped-def]
    """Add Σ occupancy[t, z, lane] · ∂ log P_z(x_t) / ∂(mu, mu_bg, sigma) to slopes[0 … 2, lane]."""
    levels, lanes = occupancy.shape[1:]
    brightness = model.brightness
    centre, spread = np.empty((levels, lanes)), np.empty((levels, lanes))
    _moments(model, centre, spread)
    for t in range(len(x)):
        for z in range(levels):
            for lane in range(lanes):
                inlier = occupancy[t, z, lane] * (1.0 - emission.outlier[t, lane] / emission.probability[t, z, lane])
                if inlier < 1e-12:
                    continue  # frames that are not measured have none
                away = (x[t, lane] - centre[z, lane]) / spread[z, lane]
                wide = spread[z, lane]
                if model.camera:
                    by_mean = away / wide
                    if brightness[0, lane] * z + brightness[1, lane] > 0:
                        by_mean += 0.5 * (away * away - 1.0) / (wide * wide)
                    by_sigma = brightness[2, lane] * (away * away - 1.0) / (wide * wide)
                else:
                    by_mean = away / (wide * (brightness[0, lane] * z + brightness[1, lane]))
                    by_sigma = (away * away - 1.0) / wide
                slopes[0, lane] += inlier * by_mean * z
                slopes[1, lane] += inlier * by_mean
                slopes[2, lane] += inlier * by_sigma
