"""Regions as people give them: masks, a labelled image, polygons."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.ndimage as ndi

from ..core.errors import ConfigError

LEAST_TOUCHING = 100  # pairs of pixels, to tell labels from a picture by


def region_masks(value: Any, shape: tuple[int, int], where: str = "regions") -> np.ndarray:
    """Return regions as masks (n, y, x) bool.

    `value`: masks (n, y, x), a labelled image (y, x), or polygons, each a list of corners [y, x] in px. Footprints are
    their pixels above a fifth of the peak. Raises ConfigError, which begins with `where`, for others and for a region
    without a pixel.
    """
    if isinstance(value, list | tuple):
        masks = np.array([_filled(n, corners, shape, where) for n, corners in enumerate(value)]).reshape(-1, *shape)
    else:
        masks = _of_array(np.asarray(value), shape, where)
    if not len(masks):
        raise ConfigError(f"{where}: none given")
    empty = np.flatnonzero(~masks.any((1, 2)))
    if len(empty):
        raise ConfigError(f"{where}: region {empty[0]} has no pixel in frames of {shape}; are these pixels?")
    return masks


def masks_of_labels(labels: np.ndarray, where: str) -> np.ndarray:
    """Return the masks (n, y, x) bool of a labelled image (y, x), whose background is 0.

    Raises ConfigError, which begins with `where`, for a picture: it would have a mask for each of its brightnesses, of
    512 × 512 floats 64 GiB of masks. Of labels most pixels that touch have the same one.
    """
    pairs = [
        (one[(one != 0) & (other != 0)], other[(one != 0) & (other != 0)])
        for one, other in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1]))
    ]
    touching, same = sum(len(one) for one, _ in pairs), sum(int((one == other).sum()) for one, other in pairs)
    found = np.unique(labels[labels != 0])
    if touching >= LEAST_TOUCHING and same < touching / 2:
        raise ConfigError(
            f"{where}: this is no labelled image, which has one number for all pixels of a cell and 0 elsewhere: found "
            f"{len(found)} numbers of which {same} of {touching} pixels that touch are the same; is it a picture?"
        )
    return np.array([labels == label for label in found], bool).reshape(-1, *labels.shape)


def _of_array(array: np.ndarray, shape: tuple[int, int], where: str) -> np.ndarray:
    if array.dtype.kind == "U" and not array.ndim:  # of a file that is there, its content has come in place of its name
        raise ConfigError(f"{where}: masks: no .npy file {str(array)!r}")
    if array.dtype.kind not in "biuf" or not np.isfinite(array.astype(float)).all():
        raise ConfigError(f"{where}: masks are finite numbers, found {array.dtype}")
    if array.ndim == 3 and array.shape[1:] == shape:
        return array > array.max((1, 2), keepdims=True) / 5
    if array.shape == shape:
        return masks_of_labels(array, where)
    raise ConfigError(f"{where}: masks (n, y, x) or a labelled image (y, x) of {shape}, found {array.shape}")


def _filled(number: int, corners: Any, shape: tuple[int, int], where: str) -> np.ndarray:
    """The pixels whose centres lie in a polygon, by the even-odd rule."""
    try:
        points = np.asarray(corners, float)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1:] != (2,) or len(points) < 3 or not np.isfinite(points).all():
        raise ConfigError(f"{where}: region {number} is a list of three corners [y, x] or more, found {corners!r:.60}")
    low = np.clip(np.floor(points.min(0)), 0, shape).astype(int)
    stop = np.clip(np.ceil(points.max(0)) + 1, 0, shape).astype(int)
    y, x = np.mgrid[low[0] : stop[0], low[1] : stop[1]].astype(float)  # the whole frame takes 5 ms an edge
    inside = np.zeros(y.shape, bool)
    for (y0, x0), (y1, x1) in zip(points, np.roll(points, -1, 0), strict=True):
        crosses = (y0 > y) != (y1 > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    mask = np.zeros(shape, bool)
    mask[low[0] : stop[0], low[1] : stop[1]] = inside
    return mask


def neuropils(masks: np.ndarray, gap_px: float, width_px: float) -> np.ndarray:
    """Return for each mask (n, y, x) the pixels further than `gap_px` and up to `width_px` around it in no mask."""
    free = ~np.asarray(masks.any(0))
    found, reach = np.zeros(masks.shape, bool), int(np.ceil(gap_px + width_px)) + 1
    for mask, around in zip(masks, found, strict=True):
        near = tuple(
            slice(max(0, int(at.min()) - reach), int(at.max()) + reach + 1) for at in np.nonzero(mask)
        )  # the whole frame takes 10 ms a region
        distance = ndi.distance_transform_edt(~mask[near])
        around[near] = free[near] & (distance > gap_px) & (distance <= gap_px + width_px)
    return found
