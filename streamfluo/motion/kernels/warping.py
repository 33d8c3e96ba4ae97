"""Frames resampled at a smooth displacement field."""

import numpy as np

from ...pixels.kernels.kernel import kernel, part

CHUNK_PX = 32  # that are compared at once for one integer shift


@kernel
def warp_frame(frame, patches, basis, coefficients, scratch, warped):  # type: ignore[no-untyped-def]
    """Write warped(y, x) = frame(y + d_y(y, x), x + d_x(y, x)) by four-point interpolation along each axis.

    frame (y, x) float32; patches (py, px, 2) float32 [px], basis the SplineBasis of the pixels: the displacement field
    is d = basis.yᵀ · patches · basis.x; coefficients: interpolation_weights.FOUR_OUTER as tuples of float32; scratch
    (4, x) float32; warped (y, x) float32. The nearest pixel is repeated outside the frame. Returns the least and the
    largest integer shift along y, then along x. Runs of pixels with one integer shift share a loop: 1 rfft2 at
    512 × 512 where the field changes by one pixel in sixty.
    """
    basis_y, basis_x = basis
    height, width = warped.shape
    reach = np.array([2**30, -(2**30), 2**30, -(2**30)])
    integers, along = np.empty((2, width), np.int32), np.empty(patches.shape[1] + 4, np.float32)
    last = len(basis_x) - 1
    for y in range(height):
        for axis in range(2):
            along[:] = np.float32(0)
            for p in range(patches.shape[0]):
                for q in range(patches.shape[1]):
                    along[q] += basis_y[p, y] * patches[p, q, axis]
            shift = scratch[axis]
            shift[:] = np.float32(0)
            for q in range(0, len(basis_x), 5):  # five at a time: the sum is read and written less often
                _add_scaled(
                    (basis_x[q], basis_x[min(q + 1, last)], basis_x[min(q + 2, last)],
                     basis_x[min(q + 3, last)], basis_x[min(q + 4, last)]),
                    (along[q], along[q + 1], along[q + 2], along[q + 3], along[q + 4]), shift,
                )  # fmt: skip
            _split(shift, integers[axis], scratch[2 + axis])
        first = 0
        while first < width:
            sy, sx = integers[0, first], integers[1, first]
            reach[0], reach[1] = min(reach[0], sy), max(reach[1], sy)
            reach[2], reach[3] = min(reach[2], sx), max(reach[3], sx)
            stop = _run_end(integers[0], integers[1], first)
            _interpolate_run((frame, y + sy, sx, (first, stop)), coefficients, (scratch[2], scratch[3]), warped[y])
            first = stop
    return reach


# Loops over rows are kernels on slices of single rows: as lines of their caller, or on rows of a slice of several whose
# stride numba does not know, they do not run on vectors, and a frame takes 2.0 for .9 ms.


@kernel
def _add_scaled(rows, factors, total):  # type: ignore[no-untyped-def]
    (a, b, c, d, e), (f, g, h, j, k) = rows, factors
    for i in range(len(total)):
        total[i] += (a[i] * f + b[i] * g) + (c[i] * h + d[i] * j) + e[i] * k


@kernel
def _split(shift, integers, beyond):  # type: ignore[no-untyped-def]
    """Write the integers below shifts (x,), and what shifts have beyond the middle to the next one."""
    for i in range(len(shift)):
        below = np.floor(shift[i])
        integers[i] = np.int32(below)
        beyond[i] = (shift[i] - below) - np.float32(0.5)


@part
def _run_end(y, x, first):  # type: ignore[no-untyped-def]
    """Return the end of the run of pixels with the integer shifts (x,) of the first."""
    stop = first + 1
    while stop + CHUNK_PX <= len(x) and _alike(
        y[stop : stop + CHUNK_PX], x[stop : stop + CHUNK_PX], y[first], x[first]
    ):
        stop += CHUNK_PX
    while stop < len(x) and y[stop] == y[first] and x[stop] == x[first]:
        stop += 1
    return stop


