"""Commands on streams of several planes: all of them flow, each is named, and what is missing is said."""

import numpy as np
import pytest
import tifffile
from commands import command

from streamfluo import open_session

MOVIE = np.random.default_rng(1).integers(0, 4000, (30, 2, 24, 32), np.uint16)
ACROSS = """
[[step]]
kind = "motion"
planes = ["red"]
[[step]]
id = "apply"
kind = "motion"
planes = ["green"]
inputs = { shift_px = "red/motion.shift_px" }
params = { mode = "apply" }
[[step]]
kind = "moments"
"""


@pytest.fixture
def folder(tmp_path):
    metadata = {"axes": "TCYX", "Channel": {"Name": ["red", "green"]}, "TimeIncrement": 0.1, "TimeIncrementUnit": "s"}
    tifffile.imwrite(tmp_path / "two.ome.tif", MOVIE, photometric="minisblack", ome=True, metadata=metadata)
    (tmp_path / "across.toml").write_text(ACROSS)
    (tmp_path / "plain.toml").write_text('[[step]]\nkind = "moments"\n')
    return tmp_path


def test_a_config_that_names_planes_opens_all_of_a_file(folder):
    done = command("run", "across.toml", "--source", "two.ome.tif", "--out", "S", cwd=folder)
    assert done.returncode == 0, done.stderr
    session = open_session(folder / "S")
    assert set(session.steps) == {"red/0/motion", "red/0/moments", "green/0/apply", "green/0/moments"}
    for c, name in enumerate(("red/0", "green/0")):
        np.testing.assert_array_equal(session.read_frames(0, 30, plane=name), MOVIE[:, c])
    told = command("inspect", "S", cwd=folder).stdout
    assert "plane red/0: 30 frames, 0 lost" in told
    assert "green/0/apply" in told


def test_a_config_that_names_none_asks_for_a_selection(folder):
    done = command("run", "plain.toml", "--source", "two.ome.tif", "--out", "S", cwd=folder)
    assert done.returncode == 1
    assert "several planes: time 30, channel 2 (red, green); select one: two.ome.tif?channel=0" in done.stderr
    assert not (folder / "S").exists()
    done = command("run", "plain.toml", "--source", "two.ome.tif?planes=all", "--out", "S", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert set(open_session(folder / "S").steps) == {"red/0/moments", "green/0/moments"}


def test_record_takes_every_plane(folder):
    done = command("record", "two.ome.tif", "--out", "S", cwd=folder)
    assert done.returncode == 0, done.stderr
    session = open_session(folder / "S")
    assert (session.planes, session.frames) == (("red/0", "green/0"), 60)
    np.testing.assert_array_equal(session.read_frames(0, 30, plane="green/0"), MOVIE[:, 1])
    again = command("record", "two.ome.tif", "--out", "S", "--frames", "60", cwd=folder)
    assert "holds 60 frames already" in again.stdout


def test_check_shows_a_tree_for_each_plane(folder):
    told = command("check", "across.toml", "--source", "two.ome.tif", cwd=folder)
    assert told.returncode == 0, told.stderr
    assert "plane green/0: 24 × 32 uint16, 10 Hz" in " ".join(told.stdout.split())
    assert "green/0/apply (motion)" in told.stdout
    without = command("check", "across.toml", cwd=folder)
    assert without.returncode == 0, without.stderr
    assert "red/0/motion" in without.stdout


@pytest.mark.parametrize(
    ("planes", "message"),
    [
        ('"gren"', "no plane 'gren'; did you mean 'green'?"),
        ('"green/7"', "no plane 'green/7'; did you mean 'green/0'?"),
    ],
)
def test_a_plane_that_is_not_there_is_named(folder, planes, message):
    (folder / "c.toml").write_text(f'[[step]]\nkind = "moments"\nplanes = [{planes}]\n')
    done = command("run", "c.toml", "--source", "two.ome.tif", "--out", "S", cwd=folder)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert message in done.stderr
    assert not (folder / "S").exists()


def test_check_refuses_what_is_no_plane(folder):
    (folder / "c.toml").write_text('[[step]]\nkind = "moments"\nplanes = ["green/x"]\n')
    done = command("check", "c.toml", cwd=folder)
    assert done.returncode == 1
    assert "planes are named by channel or channel/slice, green or green/0; found 'green/x'" in done.stderr


def test_a_camera_is_not_calibrated_on_several_planes(folder):
    done = command("calibrate", "two.ome.tif?planes=all", "--out", "c.npz", cwd=folder)
    assert done.returncode == 1
    assert "has planes red/0, green/0; a camera takes one, name it" in done.stderr


def test_an_export_says_what_it_wrote(folder):
    command("record", "two.ome.tif", "--out", "S", cwd=folder)
    done = command("export", "S", "--to", "tiff", "--out", "E", cwd=folder)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(tifffile.imread(folder / "E" / "frames.ome.tif"), MOVIE[:, :, None].squeeze())
