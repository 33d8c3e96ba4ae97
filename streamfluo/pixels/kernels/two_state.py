"""Parameters of two-state emitters from cumulants."""

import numpy as np


def linear_root(image, order):  # type: ignore[no-untyped-def]
    """Return sign(x) · |x|^(1/order), which is linear in brightness."""
    return np.sign(image) * np.abs(image) ** (1 / order)


def balanced(k2, k3, k4):  # type: ignore[no-untyped-def]
    """Return on-ratio ρ, brightness ε and density N of two-state emitters; NaN where there is no solution.

    k2 = N ε² ρ(1−ρ), k3 = N ε³ ρ(1−ρ)(1−2ρ), k4 = N ε⁴ ρ(1−ρ)(1−6ρ+6ρ²).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = k3 / k2, k4 / k2
        brightness = np.sqrt(3 * a * a - 2 * b)
        on_ratio = (1 - a / brightness) / 2
        density = k2 / (brightness**2 * on_ratio * (1 - on_ratio))
        solved = (k2 > 0) & (brightness > 0) & (on_ratio > 0) & (on_ratio < 1)
    return tuple(np.where(solved, image, np.nan) for image in (on_ratio, brightness, density))
