"""The displacement field of a frame by least squares over its blocks. Written out: BLAS would start threads for it."""

from typing import NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part


class SplineBasis(NamedTuple):
    """The natural cubic splines of a patch grid at given places: y (py, places), x (px, places).

    Each is 1 at the centre of one patch and 0 at the others; the field is d = yᵀ · (shifts of the patches) · x.
    """

    y: np.ndarray
    x: np.ndarray


@kernel
def field_at(patches, basis, field):  # type: ignore[no-untyped-def]
    """Write the field (by, bx, 2) [px] of patches (py, px, 2) [px] at the places of a SplineBasis."""
    basis_y, basis_x = basis
    along = np.empty((patches.shape[1], 2))
    for by in range(field.shape[0]):
        along[:] = 0
        for p in range(patches.shape[0]):
            for q in range(patches.shape[1]):
                for j in range(2):
                    along[q, j] += basis_y[p, by] * patches[p, q, j]
        for bx in range(field.shape[1]):
            y, x = 0.0, 0.0
            for q in range(patches.shape[1]):
                y += basis_x[q, bx] * along[q, 0]
                x += basis_x[q, bx] * along[q, 1]
            field[by, bx, 0], field[by, bx, 1] = y, x


@kernel
def kept_noise(field, outer):  # type: ignore[no-untyped-def]
    """Return the mean fraction of a pixel's noise variance that four-point interpolation leaves at a field (by, bx, 2).

    outer (2, 3): interpolation_weights.FOUR_OUTER.
    """
    total = 0.0
    for by in range(field.shape[0]):
        for bx in range(field.shape[1]):
            kept = 1.0
            for j in range(2):
                t = field[by, bx, j] - np.floor(field[by, bx, j]) - 0.5
                square = t * t
                even = (outer[0, 2] * square + outer[0, 1]) * square + outer[0, 0]
                odd = ((outer[1, 2] * square + outer[1, 1]) * square + outer[1, 0]) * t
                kept *= 2 * (even * even + odd * odd + (0.5 - even) ** 2 + (t - 3 * odd) ** 2)
            total += kept
    return total / (field.shape[0] * field.shape[1])


@kernel
def move_projections(sums, matrix, offset, gain, residuals):  # type: ignore[no-untyped-def]
    """Add to projections (by, bx, 5) what a field causes that lies offset (by, bx, 2) [px] from where they were taken.

    matrix (by, bx, 3, 3): of the blocks, of all their pixels. What the first two were is written to residuals
    (by, bx, 2).
    """
    for by in range(sums.shape[0]):
        for bx in range(sums.shape[1]):
            scale, y, x = gain * sums[by, bx, 3], offset[by, bx, 0], offset[by, bx, 1]
            residuals[by, bx, 0], residuals[by, bx, 1] = sums[by, bx, 0], sums[by, bx, 1]
            for j in range(3):
                sums[by, bx, j] += scale * (matrix[by, bx, j, 0] * y + matrix[by, bx, j, 1] * x)


@kernel
def field_equations(sums, matrix, integer, gains, equations):  # type: ignore[no-untyped-def]
    """Write the normal matrix and vector of the field to equations, (by, bx, 2, 2) [px⁻²] and (by, bx, 2) [px⁻¹].

    The vector holds the residuals (by, bx, 2) of `move_projections` at first; integer (by, bx, 2) [px]: where they were
    taken; gains: the one tried, and the one found.
    """
    (gain, found), (normal, vector) = gains, equations
    for by in range(sums.shape[0]):
        for bx in range(sums.shape[1]):
            part, y, x = sums[by, bx, 3], integer[by, bx, 0], integer[by, bx, 1]
            for j in range(2):
                a, b = part * matrix[by, bx, j, 0], part * matrix[by, bx, j, 1]
                normal[by, bx, j, 0], normal[by, bx, j, 1] = a, b
                lit = (found - gain) * part * matrix[by, bx, j, 2]
                vector[by, bx, j] = (lit - vector[by, bx, j]) / max(found, 0.1) + (a * y + b * x)


