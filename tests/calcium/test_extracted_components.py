"""The components of a session with source extraction, as a notebook reads them."""

import re
import sys

import numpy as np
import pytest

from streamfluo import SessionError, create, open_session, open_source
from streamfluo.calcium.extracted_components import MEASURES, ExtractedComponents
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

CONFIG = """
[[step]]
kind = "motion"
params = { border = "nan" }
[[step]]
kind = "extract"
params = { neuron_sigma_px = 3.0, init_frames = 150 }
"""
SOURCE = "sim:calcium?shape=72x80&frames=420&seed=3&neuron_sigma_px=3"


def run(folder, config=CONFIG):
    with open_source(SOURCE) as source:
        engine = Engine(source, parse_config(config), folder)
        engine.start()
        assert engine.wait(60)
    assert engine.error is None
    return open_session(folder)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return run(tmp_path_factory.mktemp("s") / "S")


def test_components_have_one_row_each(session):
    cells = session.components()
    count = len(cells)
    assert cells.accepted.sum() >= 6
    assert cells.footprints.shape == (72 * 80, count)
    assert cells.footprints.format == "csc"
    for rows in (cells.traces, cells.raw, cells.spikes, cells.dff):
        assert rows.shape == (count, 420)
        assert np.isfinite(rows).all()
        assert not rows[cells.frame < cells.birth_frame[:, None]].any()
    assert cells.accepted.dtype == bool
    assert cells.birth_frame.dtype.kind == "i"
    assert cells.snr.shape == cells.spatial_corr.shape == (count,)


def test_components_are_rejected_and_restored_by_hand(session):
    cells = session.components()
    first = int(cells.ids[cells.accepted][0])
    before = cells.accepted.sum()
    cells.reject(first)
    assert session.components().accepted.sum() == before - 1
    session.components().restore(first)
    assert cells.accepted.sum() == before
    with pytest.raises(SessionError, match="no component 9999"):
        cells.reject(9999)
    kept = next(session.path.glob("judged-*.json"))
    whole = kept.read_text()
    for cut in (whole[:-2], "[3]", '{"a": true}', '{"3": 1}'):
        kept.write_text(cut)
        with pytest.raises(SessionError, match=r"judged-.*json: .*take it away"):
            _ = cells.accepted
    kept.write_text(whole)


def test_a_second_pass_starts_from_the_components_of_the_first(session, tmp_path):
    config = CONFIG.replace("150 }", f'150, init = "seeded", seeds = "{session.path}" }}')
    again = run(tmp_path / "T", config).components()
    known = session.components().accepted.sum()
    assert (again.birth_frame == 0).sum() >= known
    assert again.traces[again.birth_frame == 0][:, :100].any()


def test_a_session_without_extraction_says_so(tmp_path):
    with pytest.raises(SessionError, match="no step gives components"):
        run(tmp_path / "S", '[[step]]\nkind = "moments"').components()


def test_traces_go_on_to_pandas_and_xarray(session):
    pandas = pytest.importorskip("pandas", reason="needs the extra [tables]")
    xarray = pytest.importorskip("xarray", reason="needs the extra [tables]")
    cells = session.components()
    frames = cells.to_pandas("dff")
    assert isinstance(frames, pandas.DataFrame)
    assert frames.columns.tolist() == cells.ids[cells.accepted].tolist()
    assert np.array_equal(frames.to_numpy().T, cells.dff[cells.accepted], equal_nan=True)
    assert frames.index.get_level_values("frame").tolist() == cells.frame.tolist()
    assert frames.index.get_level_values("t_s").tolist() == cells.t_s.tolist()
    assert cells.to_pandas(accepted=False).shape == (420, len(cells))
    table = cells.table()
    assert table.index.tolist() == cells.ids.tolist()
    assert table["snr"].tolist() == cells.snr.tolist()
    images = cells.to_xarray()
    assert isinstance(images, xarray.Dataset)
    assert images["footprints"].shape == (len(cells), 72, 80)
    first = int(cells.ids[0])
    assert np.array_equal(images["raw"].sel(id=first).values, cells.raw[0])
    assert np.array_equal(images["t_s"].values, cells.t_s)
    with pytest.raises(SessionError, match="no value 'spike'; there is traces, raw, spikes, dff"):
        cells.to_pandas("spike")


