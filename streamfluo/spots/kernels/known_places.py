"""Spots at known places, integrated in every frame: one call a block.

Neighbours' photons are solved for in turns (Gauss–Seidel over the likelihood's equations) until none changes by more
than a fiftieth of its standard error; how much a pair shares widens the errors of both.
"""

import math

from numba import njit

from .integration import WEIGHTED, border_median, draw
from .measuring import CROWDED, NOT_CONVERGED, OUTSIDE, cut, integrate, take_out, working_room

ROUNDS, SETTLED = 20, 0.02  # over neighbours; a change in standard errors that ends them
LEAST_OWN = 0.05  # of its photons that a spot must have to itself, for its error


@njit(nogil=True, cache=True, error_model="numpy")
def measure_known(frames, camera, places, shifts, neighbours, settings, shape, values, flags):  # type: ignore[no-untyped-def]
    """Integrate spots at known places (n, 3: y, x in px, z in nm) in frames (t, y, x), moved by shifts (t, 2).

    neighbours: starts (n + 1,) and numbers of those near each spot. Write photons, error, background and χ²
    (4, t, n) and flags (t, n); NaN where a spot lies outside the field.
    """
    room = working_room(settings.side)
    for t in range(len(frames)):
        for rounds in range(ROUNDS):
            moved = 0.0
            for k in range(len(places)):
                if rounds == 0 or neighbours[0][k + 1] > neighbours[0][k]:
                    change = sum_one(frames[t], camera, places, shifts[t], neighbours, k, rounds, settings, shape, room,
                                     values[:, t], flags[t])  # fmt: skip
                    moved = max(moved, change)
            if (rounds == 0 and len(neighbours[1]) == 0) or (rounds > 0 and moved < SETTLED):
                break


@njit(nogil=True, cache=True, error_model="numpy")
def sum_one(frame, camera, places, shift, neighbours, k, rounds, settings, shape, room, values, flags):  # type: ignore[no-untyped-def]
    """Integrate spot k with what is known of its neighbours; return the change of its photons in standard errors."""
    side, method, poisson, lines, ring = settings.side, settings.method, camera.poisson, room.lines, room.ring
    d, v, p, other = room.crops[0], room.crops[1], room.crops[2], room.crops[3]
    starts, numbers = neighbours
    y, x = places[k, 0] + shift[0], places[k, 1] + shift[1]
    if not (-0.5 <= y < frame.shape[0] - 0.5 and -0.5 <= x < frame.shape[1] - 0.5):
        values[:, k] = math.nan
        flags[k] = OUTSIDE
        return 0.0
    top, left = round(y) - side // 2, round(x) - side // 2
    flags[k] = cut(frame, top, left, side, camera, d, v)
    if not draw(shape, y - top, x - left, places[k, 2], shape.sigmas, lines, side, p):
        values[:, k] = math.nan
        flags[k] |= NOT_CONVERGED
        return 0.0
    alike = 0.0
    for at in range(starts[k], starts[k + 1]):
        j = numbers[at]
        if rounds == 0 and j > k:
            continue
        near_y, near_x = places[j, 0] + shift[0] - top, places[j, 1] + shift[1] - left
        if values[0, j] == values[0, j] and draw(shape, near_y, near_x, places[j, 2], shape.sigmas, lines, side, other):
            take_out(d, v, other, values[0, j], poisson)
            alike += likeness(p, other) ** 2
        flags[k] |= CROWDED
    b = border_median(d, v, side, ring)[0] if method == WEIGHTED else math.nan
    n, error, b, chi2 = integrate(d, v, p, b, method, ring, poisson)
    if poisson == 0:
        error, chi2 = error * math.sqrt(chi2), math.nan
    error /= math.sqrt(max(1 - alike, LEAST_OWN))
    change = abs(n - values[0, k]) / error if rounds else math.inf
    values[0, k], values[1, k], values[2, k], values[3, k] = n, error, b, chi2
    return change


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc"})
def likeness(p, other):  # type: ignore[no-untyped-def]
    """Return Σ p · other / √(Σ p² Σ other²): what two spots' photons have to do with each other."""
    pp = oo = po = 0.0
    for y in range(p.shape[0]):
        for x in range(p.shape[1]):
            pp += p[y, x] * p[y, x]
            oo += other[y, x] * other[y, x]
            po += p[y, x] * other[y, x]
    return po / math.sqrt(pp * oo) if oo > 0 else 0.0
