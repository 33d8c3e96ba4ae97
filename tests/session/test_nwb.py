"""NWB exports: the frames that came, when they came, and what the laboratory says of them."""

from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from toys import FRAMES, Movie, block
from typer.testing import CliRunner

from streamfluo import Block, ConfigError, Plane, open_session, open_source
from streamfluo.cli.cli import app
from streamfluo.core.source import Gap
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session.export import export_session
from streamfluo.session.nwb_metadata import load_nwb_metadata

# Imported where a file is read: it takes 1.6 s in each process that lists the tests.
pytestmark = pytest.mark.skipif(find_spec("pynwb") is None, reason="needs the extra [nwb]")

METADATA = """
modality = "two-photon"
indicator = "GCaMP8m"
location = "V1, layer 2/3"
excitation_nm = 920
emission_nm = 520
experimenter = ["Doe, Jane"]
institution = "Here"
keywords = ["calcium imaging"]
experiment_description = "gratings"

[subject]
subject_id = "m7"
species = "Mus musculus"
sex = "F"
age = "P90D"
description = "awake"
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nwb") / "S"
    movie = [block(0, 30), Gap(30, 5, "camera"), block(35, 60)]
    source = Movie(movie)
    source.spec = source.spec.with_(pixel_um=0.5, channel="green")
    source.series = replace(source.series, t0_ns=1_700_000_000_123_456_789)
    engine = Engine(source, parse_config('[record]\nraw = true\n[[step]]\nkind = "moments"'), folder)
    engine.start()
    assert engine.wait(30)
    return open_session(folder)


def metadata(tmp_path, text=METADATA):
    path = tmp_path / "mouse.toml"
    path.write_text(text, encoding="utf-8")
    return path


@contextmanager
def read(path):
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(path, "r") as file:
        yield file.read()


def test_an_nwb_has_the_frames_their_times_and_where_some_never_came(session, tmp_path):
    export_session(session, "nwb", tmp_path / "E")
    with read(tmp_path / "E" / "frames.nwb") as found:
        series = found.acquisition["frames"]
        expected = session.read_frames(0, 60)
        np.testing.assert_array_equal(series.data, expected.transpose(0, 2, 1))
        assert [round(t * 1e9) for t in series.timestamps] == [t for _, t, _ in session.each_frame(0, 60)]
        assert found.session_start_time.timestamp() == pytest.approx(session.series["t0_ns"] / 1e9)
        lost = found.invalid_times.to_dataframe()
        assert lost[["start_time", "stop_time"]].to_numpy().tolist() == [[series.timestamps[29], series.timestamps[30]]]
        assert series.neurodata_type == "ImageSeries"


def test_metadata_make_it_a_two_photon_series_of_a_subject(session, tmp_path):
    told = load_nwb_metadata(metadata(tmp_path))
    export_session(session, "nwb", tmp_path / "E", metadata=told)
    with read(tmp_path / "E" / "frames.nwb") as found:
        series = found.acquisition["frames"]
        assert series.neurodata_type == "TwoPhotonSeries"
        plane = series.imaging_plane
        assert (plane.indicator, plane.location, plane.excitation_lambda) == ("GCaMP8m", "V1, layer 2/3", 920)
        assert plane.optical_channel[0].name == "green"
        assert plane.optical_channel[0].emission_lambda == 520
        assert list(plane.grid_spacing) == [0.5, 0.5]
        assert (found.subject.subject_id, found.subject.species, found.subject.age) == ("m7", "Mus musculus", "P90D")
        assert (found.experimenter, found.institution) == (("Doe, Jane",), "Here")


def test_a_series_for_each_plane_each_with_the_light_of_its_channel(tmp_path):
    planes = (Plane("green", 0, 5.0), Plane("red", 0, 5.0))
    blocks = [Block(n, [n * 10**8 + (c == "red")], FRAMES[n : n + 1], c) for n in range(9) for c in ("green", "red")]
    source = Movie(blocks)
    source.spec = source.spec.with_(planes=planes)
    engine = Engine(source, parse_config('[record]\nraw = true\n[[step]]\nkind = "moments"'), tmp_path / "S")
    engine.start()
    assert engine.wait(30)
    one = metadata(tmp_path, METADATA.replace("emission_nm = 520", "emission_nm = { green = 520, red = 600 }"))
    export_session(open_session(tmp_path / "S"), "nwb", tmp_path / "E", metadata=load_nwb_metadata(one))
    with read(tmp_path / "E" / "frames.nwb") as file:
        found = file.acquisition
        lights = {name: s.imaging_plane.optical_channel[0].emission_lambda for name, s in found.items()}
        assert lights == {"frames-green-0": 520, "frames-red-0": 600}
        red = found["frames-red-0"]  # regular to the nanosecond, and none is missing: a rate says it all
        assert (red.timestamps, red.starting_time, red.rate) == (None, 1e-9, 10.0)
        np.testing.assert_array_equal(found["frames-red-0"].data, FRAMES[:9].transpose(0, 2, 1))
    lacking = metadata(tmp_path, METADATA.replace("emission_nm = 520", "emission_nm = { green = 520 }"))
    with pytest.raises(ConfigError, match="emission_nm has no channel 'red', found green"):
        export_session(open_session(tmp_path / "S"), "nwb", tmp_path / "L", metadata=load_nwb_metadata(lacking))
    assert not (tmp_path / "L").exists()


def test_the_command_takes_metadata_and_the_recording_is_a_source_again(session, tmp_path):
    words = ["export", str(session.path), "--to", "nwb", "--out", str(tmp_path / "E")]
    done = CliRunner().invoke(app, [*words, "--metadata", str(metadata(tmp_path))])
    assert done.exit_code == 0, done.output
    with open_source(tmp_path / "E" / "frames.nwb") as source:
        blocks = list(source.blocks())
        np.testing.assert_array_equal(np.concatenate([b.pixels for b in blocks]), session.read_frames(0, 60))
    done = CliRunner().invoke(app, ["export", str(session.path), "--metadata", "none.toml"])
    assert done.exit_code
    assert "--metadata is what an NWB says" in str(done.exception or done.output)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('location = "V1, layer 2/3"\n', "", "parameter 'location' is missing"),
        ('"two-photon"', '"confocal"', "modality"),
        ("excitation_nm = 920", "excitation_nm = -3", "excitation_nm"),
        ('age = "P90D"', 'age = "90 days"', "subject.age"),
        ('species = "Mus musculus"\n', "", "species"),
        ("keywords", "keyword", "no parameter 'keyword'; did you mean 'keywords'?"),
        ("[subject]", "[subject", "not valid TOML"),
    ],
)
def test_metadata_that_are_wrong_are_named(tmp_path, old, new, says):
    path = metadata(tmp_path, METADATA.replace(old, new))
    with pytest.raises(ConfigError) as error:
        load_nwb_metadata(path)
    assert str(error.value).startswith(f"{path}: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)
