"""How a background varies in time, from the means of blocks of pixels."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def leading_courses(blocks, count):  # type: ignore[no-untyped-def]
    """Return the `count` leading temporal courses (count, t) of blocks (t, n), orthonormal, by power iteration."""
    frames = len(blocks)
    gram = np.zeros((frames, frames))
    for i in range(frames):
        for j in range(i, frames):
            total = 0.0
            for n in range(blocks.shape[1]):
                total += blocks[i, n] * blocks[j, n]
            gram[i, j] = total
            gram[j, i] = total
    courses = np.zeros((count, frames))
    for m in range(count):
        course = np.empty(frames)
        for t in range(frames):
            course[t] = np.sin(1.0 + t * (m + 1.0)) + 0.1 * t / frames
        for _ in range(60):
            renewed = np.zeros(frames)
            for i in range(frames):
                for j in range(frames):
                    renewed[i] += gram[i, j] * course[j]
            for other in range(m):
                along = 0.0
                for t in range(frames):
                    along += renewed[t] * courses[other, t]
                for t in range(frames):
                    renewed[t] -= along * courses[other, t]
            norm = 0.0
            for t in range(frames):
                norm += renewed[t] * renewed[t]
            norm = np.sqrt(norm)
            if norm <= 0:
                break
            for t in range(frames):
                course[t] = renewed[t] / norm
        courses[m] = course
    return courses


@njit(nogil=True, cache=True)
def gather_modes(residual, deviation, gathered):  # type: ignore[no-untyped-def]
    """Add deviation[m] · residual (y, x) to gathered (M, y, x)."""
    for m in range(len(deviation)):
        weight = np.float32(deviation[m])
        for y in range(residual.shape[0]):
            out, row = gathered[m, y], residual[y]
            for x in range(len(row)):
                out[x] += weight * row[x]


@njit(nogil=True, cache=True)
def learn_modes(moment, average, noise, gathered, modes, mean):  # type: ignore[no-untyped-def]
    """Move modes (M, y, x) by moment⁻¹ · gathered and the mean (y, x) against it, so that what is expected stays.

    moment (M, M): Σ of the products of the modes' deviations; average (M,) of their activity.
    """
    count = len(moment)
    inverse = np.zeros((count, count))
    work = moment.copy()
    for m in range(count):
        work[m, m] *= 1.0 + 1e-6
        inverse[m, m] = 1.0
    for m in range(count):
        pivot = work[m, m]
        if pivot <= 0:
            return
        for j in range(count):
            work[m, j] /= pivot
            inverse[m, j] /= pivot
        for i in range(count):
            if i != m:
                factor = work[i, m]
                for j in range(count):
                    work[i, j] -= factor * work[m, j]
                    inverse[i, j] -= factor * inverse[m, j]
    change = np.zeros(count)
    for y in range(mean.shape[0]):
        for x in range(mean.shape[1]):
            drift = 0.0
            for m in range(count):
                change[m] = 0.0
                for j in range(count):
                    change[m] += inverse[m, j] * gathered[j, y, x]
                drift += change[m] * average[m]
            for m in range(count):
                modes[m, y, x] += change[m]
                gathered[m, y, x] = 0
            mean[y, x] -= drift * noise[y, x]
