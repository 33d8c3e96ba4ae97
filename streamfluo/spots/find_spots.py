"""Spot detection in one image."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import ConfigError, FrameError
from ..core.spec import Camera
from .doubts import status_of_image
from .kernels.crops import ROUNDING_ADU2
from .kernels.detection import detect, new_search
from .sensor import background_known, sensor, what_is_unknown


class FoundSpots(NamedTuple):
    """Spots of `find_spots`, (n,) each: y, x [px], photons and background [/px] estimated by the matched filter.

    `status`: "as stated", or what speaks against the camera's numbers or the false-alarm rate.
    """

    y: np.ndarray
    x: np.ndarray
    photons: np.ndarray
    background: np.ndarray
    status: str


def find_spots(
    image: Any, *, sigma_px: float = 1.3, false_alarms: float = 1.0, camera: Camera | None = None
) -> FoundSpots:
    """Return the spots of an image (y, x) in ADU, row by row, good to a third of a pixel (see `fit_spots`).

    `false_alarms`: mean number of spots that noise alone makes in an image. With the camera's gain, offset and read
    noise it holds from .5 photons of background on, below it is less; without them the noise is measured in tiles of
    64 × 64, of sparse counts too. Structure is no noise: `status` says how
    many spots are rather that. `sigma_px`: σ of the PSF.
    Cost at 512 × 512: 1.2 rfft2, and .1 s to prepare. Raises FrameError or ConfigError. Turin 1960, IRE Trans. Inf.
    Theory 6:311 (matched filter).
    """
    frame = np.array(image, np.float32)
    if frame.ndim != 2 or min(frame.shape) < 5:
        raise FrameError(f"find_spots: an image is (y, x) of 5 × 5 pixels at least, found {frame.shape}")
    if not (0.3 <= sigma_px <= 30 and false_alarms > 0):
        raise ConfigError(f"find_spots: sigma_px is .3 to 30, false_alarms positive, found {sigma_px}, {false_alarms}")
    camera = camera or Camera()
    try:
        known = sensor(camera, ROUNDING_ADU2, math.inf, frame.shape)
    except ValueError:
        raise FrameError(f"find_spots: the camera's maps are not {frame.shape} as the image is") from None
    search = new_search(frame.shape, sigma_px, false_alarms, camera.excess_noise)
    count = detect(frame, known, search)
    y, x, q, level, down, right, response = search.candidates[:count].T
    row, column = y.astype(int), x.astype(int)
    qe = np.broadcast_to(np.asarray(1.0 if camera.qe is None else camera.qe), frame.shape)[row, column]
    photons = q / response
    places = np.stack([y + down, x + right], axis=1)
    status = status_of_image(frame, known, search, places, sigma_px, what_is_unknown(camera))
    if not background_known(camera):
        level[:] = np.nan
    return FoundSpots(places[:, 0], places[:, 1], photons / qe, (level - photons * search.squares[2]) / qe, status)
