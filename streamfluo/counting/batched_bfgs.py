"""BFGS for many small problems at once: one call evaluates a step of all of them (Nocedal & Wright 2006, ch. 6)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray
Losses = Callable[[Array, Array], tuple[Array, Array]]
MAX_STEP = 2.0  # in each coordinate
ARMIJO = 1e-4  # sufficient decrease, as a fraction of the linear prediction
MIN_STEP_FRACTION = 1e-3  # a line search that backtracks below it ends
MIN_CURVATURE = 1e-10  # of yᵀs, for an update of the inverse Hessian


def minimise(
    losses: Losses, start: Array, bounds: tuple[Array, Array], steps: int, tolerance: float
) -> tuple[Array, Array]:
    """Return the minimisers (n, k) and minima (n,) of n losses, by BFGS with steps clipped to bounds (low, high).

    losses(which, at) returns the values (m,) and gradients (m, k) of the problems `which` (m,) at points (m, k). A
    problem converges when an accepted step gains less than `tolerance`. Scale coordinates to steps of about 1.
    """
    low, high = bounds
    at = np.clip(start, low, high)
    count, k = at.shape
    active = np.arange(count)
    loss, gradient = (np.array(a) for a in losses(active, at))
    inverse = np.tile(np.eye(k), (count, 1, 1)) / np.maximum(np.linalg.norm(gradient, axis=1), 1)[:, None, None]
    fraction, fresh = np.ones(count), np.ones(count, bool)
    for _ in range(steps):
        if not len(active):
            break
        x, g = at[active], gradient[active]
        blocked = ((x <= low[active]) & (g > 0)) | ((x >= high[active]) & (g < 0))
        move = -np.einsum("nij,nj->ni", inverse[active], np.where(blocked, 0, g))
        move[blocked] = 0
        uphill = (move * g).sum(1) > 0
        move[uphill] = -np.where(blocked, 0, g)[uphill]
        move *= np.minimum(1, MAX_STEP / np.maximum(np.abs(move).max(1), 1e-300))[:, None]
        trial = np.clip(x + fraction[active, None] * move, low[active], high[active])
        value, slope = losses(active, trial)
        moved = trial - x
        good = value <= loss[active] + ARMIJO * (g * moved).sum(1)
        gained = loss[active] - value
        _update_inverse(inverse, fresh, active[good], moved[good], (slope - g)[good])
        done = np.where(good, gained < tolerance, fraction[active] < MIN_STEP_FRACTION)
        at[active[good]], loss[active[good]], gradient[active[good]] = trial[good], value[good], slope[good]
        fraction[active] = np.where(good, 1.0, fraction[active] * 0.3)
        active = active[~done]
    return at, loss


def _update_inverse(inverse: Array, fresh: Array, which: Array, moved: Array, bent: Array) -> None:
    """Update the inverse Hessians by step s = moved and gradient change y = bent, where yᵀs is positive."""
    product = (moved * bent).sum(1)
    curved = product > MIN_CURVATURE
    which, moved, bent, product = which[curved], moved[curved], bent[curved], product[curved]
    first = fresh[which]
    scale = product / (bent**2).sum(1)
    inverse[which[first]] = np.eye(moved.shape[1]) * scale[first, None, None]
    fresh[which] = False
    r = 1 / product
    left = np.eye(moved.shape[1]) - r[:, None, None] * moved[:, :, None] * bent[:, None, :]
    inverse[which] = left @ inverse[which] @ left.transpose(0, 2, 1) + r[:, None, None] * (
        moved[:, :, None] * moved[:, None, :]
    )
