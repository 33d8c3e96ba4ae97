"""Detection of candidates in residual maps on a card."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.state import State
from ...pixels.kernels.medians import median_size
from .card_memory import CardMemory
from .detection import CLIP, MAPS, MIN_Z, SUPPRESSION, SUPPRESSION_DECAY, Candidate, Detector, rate_of


class CardDetector(Detector):
    """A detector whose maps are on a card. To the host come, three times a bin, every fifth row and column of maps for
    their noise, and the places that have peaked."""

    def __init__(self, of: Detector, memory: CardMemory, binned: np.ndarray) -> None:
        self.__dict__.update(of.__dict__)
        self._memory, self._there, put = memory, memory.maps, memory.card.put
        for name, array in self._arrays.items():
            self._there.arrays[name][...] = put(np.ascontiguousarray(array))
        self._there.seen[...] = put(self._seen.view(np.uint8))
        self._there.binned[...] = put(binned)
        self._reach = max(4 * max(1, -(-(len(kernel) // 2) // 4)) for kernel in self._kernels)
        taps = np.zeros((len(self._kernels), self._reach + 1), np.float32)
        for row, kernel in zip(taps, self._kernels, strict=True):
            row[: len(kernel) // 2 + 1] = kernel[len(kernel) // 2 :]
        self._taps = put(taps)
        self._pooling = put(self._weights)
        self._bounds = np.array([self._largest(variance) for variance in self._variance], np.float32)

    def add_bin(self, binned: object) -> None:
        """Add the residual of the next bin, binned on the card."""
        there, (height, width), n = self._there, self.shape, len(self.widths_px)
        run, pixels = there.kernels, height * width
        newest, rate = self.bins % MAPS, rate_of(self.bins)
        arrays, taps = there.arrays, (self._taps, self._reach)
        maps, pooled = arrays["maps"], arrays["pooled"]
        run["smooth_along_rows"].items(n * pixels, there.binned, height, width, n, *taps, there.rows)
        run["standardise"].items(
            n * pixels, there.rows, height, width, n, *taps, there.seen, *self._bounds, rate, CLIP, MAPS, newest,
            arrays["mean"], arrays["square"], maps,
        )  # fmt: skip
        (found,) = self._sampled([maps[:, newest]])
        factors = 1 / np.array([self._sigma_in(sample) for sample in found], np.float32)
        run["pool"].items(n * pixels, maps, pixels, n, MAPS, newest, *factors, self._pooling, there.seen, pooled)
        found, variances = self._sampled([pooled[:, 1], arrays["square"]])
        sigmas = np.array([self._sigma_in(sample) for sample in found], np.float32)
        self._bounds = np.array([self._bound(self._middle(sample)) for sample in variances], np.float32)
        decay, suppressed = SUPPRESSION_DECAY, arrays["resting"]
        run["divide_pooled"].items(n * pixels, pooled, pixels, n, *sigmas, decay, suppressed)
        self.bins += 1

    def suppress_all(self, candidates: Sequence[Candidate]) -> None:
        if candidates:
            places = [(int(c.y / 2), int(c.x / 2), SUPPRESSION * c.z) for c in candidates]
            there, listed = self._there, self._memory.card.put(np.array(places, np.float32))
            there.kernels["suppress_places"].blocks(
                1, listed, len(places), self._radius, *self.shape, there.arrays["resting"]
            )

    def image(self, shape: tuple[int, int]) -> np.ndarray:
        xp, pooled = self._memory.card.xp, self._there.arrays["pooled"]
        self.pooled[:, 1] = self._memory.card.get(xp.ascontiguousarray(pooled[:, 1]))
        return super().image(shape)

    def state(self) -> State:
        for name, array in self._arrays.items():
            array[...] = self._memory.card.get(self._there.arrays[name])
        return super().state()

    def _peaks(self, limit: int) -> list[np.ndarray]:
        """The highest places (n, 3) of each width, as y, x and z: those marked on the card, in the order of rows."""
        there, (height, width), xp = self._there, self.shape, self._memory.card.xp
        n, arrays = len(self.widths_px), there.arrays
        there.kernels["mark_peaks"].items(
            n * height * width, arrays["pooled"], height, width, n, np.float32(MIN_Z), self._radius, arrays["resting"],
            there.marks,
        )  # fmt: skip
        marks = there.marks.reshape(-1)
        at = xp.flatnonzero(marks)
        if not len(at):
            return [np.zeros((0, 3))] * n
        at, z = self._memory.card.get(xp.stack([at.astype(np.float64), marks[at].astype(np.float64)]))
        place = at.astype(np.int64)
        of, (y, x) = place // (height * width), np.divmod(place % (height * width), width)
        rows = np.column_stack((y, x, z))
        found = [rows[of == width] for width in range(n)]
        return [one[np.argsort(-one[:, 2], kind="stable")[:limit]] for one in found]

    def _sampled(self, maps: Sequence[object]) -> np.ndarray:
        """Every so many rows and columns of maps (widths, y, x) each, (maps, widths, …)."""
        xp, step = self._memory.card.xp, self._step
        parts = [one[:, ::step, ::step] for one in maps]  # type: ignore[index]
        return self._memory.card.get(xp.stack(parts))

    def _sigma_in(self, sample: np.ndarray) -> np.float32:
        return np.float32(max(self._middle(sample) / 0.6745, 1e-6))

    def _middle(self, sample: np.ndarray) -> float:
        """Median absolute value of the observed pixels of every so many rows and columns of a map."""
        if self._all_seen:
            return float(median_size(sample, 1))
        return float(median_size(sample[self._seen[:: self._step, :: self._step]][None], 1))
