"""Photons of a spot whose position and PSF are known: weighted sum, border subtraction, or maximum likelihood.

The expected electrons of a pixel are m = N · p + b, p the PSF integrated over the pixel (`psf`); its variance is
v + poisson · m. Each method returns N, its standard error, b, and χ² over the degrees of freedom. Where the variance is
not known (measured), errors follow from the residuals, and χ² is NaN.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from .crops import Calibration, Crop, blank_lanes, load_crop, padded
from .psf import Ellipse, Place, Spline, gaussian_image, spline_image, turned_gaussian_image

METHODS = ("weighted", "border", "ml")
WEIGHTED, BORDER, LIKELIEST = range(3)
MODELS = ("isogauss", "gauss", "spline")
ISOTROPIC, TURNED, SPLINE = range(3)
WIDEST = 0.5  # of the crop's side: a wider PSF leaves no background
LEAST_FREE = 0.01  # lower bound on 1 − leverage, which divides a squared residual
LEAST_LIGHT = 1e-2  # electrons: lower bound on a pixel's expectation, for its variance
ROUNDS, SMALL_STEP = 20, 1e-6  # of reweighting; (a step in standard errors)² that ends them
DEGREE = math.pi / 180
MEDIAN_VARIANCE = math.pi / 2  # variance of a median over that of a mean


class Psf(NamedTuple):
    """A PSF: the code of its model, the side of a pixel (y, x) [nm], and the Spline."""

    model: int
    pixel_nm: tuple[float, float]
    spline: Any


class Pixels(NamedTuple):
    """Electrons, variance in the dark and PSF of a crop's pixels, each (n,), poisson and measured (see Crop)."""

    electrons: Any
    variance: Any
    psf: Any
    poisson: float
    measured: bool


class SpotColumns(NamedTuple):
    """Crop corner [px], position and σ [nm], θ [°], background [photons, NaN: fitted] of spots; each (n,) or (1,)."""

    y0: Any
    x0: Any
    y_nm: Any
    x_nm: Any
    z_nm: Any
    sigma_y_nm: Any
    sigma_x_nm: Any
    theta_deg: Any
    background: Any


@kernel
def flat(crop, psf):  # type: ignore[no-untyped-def]
    """Return the Pixels of a crop and of the PSF (h, ≥ width) in it."""
    return Pixels(crop.electrons.reshape(-1), crop.variance.reshape(-1), psf.reshape(-1), crop.poisson, crop.measured)


@kernel(error_model="numpy", fastmath={"contract", "reassoc"})
def weighted(pixels, b):  # type: ignore[no-untyped-def]
    """Return N = Σ p (d − b) / Σ p², p normalised in the crop: the photons in the crop, as in the batch definition."""
    d, v, p, poisson, measured = pixels
    total_psf = squares = product = 0.0
    for i in range(len(d)):
        light = p[i]
        seen = light if v[i] < math.inf else 0.0
        total_psf += light
        squares += seen * seen
        product += seen * (d[i] - b)
    n = product / squares
    error2 = total = count = 0.0
    for i in range(len(d)):
        there = v[i] < math.inf
        light = p[i]
        m = n * light + b
        expected = v[i] + poisson * max(m, LEAST_LIGHT)
        residual = d[i] - m
        total += residual * residual / expected
        if measured:
            expected = residual * residual / max(1 - light * light / squares, LEAST_FREE)
        error2 += light * light * expected if there else 0.0
        count += 1.0 if there else 0.0
    total = math.nan if measured else total
    return n * total_psf, math.sqrt(error2) * total_psf / squares, b, total / (count - 1)


@kernel(error_model="numpy")
def border(crop, outermost):  # type: ignore[no-untyped-def]
    """Return Σ (d − the median of the outermost pixels) over the crop; outermost: scratch for these."""
    d, v, poisson = crop.electrons, crop.variance, crop.poisson
    b, count = border_median(crop, outermost)
    total, noise, pixels = 0.0, 0.0, 0
    for y in range(d.shape[0]):
        for x in range(crop.width):
            if v[y, x] < math.inf:
                total += d[y, x]
                noise += v[y, x]
                pixels += 1
    n = total - pixels * b
    if crop.measured:
        return n, math.nan, b, math.nan
    one = noise / max(pixels, 1) + poisson * max(b, LEAST_LIGHT)
    error2 = noise + poisson * max(total, LEAST_LIGHT) + pixels**2 * MEDIAN_VARIANCE * one / max(count, 1)
    return n, math.sqrt(error2), b, math.nan


