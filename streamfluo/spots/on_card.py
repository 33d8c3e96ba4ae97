"""Spots of frames on a card: found, fitted and integrated there; their rows alone come to the host."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.card import Card
from .kernels.detection_gpu import FILTER, FIND, WINDOWS
from .kernels.frames import ROUNDS
from .kernels.frames_gpu import MEASURE, SEEN
from .kernels.known_places import NOT_MEASURED, KnownSpots
from .kernels.known_places import ROUNDS as KNOWN_ROUNDS
from .kernels.known_places_gpu import KNOWN
from .kernels.matched_filter import STRIP, Search
from .kernels.measuring import Measurement, Sensor
from .kernels.measuring_gpu import SHARED_SIDE_PX
from .kernels.noise import ROUNDS as NOISE_ROUNDS
from .kernels.noise import TILE_PX
from .kernels.noise_gpu import NOISE

GROUP_THREADS = 32  # of a spot: a warp, which waits for itself alone
GROUPS = 4096  # of threads at once at most: 31 for each of an H200's processors
WIDE_GROUPS = 512  # of crops that need memory of the card
DETECTED_BYTES = 40 << 20  # of float32 frames that are detected in at once: two of 2048 × 2048
DETECTED_FRAMES = 32
FLOATS = ("float32", "float64")


class CardSensor:
    """A Sensor's maps on a card."""

    def __init__(self, card: Card, sensor: Sensor) -> None:
        self._maps = [(card.put(each), len(each)) for each in (sensor.offset, sensor.gain, sensor.variance)]
        self.saturation, self.poisson = float(sensor.saturation), float(sensor.poisson)

    @property
    def arguments(self) -> list[Any]:
        """The maps and their numbers of rows, as kernels take them: offset, gain, variance."""
        return [each for pair in self._maps for each in pair]

    @property
    def dark(self) -> tuple[Any, int]:
        """The map of the variance in the dark, and its number of rows."""
        return self._maps[2]


