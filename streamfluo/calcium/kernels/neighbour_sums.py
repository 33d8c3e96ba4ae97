"""Sums behind live summary images: of every pixel, with its right and lower neighbour, and from frame to frame."""

from typing import Any, NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel
from ...pixels.kernels.power_sums import greater, seen_or_zero

AT_ONCE = 4  # frames: each sum is then loaded and stored once for four


class NeighbourSums(NamedTuple):
    """Of d = x − pivot of every pixel, each (y, x): Σ d, Σ d², Σ d · d of the right and of the lower neighbour; the sum
    of absolute differences from the frame before, and the largest x.

    `missing` (4, y, x): in how many frames it was unseen, it or its right neighbour, it or its lower one, it in this or
    the frame before. `alone` (8, y, x): Σ d and Σ d² of the frames in which it was seen and its right neighbour was
    not, the other way round of the neighbour, the same of the lower one. Both (…, 0, 0) for integers.
    """

    pivot: Any
    total: Any
    squares: Any
    right: Any
    down: Any
    steps: Any
    high: Any
    missing: Any
    alone: Any


@kernel
def add_frames(frames, before, sums, rows, offset):  # type: ignore[no-untyped-def]
    """Add rows (first, stop) of n consecutive frames to those of NeighbourSums.

    `frames` (n, r, x) have these rows and, but at the frame's end, one more below, `offset` rows further up; `before`
    (0 or 1, y, x) is the frame before them. NaN is left out. The order of additions depends on the frames alone.
    """
    pivot, total, squares, right, down, steps, high, missing, alone = sums
    n, width = frames.shape[0], frames.shape[2]
    d, below, odd = np.zeros((AT_ONCE, width)), np.zeros((AT_ONCE, width)), np.zeros((2, width), frames.dtype)
    if missing.shape[1]:
        for f in range(n):
            _find_unseen(frames[f, rows[0] - offset], odd[1])
    for y in range(rows[0], rows[1]):
        r, has_below = y - offset, y + 1 < pivot.shape[0]
        for f in range(0, n, AT_ONCE):
            _differences(frames, (f, r), pivot[y], d)
            if has_below:
                _differences(frames, (f, r + 1), pivot[y + 1], below)
            else:
                below[:] = 0.0
            _add_products(d, below, (total[y], squares[y], right[y], down[y]))
            earlier = frames[f - 1, r] if f else before[0, y] if len(before) else frames[0, r]
            _add_steps(frames, (f, r), earlier, (steps[y], high[y]))
        if missing.shape[1]:
            odd[0] = odd[1]
            odd[1] = 0.0
            if has_below:
                for f in range(n):
                    _find_unseen(frames[f, r + 1], odd[1])
            if len(before):
                _find_unseen(before[0, y], odd[0])
            _count_missing(frames, before, (r, y), (pivot, missing, alone), odd)


@kernel
def _differences(frames, place, pivot, d):  # type: ignore[no-untyped-def]
    """Write d of a row, place (frame, row), in AT_ONCE frames, 0 for those that there are not."""
    f, r = place
    for k in range(AT_ONCE):
        if f + k < len(frames):
            _difference(frames[f + k, r], pivot, d[k])
        else:
            d[k] = 0.0


@kernel
def _difference(row, pivot, d):  # type: ignore[no-untyped-def]
    for i in range(len(d)):
        d[i] = seen_or_zero(row[i] - pivot[i])


@kernel
def _add_products(d, e, sums):  # type: ignore[no-untyped-def]
    """Add those of AT_ONCE frames of a row and of the one below.

    Places are unsigned, as signs would be looked at, and lines stand in one array, as many would have to be told apart:
    else this is not vectorised (a fifth of the whole kernel).
    """
    total, squares, right, down = sums
    width, one = np.uintp(len(total)), np.uintp(1)
    for i in range(width):
        a, b, c, g = d[0, i], d[1, i], d[2, i], d[3, i]
        total[i] += (a + b) + (c + g)
        squares[i] += (a * a + b * b) + (c * c + g * g)
        down[i] += (a * e[0, i] + b * e[1, i]) + (c * e[2, i] + g * e[3, i])
    for i in range(width - one):
        right[i] += (d[0, i] * d[0, i + one] + d[1, i] * d[1, i + one]) + (
            d[2, i] * d[2, i + one] + d[3, i] * d[3, i + one]
        )


@kernel
def _add_steps(frames, place, earlier, sums):  # type: ignore[no-untyped-def]
    """Add those of AT_ONCE frames, (frame, row) being the first one's; the last frame stands for those that miss."""
    steps, high = sums
    r, last = np.uintp(place[1]), len(frames) - 1
    f0, f1 = np.uintp(place[0]), np.uintp(min(place[0] + 1, last))
    f2, f3 = np.uintp(min(place[0] + 2, last)), np.uintp(min(place[0] + 3, last))
    for i in range(np.uintp(len(steps))):
        x, x0, x1 = np.float64(earlier[i]), np.float64(frames[f0, r, i]), np.float64(frames[f1, r, i])
        x2, x3 = np.float64(frames[f2, r, i]), np.float64(frames[f3, r, i])
        s0, s1 = seen_or_zero(abs(x0 - x)), seen_or_zero(abs(x1 - x0))
        s2, s3 = seen_or_zero(abs(x2 - x1)), seen_or_zero(abs(x3 - x2))
        steps[i] += (s0 + s1) + (s2 + s3)
    for i in range(np.uintp(len(steps))):
        highest = greater(greater(high[i], frames[f0, r, i]), frames[f1, r, i])
        high[i] = greater(greater(highest, frames[f2, r, i]), frames[f3, r, i])


@kernel
def _find_unseen(row, odd):  # type: ignore[no-untyped-def]
    """Make `odd` (x,) NaN where a row (x,) is."""
    for i in range(len(odd)):
        odd[i] += np.float32(0.0) * row[i]


@kernel
def _count_missing(frames, before, place, sums, odd):  # type: ignore[no-untyped-def]
    """Take into account what was not seen of a row, (row of `frames`, row of the sums), where `odd` (2, x) is NaN: of
    this row and of the one below."""
    r, y = place
    pivot, missing, alone = sums
    width, has_below = frames.shape[2], y + 1 < pivot.shape[0]
    for i in range(width):
        has_right = i + 1 < width
        if not np.isnan(odd[0, i] + odd[1, i] + (odd[0, i + 1] if has_right else 0.0)):
            continue
        for f in range(frames.shape[0]):
            x = frames[f, r, i]
            missing[0, y, i] += np.isnan(x)
            if has_right:
                other = frames[f, r, i + 1]
                missing[1, y, i] += np.isnan(x + other)
                _add_alone(x - pivot[y, i], other - pivot[y, i + 1], alone[:4, y, i])
            if has_below:
                other = frames[f, r + 1, i]
                missing[2, y, i] += np.isnan(x + other)
                _add_alone(x - pivot[y, i], other - pivot[y + 1, i], alone[4:, y, i])
            if f:
                missing[3, y, i] += np.isnan(x + frames[f - 1, r, i])
            elif len(before):
                missing[3, y, i] += np.isnan(x + before[0, y, i])


@kernel
def _add_alone(a, b, alone):  # type: ignore[no-untyped-def]
    """Add the one of two differences that was seen without the other."""
    if np.isnan(b) and not np.isnan(a):
        alone[0] += a
        alone[1] += a * a
    elif np.isnan(a) and not np.isnan(b):
        alone[2] += b
        alone[3] += b * b
