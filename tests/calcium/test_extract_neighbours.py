"""A cell that has not been found yet, seen through the footprint of one beside it."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.sparse import csc_array

import streamfluo
from streamfluo import Block, Spec
from streamfluo.calcium.extract.footprint_update import LIKE_ITSELF, LIKE_TO_LEARN
from streamfluo.calcium.extracted_components import MEASURES
from streamfluo.calcium.kernels.footprint_r2 import footprint_r2

SHAPE = (48, 48)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
KNOWN, NEW = (np.exp(-((Y - y) ** 2 + (X - x) ** 2) / 18) for y, x in ((27, 22), (20, 25)))  # σ 3 px, 7.6 px apart
VOLUME = "sim:calcium?channels=2&z=3&z_step_um=8&shape=96x96&frames=700&motion_px=0&seed=31"


def slice_of_volume(name):
    """Frames (t, y, x) of a slice, and the images (y, x) of its cells by number."""
    with streamfluo.open_source(VOLUME) as source:
        frames = [b.pixels for b in source.blocks(32) if f"{b.channel}/{b.z}" == name]
        truth = {n.rpartition("/")[2]: a for n, a in source.truth.items() if n.startswith(name)}
    shape = tuple(truth["A_shape"])
    images = csc_array((truth["A_data"], truth["A_indices"], truth["A_indptr"]), shape=shape).toarray().T
    return np.concatenate(frames), dict(zip(truth["cell"].tolist(), images.reshape(-1, 96, 96), strict=True))


@pytest.mark.slow
def test_a_footprint_does_not_move_over_to_the_cell_beside_it():
    """Cell 10 is active at frame 16, 28 at 408, both at 474.

    By frame 431 the footprint of 10 had become that of 28, whose own component was then joined to it.
    """
    movie, cells = slice_of_volume("green/1")
    spec = Spec(movie.shape[1:], movie.dtype, interval_s=1 / 30)
    operator = streamfluo.create("extract", spec, init_frames=150)
    operator.update(Block(0, np.arange(len(movie)), movie))
    snapshot = operator.read(["footprints", "quality_now"])
    measures = dict(zip(MEASURES, snapshot["quality_now"].T, strict=True))
    alike = []
    for k in np.flatnonzero(measures["accepted"]):
        box, image = snapshot["footprints"][k], np.zeros(movie.shape[1:])
        top, left = int(measures["top_px"][k]), int(measures["left_px"][k])
        image[top : top + box.shape[0], left : left + box.shape[1]] = box
        two = (cells[10], cells[28])
        alike.append([(image * cell).sum() / np.linalg.norm(image) / np.linalg.norm(cell) for cell in two])
    of_first, of_second = np.argmax(alike, axis=0)
    assert of_first != of_second
    assert alike[of_first][0] > 0.75
    assert alike[of_second][1] > 0.9


@pytest.mark.parametrize("shown", ["itself", "neighbour", "both", "part"])
def test_footprint_r2_is_the_part_of_the_image_that_the_footprint_explains(shown):
    """Beside the same without noise. Where a part of a cell was found, the image is like it, and it learns the rest."""
    box = np.where(KNOWN > 0.2, KNOWN, 0).astype(np.float32)
    image = {"itself": box, "neighbour": NEW, "both": KNOWN + 2 * NEW, "part": KNOWN}[shown]
    if shown == "part":
        box[:, 23:] = 0
    activity = float((box * image).sum() / (box * box).sum()) * 40
    noise = np.random.default_rng(3).normal(0, 2, SHAPE)
    boxes = (np.zeros((2, 2), np.int32), np.stack([box, box]), np.stack([box, box]))
    like = np.empty(2)
    footprint_r2((40 * image - activity * box + noise).astype(np.float32), np.array([activity, 0.0]), 2.0, boxes, like)
    p, q = (gaussian_filter(one.astype(float), 1.0, truncate=3)[box > 0] for one in (box, image))
    assert like == pytest.approx([(p @ q) ** 2 / (p @ p) / (q @ q), 1.0], abs=0.02)  # 1: not active
    assert (like[0] > LIKE_TO_LEARN) == (shown in ("itself", "part"))
    assert (like[0] < LIKE_ITSELF) == (shown == "neighbour")
