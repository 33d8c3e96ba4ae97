"""Vectorised loops over a row of pixels."""

import numpy as np

from .kernel import kernel


@kernel
def add(a, total):  # type: ignore[no-untyped-def]
    """Add a to total, both (p,)."""
    for i in range(len(total)):
        total[i] += a[i]


@kernel
def add_product(a, b, total):  # type: ignore[no-untyped-def]
    """Add a · b to total, all (p,)."""
    for i in range(len(total)):
        total[i] += a[i] * b[i]


@kernel
def add_scaled(a, factor, total):  # type: ignore[no-untyped-def]
    """Add a · factor to total in float32, both (p,)."""
    for i in range(len(total)):
        total[i] += np.float32(a[i]) * factor
