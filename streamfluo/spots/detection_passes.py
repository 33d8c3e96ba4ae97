"""Repeated spot detection on running means of frames (alpha spending)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from ..core.card import Card
from ..core.errors import StateError
from ..core.mirror import Mirror
from ..core.spec import Spec
from ..core.state import State, require_array, require_int
from .kernels.frames import FLAGS, X, Y
from .kernels.matched_filter import Search
from .kernels.measuring import NOT_CONVERGED, OUTSIDE, Measurement
from .localise import localise
from .on_card import CardLocaliser, CardSensor

SAME_SPOT_SIGMA = 2.0  # a detection within so many σ of a known spot is that spot
MAX_DOUBLINGS = 12  # of the number of passes


PassesTold = tuple[Measurement, int, float, Sequence[np.ndarray]]  # what DetectionPasses is told beside the spec


def pass_rates(rate: float) -> list[float]:
    """Return the false-alarm rate of passes 1, 2 … 3, 4 … 7 and so on: 2^m passes spend rate / ((m + 1)(m + 2))."""
    return [rate / (2**m * (m + 1) * (m + 2)) for m in range(MAX_DOUBLINGS)]


class DetectionPasses:
    """Detects spots on the sum of frames after 1, 2, 4 … and then every `mean_frames` of them, when a new sum begins.

    A sum of n frames is a frame with n times the light, the offset and the variance, so the false-alarm rate holds in
    each pass; `rate` false spots per pixel are spent over the passes, however many there will be. A spot keeps its
    number; its position is that of the last pass that detected it.
    """

    def __init__(
        self, spec: Spec, measurement: Measurement, mean_frames: int, sigma_px: float, tables: Sequence[np.ndarray]
    ) -> None:
        self._sum = np.zeros(spec.shape)
        self.frames = self.passes = 0
        self.places = np.empty((0, 3))
        self._tables = tables
        self._measurement, self._mean_frames, self._sigma_px = measurement, mean_frames, sigma_px

    def add(self, frame: Any) -> bool:
        """Add a frame (y, x); return whether a pass is due."""
        if self.frames == self._mean_frames:
            self.frames = 0
        self._add(frame, self.frames == 0)
        self.frames += 1
        beginning = self.passes <= (self._mean_frames - 1).bit_length()
        return self.frames == self._mean_frames or (beginning and self.frames & (self.frames - 1) == 0)

    def detect(self, search: Search) -> None:
        """Detect spots on the sum and join them to the known ones."""
        n, sensor = np.float32(self.frames), self._measurement.sensor
        self.passes += 1
        search = search._replace(table=self._tables[min(self.passes.bit_length(), len(self._tables)) - 1])
        summed = sensor._replace(offset=sensor.offset * n, variance=sensor.variance * n, saturation=np.inf)
        measurement = self._measurement._replace(sensor=summed)
        found = self._localised(search, measurement)
        inside = np.all((found[:, [Y, X]] > -0.5) & (found[:, [Y, X]] < np.array(self._sum.shape) - 0.5), axis=1)
        sound = inside & (found[:, FLAGS].astype(int) & (NOT_CONVERGED | OUTSIDE) == 0)
        self._join(found[sound][:, [Y, X]])

    def mean(self) -> np.ndarray:
        """Return the mean of the frames since the sum began (y, x) float32."""
        return (self._now() / max(self.frames, 1)).astype(np.float32)

    def state(self) -> State:
        """Return the sum, the numbers of frames and passes, and the places."""
        return {"sum": self._now().copy(), "summed": self.frames, "looks": self.passes, "places": self.places.copy()}

    def restore(self, state: State) -> None:
        """Take over what `state` returned. Raises StateError."""
        self._take(require_array(state, "sum", self._sum, "spots"))
        self.frames = require_int(state, "summed", "spots")
        self.passes = require_int(state, "looks", "spots")
        places = state.get("places")
        if not (isinstance(places, np.ndarray) and places.ndim == 2 and places.shape[1] == 3 and places.dtype == float):
            raise StateError("spots: state 'places' must be an array (n, 3) of floats")
        self.places = places.copy()

    def _now(self) -> np.ndarray:
        """The sum, to be read."""
        return self._sum

    def _take(self, sums: np.ndarray) -> None:
        """Go on from another sum."""
        self._sum = sums

    def _add(self, frame: Any, begins: bool) -> None:
        if begins:
            self._sum[:] = 0
        self._sum += frame

    def _localised(self, search: Search, measurement: Measurement) -> np.ndarray:
        return localise(self._sum[None].astype(np.float32), search, measurement)

    def _join(self, found: np.ndarray) -> None:
        near = SAME_SPOT_SIGMA * self._sigma_px
        new = np.ones(len(found), bool)
        if len(self.places) and len(found):
            distance, number = cKDTree(self.places[:, :2]).query(found)
            taken: set[int] = set()
            for k in np.argsort(distance, kind="stable"):
                if distance[k] > near:
                    break
                new[k] = False
                if (known := int(number[k])) not in taken:
                    taken.add(known)
                    self.places[known, :2] = found[k]
        added = np.zeros((int(new.sum()), 3))
        added[:, :2] = found[new]
        self.places = np.concatenate([self.places, added])


class CardDetectionPasses(DetectionPasses):
    """DetectionPasses of frames on a card, where their sum stays."""

    def __init__(self, card: Card, spec: Spec, search: Search, told: PassesTold) -> None:
        super().__init__(spec, *told)
        self._card, self._mirror = card, Mirror(card, spec.shape)
        measurement = self._measurement
        measurement = measurement._replace(sensor=measurement.sensor._replace(saturation=np.inf))
        self._finds = CardLocaliser(card, spec.shape, "float32", search, measurement)

    def _now(self) -> np.ndarray:
        return self._mirror.host

    def _take(self, sums: np.ndarray) -> None:
        self._mirror.host = sums

    def _add(self, frame: Any, begins: bool) -> None:
        if begins:
            self._mirror.clear()
        there = self._mirror.to_change()
        there += frame.astype(np.float32)

    def _localised(self, search: Search, measurement: Measurement) -> np.ndarray:
        frame = self._mirror.there()[None].astype(np.float32)
        return self._finds.localise(frame, search.table, CardSensor(self._card, measurement.sensor))[0]
