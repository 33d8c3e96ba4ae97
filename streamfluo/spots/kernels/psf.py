"""Point spread functions integrated over pixels: a Gaussian, a rotated elliptical one, and a measured one as spline.

Along one axis a pixel receives Φ(b) − Φ(a), a and b its borders in σ from the centre (Smith et al. 2010, Nat. Methods
7:373). erf and exp are written out, so that loops over pixels become vector instructions.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part

INVERSE_SQRT2 = 1 / math.sqrt(2)
INVERSE_SQRT_2PI = 1 / math.sqrt(2 * math.pi)
ERF_REACH = 5.0  # 1 − erf(5) is 1.5e-12
# erf(x) = x · ABOVE(s) / BELOW(s) with s = (x / 5)², fitted over ± 5 by iterated least squares
ERF_ABOVE = (1.1283791668577996, 5.208780499876663, 37.91687119353192, 86.85290113206744, 235.20951560711336,
             285.38459146202825, 311.99186372215297, 72.2256173079319)  # fmt: skip
ERF_BELOW = (1.0, 12.949494764722477, 79.01542132533639, 298.1128306375168, 763.3570202612799, 1356.8957285552497,
             1612.4000934917833, 1000.2621364778793, 55.599875068232414)  # fmt: skip
EXP_REACH = 25.0


class Place(NamedTuple):
    """Where a spot lies: y, x [px of the crop] and z [nm]."""

    y: float
    x: float
    z: float


class Ellipse(NamedTuple):
    """The standard deviations of a Gaussian PSF along y and x [px], and its rotation [rad]."""

    sigma_y: float
    sigma_x: float
    theta: float


class Spline(NamedTuple):
    """Coefficients (z, y, x) and cubic knots [nm] of a measured PSF; plane (y, x) and column (y,) are scratch."""

    coefficients: Any
    knots_z: Any
    knots_y: Any
    knots_x: Any
    plane: Any
    column: Any


@kernel(error_model="numpy", fastmath={"contract"})
def erf(x):  # type: ignore[no-untyped-def]
    """Return the error function within 2.3e-11."""
    x = min(max(x, -ERF_REACH), ERF_REACH)
    s = x * x * (1 / ERF_REACH**2)
    above, below = ERF_ABOVE[7], ERF_BELOW[8]
    for k in range(6, -1, -1):
        above = above * s + ERF_ABOVE[k]
    for k in range(7, -1, -1):
        below = below * s + ERF_BELOW[k]
    return x * above / below


@part(error_model="numpy", fastmath={"contract"})
def exp_of_minus(t):  # type: ignore[no-untyped-def]
    """Return exp(−t), t ≥ 0, relative within 2e-7 up to t = 25, where it stays: (a series at t / 256) to 256."""
    u = min(t, EXP_REACH) * (-1 / 256)
    e = 1 + u * (1 + u * (1 / 2 + u * (1 / 6 + u * (1 / 24 + u * (1 / 120)))))
    for _ in range(8):
        e *= e
    return e


@kernel(error_model="numpy", fastmath={"contract"})
def profile(centre, sigma, edges, out):  # type: ignore[no-untyped-def]
    """Write a 1-D Gaussian integrated over the pixels of a row (n,), centred at 0 … n − 1; edges (> n,): scratch."""
    n = len(out)
    scale = INVERSE_SQRT2 / sigma
    start = (-0.5 - centre) * scale
    for i in range(len(edges)):
        edges[i] = erf(start + i * scale)
    for i in range(n):
        out[i] = 0.5 * (edges[i + 1] - edges[i])


@kernel(error_model="numpy", fastmath={"contract"})
def profile_derivatives(centre, sigma, n, scratch, out):  # type: ignore[no-untyped-def]
    """Write the profile of n pixels and its derivatives by centre and sigma into out (3, ≥ n); scratch (3, > n)."""
    scale = INVERSE_SQRT2 / sigma
    start = (-0.5 - centre) * scale
    density = INVERSE_SQRT_2PI / sigma
    edge, bell, tilt = scratch[0], scratch[1], scratch[2]
    for i in range(scratch.shape[1]):
        u = start + i * scale
        edge[i] = 0.5 * erf(u)
        b = exp_of_minus(u * u) * density
        bell[i] = b
        tilt[i] = b * u * (1 / INVERSE_SQRT2)
    for i in range(n):
        out[0, i] = edge[i + 1] - edge[i]
        out[1, i] = bell[i] - bell[i + 1]
        out[2, i] = tilt[i] - tilt[i + 1]


@kernel(error_model="numpy", fastmath={"contract"})
def gaussian_image(place, ellipse, scratch, width, out):  # type: ignore[no-untyped-def]
    """Write a Gaussian PSF, its axes along y and x, integrated over pixels, into out (h, ≥ width).

    Pixel centres are at 0, 1, 2 …; scratch (3, > max(h, width)).
    """
    height = out.shape[0]
    across, down = scratch[1][:width], scratch[2][:height]
    profile(place.x, ellipse.sigma_x, scratch[0], across)
    profile(place.y, ellipse.sigma_y, scratch[0], down)
    for i in range(height):
        row, light = out[i], down[i]
        for j in range(width):
            row[j] = light * across[j]


@kernel(error_model="numpy", fastmath={"contract"})
def turned_gaussian_image(place, ellipse, width, out):  # type: ignore[no-untyped-def]
    """Write an elliptical Gaussian rotated by θ into out: x_r = x cos θ − y sin θ, y_r = x sin θ + y cos θ.

    The integral is over unit squares rotated with it about the pixel centres, as in the batch definition; at σ of 1 px
    and 1.7 px that differs by 2e-4 of the photons from the pixels themselves.
    """
    y, x, _ = place
    cosine, sine = math.cos(ellipse.theta), math.sin(ellipse.theta)
    height = out.shape[0]
    along, over = INVERSE_SQRT2 / ellipse.sigma_x, INVERSE_SQRT2 / ellipse.sigma_y
    for i in range(height):
        row = out[i]
        for j in range(width):
            dx, dy = j - x, i - y
            xr, yr = dx * cosine - dy * sine, dx * sine + dy * cosine
            light_x = erf((xr + 0.5) * along) - erf((xr - 0.5) * along)
            row[j] = 0.25 * light_x * (erf((yr + 0.5) * over) - erf((yr - 0.5) * over))


@kernel(error_model="numpy")
def cubic_basis(at, knots, out):  # type: ignore[no-untyped-def]
    """Write the four cubic B-splines that are not 0 at `at` into out (4,); return the index of the first, −1 outside.

    Cox–de Boor recursion; knots ascending, the outer four equal.
    """
    last = len(knots) - 5
    if not (knots[3] <= at <= knots[last + 1]):
        return -1
    low, high = 3, last
    while low < high:
        middle = (low + high + 1) // 2
        if knots[middle] <= at:
            low = middle
        else:
            high = middle - 1
    out[0] = 1.0
    for degree in range(1, 4):
        carried = 0.0
        for r in range(degree):
            right, left = knots[low + r + 1], knots[low + 1 - degree + r]
            part = out[r] / (right - left)
            out[r] = carried + (right - at) * part
            carried = (at - left) * part
        out[degree] = carried
    return low - 3


@kernel(error_model="numpy", fastmath={"contract"})
def spline_image(place, pixel_nm, spline, width, out):  # type: ignore[no-untyped-def]
    """Write a measured PSF, sampled at pixel centres, into out (h, ≥ width), 0 outside its knots.

    spline: Spline. The PSF is Σ c[k, j, i] B_k(−z) B_j((row − y) · pixel_y) B_i((column − x) · pixel_x), the B cubic,
    divided by its sum over all pixels that the knots reach, also those outside the crop. False where z is outside the
    knots or the sum not positive, or there is no spline (None), with which nothing of it is compiled.
    """
    if spline is None:
        return False
    coefficients, knots_z, knots_y, knots_x, plane, rows = spline
    y, x, z = place
    pixel_y, pixel_x = pixel_nm
    basis, height = np.empty(4), out.shape[0]
    out[:] = 0
    first = cubic_basis(-z, knots_z, basis)
    if first < 0:
        return False
    plane[:] = 0
    for k in range(4):
        share, layer = basis[k], coefficients[first + k]
        for j in range(plane.shape[0]):
            row, source = plane[j], layer[j]
            for i in range(plane.shape[1]):
                row[i] += share * source[i]
    lowest = int(np.ceil(x + knots_x[0] / pixel_x))
    highest = int(np.floor(x + knots_x[len(knots_x) - 1] / pixel_x))
    top = int(np.ceil(y + knots_y[0] / pixel_y))
    bottom = int(np.floor(y + knots_y[len(knots_y) - 1] / pixel_y))
    total, across = 0.0, np.empty(4)
    for column in range(lowest, highest + 1):
        start = cubic_basis((column - x) * pixel_x, knots_x, across)
        if start < 0:
            continue
        for j in range(plane.shape[0]):
            source = plane[j]
            rows[j] = (across[0] * source[start] + across[1] * source[start + 1]
                       + across[2] * source[start + 2] + across[3] * source[start + 3])  # fmt: skip
        for line in range(top, bottom + 1):
            begin = cubic_basis((line - y) * pixel_y, knots_y, basis)
            if begin < 0:
                continue
            light = (basis[0] * rows[begin] + basis[1] * rows[begin + 1]
                     + basis[2] * rows[begin + 2] + basis[3] * rows[begin + 3])  # fmt: skip
            total += light
            if 0 <= line < height and 0 <= column < width:
                out[line, column] = light
    if not total > 0:
        return False
    out /= total
    return True