@kernel
def _alike(y, x, one_y, one_x):  # type: ignore[no-untyped-def]
    different = np.int32(0)
    for i in range(len(x)):
        different |= (y[i] ^ one_y) | (x[i] ^ one_x)
    return different == 0


@kernel(inline="always")  # at four places: a call stands in the way of vectors
def _weights(coefficients, t):  # type: ignore[no-untyped-def]
    """The four weights at t, from −½ to ½, beyond the middle between two pixels.

    Those of the outer points are even(t²) ∓ t · odd(t²); the inner ones follow, as weights reproduce straight lines.
    """
    (e0, e1, e2), (o0, o1, o2) = coefficients
    square = t * t
    even, odd = (e2 * square + e1) * square + e0, ((o2 * square + o1) * square + o0) * t
    middle, slope = np.float32(0.5) - even, t - np.float32(3) * odd
    return even - odd, middle - slope, middle + slope, even + odd


@part
def _interpolate_run(source, coefficients, beyond, out):  # type: ignore[no-untyped-def]
    frame, y, shift_x, (first, stop) = source
    height, width = frame.shape
    rows = (frame[_inside(y - 1, height)], frame[_inside(y, height)],
            frame[_inside(y + 1, height)], frame[_inside(y + 2, height)])  # fmt: skip
    inner_first = min(max(first, 1 - shift_x), stop)
    inner_stop = max(min(stop, width - 2 - shift_x), inner_first)
    for x in range(first, inner_first):
        out[x] = _clamped(rows, x + shift_x, coefficients, (beyond[0][x], beyond[1][x]))
    for x in range(inner_stop, stop):
        out[x] = _clamped(rows, x + shift_x, coefficients, (beyond[0][x], beyond[1][x]))
    if inner_first < inner_stop:
        a, b = inner_first + shift_x - 1, inner_stop + shift_x + 2
        inner = (rows[0][a:b], rows[1][a:b], rows[2][a:b], rows[3][a:b])
        f, s = inner_first, inner_stop
        _weighted_sums(inner, coefficients, (beyond[0][f:s], beyond[1][f:s]), out[f:s])


@kernel
def _inside(at, side):  # type: ignore[no-untyped-def]
    return min(max(at, 0), side - 1)


@kernel
def _clamped(rows, x, coefficients, beyond):  # type: ignore[no-untyped-def]
    weights_y, weights_x = _weights(coefficients, beyond[0]), _weights(coefficients, beyond[1])
    total = np.float32(0)
    for k in range(4):
        along = np.float32(0)
        for j in range(4):
            along += weights_x[j] * rows[k][_inside(x + j - 1, len(rows[k]))]
        total += weights_y[k] * along
    return total


@kernel
def _weighted_sums(rows, coefficients, beyond, out):  # type: ignore[no-untyped-def]
    r0, r1, r2, r3 = rows
    beyond_y, beyond_x = beyond
    n = len(out)  # slices of one length, so that the loop runs on vectors: 2.5 times as fast
    a0, b0, c0, d0 = r0[:n], r0[1 : n + 1], r0[2 : n + 2], r0[3 : n + 3]
    a1, b1, c1, d1 = r1[:n], r1[1 : n + 1], r1[2 : n + 2], r1[3 : n + 3]
    a2, b2, c2, d2 = r2[:n], r2[1 : n + 1], r2[2 : n + 2], r2[3 : n + 3]
    a3, b3, c3, d3 = r3[:n], r3[1 : n + 1], r3[2 : n + 2], r3[3 : n + 3]
    for i in range(n):
        p, q, r, s = _weights(coefficients, beyond_x[i])
        y0, y1, y2, y3 = _weights(coefficients, beyond_y[i])
        upper = ((a0[i] * p + b0[i] * q) + (c0[i] * r + d0[i] * s)) * y0 + (
            (a1[i] * p + b1[i] * q) + (c1[i] * r + d1[i] * s)) * y1  # fmt: skip
        lower = ((a2[i] * p + b2[i] * q) + (c2[i] * r + d2[i] * s)) * y2 + (
            (a3[i] * p + b3[i] * q) + (c3[i] * r + d3[i] * s)) * y3  # fmt: skip
        out[i] = upper + lower
