"""Photons of a spot whose place and shape are known: weighted, by its border, or by maximum likelihood.

All work on a crop d, v in electrons (`spot_crops`) and the spot's light p in each of its pixels (`psf`). The variance
of a pixel is v + poisson · m, m what the model N · p + b expects of it and poisson 1, or 0 where the camera is unknown.
Each returns N, its standard error, b and χ² over the degrees of freedom.
"""

import math

import numpy as np
from numba import njit

from .crops import LANES, blank_lanes, load_crop
from .psf import gaussian_image, spline_image, turned_gaussian_image

METHODS = ("weighted", "border", "ml")
WEIGHTED, BORDER, LIKELIEST = range(3)
MODELS = ("isogauss", "gauss", "spline")
ISOTROPIC, TURNED, SPLINE = range(3)
WIDEST = 0.5  # of the crop's side: a psf that is wider leaves no background
LEAST_LIGHT = 1e-2  # electrons: the least that the model expects of a pixel, for its variance
ROUNDS, SMALL_STEP = 20, 1e-6  # of reweighting; (a step in standard errors)² that ends them
DEGREE = math.pi / 180
MEDIAN_VARIANCE = math.pi / 2  # of a median over that of a mean


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc"})
def weighted(d, v, p, b, poisson):  # type: ignore[no-untyped-def]
    """Return N = Σ p (d − b) / Σ p², p normalised in the crop: the photons in the crop, as in the batch definition."""
    whole = squares = product = 0.0
    for i in range(len(d)):
        light = p[i]
        seen = light if v[i] < math.inf else 0.0
        whole += light
        squares += seen * seen
        product += seen * (d[i] - b)
    n = product / squares
    error2 = total = pixels = 0.0
    for i in range(len(d)):
        there = v[i] < math.inf
        light = p[i]
        m = n * light + b
        expected = v[i] + poisson * max(m, LEAST_LIGHT)
        residual = d[i] - m
        total += residual * residual / expected
        error2 += light * light * expected if there else 0.0
        pixels += 1.0 if there else 0.0
    return n * whole, math.sqrt(error2) * whole / squares, b, total / (pixels - 1)


@njit(nogil=True, cache=True, error_model="numpy")
def border(d, v, p, width, ring, poisson):  # type: ignore[no-untyped-def]
    """Return Σ (d − the median of the outermost pixels) over the crop; ring: room for these; width: of the crop."""
    b, count = border_median(d, v, width, ring)
    total, noise, pixels = 0.0, 0.0, 0
    for y in range(d.shape[0]):
        for x in range(width):
            if v[y, x] < math.inf:
                total += d[y, x]
                noise += v[y, x]
                pixels += 1
    n = total - pixels * b
    one = noise / max(pixels, 1) + poisson * max(b, LEAST_LIGHT)
    error2 = noise + poisson * max(total, LEAST_LIGHT) + pixels**2 * MEDIAN_VARIANCE * one / max(count, 1)
    return n, math.sqrt(error2), b, math.nan


