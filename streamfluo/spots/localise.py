"""Spots of frames found, fitted and integrated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.block import Block
from ..core.card import Card
from ..core.card_block import frames_of
from ..core.spec import Spec
from .doubts import rows_compared
from .kernels.detection import detect_spots
from .kernels.frames import FRAME, X, Y, by_likelihood, measure_spots
from .kernels.known_places import KnownSpots, as_needed, measure_known
from .kernels.matched_filter import Search
from .kernels.measuring import Measurement
from .on_card import CardKnown, CardLocaliser, CardSensor

# Compiling kernels for float32 alone takes a seventh of the time; fresh memory for 32 frames costs .4 rfft2 each.
_CONVERTED_BYTES = 8 << 20
Measured = tuple[np.ndarray, np.ndarray]  # photons, error, background and χ² (4, t, n), flags (t, n)


def localise(frames: np.ndarray, search: Search, measurement: Measurement) -> np.ndarray:
    """Return a row (n, COLUMNS) for each spot of frames (t, y, x) float32, the frame counted from 0."""
    found, counts = detect_spots(frames, measurement.sensor, search)
    rows: np.ndarray = measure_spots(frames, found, counts, search.squares[2], by_likelihood(measurement))
    return rows


class Localiser:
    """Finds and measures the spots of frames, in parts of a block that it takes at once."""

    def __init__(self, spec: Spec, search: Search, measurement: Measurement) -> None:
        self.search, self._measurement = search, measurement
        self._compared = rows_compared(spec.shape)
        self._frames = np.empty(
            (max(1, _CONVERTED_BYTES // (4 * spec.shape[0] * spec.shape[1])), *spec.shape), np.float32
        )

    def parts(self, block: Block) -> Iterator[tuple[int, Any]]:
        """Yield parts of the frames, as float32 in memory that is used again, each with the index of its first one."""
        pixels = block.pixels
        for start in range(0, len(pixels), len(self._frames)):
            part = self._frames[: len(pixels) - start]
            part[:] = pixels[start : start + len(part)]
            yield start, part

    def compared(self, frame: Any) -> np.ndarray:
        """Return the `rows_compared` of a frame."""
        rows: np.ndarray = frame[self._compared]
        return rows

    def localise(self, frames: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return what `localise` does, and whether each spot's pixel is seen (n,)."""
        rows = localise(frames, self.search, self._measurement)
        near, seen = np.rint(rows[:, [Y, X]]), np.zeros(len(rows), bool)
        inside = ((near >= 0) & (near < frames.shape[1:])).all(1)
        frame, (y, x) = rows[inside, FRAME].astype(np.int64), near[inside].T.astype(np.int64)
        seen[inside] = np.isfinite(frames[frame, y, x])
        return rows, seen

    def measure(self, frames: Any, spots: KnownSpots, shifts: np.ndarray) -> Measured:
        """Return what spots at known places, moved by shifts (t, 2), have in each frame."""
        values = np.empty((4, len(frames), len(spots.places)))
        flags = np.zeros(values.shape[1:], np.int64)
        measure_known(frames, spots, shifts, as_needed(self._measurement), values, flags)
        return values, flags


class LocaliserOnCard(Localiser):
    """Localiser of frames on a card. `finds` and `follows`: which of the two it will be asked for."""

    def __init__(
        self, spec: Spec, search: Search, measurement: Measurement, card: Card, does: tuple[bool, bool]
    ) -> None:
        self.search, self._measurement, self._card = search, measurement, card
        self._compared, self._sensor = card.put(rows_compared(spec.shape)), CardSensor(card, measurement.sensor)
        finds, follows = does
        if finds:
            self._finds = CardLocaliser(card, spec.shape, spec.dtype, search, measurement)
        if follows:
            self._follows = CardKnown(card, spec.shape, spec.dtype, measurement)

    def parts(self, block: Block) -> Iterator[tuple[int, Any]]:
        """Yield the frames, where they are."""
        yield 0, frames_of(block, self._card)

    def compared(self, frame: Any) -> np.ndarray:
        return self._card.get(frame[self._compared]).astype(np.float32)

    def localise(self, frames: Any) -> tuple[np.ndarray, np.ndarray]:
        return self._finds.localise(frames, self.search.table, self._sensor)

    def measure(self, frames: Any, spots: KnownSpots, shifts: np.ndarray) -> Measured:
        return self._follows.measure(frames, spots, shifts, self._sensor)
