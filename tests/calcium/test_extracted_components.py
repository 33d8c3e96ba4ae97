"""The components of a session with source extraction, as a notebook reads them."""

import numpy as np
import pytest

from streamfluo import SessionError, create, open_session, open_source
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
    pandas, xarray = pytest.importorskip("pandas"), pytest.importorskip("xarray")
    cells = session.components()
    assert isinstance(cells.to_pandas(), pandas.DataFrame)
    assert cells.to_pandas().shape == (420, cells.accepted.sum())
    assert isinstance(cells.to_xarray(), xarray.Dataset)
    assert cells.to_xarray()["footprints"].shape == (len(cells), 72, 80)


def test_an_operator_before_its_first_frames_reads_empty():
    read = create("extract", open_source(SOURCE).spec, neuron_sigma_px=3.0).read()
    assert read["footprints"].shape[0] == read["quality_now"].shape[0] == read["contours"].shape[0] == 0
