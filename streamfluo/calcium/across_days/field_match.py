"""A day's field on the common one: found anywhere, refined by patches, affine or piecewise as the patches say."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from .field_images import binned
from .field_map import FieldMap, grid_places, warped
from .field_search import Evidence, search
from .patches import Patches, measured_patches

SURE_SIGMA = 6.0  # above chance: 36 of other fields reach 4.1 at most, 12 with a fifth of the cells common 8.8 at least
FINE_RADIUS_PX = 4.0  # of a cell in images that patches are cut from: finer ones say no more
COARSER = 2.0
ROUNDS = 4
FAR_PX, FAR_TIMES = 1.0, 1.5  # errors beyond the larger lose their say: pixels, times the median error
GAIN = 0.8  # of the left-out patches' error: only so much better is a model worth its freedom
MODELS = ("rigid", "affine", "piecewise")


class FieldMatch(NamedTuple):
    """A day's map, whether it can be trusted, its evidence, which model the patches asked for, their residual [px]."""

    map: FieldMap
    matched: bool
    evidence: Evidence
    model: str
    residual_px: float
    patches: int

    def __str__(self) -> str:
        e = self.evidence
        said = (
            f"correlation {e.correlation:.2f} over {e.overlap:.0%} of the field, {e.sigma:.1f} σ above what mirrored "
            "and turned fields reach"
        )
        return f"{said}; needed: {SURE_SIGMA:g} σ" if not self.matched else said


def match_fields(common: np.ndarray, moving: np.ndarray, radius_px: float, max_turn_deg: float) -> FieldMatch:
    """Return where the common field's places lie in the moving day's; (n, y, x) images of `field_images`."""
    found, evidence = search(common, moving, radius_px, max_turn_deg)
    if evidence.sigma < SURE_SIGMA:  # deformed by more than half a cell it matches where both are blurred by one
        a, b = (gaussian_filter(images, (0, radius_px, radius_px)) for images in (common, moving))
        found, evidence = search(a, b, COARSER * radius_px, max_turn_deg)
    if evidence.sigma < SURE_SIGMA:
        return FieldMatch(found, False, evidence, "rigid", np.nan, 0)
    k = max(1, int(radius_px // FINE_RADIUS_PX))
    a, b, small = binned(common, k), binned(moving, k), found.of_binned(k)
    model, residual, patches = "rigid", np.nan, Patches.none()
    for turn in range(ROUNDS):
        image, seen = warped(b, small, a.shape[1:])
        reach = radius_px / k * (1.5 if turn == 0 else 1.0)
        patches = measured_patches(a, image, seen, radius_px / k, max(reach, 2.0))
        if len(patches.at) < 6:
            break
        there = small(patches.at + patches.moved)
        model = "rigid" if turn == 0 else _model(patches, there)
        small = fitted(model, patches.at, there, patches.weight, patches.spacing)
        residual = float(np.sqrt(np.median(((small(patches.at) - there) ** 2).sum(1)))) * k
    return FieldMatch(small.of_pixels(k), True, evidence, model, residual, len(patches.at))


def _model(patches: Patches, there: np.ndarray) -> str:
    """The simplest model that predicts patches from those that do not overlap them.

    Every fourth patch along both axes is left out together, and those that overlap it: 16 fits of each model.
    """
    chosen, least = "", np.inf
    index = np.rint((patches.at - patches.at.min(0)) / patches.spacing).astype(int) % 4
    folds = [(index == (i, j)).all(1) for i in range(4) for j in range(4)]
    apart = [(np.abs((index - index[out][0] + 2) % 4 - 2) >= 2).any(1) if out.any() else out for out in folds]
    for model in MODELS:
        errors = [np.empty(0)]
        for out, used in zip(folds, apart, strict=True):
            if out.any() and used.sum() >= 6:
                found = fitted(model, patches.at[used], there[used], patches.weight[used], patches.spacing)
                errors.append(np.minimum(np.hypot(*(found(patches.at[out]) - there[out]).T), 3 * FAR_PX))
        error = float(np.mean(known)) if len(known := np.concatenate(errors)) else np.inf
        if not chosen or error < GAIN * least:
            chosen, least = model, error
    return chosen


def fitted(model: str, at: np.ndarray, there: np.ndarray, weight: np.ndarray, spacing: float) -> FieldMap:
    """Return the map of a model from places (n, 2) of the common field to those of the day, robust to wrong patches."""
    used = weight
    for _ in range(5):
        found = (_rigid if model == "rigid" else _affine)(at, there, used)
        error = np.hypot(*(found(at) - there).T)
        far = max(FAR_PX, FAR_TIMES * float(np.median(error)))
        used = weight * np.minimum(1, far / np.maximum(error, 1e-9)) ** 2
    if model != "piecewise":
        return found
    return _piecewise(found, at, there - found(at), used, spacing)


def _rigid(at: np.ndarray, there: np.ndarray, weight: np.ndarray) -> FieldMap:
    """The rotation and shift of least squares (Kabsch 1976)."""
    total = weight.sum()
    a, b = ((weight[:, None] * p).sum(0) / total for p in (at, there))
    u, _, v = np.linalg.svd(((there - b) * weight[:, None]).T @ (at - a))
    matrix = u @ np.diag([1, np.sign(np.linalg.det(u @ v))]) @ v
    return FieldMap(matrix, b - matrix @ a)


def _affine(at: np.ndarray, there: np.ndarray, weight: np.ndarray) -> FieldMap:
    """Least squares, held to a rotation by two patches' worth."""
    rigid = _rigid(at, there, weight)
    middle = (weight[:, None] * at).sum(0) / weight.sum()
    off, rest = at - middle, there - rigid(at)
    scatter = (off * weight[:, None]).T @ off
    held = scatter + np.eye(2) * (2 * np.trace(scatter) / 2 / max(len(at), 1))
    change = np.linalg.solve(held, (off * weight[:, None]).T @ rest).T
    shift = (weight[:, None] * rest).sum(0) / weight.sum()
    return FieldMap(rigid.matrix + change, rigid.offset + shift - change @ middle)


def _piecewise(affine: FieldMap, at: np.ndarray, rest: np.ndarray, weight: np.ndarray, spacing: float) -> FieldMap:
    """The affine map and, on a grid, the weighted means of what is left around each node, held to 0 by one patch."""
    low, high = at.min(0), at.max(0)
    rows, columns = (np.rint((high - low) / spacing) + 1).astype(int)
    nodes = low + spacing * grid_places((rows, columns))
    near = np.exp(-((nodes[:, None] - at[None]) ** 2).sum(2) / (2 * (1.2 * spacing) ** 2)) * weight
    means = near @ rest / (near.sum(1, keepdims=True) + np.median(weight))
    return FieldMap(affine.matrix, affine.offset, means.T.reshape(2, rows, columns), tuple(low), spacing)
