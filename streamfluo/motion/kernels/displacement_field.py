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
    along, total = np.empty((px, px, 2, 2)), np.empty((px, 2))
    for by in range(vector.shape[0]):
        along[:], total[:] = 0, 0
        for bx in range(vector.shape[1]):
            for q in range(px):
                for j in range(2):
                    total[q, j] += basis_x[q, bx] * vector[by, bx, j]
                for s in range(px):
                    product = basis_x[q, bx] * basis_x[s, bx]
                    for j in range(2):
                        for k in range(2):
                            along[q, s, j, k] += product * matrix[by, bx, j, k]
        for p in range(py):
            for q in range(px):
                for j in range(2):
                    row = (p * px + q) * 2 + j
                    values[row] += basis_y[p, by] * total[q, j]
                    for r in range(py):
                        product = basis_y[p, by] * basis_y[r, by]
                        for s in range(px):
                            for k in range(2):
                                normal[row, (r * px + s) * 2 + k] += product * along[q, s, j, k]
    _eliminate(normal, values)
    return values.reshape(py, px, 2)


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
