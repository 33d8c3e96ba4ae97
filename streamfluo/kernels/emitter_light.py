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


@njit(nogil=True, cache=True)
def fill_light(x, camera, brightness, mixing, zs, lanes, light, outlier, top):  # type: ignore[no-untyped-def]
    """Fill light[t, z, lane] = P_z(x) / exp(top[t, lane]) for z < zs, and the outliers' part of it.

    x (t, lane): electrons, or the log of intensities. brightness (mu, mu_bg, sigma; lane). mixing: log of
    (1 − p_outlier) · width and of p_outlier / bins. NaN says nothing: light is 1, top 0, the outliers' part too.
    Cost: an exponential for each z, 5 ns.
    """
    middle, spread = np.empty((zs, len(lanes))), np.empty((zs, len(lanes)))
    _shape(camera, brightness, zs, middle, spread)
    for t in range(len(x)):
        for lane in range(len(lanes)):
            if math.isnan(x[t, lane]):
                top[t, lane], outlier[t, lane] = 0.0, 1.0
                for z in range(zs):
                    light[t, z, lane] = 1.0
                continue
            best = mixing[1]
            area = 0.0 if camera else x[t, lane]  # a density over x, not over log x
            for z in range(zs):
                away = (x[t, lane] - middle[z, lane]) / spread[z, lane]
                light[t, z, lane] = (
                    mixing[0] - 0.5 * away * away - math.log(spread[z, lane]) - HALF_LOG_TAU - area
                )
                best = max(best, light[t, z, lane])
            top[t, lane] = best
            outlier[t, lane] = math.exp(mixing[1] - best)
            for z in range(zs):
                light[t, z, lane] = math.exp(max(light[t, z, lane] - best, FAINTEST)) + outlier[t, lane]


@njit(nogil=True, cache=True)
def _shape(camera, brightness, zs, middle, spread):  # type: ignore[no-untyped-def]
    """Centre and width of the Gaussian of each z, in electrons or in log intensity."""
    for z in range(zs):
        for lane in range(middle.shape[1]):
            mean = brightness[0, lane] * z + brightness[1, lane]
            sigma = brightness[2, lane]
            middle[z, lane] = mean if camera else math.log(mean)
            spread[z, lane] = math.sqrt(max(mean, 0.0) + sigma * sigma) if camera else sigma


@njit(nogil=True, cache=True)
def add_light_slopes(x, camera, brightness, light, outlier, part, zs, lanes, slopes):  # type: ignore[no-untyped-def]
    """Add Σ part[t, z, lane] · ∂ log P_z(x_t) / ∂(mu, mu_bg, sigma) to slopes[0 … 2, lane]."""
    middle, spread = np.empty((zs, len(lanes))), np.empty((zs, len(lanes)))
    _shape(camera, brightness, zs, middle, spread)
    for t in range(len(x)):
        for z in range(zs):
            for lane in range(len(lanes)):
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
