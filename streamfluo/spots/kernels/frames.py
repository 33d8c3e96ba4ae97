"""Spots found in frames, fitted and integrated: one call a block.

Neighbours are measured together: what the others put into a spot's crop, as known so far, is taken out of its data and
kept in its noise, in rounds over all spots that have neighbours; spots without any are measured once.
"""

import math

import numpy as np
from numba import njit

from .crops import pixels_seen
from .detection import filter_frame, find_maxima
from .fits import FIXED_WIDTH, LEAST_LIGHT, MLE, ONE_WIDTH, PARAMETERS, PHASOR, fit_spot, phasor
from .integration import BORDER, LIKELIEST, border_median, draw
from .measuring import CROWDED, NOT_CONVERGED, WIDTH_KEPT, cut, integrate, take_out, working_room
from .psf import gaussian_image

FRAME, SPOT, Y, X, SIGMA_Y, SIGMA_X, PHOTONS, ERROR, LIGHT, CHI2, Y_ERROR, X_ERROR, FLAGS = range(13)
COLUMNS = 13
ROUNDS = 3  # over spots with neighbours
REACH_SIGMA = 2.0  # how far beyond a crop a neighbour's light counts


@njit(nogil=True, cache=True, error_model="numpy")
def detect_and_measure(frames, camera, search, settings, shape, rows):  # type: ignore[no-untyped-def]
    """Find, fit and integrate the spots of frames (t, y, x); return the rows (n, COLUMNS), frame counted from 0.

    camera: Sensor; search: Search; settings: Settings; shape: Shape; rows: room, enlarged as needed.
    """
    room = working_room(settings.side)
    count = 0
    for t in range(len(frames)):
        filter_frame(frames[t], camera.offset, camera.gain, search.taps, search.reach, search.padded, search.filtered)
        spots = find_maxima(search.filtered, camera.variance, search.along, camera.poisson, search.table, search.found)
        spots = min(spots, len(search.found))
        if count + spots > len(rows):
            more = np.empty((2 * (count + spots), COLUMNS))
            more[:count] = rows[:count]
            rows = more
        found = search.found[:spots]
        measure(frames[t], camera, found, search.along, settings, shape, room, rows[count : count + spots])
        rows[count : count + spots, FRAME] = t
        count += spots
    return rows[:count]


@njit(nogil=True, cache=True, error_model="numpy")
def measure(frame, camera, found, along, settings, shape, room, rows):  # type: ignore[no-untyped-def]
    """Fit and integrate candidates (n, 6) in a frame; write rows (n, COLUMNS), light in electrons."""
    along_y, along_x, share = along
    at = np.empty((len(found), PARAMETERS))
    for k in range(len(found)):
        y, x = int(found[k, 0]), int(found[k, 1])
        at[k, 0], at[k, 1], at[k, 4], at[k, 5] = y + found[k, 4], x + found[k, 5], shape.sigmas[0], shape.sigmas[1]
        at[k, 2] = max(found[k, 2] / (along_y[y] * along_x[x] - share), 1.0)
        at[k, 3] = max(found[k, 3] - at[k, 2] * share, LEAST_LIGHT)
        rows[k, SPOT], rows[k, FLAGS] = k, CROWDED
    for _ in range(ROUNDS):
        for k in range(len(found)):
            if int(rows[k, FLAGS]) & CROWDED:
                measure_one(frame, camera, found, at, k, settings, shape, room, rows[k])


