"""Known cells: masks, labels, positions, or the components of an earlier session."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...core.errors import ConfigError
from ...core.loaded import Loaded, plain_array
from ...core.spec import Spec
from ...pixels.region_masks import masks_of_labels
from ..across_days.day import PIXEL_TOLERANCE
from ..extracted_components import MEASURES

SEED, SEED_OF_ANOTHER_DAY = "seed", "seed of another day"  # accepted at once; once it is active


@dataclass(frozen=True)
class Seeds:
    """Known cells: an image (y, x) and an id each, the first id that is free, the folder of their session, or "".

    Of a session also its `image` (y, x) of the field and its `pixel_um`; `match`: it is to be laid on today's field.
    """

    images: tuple[np.ndarray, ...] = ()
    ids: tuple[int, ...] = ()
    next_id: int = 0
    folder: str = ""
    image: np.ndarray | None = None
    pixel_um: float | None = None
    match: bool = False

    @property
    def origin(self) -> str:
        """What the events say of them: those of another day may be gone, and are accepted once they are active."""
        return SEED_OF_ANOTHER_DAY if self.match else SEED


def load_seeds(value: Any, shape: tuple[int, int], width_px: float) -> Seeds:
    """Return an image (y, x) and an id per seed; a position becomes a Gaussian of σ width_px.

    `value`: masks (n, y, x), a labelled image (y, x), positions (n, 2) [px], an object with `.footprints` (y·x, n), or
    `Seeds`. Those of a session keep their ids, others have their place as id. Raises ConfigError.
    """
    if value is None:
        raise ConfigError(
            'extract: init = "seeded" needs seeds: masks, labels, positions, a .npy file of them, or a session'
        )
    if isinstance(value, Seeds):
        return value
    if hasattr(value, "footprints"):
        value = np.asarray(value.footprints.todense()).T
    if isinstance(value, str):  # of a file or a folder that is there, its content has come in place of its name
        raise ConfigError(f"extract: seeds: no session folder and no .npy, .npz or .csv file {value!r}")
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"extract: seeds must hold numbers, found {array.dtype}")
    images = _images(array, shape, width_px)
    if not (np.isfinite(images).all() and (images >= 0).all()):
        raise ConfigError("extract: seeds must be finite and not negative")
    return Seeds(tuple(images), tuple(range(len(images))), len(images))


def to_be_matched(seeds: Seeds, spec: Spec) -> Seeds:
    """Return seeds to be laid on the field of the first frames. Raises ConfigError for other seeds than a session."""
    if seeds.image is None or not seeds.ids:
        raise ConfigError("extract: match_seeds is for seeds that are a session with accepted components")
    if spec.pixel_um and seeds.pixel_um and abs(spec.pixel_um / seeds.pixel_um - 1) > PIXEL_TOLERANCE:
        raise ConfigError(
            f"extract: pixels of the seeds are {seeds.pixel_um:g} µm, of the frames {spec.pixel_um:g} µm; was it "
            "another objective or zoom? match_seeds needs one pixel size"
        )
    return replace(seeds, match=True)


def _images(array: np.ndarray, shape: tuple[int, int], width_px: float) -> np.ndarray:
    if array.ndim == 2 and array.shape[1] == shape[0] * shape[1]:
        return array.reshape(-1, *shape).astype(np.float32)
    if array.ndim == 3 and array.shape[1:] == shape:
        return array.astype(np.float32)
    if array.ndim == 2 and array.shape == shape:
        return masks_of_labels(array, "extract: seeds").astype(np.float32)
    if array.ndim == 2 and array.shape[1] == 2:
        yy, xx = np.ogrid[: shape[0], : shape[1]]
        blobs = [np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * width_px**2)) for y, x in array]
        return np.array([np.where(blob > 0.1, blob, 0) for blob in blobs], np.float32).reshape(-1, *shape)
    raise ConfigError(
        f"extract: seeds are masks (n, y, x) or labels (y, x) on {shape}, or positions (n, 2), found {array.shape}"
    )


def seeds_of_file(loaded: Loaded, spec: Spec) -> np.ndarray | Seeds:
    """Return masks, labels or positions from a .npy, or the accepted components of a session."""
    return plain_array(loaded, spec) if loaded.steps is None else seeds_of_session(loaded, spec)


def seeds_of_session(loaded: Loaded, spec: Spec) -> Seeds:
    """Return the accepted components of a session, with their ids."""
    step = loaded.step("extract")
    snapshot = step.snapshot
    if "quality_now" not in snapshot:
        raise ConfigError(f"{loaded.path}: no session with components")
    images, ids = _accepted(snapshot["footprints"], snapshot["quality_now"], spec.shape)
    # none that a component had which is gone: who knows the session's ids would take a new one for it
    known = np.asarray(snapshot.get("next_id", 0))
    if len(set(ids)) < len(ids) or min(ids, default=0) < 0 or known.shape or known.dtype.kind not in "iu":
        raise ConfigError(f"{loaded.path}: its components are not numbered")
    next_id = max(int(known), *(n + 1 for n in ids), 0)
    return Seeds(images, ids, next_id, str(step.folder.resolve()), snapshot["background"], step.sees.pixel_um)


def _accepted(
    boxes: np.ndarray, quality: np.ndarray, shape: tuple[int, int]
) -> tuple[tuple[np.ndarray, ...], tuple[int, ...]]:
    """Images (y, x) and ids of the accepted components, from boxes (id, h, w)."""
    column = dict(zip(MEASURES, quality.T, strict=False))  # a session of before may lack the last ones
    images = np.zeros((len(boxes), *shape), np.float32)
    height, width = boxes.shape[1:]
    for image, box, top, left in zip(images, boxes, column["top_px"], column["left_px"], strict=True):
        if not (0 <= top <= shape[0] - height and 0 <= left <= shape[1] - width):
            raise ConfigError(f"extract: seeds: the footprints belong to another frame size than {shape}")
        image[int(top) : int(top) + height, int(left) : int(left) + width] = box
    kept = column["accepted"] > 0
    return tuple(images[kept]), tuple(column["id"][kept].astype(int).tolist())
