"""The smooth field that blocks of a frame answer to, by least squares. Written out: BLAS would start threads for it."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def answer_field(matrix, answer, basis_y, basis_x, prior, right):  # type: ignore[no-untyped-def]
    """Return coefficients (py, px, 2) of d = basis_yᵀ · c · basis_x with (Σ φ·matrix·φ + prior) c = Σ φ·answer + right.

    matrix (by, bx, 2, 2) and answer (by, bx, 2) of each block; basis_y (py, by), basis_x (px, bx): φ, their product;
    prior (n, n) and right (py, px, 2) with n = 2·py·px. NaN where it cannot be solved. Cost: n³ / 3 and bx·by·px²·4
    products, 0.1 ms for 5 × 5 patches of 32 × 32 blocks, 0.15 s for 21 × 21 of 128 × 128.
    """
    py, px = len(basis_y), len(basis_x)
    normal = prior.copy()
    values = right.copy().reshape(py * px * 2)
    along, total = np.empty((px, px, 2, 2)), np.empty((px, 2))
    for by in range(answer.shape[0]):
        along[:], total[:] = 0, 0
        for bx in range(answer.shape[1]):
            for q in range(px):
                for j in range(2):
                    total[q, j] += basis_x[q, bx] * answer[by, bx, j]
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


@njit(nogil=True, cache=True)
def _eliminate(matrix, values):  # type: ignore[no-untyped-def]
    """Solve in place. No pivots: the matrix is near to a symmetric positive one."""
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