@kernel(error_model="numpy")
def border_median(crop, outermost):  # type: ignore[no-untyped-def]
    """Return the median of a crop's outermost pixels, and their number; outermost: scratch for them."""
    d, v, width = crop.electrons, crop.variance, crop.width
    count, last = 0, d.shape[0] - 1
    for y in range(d.shape[0]):
        for x in range(0, width, 1 if y == 0 or y == last else max(width - 1, 1)):
            if v[y, x] < math.inf:
                value, k = d[y, x], count
                while k > 0 and outermost[k - 1] > value:
                    outermost[k] = outermost[k - 1]
                    k -= 1
                outermost[k] = value
                count += 1
    if count == 0:
        return math.nan, 0
    return 0.5 * (outermost[(count - 1) // 2] + outermost[count // 2]), count


@kernel(error_model="numpy", fastmath={"contract", "reassoc"})
def likeliest(pixels, b):  # type: ignore[no-untyped-def]
    """Return the N that solves Σ p (d − N p − b) / variance = 0; a b of NaN is solved for with it.

    Unbiased; N is negative where noise makes it so. Three to five rounds of weighted least squares.
    """
    d, v, p, poisson = pixels.electrons, pixels.variance, pixels.psf, pixels.poisson
    free = b != b
    n, b = _least_squares(pixels, b)
    for _ in range(ROUNDS):
        pp = p1 = one = gp = g1 = 0.0
        above, below = max(n, 0.0), max(b, LEAST_LIGHT)
        for i in range(len(d)):
            light = p[i]
            w = 1 / (v[i] + poisson * (above * light + below))
            r = (d[i] - n * light - b) * w
            pp += w * light * light
            p1 += w * light
            one += w
            gp += r * light
            g1 += r
        if free:
            scale = pp * one - p1 * p1
            step_n, step_b, variance = (one * gp - p1 * g1) / scale, (pp * g1 - p1 * gp) / scale, one / scale
        else:
            step_n, step_b, variance = gp / pp, 0.0, 1 / pp
        n += step_n
        b += step_b
        if not (gp * step_n + g1 * step_b > SMALL_STEP):
            break
    if pixels.measured:
        return n, error_of_residuals(pixels, n, b, free), b, math.nan
    return n, math.sqrt(variance), b, reduced_chi2(pixels, n, b, 2 if free else 1)


@part(error_model="numpy", fastmath={"contract", "reassoc"})
def error_of_residuals(pixels, n, b, free):  # type: ignore[no-untyped-def]
    """Return the standard error of n from the residuals, whatever the pixels' variances (see errors_of_residuals)."""
    d, v, p, poisson = pixels.electrons, pixels.variance, pixels.psf, pixels.poisson
    pp = p1 = one = 0.0
    for i in range(len(d)):
        w = 1 / (v[i] + poisson * max(n * p[i] + b, LEAST_LIGHT))
        pp += w * p[i] * p[i]
        p1 += w * p[i]
        one += w
    if not free:
        p1, one = 0.0, 1.0
    scale, error2 = pp * one - p1 * p1, 0.0
    for i in range(len(d)):
        m = n * p[i] + b
        w = 1 / (v[i] + poisson * max(m, LEAST_LIGHT))
        pull = w * (one * p[i] - p1) * (d[i] - m)
        leverage = w * ((one * p[i] - 2 * p1) * p[i] + (pp if free else 0.0)) / scale
        error2 += pull * pull / max(1 - leverage, LEAST_FREE)
    return math.sqrt(error2) / scale


@part(error_model="numpy", fastmath={"contract", "reassoc"})
def _least_squares(pixels, b):  # type: ignore[no-untyped-def]
    """Return the unweighted least-squares N, and b if it is NaN: the initial values of `likeliest`."""
    d, v, p = pixels.electrons, pixels.variance, pixels.psf
    pp = p1 = one = gp = g1 = 0.0
    for i in range(len(d)):
        seen = 1.0 if v[i] < math.inf else 0.0
        light = p[i] * seen
        pp += light * light
        p1 += light
        one += seen
        gp += light * d[i]
        g1 += d[i]
    if b == b:
        return (gp - b * p1) / pp, b
    scale = pp * one - p1 * p1
    return (one * gp - p1 * g1) / scale, (pp * g1 - p1 * gp) / scale


@part(error_model="numpy", fastmath={"contract", "reassoc"})
def reduced_chi2(pixels, n, b, fitted):  # type: ignore[no-untyped-def]
    """Return Σ (d − m)² / variance over the number of pixels less `fitted`: 1 on average where the model holds."""
    d, v, p, poisson, _ = pixels
    total, count = 0.0, 0.0
    for i in range(len(d)):
        m = n * p[i] + b
        residual = d[i] - m
        total += residual * residual / (v[i] + poisson * max(m, LEAST_LIGHT))
        count += 1.0 if v[i] < math.inf else 0.0
    return total / (count - fitted) if count > fitted else math.nan


@kernel(error_model="numpy")
def psf_image(psf, place, ellipse, scratch, width, out):  # type: ignore[no-untyped-def]
    """Write the PSF at a place, integrated over pixels, into out (h, ≥ width); False where the spline does not reach.

    psf: Psf; place: Place; ellipse: Ellipse, unused by a spline; scratch (3, > max(h, width)).
    """
    if psf.model == ISOTROPIC:
        gaussian_image(place, ellipse, scratch, width, out)
    elif psf.model == TURNED:
        turned_gaussian_image(place, ellipse, width, out)
    else:
        return spline_image(place, psf.pixel_nm, psf.spline, width, out)
    return True


@kernel
def value_of(column, k):  # type: ignore[no-untyped-def]
    """Return the value of spot k in a column (n,) or (1,)."""
    return column[k] if len(column) > 1 else column[0]


@kernel(error_model="numpy")
def integrate_stack(crops, method, psf, camera, spots, out):  # type: ignore[no-untyped-def]
    """Write photons, error, background and χ² (4, n) of crops (n, h, w); return the first it cannot do, or −1.

    psf, spots: the fields of Psf (and Spline) and SpotColumns; camera: e/ADU, offset [ADU], variance [e²], excess
    noise, quantum efficiency. These are plain tuples: a NamedTuple costs 1 to 2 µs more to pass from Python, and a call
    of ten crops takes 20 µs.
    """
    gain, offset, variance, excess, qe = camera
    calibration = Calibration(gain, offset, variance, excess, False)
    optics, columns = Psf(psf[0], psf[1], Spline(*psf[2])), SpotColumns(*spots)
    pixel_y, pixel_x = optics.pixel_nm
    height, width = crops.shape[1:]
    arrays = np.zeros((3, height, padded(width)))
    d, v, p = arrays[0], arrays[1], arrays[2]
    blank_lanes(width, d, v)
    crop = Crop(d, v, width, calibration.poisson, calibration.measured)
    scratch = np.empty((3, padded(max(height, width) + 1)))
    outermost = np.empty(2 * (height + width))
    for k in range(len(crops)):
        load_crop(crops[k], calibration, crop)
        y = value_of(columns.y_nm, k) / pixel_y - value_of(columns.y0, k)
        x = value_of(columns.x_nm, k) / pixel_x - value_of(columns.x0, k)
        sigma_y, sigma_x = value_of(columns.sigma_y_nm, k) / pixel_y, value_of(columns.sigma_x_nm, k) / pixel_x
        b = value_of(columns.background, k)
        if method != BORDER:
            known = -0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5 and (method == LIKELIEST or b == b)
            if optics.model != SPLINE:
                known = known and 0 < sigma_y <= WIDEST * height and 0 < sigma_x <= WIDEST * width
            if not known:
                return k
            ellipse = Ellipse(sigma_y, sigma_x, value_of(columns.theta_deg, k) * DEGREE)
            if not psf_image(optics, Place(y, x, value_of(columns.z_nm, k)), ellipse, scratch, width, p):
                return k
        if method == WEIGHTED:
            n, error, b, chi2 = weighted(flat(crop, p), b * qe)
        elif method == BORDER:
            n, error, b, chi2 = border(crop, outermost)
        else:
            n, error, b, chi2 = likeliest(flat(crop, p), b * qe)
        out[0, k], out[1, k], out[2, k], out[3, k] = n / qe, error / qe, b / qe, chi2
    return -1
