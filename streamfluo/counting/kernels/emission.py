"""How bright z emitters are: the likelihood of an intensity under each z, and its derivatives.

The mean is m_z = mu · z + mu_bg. Lognormal: log x ~ N(log m_z, sigma). Camera, in electrons: x ~ N(m_z, m_z + sigma²),
shot noise and a constant noise of sigma (read noise, and that of a subtracted background). An outlier has any of `bins`
values with probability p_outlier / bins, so P_z(x) = (1 − p_outlier) · density_z(x) · width + p_outlier / bins: the
probability of a bin, of intensities that need not be rounded to bins.
"""

import math

import numpy as np
from numba import njit

HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)
FAINTEST = -600.0  # of the log of a likelihood against that of the frame's likeliest z: then it counts as that
LOG2_E, LN2_HIGH, LN2_LOW = 1 / math.log(2), 0.693145751953125, 1.42860682030941723212e-6
POWERS_OF_2 = 2.0 ** np.arange(-900, 1)


@njit(nogil=True, cache=True, inline="always")
def _exp(x):  # type: ignore[no-untyped-def]
    """e^x for FAINTEST ≤ x ≤ 0 within an ulp or two, in vector registers: 1.7 ns, where the library's takes 8."""
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


@njit(nogil=True, cache=True, error_model="numpy")
def fill_light(x, camera, brightness, mixing, zs, light, outlier, top):  # type: ignore[no-untyped-def]
    """Fill light[t, z, lane] = P_z(x) / exp(top[t, lane]) for z < zs, and the outliers' part of it.

    x (t, lane): electrons, or the log of intensities. brightness (mu, mu_bg, sigma; lane). mixing: log of
    (1 − p_outlier) · width and of p_outlier / bins. NaN says nothing: light is 1, top 0, the outliers' part too.
    Cost: 3 ns a z.
    """
    lanes = x.shape[1]
    middle, spread, height = np.empty((3, zs, lanes))
    _shape(camera, brightness, zs, middle, spread)
    for z in range(zs):
        for lane in range(lanes):
            height[z, lane] = mixing[0] - math.log(spread[z, lane]) - HALF_LOG_TAU
    for t in range(len(x)):
        seen, best = x[t], top[t]
        best[:] = mixing[1]
        for z in range(zs):
            here, m, s, h = light[t, z], middle[z], spread[z], height[z]
            for lane in range(lanes):
                value = seen[lane] if seen[lane] == seen[lane] else m[lane]  # NaN is no place in the table of powers
                away = (value - m[lane]) / s[lane]
                here[lane] = h[lane] - 0.5 * away * away - (0.0 if camera else value)  # over x, not over log x
                best[lane] = max(best[lane], here[lane])
        for lane in range(lanes):
            outlier[t, lane] = math.exp(mixing[1] - best[lane])
        for z in range(zs):
            here, floor = light[t, z], outlier[t]
            for lane in range(lanes):
                here[lane] = _exp(max(here[lane] - best[lane], FAINTEST)) + floor[lane]
        for lane in range(lanes):
            if math.isnan(seen[lane]):
                top[t, lane], outlier[t, lane] = 0.0, 1.0
                light[t, :, lane] = 1.0


@njit(nogil=True, cache=True)
def _shape(camera, brightness, zs, middle, spread):  # type: ignore[no-untyped-def]
    """Centre and width of the Gaussian of each z, in electrons or in log intensity."""
    for z in range(zs):
        for lane in range(middle.shape[1]):
            mean = brightness[0, lane] * z + brightness[1, lane]
            sigma = brightness[2, lane]
            middle[z, lane] = mean if camera else math.log(mean)
            spread[z, lane] = math.sqrt(max(mean, 0.0) + sigma * sigma) if camera else sigma


@njit(nogil=True, cache=True, error_model="numpy")
def add_light_slopes(x, camera, brightness, light, outlier, part, zs, slopes):  # type: ignore[no-untyped-def]
    """Add Σ part[t, z, lane] · ∂ log P_z(x_t) / ∂(mu, mu_bg, sigma) to slopes[0 … 2, lane]."""
    lanes = x.shape[1]
    middle, spread = np.empty((2, zs, lanes))
    _shape(camera, brightness, zs, middle, spread)
    for t in range(len(x)):
        for z in range(zs):
            for lane in range(lanes):
                likely = part[t, z, lane] * (1.0 - outlier[t, lane] / light[t, z, lane])
                if likely < 1e-12:
                    continue  # and so is every frame that was not seen
                away = (x[t, lane] - middle[z, lane]) / spread[z, lane]
                wide = spread[z, lane]
                if camera:
                    by_mean = away / wide
                    if brightness[0, lane] * z + brightness[1, lane] > 0:
                        by_mean += 0.5 * (away * away - 1.0) / (wide * wide)
                    by_sigma = brightness[2, lane] * (away * away - 1.0) / (wide * wide)
                else:
                    by_mean = away / (wide * (brightness[0, lane] * z + brightness[1, lane]))
                    by_sigma = (away * away - 1.0) / wide
                slopes[0, lane] += likely * by_mean * z
                slopes[1, lane] += likely * by_mean
                slopes[2, lane] += likely * by_sigma
