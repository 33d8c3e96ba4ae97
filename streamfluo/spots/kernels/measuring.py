"""What measuring spots in frames shares: camera, spot and method as told, the crop, and its neighbours' light."""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from .crops import LANES, blank_lanes, cut_crop
from .fits import PARAMETERS
from .integration import BORDER, WEIGHTED, border, likeliest, weighted

AT_EDGE, SATURATED, CROWDED, NOT_CONVERGED, OUTSIDE, WIDTH_KEPT = 1, 2, 4, 8, 16, 32


class Sensor(NamedTuple):
    """Maps (y, x) or (1, x) float32 of ADU, e/ADU and e²; poisson 1, or 0 where the gain is unknown and 1."""

    offset: Any
    gain: Any
    variance: Any
    saturation: float
    poisson: float


def sensor(
    offset: Any, gain: Any, read_noise_e: Any, rounding_adu2: float, saturation: float, shape: tuple[int, int]
) -> Sensor:
    """Return what is known of a camera, numbers or maps (y, x); without gain and offset all pixels count the same.

    Raises ValueError for maps of another shape.
    """
    known = gain is not None and offset is not None
    gain = np.asarray(1.0 if gain is None else gain)
    read = np.asarray(0.0 if read_noise_e is None else read_noise_e)
    variance = read**2 + gain**2 * rounding_adu2 if known else np.asarray(1.0)

    def told(value: Any) -> np.ndarray:
        value = np.asarray(value)
        return np.ascontiguousarray(np.broadcast_to(value, shape if value.ndim else (1, shape[1])), np.float32)

    return Sensor(told(offset if known else 0.0), told(gain), told(variance), saturation, 1.0 if known else 0.0)


class Settings(NamedTuple):
    """Side of a crop, and codes: MLE …, WEIGHTED …, FIXED_WIDTH …"""

    side: int
    how: int
    method: int
    free: int


class Shape(NamedTuple):
    """A spot's shape: code, widths (y, x) in px, angle in radians, side of a pixel (y, x) in nm, spline."""

    model: int
    sigmas: tuple[float, float]
    theta: float
    pixels: tuple[float, float]
    spline: Any


class Room(NamedTuple):
    """Arrays to work in: crops (4, side, lanes), matrices (3, 6, 6), vectors (8, 6), profiles (6, lanes) and more."""

    crops: Any
    matrices: Any
    vectors: Any
    profiles: Any
    lines: Any
    ring: Any


@njit(nogil=True, cache=True, error_model="numpy")
def working_room(side):  # type: ignore[no-untyped-def]
    """Return what measuring crops of this side takes."""
    crops = np.zeros((4, side, LANES * -(-side // LANES)))
    blank_lanes(side, crops[0], crops[1])
    matrices, vectors = np.empty((3, PARAMETERS, PARAMETERS)), np.empty((8, PARAMETERS))
    lines = np.empty((3, LANES * (side // LANES + 1)))
    return Room(crops, matrices, vectors, np.zeros((6, crops.shape[2])), lines, np.empty(4 * side))


@njit(nogil=True, cache=True, error_model="numpy")
def integrate(d, v, p, b, method, ring, poisson):  # type: ignore[no-untyped-def]
    """Return N, its error, b and χ² of one crop by a method."""
    if method == BORDER:
        return border(d, v, p, d.shape[0], ring, poisson)
    if method == WEIGHTED:
        return weighted(d.reshape(-1), v.reshape(-1), p.reshape(-1), b, poisson)
    return likeliest(d.reshape(-1), v.reshape(-1), p.reshape(-1), b, poisson)


@njit(nogil=True, cache=True, error_model="numpy")
def cut(frame, top, left, side, camera, d, v):  # type: ignore[no-untyped-def]
    """Cut a crop out of a frame into d, v; return whether it reaches out of the field, and is saturated, as flags."""
    seen = cut_crop(frame, top, left, side, camera.offset, camera.gain, camera.variance, d, v)
    flags = AT_EDGE if seen < side * side else 0
    for y in range(max(0, top), min(frame.shape[0], top + side)):
        for x in range(max(0, left), min(frame.shape[1], left + side)):
            if frame[y, x] >= camera.saturation:
                return flags | SATURATED
    return flags


@njit(nogil=True, cache=True, error_model="numpy")
def take_out(d, v, light, n, poisson):  # type: ignore[no-untyped-def]
    """Take n electrons of a neighbour out of a crop's data; they stay in its noise."""
    for y in range(d.shape[0]):
        for x in range(d.shape[1]):
            if v[y, x] < math.inf:
                d[y, x] -= n * light[y, x]
                v[y, x] += poisson * max(n, 0.0) * light[y, x]
