"""Products of steps within patches of a frame: what neighbouring pixels, and all pixels, have in common."""

import numpy as np

from ...pixels.kernels.kernel import kernel

PRODUCTS = 5  # of a pixel's step with itself, and with those of the pixels right, below, and on both diagonals


@kernel
def accumulate_patches(frames, last, linked, patches, steps, products):  # type: ignore[no-untyped-def]
    """Write the summed steps of each patch (n, g) of linked frames, 0 else, and add PRODUCTS of steps to (g, 5).

    frames (n, p), the frame before them last (p,); patches: the index of each patch's pixels (g, h, w). A step that is
    not finite counts as 0.
    """
    count, height, width = patches.shape
    step = np.zeros((height + 1, width + 2))  # with a rim of zeros
    for f in range(len(frames)):
        steps[f] = 0.0
        if not linked[f]:
            continue
        for g in range(count):
            steps[f, g] = 0.0
            for i in range(height):
                for j in range(width):
                    k = patches[g, i, j]
                    before = np.float64(frames[f - 1, k]) if f > 0 else np.float64(last[k])
                    d = np.float64(frames[f, k]) - before
                    if d - d != 0.0:
                        d = np.float64(0.0)
                    step[i, j + 1] = d
                    steps[f, g] += d
            own = right = below = down = up = 0.0
            for i in range(height):
                for j in range(1, width + 1):
                    d = step[i, j]
                    own += d * d
                    right += d * step[i, j + 1]
                    below += d * step[i + 1, j]
                    down += d * step[i + 1, j + 1]
                    up += d * step[i + 1, j - 1]
            sums = products[g]
            sums[0] += own
            sums[1] += right
            sums[2] += below
            sums[3] += down
            sums[4] += up
