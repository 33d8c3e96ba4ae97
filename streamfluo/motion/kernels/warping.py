"""Frames resampled at a smooth displacement field."""

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.pixel_rows import add_scaled


@kernel
def warp_frame(frame, patches, basis, coefficients, scratch, warped):  # type: ignore[no-untyped-def]
    """Write warped(y, x) = frame(y + d_y(y, x), x + d_x(y, x)) by four-point interpolation along each axis.

    frame (y, x) float32; patches (py, px, 2) float32 [px], basis the SplineBasis of the pixels: the displacement field
    is d = basis.yᵀ · patches · basis.x; coefficients: interpolation_weights.FOUR as tuples of float32; scratch (10, x)
    float32; warped (y, x) float32. The nearest pixel is repeated outside the frame. Returns the least and the largest
    integer shift along y, then along x. Runs of pixels with one integer shift share a loop: 1.5 rfft2 at 512 × 512
    where the field changes by one pixel in sixty.
    """
    basis_y, basis_x = basis
    height, width = warped.shape
    reach = np.array([2**30, -(2**30), 2**30, -(2**30)])
    integers = np.empty((2, width), np.int32)
    for y in range(height):
        for axis in range(2):
            shift = scratch[axis]
            shift[:] = 0
            for q in range(patches.shape[1]):
                along = np.float32(0)
                for p in range(patches.shape[0]):
                    along += basis_y[p, y] * patches[p, q, axis]
                add_scaled(basis_x[q], along, shift)
            _weights(shift, coefficients, integers[axis], scratch[2 + 4 * axis : 6 + 4 * axis])
        first = 0
        while first < width:
            sy, sx = integers[0, first], integers[1, first]
            reach[0], reach[1] = min(reach[0], sy), max(reach[1], sy)
            reach[2], reach[3] = min(reach[2], sx), max(reach[3], sx)
            stop = first + 1
            while stop < width and integers[0, stop] == sy and integers[1, stop] == sx:
                stop += 1
            _interpolate_run(frame, y + sy, sx, (first, stop), scratch, warped[y])
            first = stop
    return reach


@part
def _weights(shift, coefficients, integers, weights):  # type: ignore[no-untyped-def]
    _floor(shift, integers)
    _polynomials(shift, coefficients, (weights[0], weights[1], weights[2], weights[3]))


# Loops over rows are kernels on slices of single rows: as lines of their caller, or on rows of a slice of several whose
# stride numba does not know, they do not run on vectors, and a frame takes 2.0 for .9 ms.


@kernel
def _floor(shift, integers):  # type: ignore[no-untyped-def]
    for i in range(len(shift)):
        integers[i] = np.int32(np.floor(shift[i]))


@kernel
def _polynomials(shift, coefficients, weights):  # type: ignore[no-untyped-def]
    (a0, a1, a2, a3, a4, a5), (b0, b1, b2, b3, b4, b5) = coefficients[:2]
    (c0, c1, c2, c3, c4, c5), (d0, d1, d2, d3, d4, d5) = coefficients[2:]
    a, b, c, d = weights
    for i in range(len(shift)):
        f = shift[i] - np.floor(shift[i])
        a[i] = ((((a5 * f + a4) * f + a3) * f + a2) * f + a1) * f + a0
        b[i] = ((((b5 * f + b4) * f + b3) * f + b2) * f + b1) * f + b0
        c[i] = ((((c5 * f + c4) * f + c3) * f + c2) * f + c1) * f + c0
        d[i] = ((((d5 * f + d4) * f + d3) * f + d2) * f + d1) * f + d0


@part
def _interpolate_run(frame, y, shift_x, run, scratch, out):  # type: ignore[no-untyped-def]
    height, width = frame.shape
    first, stop = run
    rows = (frame[_inside(y - 1, height)], frame[_inside(y, height)],
            frame[_inside(y + 1, height)], frame[_inside(y + 2, height)])  # fmt: skip
    weights_y, weights_x = scratch[2:6], scratch[6:10]
    inner_first = min(max(first, 1 - shift_x), stop)
    inner_stop = max(min(stop, width - 2 - shift_x), inner_first)
    for x in range(first, inner_first):
        out[x] = _clamped(rows, x + shift_x, weights_y[:, x], weights_x[:, x])
    for x in range(inner_stop, stop):
        out[x] = _clamped(rows, x + shift_x, weights_y[:, x], weights_x[:, x])
    if inner_first < inner_stop:
        a, b = inner_first + shift_x - 1, inner_stop + shift_x + 2
        inner = (rows[0][a:b], rows[1][a:b], rows[2][a:b], rows[3][a:b])
        f, s, w = inner_first, inner_stop, scratch
        inner_y, inner_x = (w[2, f:s], w[3, f:s], w[4, f:s], w[5, f:s]), (w[6, f:s], w[7, f:s], w[8, f:s], w[9, f:s])
        _weighted_sums(inner, inner_y, inner_x, out[f:s])


@kernel
def _inside(at, side):  # type: ignore[no-untyped-def]
    return min(max(at, 0), side - 1)


@kernel
def _clamped(rows, x, weights_y, weights_x):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for k in range(4):
        along = np.float32(0)
        for j in range(4):
            along += weights_x[j] * rows[k][_inside(x + j - 1, len(rows[k]))]
        total += weights_y[k] * along
    return total


@kernel
def _weighted_sums(rows, weights_y, weights_x, out):  # type: ignore[no-untyped-def]
    r0, r1, r2, r3 = rows
    n = len(out)  # slices of one length, so that the loop runs on vectors: 2.5 times as fast
    a0, b0, c0, d0 = r0[:n], r0[1 : n + 1], r0[2 : n + 2], r0[3 : n + 3]
    a1, b1, c1, d1 = r1[:n], r1[1 : n + 1], r1[2 : n + 2], r1[3 : n + 3]
    a2, b2, c2, d2 = r2[:n], r2[1 : n + 1], r2[2 : n + 2], r2[3 : n + 3]
    a3, b3, c3, d3 = r3[:n], r3[1 : n + 1], r3[2 : n + 2], r3[3 : n + 3]
    w0, w1, w2, w3 = weights_x
    y0, y1, y2, y3 = weights_y
    for i in range(n):
        p, q, r, s = w0[i], w1[i], w2[i], w3[i]
        upper = ((a0[i] * p + b0[i] * q) + (c0[i] * r + d0[i] * s)) * y0[i] + (
            (a1[i] * p + b1[i] * q) + (c1[i] * r + d1[i] * s)) * y1[i]  # fmt: skip
        lower = ((a2[i] * p + b2[i] * q) + (c2[i] * r + d2[i] * s)) * y2[i] + (
            (a3[i] * p + b3[i] * q) + (c3[i] * r + d3[i] * s)) * y3[i]  # fmt: skip
        out[i] = upper + lower