@njit(nogil=True, cache=True, error_model="numpy")
def measure_one(frame, camera, found, at, k, settings, shape, room, row):  # type: ignore[no-untyped-def]
    """Fit and integrate spot k of `at` (n, 6), the others' light being as known so far, and write its row."""
    side, how, method, free = settings
    d, v, p, errors, mine = room.crops[0], room.crops[1], room.crops[2], room.vectors[5], room.vectors[6]
    top, left = int(found[k, 0]) - side // 2, int(found[k, 1]) - side // 2
    flags = cut(frame, top, left, side, camera, d, v)
    if take_out_others(found, at, k, top, left, max(shape.sigmas), side, room, camera.poisson):
        flags |= CROWDED
    mine[:] = at[k]
    mine[0] -= top
    mine[1] -= left
    errors[:] = math.nan
    chi2, converged = math.nan, True
    if how == MLE:
        chi2, converged, kept = fit_spot_or_place(d, v, camera.poisson, free, shape.sigmas, mine, errors, room)
        flags |= WIDTH_KEPT if kept else 0
    elif how == PHASOR:
        converged = phasor_place(d, v, free, shape.sigmas, mine, room.ring)
    if how != MLE or method != LIKELIEST:
        b = mine[3]
        if method == LIKELIEST:
            b = math.nan
        elif how != MLE:
            b, _ = border_median(d, v, side, room.ring)
        if method != BORDER:
            draw(shape, mine[0], mine[1], 0.0, (mine[4], mine[5]), room.lines, side, p)
        mine[2], errors[2], mine[3], chi2 = integrate(d, v, p, b, method, room.ring, camera.poisson)
    if camera.poisson == 0:
        errors *= math.sqrt(chi2)
        chi2 = math.nan
    at[k] = mine
    at[k, 0] += top
    at[k, 1] += left
    row[Y], row[X], row[SIGMA_Y], row[SIGMA_X] = at[k, 0], at[k, 1], at[k, 4], at[k, 5]
    row[PHOTONS], row[ERROR], row[LIGHT], row[CHI2] = at[k, 2], errors[2], at[k, 3], chi2
    row[Y_ERROR], row[X_ERROR], row[FLAGS] = errors[0], errors[1], flags if converged else flags | NOT_CONVERGED


@njit(nogil=True, cache=True, error_model="numpy")
def fit_spot_or_place(d, v, poisson, free, sigmas, at, errors, room):  # type: ignore[no-untyped-def]
    """Fit a crop from `at` (6,) on; where the width of a faint spot runs away, again with the usual one.

    Return reduced χ², whether it converged, and whether the width was kept.
    """
    start = room.vectors[7]
    start[:] = at
    total, converged = fit_spot(d, v, poisson, free, at, errors, room.matrices, room.vectors, room.profiles, room.lines)
    kept = not converged and free != FIXED_WIDTH
    if kept:
        at[:] = start
        at[4], at[5] = sigmas
        free = FIXED_WIDTH
        total, converged = fit_spot(
            d, v, poisson, free, at, errors, room.matrices, room.vectors, room.profiles, room.lines
        )
    return total / (pixels_seen(v) - free), converged, kept


@njit(nogil=True, cache=True, error_model="numpy")
def phasor_place(d, v, free, sigmas, at, ring):  # type: ignore[no-untyped-def]
    """Write place and widths that the phasor tells; whether the place lies in the crop."""
    side = d.shape[0]
    b, _ = border_median(d, v, side, ring)
    phasor(d, side, b, at)
    if free == FIXED_WIDTH:
        at[4], at[5] = sigmas
    elif free == ONE_WIDTH:
        at[4] = at[5] = math.sqrt(at[4] * at[5])
    return -0.5 <= at[0] < side - 0.5 and -0.5 <= at[1] < side - 0.5


@njit(nogil=True, cache=True, error_model="numpy")
def take_out_others(found, at, k, top, left, sigma, side, room, poisson):  # type: ignore[no-untyped-def]
    """Take the light of others near spot k out of its crop; return how many there are. Candidates lie row by row."""
    crops, near = room.crops, 0
    limit = side / 2 + REACH_SIGMA * sigma
    for step in (-1, 1):
        j = k + step
        while 0 <= j < len(at) and abs(found[j, 0] - found[k, 0]) <= limit:
            if abs(found[j, 1] - found[k, 1]) <= limit:
                gaussian_image(at[j, 0] - top, at[j, 1] - left, at[j, 4], at[j, 5], room.lines, side, crops[3])
                take_out(crops[0], crops[1], crops[3], at[j, 2], poisson)
                near += 1
            j += step
    return near
