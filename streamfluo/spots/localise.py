"""Spots of frames found, fitted and integrated."""

from __future__ import annotations

import numpy as np

from .kernels.detection import detect_spots
from .kernels.frames import by_likelihood, measure_spots
from .kernels.matched_filter import Search
from .kernels.measuring import Measurement


def localise(frames: np.ndarray, search: Search, measurement: Measurement) -> np.ndarray:
    """Return a row (n, COLUMNS) for each spot of frames (t, y, x) float32, the frame counted from 0."""
    found, counts = detect_spots(frames, measurement.sensor, search)
    rows: np.ndarray = measure_spots(frames, found, counts, search.squares[2], by_likelihood(measurement))
    return rows
