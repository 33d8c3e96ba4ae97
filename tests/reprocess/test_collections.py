"""What a reprocessing takes as its recordings: folders of many, lists, DANDI folders, OME-Zarr stores, sessions."""

import json
import os

import numpy as np
import pytest
import tifffile

from streamfluo import open_session
from streamfluo.core.errors import SourceError
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.reprocess.collections import listed
from streamfluo.reprocess.one_recording import Task, reprocess_one
from streamfluo.reprocess.recordings import recordings
from streamfluo.session.source import SessionSource
from streamfluo.sources.opening import open_source
from streamfluo.verify.verifying import verify_session

STATED = ("moments.toml", '[[step]]\nkind = "moments"\n', ())


def movie(seed=1, frames=6):
    return np.random.default_rng(seed).poisson(40, (frames, 12, 14)).astype(np.uint16)


def names(*sources):
    return [one.name for one in recordings([str(source) for source in sources])]


def outcomes(sources, out):
    return {one.name: reprocess_one(Task(STATED, one, str(out))) for one in recordings([str(s) for s in sources])}


def session(uri, folder, raw=False):
    with open_source(str(uri)) as source:
        engine = Engine(source, parse_config(f"[record]\nraw = {str(raw).lower()}\n" + STATED[1]), folder)
        engine.start()
        engine.wait()
    return folder


def nwb(path, series, kind="TwoPhotonSeries"):
    h5py = pytest.importorskip("h5py")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for n, name in enumerate(series):
            group = file.create_group(f"acquisition/{name}")
            group.attrs["neurodata_type"] = kind
            data = group.create_dataset("data", data=movie(n + len(path.name)).transpose(0, 2, 1))
            data.attrs["unit"] = "n.a."
            start = group.create_dataset("starting_time", data=0.0)
            start.attrs["rate"] = 30.0
        behaviour = file.create_group("acquisition/video")
        behaviour.attrs["neurodata_type"] = "ImageSeries"
        behaviour.create_dataset("data", data=movie(3))


def test_a_folder_of_many_gives_each_recording_in_it_by_its_place(tmp_path):
    folder = tmp_path / "shelf"
    for day in ("day1", "day2"):
        (folder / day).mkdir(parents=True)
        np.save(folder / day / "rec.npy", movie())
    (folder / "notes.txt").write_text("nothing")
    (folder / ".hidden").mkdir()
    np.save(folder / ".hidden" / "rec.npy", movie())
    session(folder / "day1" / "rec.npy", folder / "day1" / "run", raw=True)
    os.symlink(folder / "day1", folder / "again")
    assert names(folder) == ["day1_rec", "day1_run", "day2_rec"]
    found = outcomes([folder], tmp_path / "out")
    assert {one.became for one in found.values()} == {"done"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="empty: no recording in it"):
        names(tmp_path / "empty")


def test_a_folder_that_is_a_recording_is_one(tmp_path):
    for n in range(3):
        (tmp_path / "series").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / "series" / f"img_{n}.tif", movie(n)[0])
    assert names(tmp_path / "series") == ["series"]


def test_a_list_names_recordings_from_its_own_folder_and_what_is_gone_fails_alone(tmp_path):
    np.save(tmp_path / "a.npy", movie(1))
    np.save(tmp_path / "b.npy", movie(2))
    path = tmp_path / "list.txt"
    path.write_text(f"# of today\na.npy\n\n{tmp_path}/b.npy?frames=0:3\nsim:spots?frames=4&shape=16x16\ngone.npy\n")
    found = outcomes([f"@{path}"], tmp_path / "out")
    became = {name: one.became for name, one in found.items()}
    assert became == {"a": "done", "b_frames=0_3": "done", "sim_spots_frames=4_shape=16x16": "done", "gone": "failed"}
    assert found["b_frames=0_3"].frames == 3
    assert "no such file" in found["gone"].why


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (None, "cannot be read"),
        (b"\xff\xfe\x00", "not utf-8"),
        (b"# nothing\n", "names no"),
        (b"@other\n", "in a list"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path, held, said):
    if held is not None:
        (tmp_path / "l.txt").write_bytes(held)
    with pytest.raises(SourceError, match=said):
        names(f"@{tmp_path}/l.txt")


def test_a_dandi_folder_gives_each_series_of_images_by_subject_and_session(tmp_path):
    folder = tmp_path / "000123"
    nwb(folder / "sub-a" / "sub-a_ses-1_ophys.nwb", ["TwoPhoton"])
    nwb(folder / "sub-a" / "sub-a_ses-2_ophys.nwb", ["green", "red"], "OnePhotonSeries")
    nwb(folder / "sub-b" / "sub-b_ses-1_behavior.nwb", [])
    (folder / "sub-c").mkdir()
    (folder / "sub-c" / "sub-c_ses-1.nwb").write_bytes(b"no hdf5")
    (folder / "dandiset.yaml").write_text("name: x\n")
    expected = ["sub-a_ses-1_ophys", "sub-a_ses-2_ophys_green", "sub-a_ses-2_ophys_red", "sub-c_ses-1"]
    assert names(folder) == expected
    found = outcomes([folder], tmp_path / "out")
    assert [found[name].became for name in expected] == ["done", "done", "done", "failed"]
    assert found["sub-a_ses-1_ophys"].frames == 6


def image(path, seed=1):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    array = group.create_array("0", shape=(6, 12, 14), chunks=(1, 12, 14), dtype="uint16")
    array[:] = movie(seed)
    axes = [{"name": name, "type": kind} for name, kind in (("t", "time"), ("y", "space"), ("x", "space"))]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}], "version": "0.4"}]


def group(path, **attributes):
    zarr = pytest.importorskip("zarr")
    zarr.open_group(str(path), mode="w", zarr_format=2).attrs.update(attributes)


