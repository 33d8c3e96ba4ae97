"""`spots` on real recordings: single molecules beside a tracker's positions, blinking microtubules."""

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tifffile
from scipy.spatial import cKDTree

from streamfluo import Block, Spec, create

DATA = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[3] / "shared" / "data"))
MOLECULES = DATA / "single_molecule"
BLINKING = DATA / "blinking" / "deconSTORM_microtubuledata.mat"


@pytest.mark.skipif(not MOLECULES.exists(), reason=f"needs single_molecule/ in {DATA} or $STREAMFLUO_DATA")
def test_single_molecules_are_where_a_tracker_saw_them():
    frames = tifffile.imread(MOLECULES / "pMHC_AF647_10x128x128.tif")
    theirs = scipy.io.loadmat(MOLECULES / "pMHC_AF647_200k_000__positions.mat")["MT"]  # x, y from 1, …, frame last
    operator = create("spots", Spec(frames.shape[1:], frames.dtype), sigma_px=1.1)
    table = operator.update(Block(0, np.arange(10), frames)).values["spots"]
    distances = []
    for frame in (0, 1):
        mine = table["frame"] == frame
        places = np.stack([table["y_px"][mine], table["x_px"][mine]], 1)
        distances += cKDTree(places).query(theirs[theirs[:, 11] == frame][:, [1, 0]] - 1)[0].tolist()
    distances = np.array(distances)
    assert (distances < 1.5).mean() > 0.9
    assert np.median(distances[distances < 1.5]) < 0.2
    counts = np.bincount(table["frame"], minlength=10)
    assert counts[0] > 2 * counts[-1] > 10  # they bleach


@pytest.mark.skipif(not BLINKING.exists(), reason=f"needs blinking/ in {DATA} or $STREAMFLUO_DATA")
def test_blinking_molecules_lie_on_the_microtubules():
    frames = np.moveaxis(scipy.io.loadmat(BLINKING)["mov"], -1, 0).astype(np.float32)
    operator = create("spots", Spec((16, 16), "float32"), crop_px=7, false_alarms=0.05)
    table = operator.update(Block(0, np.arange(len(frames)), np.ascontiguousarray(frames))).values["spots"]
    sound = (table["flags"] & 24) == 0
    assert sound.sum() > 150
    mean = frames.mean(0)
    y, x = (np.rint(table[name][sound]).astype(int).clip(0, 15) for name in ("y_px", "x_px"))
    assert np.median(mean[y, x]) > np.percentile(mean, 75)
