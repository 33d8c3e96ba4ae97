"""Localisations as other programs read them."""

import csv

import numpy as np
import pytest

from streamfluo import SessionError, open_session, open_source
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session.export import export_session

SOURCE = "sim:spots?shape=96x96&frames=10&spots=8&spot_photons=2000&motion=random&seed=3&pixel_um=0.1"
SPOTS = '[[step]]\nkind = "spots"\n'


def recorded(config, folder):
    with open_source(SOURCE) as source:
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
    [path] = export_session(session, "picasso", tmp_path / "P")
    theirs = columns(path)
    assert list(theirs) == ["frame", "x", "y", "photons", "sx", "sy", "bg", "lpx", "lpy"]
    np.testing.assert_allclose(theirs["y"], table["y_px"][sound])
    np.testing.assert_allclose(theirs["sx"], table["sigma_px"][sound])


def test_what_has_no_spots_says_so_and_writes_nothing(tmp_path):
    session = recorded('[[step]]\nkind = "moments"\n', tmp_path / "S")
    with pytest.raises(SessionError, match=r"export to .thunderstorm. is not possible from .*; there is tiff"):
        export_session(session, "thunderstorm", tmp_path / "T")
    assert not (tmp_path / "T").exists()