@njit(nogil=True, cache=True, error_model="numpy")
def border_median(d, v, width, ring):  # type: ignore[no-untyped-def]
    """Return the median of the outermost pixels there are, and their number; ring: room for them."""
    count, last = 0, d.shape[0] - 1
    for y in range(d.shape[0]):
        for x in range(0, width, 1 if y == 0 or y == last else max(width - 1, 1)):
            if v[y, x] < math.inf:
                value, k = d[y, x], count
                while k > 0 and ring[k - 1] > value:
                    ring[k] = ring[k - 1]
                    k -= 1
                ring[k] = value
                count += 1
    if count == 0:
        return math.nan, 0
    return 0.5 * (ring[(count - 1) // 2] + ring[count // 2]), count


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc"})
def likeliest(d, v, p, b, poisson):  # type: ignore[no-untyped-def]
    """Return the N that solves Σ p (d − N p − b) / variance = 0, with a b of NaN also b's own equation.

    Unbiased; N may be negative where there is no light. Three to five rounds of weighted least squares.
    """
    free = b != b
    n, b = _least_squares(d, v, p, b)
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
    return n, math.sqrt(variance), b, reduced_chi2(d, v, p, n, b, poisson, 2 if free else 1)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc"})
def _least_squares(d, v, p, b):  # type: ignore[no-untyped-def]
    """N, and b if it is NaN, with all pixels that there are counting the same: where the rounds begin."""
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


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc"})
def reduced_chi2(d, v, p, n, b, poisson, fitted):  # type: ignore[no-untyped-def]
    """Return Σ (d − m)² / variance over the number of pixels less `fitted`: 1 on average where the model holds."""
    total, pixels = 0.0, 0.0
    for i in range(len(d)):
        m = n * p[i] + b
        residual = d[i] - m
        total += residual * residual / (v[i] + poisson * max(m, LEAST_LIGHT))
        pixels += 1.0 if v[i] < math.inf else 0.0
    return total / (pixels - fitted) if pixels > fitted else math.nan


@njit(nogil=True, cache=True, error_model="numpy")
def draw(shape, y, x, z, sigmas, room, width, p):  # type: ignore[no-untyped-def]
    """Write a spot's light into each pixel of p (h, ≥ width); False where the spline does not reach.

    shape: model, its usual widths, theta in radians, pixels (y, x) in nm, spline. y, x, sigmas (y, x) in px, z in nm;
    room (3, > max(h, width)).
    """
    model, _, theta, pixels, spline = shape
    if model == ISOTROPIC:
        gaussian_image(y, x, sigmas[0], sigmas[1], room, width, p)
    elif model == TURNED:
        turned_gaussian_image(y, x, sigmas[0], sigmas[1], math.cos(theta), math.sin(theta), width, p)
    else:
        return spline_image(y, x, z, pixels[0], pixels[1], spline, width, p)
    return True


@njit(nogil=True, cache=True)
def of(column, k):  # type: ignore[no-untyped-def]
    """Return what a column (n,) or (1,) says of spot k."""
    return column[k] if len(column) > 1 else column[0]


@njit(nogil=True, cache=True, error_model="numpy")
def integrate_stack(crops, model, method, numbers, spots, spline, out):  # type: ignore[no-untyped-def]
    """Write photons, error, background and χ² (4, n) of crops (n, h, w); return the first it cannot do, or −1.

    numbers: pixel_y, pixel_x [nm], e/ADU, QE, offset [ADU], variance [e²], poisson. spots: y0, x0 [px], y, x, z,
    sigma_y, sigma_x [nm], theta [°], background [photons, NaN: fitted], each (n,) or (1,). spline: see `spline_image`.
    """
    pixel_y, pixel_x, gain, qe, offset, variance, poisson = numbers
    top, left, at_y, at_x, at_z, sigmas_y, sigmas_x, thetas, backgrounds = spots
    height, width = crops.shape[1:]
    crop = np.zeros((3, height, LANES * -(-width // LANES)))
    d, v, p = crop[0], crop[1], crop[2]
    blank_lanes(width, d, v)
    room = np.empty((3, LANES * (max(height, width) // LANES + 1)))
    ring = np.empty(2 * (height + width))
    for k in range(len(crops)):
        load_crop(crops[k], offset, gain, variance, d, v)
        y, x = of(at_y, k) / pixel_y - of(top, k), of(at_x, k) / pixel_x - of(left, k)
        sigma_y, sigma_x, b = of(sigmas_y, k), of(sigmas_x, k), of(backgrounds, k)
        if method != BORDER:
            known = -0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5 and (method == LIKELIEST or b == b)
            if model != SPLINE:
                known = known and 0 < sigma_y / pixel_y <= WIDEST * height and 0 < sigma_x / pixel_x <= WIDEST * width
            if not known:
                return k
            widths = (sigma_y / pixel_y, sigma_x / pixel_x)
            shape = (model, widths, of(thetas, k) * DEGREE, (pixel_y, pixel_x), spline)
            if not draw(shape, y, x, of(at_z, k), widths, room, width, p):
                return k
        if method == WEIGHTED:
            n, error, b, chi2 = weighted(d.reshape(-1), v.reshape(-1), p.reshape(-1), b * qe, poisson)
        elif method == BORDER:
            n, error, b, chi2 = border(d, v, p, width, ring, poisson)
        else:
            n, error, b, chi2 = likeliest(d.reshape(-1), v.reshape(-1), p.reshape(-1), b * qe, poisson)
        out[0, k], out[1, k], out[2, k], out[3, k] = n / qe, error / qe, b / qe, chi2
    return -1