class CardLocaliser:
    """`localise` on a card, of frames (t, y, x) there of one shape and type."""

    def __init__(
        self, card: Card, shape: tuple[int, int], dtype: str, search: Search, measurement: Measurement
    ) -> None:
        height, width = self._shape = shape
        self._card, self._floats, self._ellipse = card, dtype in FLOATS, measurement.ellipse
        weights = np.trim_zeros(search.weights, "b")
        self._reach, self._share = len(weights) - 1, float(search.squares[2])
        self._frames = max(1, min(DETECTED_FRAMES, DETECTED_BYTES // (4 * height * width)))
        self._most = len(search.candidates)
        self._noise_unknown = measurement.sensor.measured
        measured = int(self._noise_unknown)
        self._kernels = {
            **(card.compiled(WINDOWS, PIXEL=dtype) if self._floats else {}),
            **card.compiled(FILTER, PIXEL=dtype, WEIGHTS=len(weights), REACH=search.reach),
            **card.compiled(NOISE, PIXEL=dtype, MEASURED=measured),
            **card.compiled(FIND, PIXEL=dtype),
        }
        self._measure = card.compiled(MEASURE, **_group(measurement, dtype))["measure_spots"]
        self._weights = card.put(weights)
        self._along = [card.put(np.ascontiguousarray(each)) for each in search.squares[:2]]
        self._table_of: np.ndarray | None = None
        self._table = card.xp.zeros(search.table.shape)
        self._memory = self._allocated()
        self._images = _images(card, measurement.side)

    def localise(self, frames: Any, table: np.ndarray, sensor: CardSensor) -> tuple[np.ndarray, np.ndarray]:
        """Return a row (n, COLUMNS) for each spot, frame counted from 0, and whether its pixel is seen (n,)."""
        if table is not self._table_of:
            self._table[...] = self._card.put(table)
            self._table_of = table
        found = []
        for start in range(0, len(frames), self._frames):
            rows = self._part(frames[start : start + self._frames], sensor)
            rows[:, 0] += start
            found.append(rows)
        rows = np.concatenate(found)
        return rows[:, :SEEN], rows[:, SEEN] > 0

    def _part(self, frames: Any, sensor: CardSensor) -> np.ndarray:
        n, (height, width), memory, run = len(frames), self._shape, self._memory, self._kernels
        size, windows = (n, height, width), self._windows(frames)
        pieces = -(-width // 256)
        run["filter_rows"].blocks(
            n * height * pieces, frames, *size, windows, *sensor.arguments[:4], self._weights, memory["electrons"],
            memory["smooth"], memory["boxed"],
        )  # fmt: skip
        strips = -(-height // STRIP)
        run["filter_columns"].items(
            n * strips * width,
            memory["smooth"],
            memory["boxed"],
            *size,
            windows,
            self._weights,
            memory["q"],
            memory["background"],
        )
        run["begin_noise"].blocks(
            n, *size, windows, memory["background"], *sensor.dark, self._share, memory["measured"], memory["state"]
        )
        if self._noise_unknown:
            self._measure_noise(size, windows)
        self._find(frames, windows, sensor)
        found, measured = self._card.get(memory["told"])[:, :n]
        if measured.any() and not self._noise_unknown:  # a background below zero: rarely, so that nobody waits for it
            self._measure_noise(size, windows)
            self._find(frames, windows, sensor)
            found = self._card.get(memory["told"])[0, :n]
        return self._measured(frames, int(found.sum()), sensor)

    def _measure_noise(self, size: tuple[int, int, int], windows: Any) -> None:
        """Leave the q² beyond which pixels are detected in `limits`, of frames whose noise is to be measured."""
        n, memory, run, along = size[0], self._memory, self._kernels, self._along
        q, state, limits, tiles = memory["q"], memory["state"], memory["limits"], math.prod(_tiles(self._shape))
        run["tile_medians"].blocks(n * tiles, *size, windows, q, state, memory["medians"])
        memory["taken"][:n] = 0
        for _ in range(NOISE_ROUNDS):
            run["tile_cumulants"].blocks(
                n * tiles, *size, windows, memory["electrons"], memory["taken"], state, memory["cumulants"]
            )
            run["tile_limits"].items(
                n * tiles, *size, windows, memory["medians"], memory["cumulants"], *along, self._share, self._table,
                state, limits,
            )  # fmt: skip
            run["leave_out"].blocks(
                n * size[1], *size, windows, q, limits, self._reach, state, memory["taken"], memory["counts"]
            )
            run["end_round"].blocks(n, n, size[1], memory["counts"], state)

    def _find(self, frames: Any, windows: Any, sensor: CardSensor) -> None:
        """Leave the candidates of frames, and how many each has, in the memory."""
        n, memory, run = len(frames), self._memory, self._kernels
        size, light = (n, *self._shape), (memory["q"], memory["background"])
        noise, rows = (self._share, sensor.poisson), n * self._shape[0]
        marks, counts, places = memory["marks"], memory["counts"], memory["places"]
        run["mark_maxima"].blocks(
            rows, frames, *size, windows, *light, *sensor.dark, *self._along, *noise, self._table, memory["measured"],
            memory["limits"], marks, counts,
        )  # fmt: skip
        run["row_places"].blocks(n, counts, n, self._shape[0], self._most, places, memory["of_frames"])
        widths = float(self._ellipse.sigma_y), float(self._ellipse.sigma_x)
        run["write_maxima"].blocks(
            rows, *size, windows, *light, *self._along, *noise, *widths, marks, counts, places, memory["of_frames"],
            memory["candidates"], memory["parameters"],
        )  # fmt: skip

    def _measured(self, frames: Any, spots: int, sensor: CardSensor) -> np.ndarray:
        memory, rows = self._memory, self._memory["rows"]
        memory["done"][:spots] = 0
        memory["next"][...] = 0
        groups = min(ROUNDS * spots, len(self._images) if len(self._images) > 1 else GROUPS)
        self._measure.blocks(
            groups, frames, *self._shape, *sensor.arguments, sensor.saturation, sensor.poisson,
            float(self._ellipse.sigma_y), float(self._ellipse.sigma_x), memory["candidates"], spots,
            memory["parameters"], memory["done"], rows, self._images, memory["next"],
        )  # fmt: skip
        return self._card.get(rows[:spots])

    def _windows(self, frames: Any) -> Any:
        """The part of each frame that is seen (n, 4): all of frames of integers."""
        n, memory = len(frames), self._memory
        if self._floats:
            height, width = self._shape
            rows, columns = memory["seen_rows"], memory["seen_columns"]
            self._kernels["seen_rows"].blocks(n * height, frames, n, height, width, rows)
            self._kernels["seen_columns"].items(n * width, frames, n, height, width, columns)
            self._kernels["windows"].items(n, rows, columns, n, height, width, memory["windows"])
        return memory["windows"]

    def _allocated(self) -> Mapping[str, Any]:
        xp, n, (height, width) = self._card.xp, self._frames, self._shape
        spots, tiles, padded = n * self._most, math.prod(_tiles(self._shape)), -(-width // 8) * 8
        float32 = {name: xp.zeros((n, height, width), np.float32) for name in ("electrons", "smooth", "boxed")}
        light = {name: xp.zeros((n, height, width), np.float32) for name in ("q", "background")}
        rims = {"seen_rows": xp.zeros((n, height), np.uint8), "seen_columns": xp.zeros((n, width), np.uint8)}
        told = xp.zeros((2, n), np.int32)  # in one memory: they come to the host together
        windows = np.tile(np.array([0, height, 0, width], np.int32), (n, 1))
        return {
            **float32, **light, **(rims if self._floats else {}), "windows": self._card.put(windows),
            "told": told, "of_frames": told[0], "measured": told[1], "state": xp.zeros((n, 3), np.int32),
            "taken": xp.zeros((n, height, width), np.uint8), "medians": xp.zeros((n, tiles)),
            "cumulants": xp.zeros((n, 3, tiles)), "limits": xp.zeros((n, tiles)),
            "marks": xp.zeros((n, height, padded), np.uint8), "counts": xp.zeros((n, height), np.int32),
            "places": xp.zeros((n, height), np.int32),
            "candidates": xp.zeros((spots, 4), np.int32), "parameters": xp.zeros((spots, 6)),
            "rows": xp.zeros((spots, SEEN + 1)), "done": xp.zeros(spots, np.int32), "next": xp.zeros(1, np.int32),
        }  # fmt: skip


class CardKnown:
    """`measure_known` on a card."""

    def __init__(self, card: Card, shape: tuple[int, int], dtype: str, measurement: Measurement) -> None:
        self._card, self._shape, self._ellipse = card, shape, measurement.ellipse
        psf = measurement.psf
        kernels = card.compiled(KNOWN, MODEL=psf.model, **_group(measurement, dtype))
        self._measure, self._settle = kernels["measure_known"], kernels["settle"]
        self._images = _images(card, measurement.side)
        knots = psf.spline.knots_z, psf.spline.knots_y, psf.spline.knots_x
        coefficients = psf.spline.coefficients if psf.spline.coefficients.size else np.zeros(1)
        self._spline = card.put(coefficients), card.put(np.concatenate([*knots, np.zeros(1)]))
        self._spline_sizes = (*map(len, knots), *map(float, psf.pixel_nm))
        self._spots: tuple[KnownSpots | None, Sequence[Any]] = (None, ())

    def measure(
        self, frames: Any, spots: KnownSpots, shifts: np.ndarray, sensor: CardSensor
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return photons, error, background and χ² (4, t, n) and flags (t, n) of spots moved by shifts (t, 2)."""
        xp, t, n = self._card.xp, len(frames), len(spots.places)
        if not t or not n:
            return np.empty((4, t, n)), np.zeros((t, n), np.int64)
        if self._spots[0] is not spots:
            near = spots.near if len(spots.near) else np.zeros(1, np.int64)
            self._spots = spots, [self._card.put(each) for each in (spots.places, spots.starts, near)]
        values, flags = xp.zeros((4, t, n)), xp.full((t, n), NOT_MEASURED, np.int32)
        done, changes = xp.zeros((t, n), np.int32), xp.zeros((t, n))
        settled, following = xp.zeros(t, np.int32), xp.zeros(1, np.int32)
        moved, starts = self._card.put(np.ascontiguousarray(shifts, float)), self._spots[1][1]
        groups = min(t * n, len(self._images) if len(self._images) > 1 else GROUPS)
        for rounds in range(KNOWN_ROUNDS if len(spots.near) else 1):
            following[...] = 0
            self._measure.blocks(
                groups, frames, t, *self._shape, *sensor.arguments, sensor.saturation, sensor.poisson,
                *map(float, self._ellipse), *self._spline, *self._spline_sizes, *self._spots[1], n, moved, rounds,
                values, flags, done, changes, settled, self._images, following,
            )  # fmt: skip
            self._settle.blocks(t, t, n, starts, rounds, changes, settled)
        return self._card.get(values), self._card.get(flags).astype(np.int64)


def _group(measurement: Measurement, dtype: str) -> Mapping[str, Any]:
    """What the kernels of groups of threads are given."""
    side = measurement.side
    return {
        "THREADS": GROUP_THREADS, "WIDE": min(GROUP_THREADS, 1 << (side - 1).bit_length()), "SIDE": side,
        "PIXEL": dtype, "FIT": measurement.fit, "METHOD": measurement.method, "FREE": measurement.free,
        "MEASURED": int(measurement.sensor.measured),
    }  # fmt: skip


def _images(card: Card, side: int) -> Any:
    """Memory for the images of groups, where their crops are too large for a block's own."""
    return card.xp.zeros((WIDE_GROUPS, 4, side, side) if side > SHARED_SIDE_PX else (1,))


def _tiles(shape: tuple[int, int]) -> tuple[int, int]:
    return -(-shape[0] // TILE_PX), -(-shape[1] // TILE_PX)