@kernel
def solve_field(matrix, vector, basis, prior, prior_vector):  # type: ignore[no-untyped-def]
    """Return the shifts c (py, px, 2) [px] of the patches: (Σ φ·matrix·φ + prior) c = Σ φ·vector + prior_vector.

    matrix (by, bx, 2, 2), vector (by, bx, 2): the normal equations of each block; φ: the products of the SplineBasis
    of the blocks; prior (n, n), prior_vector (py, px, 2), n = 2·py·px: a Gaussian prior. NaN if it is singular. Cost:
    n³ / 3 and bx·by·px²·4 products, 0.1 ms for 5 × 5 patches of 32 × 32 blocks, 0.15 s for 21 × 21 of 128 × 128.
    """
    basis_y, basis_x = basis
    py, px = len(basis_y), len(basis_x)
    normal = prior.copy()
    values = prior_vector.copy().reshape(py * px * 2)
    pairs_y, pairs_x = py * (py + 1) // 2, px * (px + 1) // 2
    products = _products(basis_x)
    along, total = np.empty((4, pairs_x)), np.empty((px, 2))
    sums = np.zeros((pairs_y, 4, pairs_x))  # of each pair of rows of patches and pair of columns: both are symmetric
    for by in range(vector.shape[0]):
        along[:], total[:] = 0, 0
        for bx in range(vector.shape[1]):
            for q in range(px):
                total[q, 0] += basis_x[q, bx] * vector[by, bx, 0]
                total[q, 1] += basis_x[q, bx] * vector[by, bx, 1]
            for jk in range(4):
                _add_scaled(products[bx], matrix[by, bx, jk // 2, jk % 2], along[jk])
        pair = 0
        for p in range(py):
            for q in range(px):
                for j in range(2):
                    values[(p * px + q) * 2 + j] += basis_y[p, by] * total[q, j]
            for r in range(p, py):
                _add_scaled(
                    along.reshape(4 * pairs_x), basis_y[p, by] * basis_y[r, by], sums[pair].reshape(4 * pairs_x)
                )
                pair += 1
    pair = 0
    for p in range(py):
        for r in range(p, py):
            other = 0
            for q in range(px):
                for s in range(q, px):
                    _add_to(normal, (p * px + q, r * px + s), sums[pair, :, other])
                    if q != s:
                        _add_to(normal, (p * px + s, r * px + q), sums[pair, :, other])
                    if p != r:
                        _add_to(normal, (r * px + q, p * px + s), sums[pair, :, other])
                        if q != s:
                            _add_to(normal, (r * px + s, p * px + q), sums[pair, :, other])
                    other += 1
            pair += 1
    _eliminate(normal, values)
    return values.reshape(py, px, 2)


@part
def _products(basis):  # type: ignore[no-untyped-def]
    """The products of each two of the splines (p, at), in the order of `sums`, at each place (at, pairs)."""
    count, places = basis.shape
    products = np.empty((places, count * (count + 1) // 2))
    for at in range(places):
        n = 0
        for q in range(count):
            for s in range(q, count):
                products[at, n] = basis[q, at] * basis[s, at]
                n += 1
    return products


@kernel
def _add_scaled(values, factor, total):  # type: ignore[no-untyped-def]
    for i in range(len(total)):
        total[i] += factor * values[i]


@kernel
def _add_to(normal, at, block):  # type: ignore[no-untyped-def]
    """Add a block (4,), row by row, to the equations of two patches."""
    row, column = 2 * at[0], 2 * at[1]
    for jk in range(4):
        normal[row + jk // 2, column + jk % 2] += block[jk]


@part
def _eliminate(matrix, values):  # type: ignore[no-untyped-def]
    """Gaussian elimination in place, without pivoting: the matrix is nearly symmetric positive definite."""
    n = len(values)
    for i in range(n):
        if not matrix[i, i] > 0:
            values[:] = np.nan
            return
        for j in range(i + 1, n):
            factor = matrix[j, i] / matrix[i, i]
            if factor != 0:
                for k in range(i, n):
                    matrix[j, k] -= factor * matrix[i, k]
                values[j] -= factor * values[i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            values[i] -= matrix[i, k] * values[k]
        values[i] /= matrix[i, i]
