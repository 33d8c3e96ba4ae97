"""Whether the blocks of a frame agree with one Gauss–Newton step: at another place or of another scene they do not."""

from typing import NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel, part

CONTRADICTION_SIGMA, AGREED_PX, AGREED_GAIN = 4.0, 1.0, 0.5


class Evidence(NamedTuple):
    """What speaks for a step: the fractions of the template that were seen and, of these, that fit; the gain over its
    standard error; the fraction of the blocks that do not contradict (1 where noise lets none); by how much the blocks'
    gains at least lie below the common one, r.m.s. and relative to it."""

    seen: float
    fitting: float
    significance: float
    agreement: float
    deficit: float


@kernel
def unexplained(sums, matrix, block, step, j):  # type: ignore[no-untyped-def]
    """Return the information of one block (by, bx) on component j, and what of its projection a step does not
    explain."""
    by, bx = block
    part, rest = sums[by, bx, 3], sums[by, bx, j]
    for k in range(3):
        rest -= part * matrix[by, bx, j, k] * step[k]
    return part * matrix[by, bx, j, j], rest


@part
def agreement(sums, matrix, step, gains):  # type: ignore[no-untyped-def]
    """Return the fraction of the blocks that could contradict a step and do not; 1 where none could.

    A block contradicts where it alone measures less than half the least of `gains`, or a shift that differs by
    AGREED_PX, with CONTRADICTION_SIGMA. More gain is an active cell, and contradicts nothing.
    """
    gain, least = gains[0], min(gains)
    could, does = 0.0, 0.0
    for by in range(sums.shape[0]):
        for bx in range(sums.shape[1]):
            able, contradicts = False, False
            for j in range(3):
                own, rest = unexplained(sums, matrix, (by, bx), step, j)
                bound = (least * AGREED_PX if j < 2 else gain - AGREED_GAIN * least) * own
                if own > 0 and bound > 0 and bound * bound > CONTRADICTION_SIGMA**2 * own:
                    able = True
                    contradicts |= -rest > bound if j == 2 else abs(rest) > bound
            could += sums[by, bx, 4] if able else 0.0
            does += sums[by, bx, 4] if contradicts else 0.0
    return 1 - does / could if could > 0 else 1.0


@part
def deficit(sums, matrix, noise_bias, step, gains):  # type: ignore[no-untyped-def]
    """Return by how much the blocks' gains lie below the least of `gains`, r.m.s. and relative to it, at least.

    Noise alone gives half a χ² of the blocks; what exceeds it by two of its standard deviations is told. noise_bias
    (by, bx): what the template's own noise adds to the variance of a block's projection; the few pixels of a block at a
    rim have little else.
    """
    gain, least = gains[0], min(gains)
    squares, information, n = 0.0, 0.0, 0
    for by in range(sums.shape[0]):
        for bx in range(sums.shape[1]):
            own, rest = unexplained(sums, matrix, (by, bx), step, 2)
            if own > 0:
                low = min(0.0, rest + (gain - least) * own)
                squares += low * low / (own + sums[by, bx, 3] * noise_bias[by, bx])
                information += own
                n += 1
    excess = squares - n / 2 - 2 * np.sqrt(1.25 * n)
    return np.sqrt(2 * excess / information) / least if excess > 0 and least > 0 else 0.0
