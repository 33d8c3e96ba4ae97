"""Cells proposed from the mean image of the first frames: bright places as large as a cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.ndimage as ndi

from ..core.errors import StateError
from ..core.state import State, require_array, require_int

SMALLEST, LARGEST = 0.35, 4.0  # area of a cell, of a disc's of that radius


class Proposals:
    """The mean (y, x) of the first `frames` frames, above the camera's offset, and the cells that stand out in it."""

    def __init__(self, shape: tuple[int, int], frames: int, offset: Any) -> None:
        self.frames = frames
        self._offset = np.broadcast_to(0.0 if offset is None else offset, shape)
        self.taken = 0
        self._sum, self._seen = np.zeros((2, *shape))

    def take(self, frame: np.ndarray) -> None:
        """Take a frame (y, x), NaN where it was not seen."""
        known = np.isfinite(frame)
        self._sum += np.where(known, frame, 0)
        self._seen += known
        self.taken += 1

    @property
    def done(self) -> bool:
        """Whether it has all frames."""
        return self.taken >= self.frames

    def masks(self, radius_px: float, contrast: float) -> np.ndarray:
        """Return the proposed cells (n, y, x) bool, the brightest first, none with a pixel that was never seen.

        A place is as bright as the mean image through a Gaussian of a third of the radius exceeds that of twice the
        radius, as a part of the latter. Where that is above a third of `contrast`, pixels go to the nearest peak above
        it; of each the part above three tenths of the peak is a cell, if it has the area of one.
        """
        seen = self._seen > 0
        if not seen.any():
            return np.zeros((0, *seen.shape), bool)
        mean = self._sum / np.maximum(self._seen, 1) - self._offset
        mean = np.where(seen, mean, np.median(mean[seen]))
        fine, broad = (ndi.gaussian_filter(mean, sigma, mode="nearest") for sigma in (radius_px / 3, 2 * radius_px))
        bright = np.divide(fine - broad, broad, out=np.zeros_like(mean), where=broad > 0)
        peaks = (bright > contrast) & (bright == ndi.maximum_filter(bright, size=2 * round(radius_px) + 1)) & seen
        seeds, count = ndi.label(peaks)
        if not count:
            return np.zeros((0, *seen.shape), bool)
        nearest = ndi.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
        owner = np.where(bright > contrast / 3, seeds[tuple(nearest)], 0)
        tops = [float(bright[seeds == n].max()) for n in range(1, count + 1)]
        found = []
        for n in sorted(range(count), key=lambda n: -tops[n]):
            mask = (owner == n + 1) & (bright > 0.3 * tops[n])
            area = np.count_nonzero(mask) / (np.pi * radius_px**2)
            if SMALLEST <= area <= LARGEST and not (mask & ~seen).any():
                found.append(mask)
        return np.array(found, bool).reshape(-1, *seen.shape)

    def state(self) -> State:
        """Return the sums as state entries."""
        return {"proposal_sum": self._sum.copy(), "proposal_seen": self._seen.copy(), "proposal_frames": self.taken}

    def restore(self, state: State, where: str) -> None:
        """Take over what `state` returned. Raises StateError."""
        total, seen = (require_array(state, f"proposal_{n}", self._sum, where) for n in ("sum", "seen"))
        if not (np.isfinite(total).all() and (seen >= 0).all()):
            raise StateError(f"{where}: state 'proposal_sum' and 'proposal_seen' must be finite; the state was damaged")
        self._sum, self._seen, self.taken = total, seen, require_int(state, "proposal_frames", where)
