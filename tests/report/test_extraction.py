"""What source extraction says of its results in a report."""

import numpy as np
import pytest
from recorded_steps import SHAPE, Step, drawn_figures, record, values

from streamfluo.calcium import report as calcium
from streamfluo.calcium.extracted_components import MEASURES
from streamfluo.calcium.recorded_activity import RecordedActivity
from streamfluo.core.findings import UNKNOWN, spelled


def cells(count, accepted, tmp_path, **more):
    rng = np.random.default_rng(5)
    quality = np.zeros((count, len(MEASURES)))
    quality[:, 0], quality[:, 2] = np.arange(count) + 3, np.arange(count) < accepted
    quality[:, 3], quality[:, 4], quality[:, 5] = rng.uniform(3, 9, count), 0.9, 25
    quality[:, 7], quality[:, 8] = rng.integers(0, SHAPE[0] - 5, count), rng.integers(0, SHAPE[1] - 5, count)
    contours = np.full((accepted, 5, 2), np.nan)
    contours[:, :4] = quality[:accepted, None, 7:9] + np.array([[0, 0], [0, 4], [4, 4], [4, 0]])
    snapshot = {
        "quality_now": quality, "footprints": np.ones((count, 5, 5)), "contours": contours,
        "background": rng.normal(100, 5, SHAPE), "mean": rng.normal(100, 5, SHAPE),
    }  # fmt: skip
    return Step({**snapshot, **more.pop("snapshot", {})}, folder=tmp_path, **more)


def test_traces_of_cells_are_the_final_values_where_there_are_any(tmp_path):
    live = np.arange(40.0)[:, None] + np.array([0, 100.0])
    records = [
        record(0, 20, ids=np.array([4, 3]), traces=live[:20], dff=live[:20] / 10, present=np.ones((20, 2), bool)),
        record(20, 20, ids=np.array([3, 4]), traces=live[20:], dff=live[20:] / 10, present=np.ones((20, 2), bool),
               settled__id=np.array([3, 3, 99]), settled__frame=np.array([1, 39, 2]),
               settled__trace=np.array([-7.0, 70.0, 1.0])),
    ]  # fmt: skip
    step = cells(3, 2, tmp_path, records=records)
    seen = RecordedActivity(step, np.array([3, 4]), np.array([3, 4]))
    expected = np.concatenate([live[:20, ::-1], live[20:]])
    expected[[1, 39], 0] = -7, 70
    assert np.array_equal(seen.traces, expected)
    assert seen.dff.tolist() == [11.9, 13.9]
    assert np.nanmax(seen.heat, 1).tolist() == [119.0, 139.0]
    found = calcium.report_of(step)
    assert found.headline == "2 cells accepted of 3 candidates"
    assert values(found)["largest ΔF/F"] == spelled(12.9, 2)
    assert drawn_figures(found).keys() == {"Cells", "Traces", "All cells"}
    assert len(found.tables[0].rows) == 2


def test_no_cell_is_said_over_the_picture(tmp_path):
    found = calcium.report_of(cells(2, 0, tmp_path))
    assert found.headline == "0 cells accepted of 2 candidates"
    assert drawn_figures(found).keys() == {"Cells"}


def test_five_thousand_cells_make_one_page(tmp_path):
    ids = np.arange(5000) + 3
    traces = np.random.default_rng(0).normal(size=(60, 5000)).astype(np.float32)
    found = calcium.report_of(cells(5000, 5000, tmp_path, records=[record(0, 60, ids=ids, traces=traces)]))
    assert values(found)["cells accepted"] == "5\u202f000"
    assert sum(len(figure.data) for figure in drawn_figures(found).values()) < 2 << 20
    assert "4\u202f980 more" in found.tables[0].caption


def test_a_cell_that_a_person_rejected_is_none(tmp_path):
    (tmp_path / "judged-it.json").write_text('{"3": false}')
    found = calcium.report_of(
        cells(3, 2, tmp_path, records=[record(0, 5, ids=np.array([3, 4]), traces=np.ones((5, 2)))])
    )
    assert found.headline == "1 cell accepted of 3 candidates"


def test_unknown_pixels_and_values_leave_a_page(tmp_path):
    nothing = np.full(SHAPE, np.nan)
    records = [record(0, 5, ids=np.array([3, 4]), traces=np.full((5, 2), np.nan), dff=np.full((5, 2), np.nan))]
    step = cells(2, 2, tmp_path, records=records, snapshot={"mean": nothing, "background": nothing})
    step.snapshot["quality_now"][:, 3:5] = np.nan
    found = calcium.report_of(step)
    assert values(found)["SNR"] == UNKNOWN
    assert found.figures[0].data == b""


def test_cells_of_a_structural_channel_are_counted_listed_and_outlined_where_there_is_one(tmp_path):
    records = [record(0, 5, ids=np.array([3, 4, 5]), traces=np.ones((5, 3)))]
    found = {}
    for known in (True, False):
        step = cells(4, 3, tmp_path, records=records)
        chances = [0.9, 0.1, 0.7, 1.0] if known else np.full(4, np.nan)
        step.snapshot["quality_now"][:, list(MEASURES).index("structural")] = chances
        found[known] = calcium.report_of(step)
    assert values(found[True])["structural"] == "2"
    assert "Dashed red: the 2 marked" in found[True].figures[0].caption
    assert found[True].tables[0].columns[-1] == "chance of a label"
    assert sorted(row[-1] for row in found[True].tables[0].rows) == ["0.10", "0.70", "0.90"]
    assert drawn_figures(found[True])["Cells"].data != drawn_figures(found[False])["Cells"].data
    assert "structural" not in values(found[False])
    assert "Dashed" not in found[False].figures[0].caption


def test_a_run_without_footprints_says_so(tmp_path):
    assert "left no footprints" in calcium.report_of(Step(folder=tmp_path)).sentences[0]


def test_cells_are_the_accepted_ones(tmp_path):
    step = cells(9, 6, tmp_path)
    found = calcium.measures_of(step)
    assert (found["cells"], found["candidates"]) == (6.0, 9.0)
    assert found["snr"] == pytest.approx(np.median(step.snapshot["quality_now"][:6, 3]))
    assert calcium.measures_of(Step()) == {}
