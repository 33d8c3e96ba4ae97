"""Cells in the formats of other programs, read back number by number, and what is said where there is none."""

import csv
import re
import shutil
import sys
import zipfile

import numpy as np
import pytest
import scipy.sparse
from typer.testing import CliRunner

from streamfluo import SessionError, SourceError, open_session, open_source
from streamfluo.calcium import extracted_components
from streamfluo.cli.cli import app
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session.caiman_writer import write_caiman
from streamfluo.session.export import export_session
from streamfluo.session.nwb_metadata import load_nwb_metadata

CONFIG = """
[record]
raw = true
steps = ["motion"]
[[step]]
kind = "motion"
params = { border = "nan" }
[[step]]
kind = "extract"
params = { neuron_sigma_px = 3.0, init_frames = 100 }
"""
METADATA = """
modality = "two-photon"
indicator = "GCaMP8m"
location = "VISp"
excitation_nm = 920
emission_nm = 520
[subject]
subject_id = "m7"
species = "Mus musculus"
age = "P90D"
"""
FRAMES = 220


def run(folder, source, config=CONFIG):
    with open_source(source) as frames:
        engine = Engine(frames, parse_config(config), folder)
        engine.start()
        assert engine.wait(60)
    assert engine.error is None
    return open_session(folder)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    source = f"sim:calcium?shape=64x72&frames={FRAMES}&seed=7071&neuron_sigma_px=3"
    session = run(tmp_path_factory.mktemp("s") / "S", source)
    session.components().reject(int(session.components().ids[0]))
    return session


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A session in which no cell was found."""
    source = "sim:calcium?shape=24x24&frames=60&seed=4&neurons=0"
    config = CONFIG.replace("init_frames = 100", "init_frames = 50").replace('steps = ["motion"]', "")
    return run(tmp_path_factory.mktemp("e") / "S", source, config)


@pytest.fixture(scope="module")
def cells(session):
    found = session.components()
    assert len(found) > found.accepted.sum() > 3
    return found


def exported(session, to, folder, **more):
    export_session(session, to, folder, **more)
    return folder


def columns_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return {name: [row[n] for row in rows] for n, name in enumerate(header)}


def test_every_table_has_seconds_beside_frames_and_a_name_for_each_column(session, tmp_path):
    out, of_frames = exported(session, "csv", tmp_path / "E"), 0
    for path in out.glob("*.csv"):
        table = columns_of(path)
        assert not [name for name in table if name.isdigit()], path.name
        if "frame" in table:
            of_frames += 1
            t_s = np.array(table["frame"], float) * session.spec.interval_s
            np.testing.assert_allclose(np.array(table["t_s"], float), t_s, atol=1e-9)
    assert of_frames >= 4
    assert {"shift_px[y]", "shift_px[x]"} <= columns_of(out / "motion.values.csv").keys()
    assert "quality_now[spatial_corr]" in columns_of(out / "extract.quality_now.csv")


def test_components_are_a_table_of_what_is_known_of_each(session, cells, tmp_path):
    table = columns_of(exported(session, "csv", tmp_path / "E") / "extract.components.csv")
    assert [int(i) for i in table["id"]] == cells.ids.tolist()
    assert [word == "True" for word in table["accepted"]] == cells.accepted.tolist()
    assert table["decision"][0] == "rejected"
    assert [float(x) for x in table["snr"]] == cells.snr.tolist()
    interval_s = session.spec.interval_s
    assert [float(t) for t in table["birth_t_s"]] == pytest.approx((cells.birth_frame * interval_s).tolist(), abs=1e-8)
    weights = cells.footprints[:, 1].toarray().reshape(cells.shape)
    y, x = np.indices(cells.shape)
    assert float(table["y_px"][1]) == pytest.approx((y * weights).sum() / weights.sum(), abs=1e-4)
    assert float(table["x_px"][1]) == pytest.approx((x * weights).sum() / weights.sum(), abs=1e-4)


def test_suite2ps_folder_has_the_same_numbers(session, cells, tmp_path):
    plane = exported(session, "suite2p", tmp_path / "E") / "suite2p" / "plane0"
    assert np.array_equal(np.load(plane / "F.npy"), cells.raw)
    assert np.array_equal(np.load(plane / "spks.npy"), cells.spikes)
    assert not np.load(plane / "Fneu.npy").any()
    assert np.array_equal(np.load(plane / "iscell.npy")[:, 0] > 0, cells.accepted)
    # as that program reads it; nothing of ours does
    stat = np.load(plane / "stat.npy", allow_pickle=True)
    ops = np.load(plane / "ops.npy", allow_pickle=True).item()
    assert (ops["Ly"], ops["Lx"], ops["nframes"]) == (64, 72, FRAMES)
    assert ops["fs"] == pytest.approx(1 / session.spec.interval_s)
    for k, one in enumerate(stat):
        image = np.zeros(cells.shape, np.float32)
        image[one["ypix"], one["xpix"]] = one["lam"]
        assert np.array_equal(image, cells.footprints[:, k].toarray().reshape(cells.shape))
        assert one["npix"] == len(one["ypix"]) == len(one["overlap"])
        assert 1 <= one["compact"] < 2
        assert 1 <= one["aspect_ratio"] < 6
    shared = sum(one["overlap"].sum() for one in stat)
    covered = (cells.footprints != 0).sum(1)
    assert shared == covered[covered > 1].sum()


def test_suite2p_files_hold_nothing_of_ours(session, tmp_path):
    plane = exported(session, "suite2p", tmp_path / "E") / "suite2p" / "plane0"
    for name in ("stat", "ops"):
        assert b"streamfluo" not in (plane / f"{name}.npy").read_bytes()


def test_caimans_estimates_have_the_same_numbers(session, cells, tmp_path):
    h5py = pytest.importorskip("h5py", reason="needs the extra [formats]")
    with h5py.File(exported(session, "caiman", tmp_path / "E") / "extract.caiman.hdf5") as file:
        found = {name: file["estimates"][name][()] for name in ("C", "S", "YrA", "F_dff", "dims", "idx_components")}
        parts = [file["estimates/A"][name][()] for name in ("data", "indices", "indptr")]
        sparse = scipy.sparse.csc_matrix(tuple(parts), shape=file["estimates/A/shape"][()])
    assert np.array_equal(found["C"], cells.traces)
    assert np.array_equal(found["C"] + found["YrA"], cells.raw)
    assert np.array_equal(found["S"], cells.spikes)
    assert np.array_equal(found["F_dff"], cells.dff, equal_nan=True)
    assert found["idx_components"].tolist() == np.flatnonzero(cells.accepted).tolist()
    for k in range(len(cells)):  # its documentation: A[:, k] is reshaped in Fortran's order
        image = sparse[:, k].toarray().reshape(found["dims"], order="F")
        assert np.array_equal(image, cells.footprints[:, k].toarray().reshape(cells.shape))


def test_marks_of_a_structural_channel_stand_in_caimans_estimates_where_there_is_one(session, tmp_path):
    h5py = pytest.importorskip("h5py", reason="needs the extra [formats]")
    cells = session.components()
    with h5py.File(write_caiman(tmp_path / "a.hdf5", cells, 30.0)) as file:
        assert "structural" not in file["estimates"]
    cells.structural_chance = np.linspace(0, 1, len(cells))
    with h5py.File(write_caiman(tmp_path / "b.hdf5", cells, 30.0)) as file:
        assert file["estimates/structural"][()].tolist() == (np.linspace(0, 1, len(cells)) > 0.5).tolist()
        assert np.array_equal(file["estimates/structural_chance"][()], cells.structural_chance)


def test_frames_of_the_traces_columns_stand_beside_them(session, cells, tmp_path):
    table = columns_of(exported(session, "suite2p", tmp_path / "E") / "extract.frames.csv")
    assert [int(n) for n in table["frame"]] == cells.frame.tolist()
    assert [float(t) for t in table["t_s"]] == cells.t_s.tolist()


def inside(polygon, shape):
    """Which pixel centres lie in a polygon (n, xy) of whole corners: crossings of each row to the left are odd."""
    mask = np.zeros(shape, bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        if x0 == x1:
            mask[min(y0, y1) : max(y0, y1), x0:] ^= True
        else:
            assert y0 == y1
    return mask


def test_rois_for_fiji_cover_the_pixels_of_accepted_cells(session, cells, tmp_path):
    roifile = pytest.importorskip("roifile", reason="needs the extra [formats]")
    rois = roifile.roiread(exported(session, "rois", tmp_path / "E") / "extract.rois.zip")
    assert [roi.name for roi in rois] == [f"cell-{i:04d}" for i in sorted(cells.ids[cells.accepted])]
    for roi in rois:
        weights = cells.footprints[:, cells.rows([int(roi.name[5:])])].toarray().reshape(cells.shape)
        wanted = weights > 0.2 * weights.max()
        corners = roi.integer_coordinates + np.array([roi.left, roi.top])
        covered = inside(corners, cells.shape)
        assert not (covered & ~wanted).any()
        assert covered.sum() >= 0.9 * wanted.sum()  # the first region, where there are several


def test_an_nwb_has_cells_traces_and_shifts(session, cells, tmp_path):
    pynwb = pytest.importorskip("pynwb", reason="needs the extra [nwb]")
    (tmp_path / "m.toml").write_text(METADATA, encoding="utf-8")
    exported(session, "nwb", tmp_path / "E", metadata=load_nwb_metadata(tmp_path / "m.toml"))
    with pynwb.NWBHDF5IO(tmp_path / "E" / "frames.nwb", "r") as file:
        ophys = file.read().processing["ophys"]
        table = ophys["ImageSegmentation"]["PlaneSegmentation"]
        assert table.id[:].tolist() == cells.ids.tolist()
        assert table["accepted"][:].tolist() == cells.accepted.tolist()
        assert table["decision"][0] == "rejected"
        for k in range(len(cells)):
            image = np.zeros(cells.shape, np.float32)
            for x, y, weight in table["pixel_mask"][k]:
                image[y, x] = weight
            assert np.array_equal(image, cells.footprints[:, k].toarray().reshape(cells.shape))
        pairs = [
            ("Fluorescence", "RoiResponseSeries", cells.raw), ("Fluorescence", "Denoised", cells.traces),
            ("Fluorescence", "Deconvolved", cells.spikes), ("DfOverF", "RoiResponseSeries", cells.dff),
        ]  # fmt: skip
        for place, name, expected in pairs:
            series = ophys[place][name]
            assert np.array_equal(np.asarray(series.data).T, expected, equal_nan=True)
            assert np.array_equal(series.timestamps, cells.t_s)
            assert series.rois.table is table
        shift_px = session.values("motion")["shift_px"].astype(np.float32)
        stack = ophys["MotionCorrection"]["motion"]
        assert np.array_equal(np.asarray(stack.xy_translation.data)[:, ::-1], shift_px)
        assert stack.original.name == "frames"
        movie = session.read_frames(0, FRAMES, step="motion")
        assert len(movie) == FRAMES
        assert np.array_equal(np.asarray(stack.corrected.data).transpose(0, 2, 1), movie, equal_nan=True)


@pytest.mark.parametrize("to", ["tiff", "ome-zarr", "npy"])
def test_a_corrected_movie_is_written_as_a_stack(session, tmp_path, to):
    pytest.importorskip("ome_writers", reason="needs the extra [formats]")
    words = ["export", str(session.path), "--to", to, "--step", "motion", "--out", str(tmp_path / "E")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    (path,) = (p for p in (tmp_path / "E").iterdir() if p.suffix != ".csv")
    expected = session.read_frames(0, FRAMES, step="motion")
    with open_source(path) as source:
        found = np.concatenate([block.pixels for block in source.blocks()])
    assert np.array_equal(found, expected, equal_nan=True)
    table = columns_of(tmp_path / "E" / "motion.csv")
    assert [int(n) for n in table["index"]] == list(range(FRAMES))
    assert [float(t) for t in table["t_s"]] == session.components().t_s.tolist()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--step", "motoin"], "no step 'motoin'; did you mean 'motion'?"),
        (["--step", "motion", "--to", "csv"], "frames of a step are written as tiff, ome-zarr, npy; found 'csv'"),
        (["--step", "extract"], "frames of step 'extract' were not recorded; a run does with [record] steps = [\"ext"),
    ],
)
def test_a_step_without_frames_is_said_in_one_line(session, tmp_path, words, says):
    done = CliRunner().invoke(app, ["export", str(session.path), *words, "--out", str(tmp_path / "E")])
    assert done.exit_code
    assert says in str(done.exception)
    assert not (tmp_path / "E").exists()


def test_an_nwb_has_regions_as_well(tmp_path):
    pynwb = pytest.importorskip("pynwb", reason="needs the extra [nwb]")
    config = """
