"""Cells proposed from summary images of the first frames: bright places whose neighbouring pixels flicker together."""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndi

from ..core.state import State, require_finite, require_int

FLICKER_S = 0.1  # slower changes are left out
SIGNIFICANT = 4.0  # noise σ of the mean image's contrast, and of the correlation over a cell
SMALLEST = 0.35  # area of the smallest cell, of a disc's of that radius


class Proposals:
    """Sums over the first `frames` frames (y, x) that cells of `radius_px` are proposed from."""

    def __init__(self, shape: tuple[int, int], frames: int, interval_s: float, radius_px: float) -> None:
        self.frames = frames
        self._rate, self._radius = min(1.0, interval_s / FLICKER_S), radius_px
        self._seen = 0
        self._mean, self._base, self._power, self._right, self._down = np.zeros((5, *shape))

    def take(self, frame: np.ndarray) -> None:
        """Take a frame (y, x); pixels that are NaN count as at rest."""
        first = self._seen == 0
        known = np.isfinite(frame)
        frame = np.where(known, frame, self._base)
        if first:
            self._base[:] = frame
        self._seen += 1
        self._mean += frame
        self._base += max(self._rate, 1 / self._seen) * (frame - self._base)
        flicker = frame - self._base
        self._power += flicker**2
        self._right[:, :-1] += flicker[:, :-1] * flicker[:, 1:]
        self._down[:-1] += flicker[:-1] * flicker[1:]

    @property
    def done(self) -> bool:
        """Whether it has all frames."""
        return self._seen >= self.frames

    def masks(self) -> np.ndarray:
        """Return the proposed cells (n, y, x) bool, the brightest first.

        A difference of Gaussians of the mean image is thresholded, split between its peaks; a place stays if the
        correlation of neighbouring pixels there exceeds that around it.
        """
        radius = self._radius
        contrast = _difference(self._mean / max(self._seen, 1), radius)
        bright = contrast > SIGNIFICANT / 2 * _spread(contrast)
        peaks = bright & (contrast == ndi.maximum_filter(contrast, size=2 * round(radius) + 1))
        seeds, count = ndi.label(peaks)
        if not count:
            return np.zeros((0, *contrast.shape), bool)
        nearest = ndi.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
        owner = np.where(bright, seeds[tuple(nearest)], 0)
        correlation = _difference(self.correlation(), radius)
        noise = 1 / np.sqrt(2 * max(self._seen, 1))  # of a pixel's mean of four, each shared with another pixel
        found = []
        for label in range(1, count + 1):
            top = contrast[owner == label].max(initial=0)
            mask = (owner == label) & (contrast > 0.3 * top)
            area = np.count_nonzero(mask)
            if area >= SMALLEST * np.pi * radius**2 and correlation[mask].mean() > SIGNIFICANT * noise / np.sqrt(area):
                found.append((top, mask))
        found.sort(key=lambda one: -one[0])
        return np.array([mask for _, mask in found]).reshape(-1, *contrast.shape)

    def correlation(self) -> np.ndarray:
        """Return the mean correlation (y, x) of each pixel's flicker with that of its right and lower neighbours."""
        power = np.maximum(self._power, 1e-12)
        right, down = np.zeros((2, *power.shape))
        right[:, :-1] = self._right[:, :-1] / np.sqrt(power[:, :-1] * power[:, 1:])
        down[:-1] = self._down[:-1] / np.sqrt(power[:-1] * power[1:])
        total = right + down
        total[:, 1:] += right[:, :-1]
        total[1:] += down[:-1]
        return np.asarray(total / 4)

    def state(self) -> State:
        """Return the sums as state entries."""
        return {"proposal_frames": self._seen, **{name: array.copy() for name, array in self._arrays().items()}}

    def restore(self, state: State, where: str) -> None:
        """Take over what `state` returned. Raises StateError."""
        arrays = [require_finite(state, name, like, where) for name, like in self._arrays().items()]
        self._seen = require_int(state, "proposal_frames", where)
        self._mean, self._base, self._power, self._right, self._down = arrays

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = (self._mean, self._base, self._power, self._right, self._down)
        return dict(zip((f"proposal_{n}" for n in ("mean", "base", "power", "right", "down")), arrays, strict=True))


def _difference(image: np.ndarray, radius_px: float) -> np.ndarray:
    """Cells of this radius stand out, broader light is gone."""
    small, broad = (ndi.gaussian_filter(image, sigma, mode="nearest") for sigma in (radius_px / 3, 2 * radius_px))
    return np.asarray(small - broad)


def _spread(image: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(image - np.median(image)))) or 1e-12
