"""Frames far from the last shift: a coarse search by cross-correlation, and whether lost frames show one scene."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.fft

from ..core.state import State, require_array, require_int
from .kernels.shifting import bin_2x2

COHERENT = 0.1  # correlation of a binned frame with those before it; noise stays below
MEMORY_FRAMES = 10
_LOCAL_PX = 8  # side of the squares of binned pixels whose mean is subtracted before scenes are compared


def transform_size(shape: tuple[int, int], reach: tuple[int, ...]) -> tuple[int, ...]:
    """Return the size (y, x) of transforms that correlate images of a shape within `reach` without wrapping round."""
    return tuple(scipy.fft.next_fast_len(n + 2 * most, real=True) for n, most in zip(shape, reach, strict=True))


class CoarseSearch:
    """Cross-correlation of 2 × 2-binned images by FFT, within max_shift_px (y, x).

    `binned` (y // 2, x // 2) float32 is the frame to register. Cost: two rfft2 of the binned size.
    """

    ROWS = 8  # of a frame one in so many tells its median

    def __init__(self, shape: tuple[int, int], max_shift_px: tuple[float, float]) -> None:
        self._structure: Any
        self.binned: Any
        self._structure, self.binned = np.zeros((2, *(side // 2 for side in shape)), np.float32)
        self.look_within(max_shift_px)

    def look_within(self, max_shift_px: tuple[float, float]) -> None:
        """From now on search within these shifts (y, x) [px]."""
        self._reach = tuple(-(-math.ceil(most) // 2) for most in max_shift_px)
        self._size = transform_size(self.binned.shape, self._reach)

    def find(self, frame: Any, template: Any, most_gain: float) -> tuple[int, int]:
        """Return the integer shift (y, x) [px] that maximises the cross-correlation of a frame with the template.

        most_gain: by how many times the template's contrast tissue may be brighter than the frame's median, so that
        single pixels do not decide.
        """
        self.bin(frame, _brightest_adu(frame, template.image, most_gain))
        return self._correlate(template.structure)

    def lost(self) -> np.ndarray:
        """Return the frame, binned, for LostScene."""
        return self.binned

    def bin(self, frame: np.ndarray, limit: float) -> None:
        """Bin a frame (y, x), clipped at `limit` [ADU], into `binned`."""
        bin_2x2(frame, np.float32(limit), self.binned)

    def _correlate(self, structure: np.ndarray) -> tuple[int, int]:
        y, x = (2 * side for side in self._structure.shape)
        rows = structure[:y:2, :x] + structure[1:y:2, :x]  # rarely: not worth a kernel for its type
        np.add(rows[:, ::2], rows[:, 1::2], out=self._structure)
        centred = self.binned - self.binned.mean()
        spectra = [scipy.fft.rfft2(image, self._size) for image in (self._structure, centred)]
        correlation = scipy.fft.irfft2(np.conj(spectra[0]) * spectra[1], self._size)
        y, x = (np.arange(-reach, reach + 1) for reach in self._reach)
        near = correlation[np.ix_(y, x)]
        at = np.unravel_index(np.argmax(near), near.shape)
        return 2 * int(y[at[0]]), 2 * int(x[at[1]])


class LostScene:
    """The scene of lost frames; `frames` counts those in a row that correlate with each other."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._scene = np.zeros((shape[0] // 2, shape[1] // 2), np.float32)
        self.frames = 0

    def add(self, binned: np.ndarray) -> None:
        """Add a lost frame, binned (y // 2, x // 2); one unlike those before starts a new count."""
        scene = _without_local_means(binned)
        if self.frames and _correlation(scene, self._scene) < max(COHERENT, 6 / np.sqrt(max(1, scene.size))):
            self.frames = 0
        self.frames += 1
        self._scene += (scene - self._scene) / min(self.frames, MEMORY_FRAMES)

    def forget(self) -> None:
        """Start from zero: a frame was registered."""
        self.frames = 0

    def state(self) -> State:
        """Return what it carries, as entries of a state."""
        return {"lost_scene": self._scene.copy(), "lost_frames": self.frames}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        self._scene = require_array(state, "lost_scene", self._scene, "motion")
        self.frames = require_int(state, "lost_frames", "motion")


def _brightest_adu(frame: np.ndarray, image: np.ndarray, gain: float) -> float:
    """The brightest that tissue may be in a frame [ADU]; image: the template."""
    step = frame[:: CoarseSearch.ROWS]
    level = float(np.median(step[np.isfinite(step)])) if np.isfinite(step).any() else 0.0
    return level + gain * float(image.max() - np.median(image[:: CoarseSearch.ROWS]))


def _without_local_means(image: np.ndarray) -> np.ndarray:
    borders = [np.arange(0, side, _LOCAL_PX) for side in image.shape]
    sums = np.add.reduceat(np.add.reduceat(image, borders[0], axis=0), borders[1], axis=1)
    sides = [np.diff(border, append=side) for border, side in zip(borders, image.shape, strict=True)]
    means = sums / np.outer(*sides).astype(np.float32)
    return np.asarray(image - means.repeat(sides[0], axis=0).repeat(sides[1], axis=1))


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    scale = float(np.sqrt((one**2).sum(dtype=float) * (other**2).sum(dtype=float)))
    return float((one * other).sum(dtype=float)) / scale if scale > 0 else 0.0
