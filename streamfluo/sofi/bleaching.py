"""Bleaching segments and bleaching correction of a whole movie."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import convolve1d, median_filter

from .array_checks import as_stack, require

SMOOTH_FRAMES = 251
LEAST_FRAMES = 32


def bleaching_segments(
    signal: Any, fraction: float, smooth_frames: int = SMOOTH_FRAMES, least_frames: int = LEAST_FRAMES
) -> np.ndarray:
    """Return the bleaching segments (segments, 2) of a total signal (t,), each as first frame and one past the last.

    A segment ends where the signal, smoothed by a centred median over `smooth_frames` (mirrored at the ends), has
    fallen by another `fraction` of its range since its maximum; frames before the maximum belong to the first. A fall
    over several levels within `least_frames` is one boundary. The signal may be of either sign. Raises FrameError.
    """
    signal = np.asarray(signal, float)
    require(signal.ndim == 1 and signal.size > 0, f"bleaching_segments: a signal is (t,), found {signal.shape}")
    require(bool(np.isfinite(signal).all()), "bleaching_segments: the signal has values that are not finite")
    require(0 < fraction < 1, f"bleaching_segments: fraction lies between 0 and 1, found {fraction}")
    require(smooth_frames >= 1, f"bleaching_segments: smooth_frames is 1 or more, found {smooth_frames}")
    smooth = (
        median_filter(signal, min(smooth_frames | 1, 2 * len(signal) - 1), mode="mirror") if len(signal) > 1 else signal
    )
    top = int(smooth.argmax())
    step = fraction * np.ptp(smooth)
    edges = [0]
    level = smooth[top] - step
    for t in range(top, len(smooth)) if step > 0 else ():
        if smooth[t] > level or len(smooth) - t < least_frames:
            continue
        while smooth[t] <= level:
            level -= step
        if t - edges[-1] >= least_frames:
            edges.append(t)
    return np.array(list(zip(edges, [*edges[1:], len(signal)], strict=True)))


def debleach(
    stack: Any, fraction: float, smooth_frames: int = SMOOTH_FRAMES, least_frames: int = LEAST_FRAMES
) -> np.ndarray:
    """Return the bleaching-corrected movie (t, y, x) float64 [ADU]: frames less their segment's mean, minimum 0.

    Segments are those of `bleaching_segments` for the movie's total signal. Raises FrameError.
    """
    movie = as_stack(stack, "debleach")
    corrected = movie.astype(float)
    for start, stop in bleaching_segments(movie.sum((1, 2), dtype=float), fraction, smooth_frames, least_frames):
        corrected[start:stop] -= corrected[start:stop].mean(0)
    return corrected - corrected.min()


def filter_time(stack: Any, kernel: Any) -> np.ndarray:
    """Return the movie (t, y, x), or a signal (t,), convolved in time with a kernel (k,), mirrored at the ends.

    The kernel is not normalised: a sum of 1 keeps the level. Raises FrameError.
    """
    array, kernel = np.asarray(stack), np.asarray(kernel, float)
    require(array.ndim in (1, 3) and array.size > 0, f"filter_time: a movie (t, y, x) or a signal, found {array.shape}")
    require(kernel.ndim == 1 and kernel.size > 0, f"filter_time: a kernel is (k,), found {kernel.shape}")
    return convolve1d(array.astype(float), kernel, axis=0, mode="mirror")
