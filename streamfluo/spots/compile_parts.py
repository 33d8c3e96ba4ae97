"""What compiles the kernels of spots in two parts, 12 and 14 s of a core: beside each other in half the time."""

from __future__ import annotations

import math

import numpy as np

from ..core.spec import Spec
from .kernels.detection import CANDIDATE_COLUMNS, detect_spots, new_search
from .kernels.frames import measure_spots
from .params import SpotsParams, both_widths, camera_of, measurement_of


def compile_detection(params: SpotsParams, spec: Spec) -> None:
    """Compile what finds spots, where they are not given."""
    if params.spots is None:
        camera = camera_of(params, spec)
        sensor = measurement_of(params, spec, camera, False).sensor
        search = new_search(spec.shape, math.sqrt(math.prod(both_widths(params))), params.false_alarms)
        detect_spots(np.zeros((1, *spec.shape), np.float32), sensor, search)


def compile_measurement(params: SpotsParams, spec: Spec) -> None:
    """Compile what fits and integrates the spots that are found."""
    if params.spots is None:
        measurement = measurement_of(params, spec, camera_of(params, spec), False)
        none_found = np.empty((0, CANDIDATE_COLUMNS)), np.zeros(1, np.int64)
        measure_spots(np.zeros((1, *spec.shape), np.float32), *none_found, 1.0, measurement)
