"""The cells of another day, laid where they are in today's field."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import scipy.sparse

from ..across_days.day import Day, radius_px
from ..across_days.field_images import local_contrast
from ..across_days.field_map import grid_places, interpolation_weights
from ..across_days.field_match import match_fields
from .first_frames import FirstFrames
from .seeds import Seeds

MAX_TURN_DEG = 25.0
LEAST_INSIDE = 0.4  # of a cell's footprint must lie in today's field


class MatchedSeeds(NamedTuple):
    """Seeds where today's field has them, why others are not taken by their id, and why none is, or ""."""

    seeds: Seeds
    refused: dict[int, str]
    mismatch: str


def matched_seeds(seeds: Seeds, frames: FirstFrames) -> MatchedSeeds:
    """Return the seeds of a session where they lie in the field of these frames, with their ids.

    The mean of the frames is matched with the session's background (`across_days.field_match`), 1 s of a core. Where
    that fails no seed is taken, and the ids that they had are not given again.
    """
    assert seeds.image is not None
    columns = scipy.sparse.csc_matrix(np.array([image.ravel() for image in seeds.images]).T)
    radius = radius_px([Day(seeds.folder, columns, np.array(seeds.ids), seeds.image)])
    today, day = (
        local_contrast(image, np.ones(image.shape, bool), radius)[None] for image in (_mean(frames), seeds.image)
    )
    match = match_fields(today, day, radius, MAX_TURN_DEG)
    if not match.matched:
        said = f"this field does not match that of {seeds.folder}: {match}"
        return MatchedSeeds(
            replace(seeds, images=(), ids=()), dict.fromkeys(seeds.ids, "its field does not match"), said
        )
    shape = seeds.image.shape
    height, width = shape
    laid = interpolation_weights(match.map(grid_places((height, width))), (height, width)) @ columns
    inside = np.asarray(laid.sum(0)).ravel() >= LEAST_INSIDE * np.asarray(columns.sum(0)).ravel()
    images = laid.T.toarray().reshape(-1, *shape)
    kept = [k for k in range(len(seeds.ids)) if inside[k]]
    gone = {seeds.ids[k]: "it lies outside this field" for k in range(len(seeds.ids)) if not inside[k]}
    taken = replace(seeds, images=tuple(images[k] for k in kept), ids=tuple(seeds.ids[k] for k in kept))
    return MatchedSeeds(taken, gone, "")


def _mean(frames: FirstFrames) -> np.ndarray:
    """The mean (y, x) of the frames, NaN where none has a pixel."""
    total, count = np.zeros((2, *frames.first.shape))
    for part in frames:
        known = np.isfinite(part)
        total += np.where(known, part, 0)
        count += known
    return np.where(count > 0, frames.first + total / np.maximum(count, 1), np.nan)
