"""What extraction keeps on a card, and its kernels there."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.card import Card
from ...core.spec import Spec
from ..kernels.demixing import LIMIT, ROWS
from ..kernels.demixing_gpu import PROJECTION, WHITENING
from ..kernels.residual import STEP
from ..kernels.residual_gpu import DETECTION, RESIDUAL
from ..kernels.ring_regression_gpu import LOOKING, RING_REGRESSION
from .components import BINS
from .detection import MAPS, WIDTHS
from .params import ExtractParams, box_of, ring_radius_px_of
from .ring_background import grid_of

FOOTPRINT, MEAN = 1, 2  # what a change is of
MODES = 4  # background modes at most
WORD = 7  # bins that are told of in one pixel: as many bits as all types have
_ROOM = 512  # components that there is room for at first
PROJECT_THREADS = 128


class RingMemory:
    """What the ring's background needs on a card."""

    def __init__(self, card: Card, dtype: str, modes: int, grid: tuple[int, int], radius: float) -> None:
        xp, self.radius = card.xp, radius
        self.product, self.square = xp.zeros((2, *grid), np.float64)
        self.slope, self.binned, self.background, self.out = xp.zeros((4, *grid), np.float32)
        self.smoothed, self.columns = xp.zeros((2, *grid), np.float32), xp.zeros((modes, grid[1]), np.float32)
        self.amounts, self.whole = xp.zeros(modes, np.float32), xp.zeros(grid, np.uint8)
        self.kernels = card.compiled(RING_REGRESSION, PIXEL=dtype)


class MapsMemory:
    """What detection needs on a card: maps at several widths, binned 2 × 2."""

    def __init__(self, card: Card, shape: tuple[int, int]) -> None:
        xp, n = card.xp, len(WIDTHS)
        self.arrays = {
            name: xp.zeros(size, np.float32)
            for name, size in {
                "maps": (n, MAPS, *shape), "pooled": (n, 2, *shape), "mean": (n, *shape), "square": (n, *shape),
                "resting": shape,
            }.items()
        }  # fmt: skip
        self.binned, self.seen = xp.zeros(shape, np.float32), xp.zeros(shape, np.uint8)
        self.rows, self.marks = xp.zeros((2, n, *shape), np.float32)
        self.kernels = card.compiled(DETECTION)


class CardMemory:
    """What extraction needs on a card, all of it taken at once, and its kernels there.

    Bytes at 512 × 512: 52 M for a window of 100 frames, 21 M for the bins, 13 M for pictures and maps, 5 M for boxes.
    """

    def __init__(self, card: Card, params: ExtractParams, spec: Spec, bin_frames: int) -> None:
        xp, (height, width), modes = card.xp, spec.shape, params.background_components
        self.card, self.shape, self.box_shape = card, spec.shape, box_of(params, spec.shape)
        self.frames = xp.zeros((params.window_frames, height, width), np.int16)
        self.bins = xp.zeros((BINS, height, width), np.int16)
        self.mean, self.weight, self.total = xp.zeros((3, height, width), np.float32)
        self.modes = xp.zeros((modes, height, width), np.float32)
        self.kept, self.columns = (xp.zeros(size, np.float32) for size in ((-(-height // ROWS), width), (modes, width)))
        self.no_ring, self.no_pairs = xp.zeros((1, 1), np.float32), xp.zeros((1, 2), np.int32)
        self.no_activity = xp.zeros(1, np.float64)
        self.maps = MapsMemory(card, (max(1, height // 2), max(1, width // 2)))
        self.room = 0
        self.make_room(1)
        self.whiten = card.compiled(WHITENING, PIXEL=spec.dtype, LIMIT=int(LIMIT), ROWS=ROWS)
        self.project = card.compiled(PROJECTION, THREADS=PROJECT_THREADS)["project_lists"]
        given = {"BIN": bin_frames, "STEP": int(STEP), "FOOTPRINT": FOOTPRINT, "MEAN": MEAN}
        self.residual = card.compiled(RESIDUAL, **given)
        self.look_at_frames = card.compiled(LOOKING, PIXEL=spec.dtype)["look_at_frames"]
        self.grid, self.ring, grid = (0, 0), None, (1, 1)
        if params.background == "ring":
            grid, radius = grid_of(spec.shape, ring_radius_px_of(params))
            self.ring = RingMemory(card, spec.dtype, modes, grid, radius)
            self.grid = grid if np.dtype(spec.dtype).kind == "f" else (0, 0)

        self.between = tuple(map(card.put, places_between(spec.shape, grid)))

    def look(self, frames: Any, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return every step-th row and column of frames (t, …), and which bins of the ring's grid are known in each
        (t, rows, columns), of integers none."""
        (rows, columns), (height, width) = self.grid, self.shape
        n, samples, words = len(frames), (-(-height // step), -(-width // step)), -(-rows * columns // WORD)
        size = samples[0] * samples[1]
        found = self.card.xp.zeros((n, size + words), frames.dtype)
        self.look_at_frames.items(found.size, frames, n, height, width, step, self.weight, rows, columns, found)
        host = self.card.get(found)
        bits = host[:, size:, None].astype(np.uint8) >> np.arange(WORD, dtype=np.uint8) & np.uint8(1)
        known = bits.reshape(n, -1)[:, : rows * columns].reshape(n, rows, columns)
        return np.ascontiguousarray(host[:, :size]).reshape(n, *samples), known

    def make_room(self, components: int) -> None:
        """Have room for so many components; what is known of their footprints is forgotten where it was too little."""
        if components > self.room:
            xp, self.room = self.card.xp, max(_ROOM, 1 << (components - 1).bit_length())
            self.box = xp.zeros((self.room, *self.box_shape), np.float32)
            self.origin, self.counts = xp.zeros((self.room, 2), np.int32), xp.zeros(self.room, np.int32)
            self.index, self.value = xp.zeros(self.box.shape, np.int32), xp.zeros(self.box.shape, np.float32)
            self.products = xp.zeros(self.room + MODES, np.float64)
            self.gathered = xp.zeros(self.box.size, np.float32)


def places_between(shape: tuple[int, int], grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the bin whose centre lies before each row, and then each column, of frames of a shape, and the part of the
    way to the next one: divisions of float64 take long on cards for games."""
    bins, parts = [], []
    for pixels, n in zip(shape, grid, strict=True):
        place = np.clip((np.arange(pixels) + 0.5) * n / pixels - 0.5, 0.0, n - 1.0)
        before = np.minimum(place.astype(np.int32), max(n - 2, 0))
        bins.append(before)
        parts.append((place - before).astype(np.float32))
    return np.concatenate(bins).astype(np.int32), np.concatenate(parts)
