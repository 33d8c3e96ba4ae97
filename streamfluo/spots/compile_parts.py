"""What compiles the kernels of spots in parts, beside each other: 11 s of a core to find, 14 to fit, 4 to integrate."""

from __future__ import annotations

import math

import numpy as np

from ..core.spec import Spec
from .kernels.detection import CANDIDATE_COLUMNS, detect_spots, new_search
from .kernels.frames import by_likelihood, measure_spots
from .kernels.known_places import KnownSpots, as_needed, measure_known
from .params import SpotsParams, both_widths, camera_of, measurement_of
from .places import neighbours_of


def compile_detection(params: SpotsParams, spec: Spec) -> None:
    """Compile what finds spots, where they are not given."""
    if params.spots is None:
        camera = camera_of(params, spec)
        sensor = measurement_of(params, spec, camera, False).sensor
        search = new_search(spec.shape, math.sqrt(math.prod(both_widths(params))), params.false_alarms)
        detect_spots(np.zeros((1, *spec.shape), np.float32), sensor, search)


def compile_measurement(params: SpotsParams, spec: Spec) -> None:
    """Compile what fits and integrates the spots that are found, in frames or on means."""
    if params.spots is None:
        measurement = measurement_of(params, spec, camera_of(params, spec), False)
        none_found = np.empty((0, CANDIDATE_COLUMNS)), np.zeros(1, np.int64)
        measure_spots(np.zeros((1, *spec.shape), np.float32), *none_found, 1.0, by_likelihood(measurement))


def compile_known(params: SpotsParams, spec: Spec) -> None:
    """Compile what integrates spots at known places, where they are given or detected on means."""
    if params.spots is None and params.detect != "mean":
        return
    none = np.empty((0, 3))
    spots = KnownSpots(none, *neighbours_of(none, params.crop_px, max(both_widths(params))))
    measurement = measurement_of(params, spec, camera_of(params, spec), params.spots is not None)
    frames, values = np.zeros((1, *spec.shape), np.float32), np.empty((4, 1, 0))
    measure_known(frames, spots, np.zeros((1, 2)), as_needed(measurement), values, np.zeros((1, 0), np.int64))
