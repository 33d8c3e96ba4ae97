"""Many small minimisations side by side, so that one call evaluates a step of them all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray
Losses = Callable[[Array, Array], tuple[Array, Array]]
LONGEST = 2.0  # step, in units of the coordinates
ENOUGH = 1e-4  # of the fall that the slope promises (Armijo)
SHORTEST = 1e-3
CURVED = 1e-10


def minimise(losses: Losses, start: Array, low: Array, high: Array, steps: int, settled: float) -> tuple[Array, Array]:
    """Return where each loss is least (n, k) and how small (n,), by BFGS within low … high (n, k).

    losses(which, at) returns those of problems `which` (m,) at points (m, k) and their slopes. A problem is done when
    an accepted step gains less than `settled`. Coordinates should be scaled so that 1 is a fair step. (Nocedal & Wright
    2006, ch. 6, with the step cut at the bounds.)
    """
    at = np.clip(start, low, high)
    count, k = at.shape
    active = np.arange(count)
    loss, slope = (np.array(a) for a in losses(active, at))
    inverse = np.tile(np.eye(k), (count, 1, 1)) / np.maximum(np.linalg.norm(slope, axis=1), 1)[:, None, None]
    part, fresh = np.ones(count), np.ones(count, bool)
    for _ in range(steps):
        if not len(active):
            break
        x, g = at[active], slope[active]
        stuck = ((x <= low[active]) & (g > 0)) | ((x >= high[active]) & (g < 0))
        move = -np.einsum("nij,nj->ni", inverse[active], np.where(stuck, 0, g))
        move[stuck] = 0
        uphill = (move * g).sum(1) > 0
        move[uphill] = -np.where(stuck, 0, g)[uphill]
        move *= np.minimum(1, LONGEST / np.maximum(np.abs(move).max(1), 1e-300))[:, None]
        trial = np.clip(x + part[active, None] * move, low[active], high[active])
        found, bend = losses(active, trial)
        moved = trial - x
        good = found <= loss[active] + ENOUGH * (g * moved).sum(1)
        gained = loss[active] - found
        _learn(inverse, fresh, active[good], moved[good], (bend - g)[good])
        done = np.where(good, gained < settled, part[active] < SHORTEST)
        at[active[good]], loss[active[good]], slope[active[good]] = trial[good], found[good], bend[good]
        part[active] = np.where(good, 1.0, part[active] * 0.3)
        active = active[~done]
    return at, loss


def _learn(inverse: Array, fresh: Array, which: Array, moved: Array, bent: Array) -> None:
    """Update the inverse Hessians of those problems whose slope bent upwards along the step."""
    product = (moved * bent).sum(1)
    fit = product > CURVED
    which, moved, bent, product = which[fit], moved[fit], bent[fit], product[fit]
    first = fresh[which]
    scale = product / (bent**2).sum(1)
    inverse[which[first]] = np.eye(moved.shape[1]) * scale[first, None, None]
    fresh[which] = False
    r = 1 / product
    left = np.eye(moved.shape[1]) - r[:, None, None] * moved[:, :, None] * bent[:, None, :]
    inverse[which] = left @ inverse[which] @ left.transpose(0, 2, 1) + r[:, None, None] * (
        moved[:, :, None] * moved[:, None, :]
    )
