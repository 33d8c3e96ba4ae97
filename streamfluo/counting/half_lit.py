"""Frames within which an emitter switched: a camera integrates, so they lie between two levels and on none."""

from __future__ import annotations

import numpy as np

from .bounds import noise_sd
from .kernels.likelihood import Array

CLEAR, JUMP = 2.0, 6.0  # of the noise of a difference: a frame off both neighbours, and a jump between those
NEAR = 0.7  # likewise, once such frames are known: one lit to nine tenths still counts as two switches in a row
ONE_STEP = 1.5  # of the median jump: two emitters one after the other go further
MIN_SHARE, MIN_JUMPS = 0.2, 10  # of the jumps: .6 where light is integrated, .03 where switching is between frames


def half_lit(x: Array, intensity: Array) -> Array:
    """Return which frames of traces (t, n) are lit in part; none where switching is seen to be between frames.

    x: electrons, or the logarithm of intensities. A model of whole frames makes levels of such frames: half the
    brightness and twice the number is then likelier than the truth by hundreds of nats.
    """
    error = np.sqrt(2) * noise_sd(x)
    rise, fall = (x[1:-1] - x[:-2]) / error, (x[2:] - x[1:-1]) / error
    height = np.abs(intensity[2:] - intensity[:-2])
    jumps = np.abs(rise + fall) > JUMP
    found = np.zeros(x.shape, bool)
    # three times as many below the threshold: one step is lost in noise, two in a row would look like one lit in part
    if jumps.sum() < max(MIN_JUMPS, (np.abs(rise + fall) > JUMP / 2).sum() / 4):
        return found
    jumps &= height < ONE_STEP * np.median(height[jumps])
    apart = np.where(rise * fall > 0, np.minimum(np.abs(rise), np.abs(fall)), 0)
    if (jumps & (apart > CLEAR)).sum() > MIN_SHARE * jumps.sum():
        found[1:-1] = jumps & (apart > NEAR)
    return found
