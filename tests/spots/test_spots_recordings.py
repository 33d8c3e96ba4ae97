"""`spots` on real recordings: single molecules beside a tracker's positions, blinking microtubules."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from scipy.spatial import cKDTree

from streamfluo import Block, Camera, Spec, create

DATA = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[3] / "shared" / "data"))
MOLECULES = DATA / "single_molecule"
PAINT = DATA / "picasso"
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


@pytest.mark.skipif(not PAINT.exists(), reason=f"needs picasso/ in {DATA} or $STREAMFLUO_DATA")
def test_a_paint_movie_has_the_spots_that_another_program_finds_in_it():
    frames = np.fromfile(PAINT / "picasso_test.raw", "<u2").reshape(100, 32, 32)
    with h5py.File(PAINT / "picasso_test_locs.hdf5") as file:
        theirs = file["locs"][:]
    theirs = theirs[theirs["frame"] < 100]  # of a longer movie
    assert len(theirs) == 30
    spec, params = Spec((32, 32), "uint16", camera=Camera(0.0, 1.0, 0.0)), {"sigma_px": 0.85, "crop_px": 7}
    mine = create("spots", spec, **params, false_alarms=0.01).update(Block(0, np.arange(100), frames)).values["spots"]
    places = np.stack([100.0 * mine["frame"], mine["y_px"], mine["x_px"]], 1)
    distance, number = cKDTree(places).query(np.stack([100.0 * theirs["frame"], theirs["y"], theirs["x"]], 1))
    assert distance.max() < 0.01
    assert len(set(number)) == 30
    bright = mine["photons"] > 1000
    assert bright.sum() == 30
    assert np.median(mine["photons"][number] / theirs["photons"]) == pytest.approx(1, abs=0.05)
