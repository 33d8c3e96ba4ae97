"""Known positions of spots, and their neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from ..core.errors import ConfigError
from ..core.loaded import Loaded, RecordedStep, plain_array
from ..core.spec import Spec
from .kernels.frames import REACH_SIGMA

MAX_SPOTS = 1_000_000
WANTED = "an array (n, 2) of y, x [px] or (n, 3) with z [nm], a .npy, a .csv or a session"
OUTSIDE_PX = 1000.0  # drift may move spots into the field; farther out is a mistake in units


def checked_places(spots: Any, spec: Spec) -> np.ndarray:
    """Return places (n, 3): y, x [px], z [nm]. Raises ConfigError for other arrays, NaN, or places far outside."""
    places = np.asarray(spots)
    if places.dtype.kind not in "iuf" or places.ndim != 2 or places.shape[1] not in (2, 3):
        raise ConfigError(f"spots: spots must be {WANTED}, found {places.dtype} {places.shape}")
    if not 0 < len(places) <= MAX_SPOTS:
        raise ConfigError(f"spots: from 1 to {MAX_SPOTS} spots can be followed, found {len(places)}")
    full = np.zeros((len(places), 3))
    full[:, : places.shape[1]] = places
    if not np.isfinite(full).all():
        raise ConfigError(f"spots: the place of spot {np.argmin(np.isfinite(full).all(1))} is not a number")
    far = (full[:, :2] < -OUTSIDE_PX) | (full[:, :2] > np.array(spec.shape) + OUTSIDE_PX)
    inside = (full[:, :2] >= -0.5) & (full[:, :2] < np.array(spec.shape) - 0.5)
    if far.any() or not inside.all(1).any():
        k = int(np.argmax((far | ~inside).any(1)))
        place = f"({full[k, 0]:.1f}, {full[k, 1]:.1f})"
        raise ConfigError(f"spots: spot {k} at {place} lies outside frames of {spec.shape}; are these pixels?")
    return full


def neighbours_of(places: np.ndarray, side: int, sigma_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Return starts (n + 1,) and indices of the spots whose PSF reaches into each spot's crop (see KnownSpots)."""
    if not len(places):
        return np.zeros(1, np.int64), np.zeros(0, np.int64)
    pairs = cKDTree(places[:, :2]).query_pairs(side / 2 + REACH_SIGMA * sigma_px, p=np.inf, output_type="ndarray")
    both = np.concatenate([pairs, pairs[:, ::-1]]).astype(np.int64)
    both = both[np.lexsort((both[:, 1], both[:, 0]))]
    starts = np.searchsorted(both[:, 0], np.arange(len(places) + 1))
    return starts.astype(np.int64), np.ascontiguousarray(both[:, 1])


def places_of_file(loaded: Loaded, spec: Spec) -> np.ndarray:
    """Return places from a .npy, from columns of a .csv in pixels or nm, or those where a session's spots stay."""
    if loaded.steps is not None:
        return _of_session(loaded.step("spots"))
    return plain_array(loaded, spec) if loaded.columns is None else _from_columns(loaded, spec)


def _from_columns(loaded: Loaded, spec: Spec) -> np.ndarray:
    columns = loaded.columns or {}
    for y, x, nm in (("y_px", "x_px", False), ("y [nm]", "x [nm]", True), ("y", "x", False)):
        if y in columns and x in columns:
            places = np.stack([columns[y], columns[x]], 1)
            if nm and spec.pixel_um is None:
                raise ConfigError(f"{loaded.path} is in nm, and the source does not state the pixel size")
            return places / (spec.pixel_um * 1000) - 0.5 if nm and spec.pixel_um else places
    raise ConfigError(f"{loaded.path} has no columns y_px and x_px; found {', '.join(columns) or 'none'}")


def _of_session(step: RecordedStep) -> np.ndarray:
    """Return the last position of each spot of a session."""
    values = step.values
    if "photons" not in values:
        raise ConfigError(f'{step.folder} has spots of single frames; use a session with detect = "mean"')
    table = values["spots"]
    _, from_end = np.unique(table["spot"][::-1], return_index=True)
    rows = len(table["spot"]) - 1 - from_end
    return np.stack([table["y_px"][rows], table["x_px"][rows]], 1)
