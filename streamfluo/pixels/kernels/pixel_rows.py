"""Loops over a row of pixels that run on vectors, shared by the kernels."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def add(a, total):  # type: ignore[no-untyped-def]
    """total += a."""
    for i in range(len(total)):
        total[i] += a[i]


@njit(nogil=True, cache=True)
def add_product(a, b, total):  # type: ignore[no-untyped-def]
    """total += a · b."""
    for i in range(len(total)):
        total[i] += a[i] * b[i]


@njit(nogil=True, cache=True)
def add_scaled(a, factor, total):  # type: ignore[no-untyped-def]
    """total += a · factor, in float32."""
    for i in range(len(total)):
        total[i] += np.float32(a[i]) * factor