@pytest.mark.parametrize(("library", "call"), [("pandas", "to_pandas"), ("pandas", "table"), ("xarray", "to_xarray")])
def test_a_library_that_is_missing_is_named_with_its_extra(session, monkeypatch, library, call):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SessionError, match=re.escape(f'needs {library}; install it with pip install "streamfluo[tab')):
        getattr(session.components(), call)()


def test_times_are_those_of_the_file_that_has_the_frames(session):
    cells = session.components()
    with open_source(SOURCE) as source:
        times_ns = np.concatenate([block.times_ns for block in source.blocks()])
    assert np.array_equal(cells.t_s, times_ns / 1e9)
    assert np.isnan(cells.times_s(np.array([420, 500]))).tolist() == [False, False]  # index · interval
    assert cells.times_s(np.array([500]))[0] == pytest.approx(500 / 30)


def test_contours_run_round_the_pixels_above_a_fifth_of_the_peak(session):
    cells = session.components()
    contours = cells.contours()
    drawn = {len(line) for line in session.snapshot("extract")["contours"]}
    assert len(contours) == len(cells)
    assert drawn
    by_id = cells.contours(np.sort(cells.ids[cells.accepted]).tolist())
    for ours, live in zip(by_id, session.snapshot("extract")["contours"], strict=True):
        assert np.array_equal(ours[: len(live)], live[np.isfinite(live).all(1)])
    with pytest.raises(SessionError, match="no component 9999"):
        cells.contours([9999])


def test_a_contour_runs_round_the_region_of_the_peak():
    image = np.zeros((8, 9))
    image[1, 1:3] = 0.4  # comes first, and is not the cell
    image[3:7, 3:7] = 0.5
    image[5, 4] = 1.0
    snapshot = {
        "quality_now": np.array([[4.0, 0, 1, 5, 1, 18, 1, 2, 3, 1, 0]]), "footprints": image[None].astype(np.float32),
    }  # fmt: skip
    (contour,) = ExtractedComponents({}, snapshot, (20, 20), np.arange(5)).contours([4])
    assert (contour.min(0).tolist(), contour.max(0).tolist()) == ([4.5, 5.5], [8.5, 9.5])  # its box is at (2, 3)


def ink(axes):
    return [line.get_ydata() for line in axes.get_lines()]


def test_a_figure_has_contours_and_traces_of_the_cells(session):
    cells = session.components()
    figure = cells.plot()
    over, beside = figure.axes
    assert len(ink(beside)) == cells.accepted.sum()  # fewer than two dozen
    assert len(ink(over)) == cells.accepted.sum()
    row = int(np.flatnonzero(cells.ids == np.sort(cells.ids[cells.accepted])[0])[0])
    expected = cells.traces[row] / np.ptp(cells.traces[row])
    np.testing.assert_allclose(ink(beside)[0], expected, rtol=1e-6)
    some = cells.ids[cells.accepted][:2].tolist()
    figure = cells.plot(some, image=np.ones(cells.shape))
    assert len(ink(figure.axes[1])) == 2
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_figure_of_one_cell_has_its_values(session):
    cells = session.components()
    row = int(np.flatnonzero(cells.accepted)[0])
    since = cells.frame >= cells.birth_frame[row]
    figure = cells.view(int(cells.ids[row]))
    _, activity, dff, spikes = figure.axes
    for axes, name in ((activity, "raw"), (dff, "dff"), (spikes, "spikes")):
        np.testing.assert_array_equal(ink(axes)[0], getattr(cells, name)[row][since])
    best = np.flatnonzero(cells.accepted)[np.argmax(cells.snr[cells.accepted])]
    assert f"cell {cells.ids[best]}, accepted" in cells.view().axes[0].get_title()
    with pytest.raises(SessionError, match="no component 9999"):
        cells.view(9999)


def test_figures_of_nothing_are_empty_or_say_so():
    snapshot = {"quality_now": np.empty((0, len(MEASURES))), "footprints": np.empty((0, 3, 3))}
    none = ExtractedComponents({}, snapshot, (12, 14), np.arange(5))
    assert none.plot().axes[0].get_title() == "0 cells accepted"
    assert none.columns()["y_px"].shape == (0,)
    with pytest.raises(SessionError, match="no component is accepted"):
        none.view()


def test_an_operator_before_its_first_frames_reads_empty():
    read = create("extract", open_source(SOURCE).spec, neuron_sigma_px=3.0).read()
    assert read["footprints"].shape[0] == read["quality_now"].shape[0] == read["contours"].shape[0] == 0
