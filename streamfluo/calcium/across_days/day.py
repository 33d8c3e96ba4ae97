"""What is known of one day: its components and an image of its field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from ...core.errors import SessionError
from ...core.loaded import RecordedStep
from ..component_shapes import centres
from ..extracted_components import ExtractedComponents

PIXEL_TOLERANCE = 0.01  # relative: one objective gives one pixel size, and files round it


@dataclass(frozen=True)
class Day:
    """The components of a day: `footprints` (y·x in C order, K), `ids` (K,), `image` (y, x) of the field.

    `image` is any that shows tissue or vessels, in any unit, NaN where it is not known. `pixel_um` is the side of a
    pixel where it is known. Raises SessionError for arrays that do not fit together or a day without components.
    """

    name: str
    footprints: Any
    ids: np.ndarray
    image: np.ndarray
    pixel_um: float | None = None

    def __post_init__(self) -> None:
        image = np.asarray(self.image, np.float32)
        footprints = scipy.sparse.csc_matrix(self.footprints, dtype=np.float32)
        ids = np.asarray(self.ids, np.int64)
        if image.ndim != 2 or footprints.shape != (image.size, len(ids)):
            raise SessionError(
                f"register: {self.name}: footprints {footprints.shape} and {len(ids)} ids do not fit an image of "
                f"{image.shape}; footprints are (y·x, components)"
            )
        if not np.isfinite(footprints.data).all() or (footprints.data < 0).any():
            raise SessionError(f"register: {self.name}: footprints must be finite and not negative")
        seen = np.asarray(footprints.sum(0)).reshape(-1) > 0
        if not seen.any():
            raise SessionError(f"register: {self.name} has no accepted component; there is nothing to match")
        object.__setattr__(self, "image", image)
        object.__setattr__(self, "footprints", footprints[:, seen])
        object.__setattr__(self, "ids", ids[seen])

    @property
    def shape(self) -> tuple[int, int]:
        """Of the frames (y, x)."""
        height, width = self.image.shape
        return height, width

    @property
    def centres_px(self) -> np.ndarray:
        """The weighted centre (K, 2) of each footprint [px]."""
        return centres(self.footprints, self.shape)

    def __len__(self) -> int:
        return len(self.ids)


def day_of_step(name: str, step: RecordedStep) -> Day:
    """Return the accepted components of a recorded step `extract`, and its image of the background."""
    found = ExtractedComponents.without_values(step)
    kept = found.accepted
    return Day(name, found.footprints[:, kept], found.ids[kept], step.snapshot["background"], step.sees.pixel_um)


def check_alike(days: Sequence[Day]) -> None:
    """Raise SessionError where days cannot be of one field: too few, of other frame sizes or pixel sizes."""
    if len(days) < 2:
        raise SessionError(f"register: two sessions at least, found {len(days)}")
    first = days[0]
    for day in days[1:]:
        if day.shape != first.shape:
            raise SessionError(
                f"register: {day.name} has frames of {day.shape}, {first.name} of {first.shape}; register sessions of "
                "one frame size"
            )
        if first.pixel_um and day.pixel_um and abs(day.pixel_um / first.pixel_um - 1) > PIXEL_TOLERANCE:
            raise SessionError(
                f"register: pixels of {day.name} are {day.pixel_um:g} µm, of {first.name} {first.pixel_um:g} µm; was "
                "it another objective or zoom? register sessions of one pixel size"
            )


def radius_px(days: Sequence[Day]) -> float:
    """Return the radius of a disc of the median footprint's area at half its peak [px]."""
    areas = []
    for day in days:
        f = day.footprints
        for k in range(f.shape[1]):
            column = f.data[f.indptr[k] : f.indptr[k + 1]]
            areas.append((column > column.max() / 2).sum())
    return max(float(np.sqrt(np.median(areas) / np.pi)), 1.0)