[[step]]
kind = "regions"
params = { regions = [[[2, 2], [2, 8], [9, 8], [9, 2]], [[12, 10], [12, 18], [20, 14]]], neuropil_px = 3.0 }
"""
    session = run(tmp_path / "S", "sim:calcium?shape=24x24&frames=70&seed=4&neurons=1", config)
    (tmp_path / "m.toml").write_text(METADATA, encoding="utf-8")
    exported(session, "nwb", tmp_path / "E", metadata=load_nwb_metadata(tmp_path / "m.toml"))
    values, labels = session.values("regions"), session.snapshot("regions")["masks"]
    with pynwb.NWBHDF5IO(tmp_path / "E" / "frames.nwb", "r") as file:
        ophys = file.read().processing["ophys"]
        table = ophys["ImageSegmentation"]["PlaneSegmentation"]
        found = np.zeros(labels.shape, int)
        for n in range(2):
            for x, y, _ in table["pixel_mask"][n]:
                found[y, x] = n + 1
        assert np.array_equal(found, labels)
        pairs = [("Fluorescence", "RoiResponseSeries", "mean"), ("Fluorescence", "Neuropil", "neuropil")]
        for place, name, given in [*pairs, ("DfOverF", "RoiResponseSeries", "dff")]:
            assert np.array_equal(ophys[place][name].data, values[given], equal_nan=True)
        assert ophys["Fluorescence"]["Neuropil"].unit == "ADU"


def test_what_an_nwb_lacks_is_asked_for_by_name(empty, tmp_path):
    pytest.importorskip("pynwb", reason="needs the extra [nwb]")
    words = ["export", str(empty.path), "--to", "nwb", "--out", str(tmp_path / "E")]
    said = CliRunner().invoke(app, words).output
    assert "modality, indicator, location, excitation_nm, emission_nm" in said
    assert "no subject, which archives require: [subject] with subject_id, species, sex and age" in said
    (tmp_path / "m.toml").write_text(METADATA.replace('age = "P90D"\n', ""), encoding="utf-8")
    said = CliRunner().invoke(app, [*words[:-1], str(tmp_path / "F"), "--metadata", str(tmp_path / "m.toml")]).output
    assert "its subject has no age" in said
    assert "cells" not in said


@pytest.mark.parametrize("to", ["csv", "suite2p", "caiman", "rois", "nwb", "npy", "tiff"])
def test_no_component_is_no_mistake(empty, tmp_path, to):
    pytest.importorskip({"nwb": "pynwb", "caiman": "h5py", "rois": "roifile"}.get(to, "numpy"), reason="needs an extra")
    (tmp_path / "m.toml").write_text(METADATA, encoding="utf-8")
    assert len(empty.components()) == 0
    out = exported(empty, to, tmp_path / "E", metadata=load_nwb_metadata(tmp_path / "m.toml"))
    assert any(out.iterdir())
    if to == "suite2p":
        assert np.load(out / "suite2p" / "plane0" / "F.npy").shape == (0, 60)
    if to == "nwb":
        import pynwb

        with pynwb.NWBHDF5IO(out / "frames.nwb", "r") as file:
            ophys = file.read().processing["ophys"]
            shift_px = empty.values("motion")["shift_px"].astype(np.float32)
            assert np.array_equal(np.asarray(ophys["motion-shift"].data)[:, ::-1], shift_px)
            assert list(ophys.data_interfaces) == ["motion-shift"]
    if to == "rois":
        assert zipfile.ZipFile(out / "extract.rois.zip").namelist() == []


@pytest.mark.parametrize("to", ["csv", "suite2p", "caiman", "rois", "nwb"])
def test_a_component_that_was_merged_by_hand_has_no_pixels(session, tmp_path, monkeypatch, to):
    pytest.importorskip({"nwb": "pynwb", "caiman": "h5py", "rois": "roifile"}.get(to, "numpy"), reason="needs an extra")
    (tmp_path / "m.toml").write_text(METADATA, encoding="utf-8")
    whole = extracted_components._sparse

    def without_one(*args):
        found = whole(*args).tolil()
        found[:, 1] = 0
        return scipy.sparse.csc_matrix(found)

    monkeypatch.setattr(extracted_components, "_sparse", without_one)
    out = exported(session, to, tmp_path / "E", metadata=load_nwb_metadata(tmp_path / "m.toml"))
    if to == "csv":
        assert columns_of(out / "extract.components.csv")["y_px"][1] == "nan"
    if to == "suite2p":
        one = np.load(out / "suite2p" / "plane0" / "stat.npy", allow_pickle=True)[1]
        assert (one["npix"], one["radius"], one["med"]) == (0, 0.0, [0, 0])
    if to == "caiman":
        import h5py

        with h5py.File(out / "extract.caiman.hdf5") as file:
            indptr = file["estimates/A/indptr"][()]
        assert indptr[1] == indptr[2] < indptr[-1]
    if to == "rois":
        number = session.components().ids[1]
        assert f"cell-{number:04d}.roi" not in zipfile.ZipFile(out / "extract.rois.zip").namelist()
    if to == "nwb":
        import pynwb

        with pynwb.NWBHDF5IO(out / "frames.nwb", "r") as file:
            table = file.read().processing["ophys"]["ImageSegmentation"]["PlaneSegmentation"]
            assert [tuple(pixel) for pixel in table["pixel_mask"][1]] == [(0, 0, 0.0)]


def test_where_there_are_no_cells_it_is_said_in_one_line(tmp_path):
    moments = run(tmp_path / "S", "sim:calcium?shape=16x16&frames=8&seed=1", '[[step]]\nkind = "moments"')
    for to in ("suite2p", "caiman", "rois"):
        with pytest.raises(SessionError, match=rf"S: no step gives components, which {to} needs") as error:
            export_session(moments, to, tmp_path / "E")
        assert "\n" not in str(error.value)
        assert not (tmp_path / "E").exists()


def test_a_run_that_was_killed_exports_what_it_left(session, tmp_path):
    shutil.copytree(session.path, tmp_path / "S")
    shutil.rmtree(tmp_path / "S" / "snapshots")
    killed = open_session(tmp_path / "S")
    out = exported(killed, "csv", tmp_path / "E")
    assert (out / "extract.values.csv").exists()
    assert not (out / "extract.components.csv").exists()
    with pytest.raises(SessionError, match="left no components; was its run ended in time"):
        export_session(killed, "suite2p", tmp_path / "F")
    shutil.copytree(session.path, tmp_path / "T")
    shutil.rmtree(tmp_path / "T" / "values")
    with pytest.raises(SessionError, match="values of step 'extract' are gone, which suite2p needs"):
        export_session(open_session(tmp_path / "T"), "suite2p", tmp_path / "F")
    assert not (tmp_path / "F").exists()


def test_an_export_that_is_there_and_a_library_that_is_not(session, tmp_path, monkeypatch):
    (tmp_path / "E").mkdir()
    (tmp_path / "E" / "mine").touch()
    with pytest.raises(SessionError, match="exists and is not empty; name another --out"):
        export_session(session, "rois", tmp_path / "E")
    monkeypatch.setitem(sys.modules, "roifile", None)
    with pytest.raises(
        SourceError, match=re.escape('needs roifile; install it with pip install "streamfluo[formats]"')
    ):
        export_session(session, "rois", tmp_path / "F")
    assert not (tmp_path / "F").exists()
