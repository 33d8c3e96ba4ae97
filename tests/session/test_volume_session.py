"""A run on slices closer than a cell: its session's cells, and what other programs get of them."""

import csv

import numpy as np
import pytest
from commands import command

from streamfluo import SessionError, open_session

SIM = (
    "sim:calcium?z=3&z_step_um=5&shape=64x64&frames=500&frame_rate_hz=10&interleaved=true&neuron_sigma_px=3&seed=3"
    "&motion_px=0&neurons=14"
)
CHAIN = """
[[step]]
kind = "extract"
params = { init_frames = 80, init_delay_frames = 20 }
[[step]]
kind = "volume"
[[step]]
kind = "events"
planes = ["green/0"]
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volume")
    (folder / "c.toml").write_text(CHAIN)
    done = command("run", "c.toml", "--source", SIM, "--out", "S", cwd=folder)
    assert done.returncode == 0, done.stderr
    return open_session(folder / "S")


def test_cells_are_those_that_the_run_joined_with_the_ids_that_it_gave_them(session):
    cells, table = session.cells(), session.snapshot("green/0/volume")["sections_now"]
    said = {(f"green/{int(z)}", int(name)): int(cell) for cell, z, name, *_ in table}
    rows = cells.same_as
    found = {
        (cells.planes[plane], int(name)): int(cell)
        for cell, plane, name in zip(rows["cell"], rows["plane"], rows["id"], strict=True)
    }
    both = found.keys() & said.keys()
    assert len(both) > 5
    assert {key: found[key] for key in both} == {key: said[key] for key in both}
    assert (np.unique(rows["cell"], return_counts=True)[1] > 1).sum() >= 2
    assert np.array_equal(cells.ids, np.unique(rows["cell"]))


def test_a_cell_has_a_footprint_over_slices_a_centre_and_a_trace_of_all_frames(session):
    cells = session.cells()
    rows = cells.same_as
    several = int(rows["cell"][np.flatnonzero(np.diff(rows["cell"]) == 0)[0]])
    voxels, n = cells.voxels(several), int(np.flatnonzero(cells.ids == several)[0])
    footprint = cells.footprint(several)
    assert footprint.shape == (3, 64, 64)
    assert len({plane for plane, *_ in voxels}) == (rows["cell"] == several).sum() == (footprint.max((1, 2)) > 0).sum()
    for plane, y, x, weight in voxels:
        assert footprint[cells.planes.index(plane), y, x] == np.float32(weight)
    np.testing.assert_array_equal(cells.footprints()[:, [n]].toarray().ravel(), footprint.ravel())
    z, y, x = np.indices(footprint.shape)
    centre = [float((footprint * at).sum() / footprint.sum()) for at in (z, y, x)]
    np.testing.assert_allclose(cells.centres_px[n], centre, rtol=1e-5)
    np.testing.assert_allclose(cells.centres_um[n], np.multiply(centre, (5.0, 1.0, 1.0)), rtol=1e-5)
    assert cells.traces.shape == cells.raw.shape == cells.spikes.shape == cells.dff.shape == (len(cells), 500)
    assert np.isfinite(cells.traces[n, 200:]).all()
    assert 0 < cells.delay_s[n] < 0.1
    with pytest.raises(SessionError, match="no cell 4711; there are"):
        cells.voxels(4711)


def test_steps_behind_it_take_its_cells_each_once(session):
    ids = set(session.values("green/0/events")["transients"]["id"].tolist())
    assert ids
    assert ids <= set(session.values("green/0/volume")["ids"].tolist())


def test_csv_has_sections_centres_and_traces_of_the_cells(session, tmp_path):
    done = command("export", str(session.path), "--to", "csv", "--out", "E", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cells, tables = session.cells(), {}
    for name in ("cells", "centres", "traces"):
        with (tmp_path / "E" / f"green-extract.{name}.csv").open(encoding="utf-8") as file:
            tables[name] = list(csv.DictReader(file))
    assert [int(row["cell"]) for row in tables["cells"]] == cells.same_as["cell"].tolist()
    assert [float(row["z_um"]) for row in tables["centres"]] == pytest.approx(cells.centres_um[:, 0].tolist())
    assert len(tables["traces"]) == 500
    last = tables["traces"][-1]
    assert [float(last[str(i)]) for i in cells.ids.tolist()] == pytest.approx(cells.traces[:, -1].tolist(), rel=1e-4)


@pytest.mark.slow
def test_nwb_has_voxel_masks_with_the_slice_and_series_of_the_cells(session, tmp_path):
    pynwb = pytest.importorskip("pynwb")
    (tmp_path / "m.toml").write_text(
        'modality = "two-photon"\nindicator = "GCaMP6f"\nlocation = "V1"\nexcitation_nm = 920\nemission_nm = 510\n'
    )
    done = command("export", str(session.path), "--to", "nwb", "--metadata", "m.toml", "--out", "N", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cells = session.cells()
    with pynwb.NWBHDF5IO(tmp_path / "N" / "frames.nwb", "r") as file:
        ophys = file.read().processing["ophys"]
        table = ophys["ImageSegmentation"]["PlaneSegmentation-volume-green-extract"]
        assert list(table.id[:]) == cells.ids.tolist()
        for n, cell in enumerate(cells.ids.tolist()):
            found = [(int(v[2]), int(v[1]), int(v[0])) for v in table["voxel_mask"][n]]
            assert found == [(cells.planes.index(p), y, x) for p, y, x, _ in cells.voxels(cell)]
        series = ophys["Fluorescence"]["Denoised-volume-green-extract"]
        np.testing.assert_allclose(series.data[:], cells.traces.T)
