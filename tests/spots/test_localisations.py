"""Localisations as other programs read them."""

import csv

import h5py
import numpy as np
import pytest
import tifffile

from streamfluo import Camera, SessionError, Spec, open_session, open_source
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session.export import export_session

SOURCE = "sim:spots?shape=96x96&frames=10&spots=8&spot_photons=2000&motion=random&seed=3&pixel_um=0.1"
SPOTS = '[[step]]\nkind = "spots"\n'


def recorded(config, folder, uri=SOURCE):
    with open_source(str(uri)) as source:
        engine = Engine(source, parse_config(config), folder)
        engine.start()
        engine.wait()
    assert engine.error is None
    return open_session(folder)


def columns(path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def test_thunderstorm_and_picasso_read_the_same_spots_in_their_units(tmp_path):
    session = recorded(SPOTS, tmp_path / "S")
    table = session.values("spots")["spots"]
    sound = (table["flags"] & 24) == 0
    [path] = export_session(session, "thunderstorm", tmp_path / "T")
    theirs = columns(path)
    assert list(theirs)[:6] == ["id", "frame", "x [nm]", "y [nm]", "sigma [nm]", "intensity [photon]"]
    np.testing.assert_allclose(theirs["x [nm]"], (table["x_px"][sound] + 0.5) * 100)
    np.testing.assert_array_equal(theirs["frame"], table["frame"][sound] + 1)
    np.testing.assert_allclose(theirs["intensity [photon]"], table["photons"][sound])
    np.testing.assert_allclose(
        theirs["uncertainty [nm]"], 50 * (table["x_error_px"] + table["y_error_px"])[sound], rtol=1e-9
    )
    assert {"uncertainty_xy [nm]", "offset [photon]"} <= theirs.keys()  # what Picasso's importer of such tables takes
    path, about = export_session(session, "picasso", tmp_path / "P")
    assert (path.name, about.name) == ("spots.spots.hdf5", "spots.spots.yaml")
    with h5py.File(path) as file:
        assert list(file) == ["locs"]
        locs = file["locs"][:]
    assert locs.dtype.names == ("frame", "x", "y", "photons", "sx", "sy", "bg", "lpx", "lpy")
    assert [locs.dtype[n].str for n in range(9)] == ["<u4"] + 8 * ["<f4"]
    np.testing.assert_allclose(locs["y"], table["y_px"][sound], rtol=1e-6)
    np.testing.assert_allclose(locs["sx"], table["sigma_px"][sound], rtol=1e-6)
    told = dict(line.split(": ") for line in about.read_text(encoding="utf-8").splitlines())
    assert {name: told[name] for name in ("Width", "Height", "Frames", "Pixelsize")} == {
        "Width": "96", "Height": "96", "Frames": "10", "Pixelsize": "100.0",
    }  # fmt: skip


def test_picasso_itself_reads_them(tmp_path):
    io = pytest.importorskip("picasso.io", reason="needs picassosr", exc_type=ImportError)
    session = recorded(SPOTS, tmp_path / "S")
    path, _ = export_session(session, "picasso", tmp_path / "P")
    locs, info = io.load_locs(str(path))
    table = session.values("spots")["spots"]
    np.testing.assert_allclose(locs["x"], table["x_px"][(table["flags"] & 24) == 0], rtol=1e-6)
    assert info[0]["Width"] == 96


def test_the_pixel_size_may_be_given_and_light_in_adu_is_not_called_photons(tmp_path):
    rng = np.random.default_rng(1)
    frames = rng.poisson(20, (6, 40, 40)).astype(np.uint16)
    frames[:, 18:21, 24:27] += 200
    tifffile.imwrite(tmp_path / "m.tif", frames)
    session = recorded(SPOTS, tmp_path / "S", tmp_path / "m.tif")
    with pytest.raises(SessionError, match="nm need the pixel size; give --pixel-um"):
        export_session(session, "thunderstorm", tmp_path / "none")
    [path] = export_session(session, "thunderstorm", tmp_path / "T", pixel_um=0.16)
    theirs = columns(path)
    assert {"intensity [ADU]", "offset [ADU]"} < theirs.keys()
    assert np.median(theirs["y [nm]"]) == pytest.approx(160 * 19.5, abs=20)
    _, about = export_session(session, "picasso", tmp_path / "P", pixel_um=0.16)
    assert 'Light unit: "ADU"' in about.read_text(encoding="utf-8")
    export_session(session, "csv", tmp_path / "C")
    assert {"light [ADU]", "error [ADU]", "background [ADU]"} < columns(tmp_path / "C" / "spots.spots.csv").keys()


CROPPED = '[[step]]\nkind = "motion"\nparams = { max_shift_px = 2, border = "crop" }\n'
BINNED = '[[step]]\nkind = "bin"\nparams = { mode = "sum" }\n'
CUTS = {
    "a roi": ("?roi=6:38,10:40", SPOTS),
    "a roi, cropped by motion": ("?roi=6:38,10:40", CROPPED + SPOTS),
    "a roi, binned": ("?roi=6:38,10:40", BINNED + SPOTS),
}


@pytest.mark.parametrize("cut", CUTS)
def test_places_are_those_on_the_chip_whatever_was_cut(cut, tmp_path):
    selection, config = CUTS[cut]
    rng, bell = np.random.default_rng(2), (np.exp(-((np.arange(48) - c) ** 2) / 2 / 1.5**2) for c in (21.3, 26.6))
    texture = 3 * rng.random((48, 48))
    frames = rng.poisson(20 + texture + 300 * np.outer(*bell), (40, 48, 48)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "m.tif", frames)
    session = recorded(config, tmp_path / "S", f"{tmp_path / 'm.tif'}{selection}")
    [path] = export_session(session, "thunderstorm", tmp_path / "T", pixel_um=0.1)
    theirs = columns(path)
    bright = theirs["intensity [ADU]"] > 0.5 * theirs["intensity [ADU]"].max()
    assert np.median(theirs["y [nm]"][bright]) == pytest.approx(100 * 21.8, abs=8)
    assert np.median(theirs["x [nm]"][bright]) == pytest.approx(100 * 27.1, abs=8)


def test_a_roi_of_a_recorded_roi_is_where_both_put_it(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", np.zeros((6, 48, 40), np.uint16))
    recorded(
        '[[step]]\nkind = "moments"\n[record]\nraw = true\n', tmp_path / "S", f"{tmp_path / 'm.tif'}?roi=8:40,4:36"
    )
    assert open_session(tmp_path / "S").spec.origin_px == (8, 4)
    with open_source(f"{tmp_path / 'S'}?roi=2:20,3:30") as source:
        assert source.spec.origin_px == (10, 7)
        assert source.spec.shape == (18, 27)
        assert Spec.from_header(source.spec.to_header()).origin_px == (10, 7)


def test_maps_of_the_whole_chip_are_cut_to_a_roi(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", np.zeros((6, 48, 40), np.uint16))
    offset = np.arange(48 * 40.0).reshape(48, 40)
    Camera(offset, 0.5, 1.5).save(tmp_path / "camera.npz")
    config = f'[source]\ncamera = "{(tmp_path / "camera.npz").as_posix()}"\n{SPOTS}'
    session = recorded(config, tmp_path / "S", f"{tmp_path / 'm.tif'}?roi=8:40,4:36")
    np.testing.assert_array_equal(session.spec.camera.offset_adu, offset[8:40, 4:36])


def test_what_has_no_spots_says_so_and_writes_nothing(tmp_path):
    session = recorded('[[step]]\nkind = "moments"\n', tmp_path / "S")
    with pytest.raises(SessionError, match=r"export to .thunderstorm. is not possible from .*; there is tiff"):
        export_session(session, "thunderstorm", tmp_path / "T")
    assert not (tmp_path / "T").exists()
