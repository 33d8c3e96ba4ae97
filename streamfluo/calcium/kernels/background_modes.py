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