def test_a_store_of_several_images_gives_each(tmp_path):
    group(tmp_path / "all.zarr", **{"bioformats2raw.layout": 3})
    for n in range(2):
        image(tmp_path / "all.zarr" / str(n), n)
    assert names(tmp_path / "all.zarr") == ["all_0", "all_1"]
    group(tmp_path / "all.zarr" / "OME", series=["1"])
    assert names(tmp_path / "all.zarr") == ["all_1"]
    assert outcomes([tmp_path / "all.zarr"], tmp_path / "out")["all_1"].frames == 6
    image(tmp_path / "single.zarr")
    assert names(tmp_path / "single.zarr") == ["single"]
    assert names(tmp_path) == ["all_1", "single"]  # and not the session that was made of one


def test_a_plate_gives_each_field_of_each_well_and_leads_nowhere_else(tmp_path):
    wells = [{"path": "A/1"}, {"path": "B/2"}, {"path": "../elsewhere"}]
    group(tmp_path / "elsewhere", well={"images": [{"path": "0"}]})
    image(tmp_path / "elsewhere" / "0")
    group(tmp_path / "plate.zarr", plate={"wells": wells})
    for well in ("A/1", "B/2"):
        group(tmp_path / "plate.zarr" / well, well={"images": [{"path": "0"}, {"path": "1"}]})
        for field in ("0", "1"):
            image(tmp_path / "plate.zarr" / well / field, len(well))
    expected = ["plate_A_1_0", "plate_A_1_1", "plate_B_2_0", "plate_B_2_1"]
    assert names(tmp_path / "plate.zarr") == expected
    assert outcomes([tmp_path / "plate.zarr"], tmp_path / "out")[expected[2]].became == "done"


def test_names_that_collide_are_refused_before_anything_begins(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "rec.npy", movie())
    with pytest.raises(SourceError, match="would both be 'rec'"):
        names(tmp_path / "a" / "rec.npy", tmp_path / "b" / "rec.npy")
    assert names(tmp_path) == ["a_rec", "b_rec"]


def test_a_session_without_raw_frames_is_read_where_they_are_and_what_moved_since_is_said(tmp_path):
    path = tmp_path / "rec.npy"
    np.save(path, movie(4))
    made = session(path, tmp_path / "made")
    with SessionSource.open(made, {}) as source:
        np.testing.assert_array_equal(np.concatenate([block.pixels for block in source.blocks()]), movie(4))
    assert outcomes([f"{made}?frames=1:4"], tmp_path / "out")["made_frames=1_4"].frames == 3
    np.save(path, movie(5))
    assert "which has changed since" in outcomes([made], tmp_path / "out")["made"].why
    path.rename(tmp_path / "elsewhere.npy")
    assert "which is not there: moved since" in outcomes([made], tmp_path / "out")["made"].why


def test_sessions_that_refer_to_each_other_are_no_source(tmp_path):
    from streamfluo.session.schema import sealed

    np.save(tmp_path / "rec.npy", movie(4))
    for name, other in (("a", "b"), ("b", "a")):
        made = session(tmp_path / "rec.npy", tmp_path / name)
        facts = json.loads((made / "session.json").read_text())
        facts.pop("crc32")
        (made / "session.json").write_text(json.dumps(sealed({**facts, "reference": str(tmp_path / other)})))
    with pytest.raises(SourceError, match="nor does"):
        SessionSource.open(tmp_path / "a", {})


def test_a_list_that_begins_with_a_mark_of_its_encoding_names_the_same(tmp_path):
    (tmp_path / "list.txt").write_text("a.tif\n", encoding="utf-8-sig")
    assert listed(tmp_path / "list.txt") == [str(tmp_path / "a.tif")]


def test_a_folder_that_gets_the_sessions_as_well_has_the_same_recordings_when_the_command_goes_on(tmp_path):
    np.save(tmp_path / "a.npy", movie())
    [recording] = recordings([str(tmp_path)], tmp_path)
    assert reprocess_one(Task(STATED, recording, str(tmp_path))).became == "done"
    assert recordings([str(tmp_path)], tmp_path) == [recording]
    (tmp_path / "a.npy").unlink()
    with pytest.raises(SourceError, match="only sessions that were made there"):
        recordings([str(tmp_path)], tmp_path)
    assert [one.name for one in recordings([str(tmp_path)], tmp_path / "other")] == ["a"]


def test_a_pattern_passes_over_folders_without_recordings(tmp_path):
    (tmp_path / "notes").mkdir()
    np.save(tmp_path / "a.npy", movie())
    assert [one.name for one in recordings([f"{tmp_path}/*"])] == ["a"]


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_a_link_that_leads_to_itself_is_one_line(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SourceError, match="loop: a link that leads to itself"):
        recordings([str(tmp_path / "loop")])


@pytest.mark.parametrize("selected", ["", "?frames=2:5"])
def test_frames_of_a_recorded_session_are_found_again_from_what_is_made_of_it(tmp_path, selected):
    with open_source("sim:spots?frames=6&shape=16x16&seed=1") as source:
        engine = Engine(source, parse_config('[record]\nraw = true\n[[step]]\nkind = "moments"\n'), tmp_path / "rec")
        engine.start()
        engine.wait()
    [recording] = recordings([f"{tmp_path}/rec{selected}"])
    assert reprocess_one(Task(STATED, recording, str(tmp_path / "out"))).became == "done"
    made = open_session(tmp_path / "out" / recording.name)
    expected = open_session(tmp_path / "rec").read_frames(2, 5)
    np.testing.assert_array_equal(made.read_frames(2, 5), expected)
    assert verify_session(made.path).word == "verified"
