"""Temporal modes of the background, from the means of blocks of pixels."""

import numpy as np

from ...pixels.kernels.kernel import kernel


@kernel
def temporal_modes(blocks, count):  # type: ignore[no-untyped-def]
    """Return the `count` leading left singular vectors (count, t) of blocks (t, n), by deflated power iteration."""
    frames = len(blocks)
    gram = np.zeros((frames, frames))
    for i in range(frames):
        for j in range(i, frames):
            total = 0.0
            for n in range(blocks.shape[1]):
                total += blocks[i, n] * blocks[j, n]
            gram[i, j] = total
            gram[j, i] = total
    modes = np.zeros((count, frames))
    for m in range(count):
        mode = np.empty(frames)
        for t in range(frames):
            mode[t] = np.sin(1.0 + t * (m + 1.0)) + 0.1 * t / frames
        for _ in range(60):
            renewed = np.zeros(frames)
            for i in range(frames):
                for j in range(frames):
                    renewed[i] += gram[i, j] * mode[j]
            for other in range(m):
                along = 0.0
                for t in range(frames):
                    along += renewed[t] * modes[other, t]
                for t in range(frames):
                    renewed[t] -= along * modes[other, t]
            norm = 0.0
            for t in range(frames):
                norm += renewed[t] * renewed[t]
            norm = np.sqrt(norm)
            if norm <= 0:
                break
            for t in range(frames):
                mode[t] = renewed[t] / norm
        modes[m] = mode
    return modes
