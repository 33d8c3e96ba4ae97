"""Values on disk: every row comes back, ids may grow, rows may speak of earlier frames, and a torn end is left out."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamfluo import Gives, Output, Table
from streamfluo.core.step_values import Gate
from streamfluo.session import values as values_module
from streamfluo.session.record_file import scan_records
from streamfluo.session.values import StepRecords, ValuesWriter, read_values

MEAN = Gives("mean", "per_frame", ("t",), "ADU", "mean")
SHIFT = Gives("shift", "per_frame", ("t", "axis"), "px", "shift")
IDS = Gives("ids", "by_id", ("k",), "", "who")
TRACE = Gives("trace", "by_id", ("t", "k"), "ADU", "trace")
SPOTS = Gives("spots", "table", ("frame", "x"), "", "spots")


def written(path, outputs, flush=False):
    writer, gate = ValuesWriter(path, "series"), passing()
    for output in outputs:
        if (values := gate.values(output, None)) is not None:
            writer.add(values)
        writer.flush_if_due()
        if flush:
            writer.flush()
    writer.close()


def passing():
    """The gate of a step that gives all kinds of values."""
    return Gate("step", SimpleNamespace(gives=(MEAN, SHIFT, IDS, TRACE, SPOTS), frame_axis="own", out_spec=None))


def per_frame(start, stop):
    t = np.arange(start, stop)
    return Output(start, {"mean": t * 0.5, "shift": np.stack([t, -t], 1).astype(np.float32)})


@pytest.mark.parametrize("flush", [False, True], ids=["gathered", "one by one"])
def test_per_frame_values_come_back_whole_with_their_indices_across_a_gap(tmp_path, flush):
    path = tmp_path / "v.sfv"
    written(path, [per_frame(0, 3), per_frame(3, 4), per_frame(10, 12)], flush)
    t = np.array([0, 1, 2, 3, 10, 11])
    got = read_values(StepRecords(path, "series"), [MEAN, SHIFT])
    assert np.array_equal(got["mean"], t * 0.5)
    assert np.array_equal(got["shift"], np.stack([t, -t], 1))
    assert got["shift"].dtype == np.float32
    assert StepRecords(path, "series").index.tolist() == t.tolist()


def test_consecutive_outputs_share_a_record_a_gap_begins_a_new_one(tmp_path):
    path = tmp_path / "v.sfv"
    written(path, [per_frame(0, 3), per_frame(3, 4), per_frame(10, 12)])
    assert [(r.fields["index"], r.fields["count"]) for r in scan_records(path, path.read_bytes())] == [(0, 4), (10, 2)]


def test_many_bytes_are_written_at_once_instead_of_gathered(tmp_path, monkeypatch):
    monkeypatch.setattr(values_module, "FLUSH_BYTES", 64)
    written(tmp_path / "v.sfv", [per_frame(n, n + 4) for n in range(0, 40, 4)])
    path = tmp_path / "v.sfv"
    assert len(list(scan_records(path, path.read_bytes()))) == 10


def test_nothing_given_is_nothing_written(tmp_path):
    path = tmp_path / "v.sfv"
    written(path, [Output(0), Output(1, {})])
    assert read_values(StepRecords(path, "series"), [MEAN, TRACE, SPOTS]) == {"spots": {}}
    assert StepRecords(path, "series").index.tolist() == []
    assert read_values(StepRecords(tmp_path / "nowhere.sfv", "series"), [MEAN]) == {}


# Values by id


def by_id(start, ids, rows):
    return Output(start, {"ids": np.array(ids), "trace": np.array(rows, float).reshape(len(rows), len(ids))})


def test_ids_that_appear_later_are_zero_before_their_birth(tmp_path):
    path = tmp_path / "v.sfv"
    written(path, [by_id(0, [4], [[1], [2]]), by_id(2, [4, 9], [[3, 30]]), by_id(3, [9, 4, 7], [[40, 4, 400]])])
    got = read_values(StepRecords(path, "series"), [IDS, TRACE])
    assert got["ids"].tolist() == [4, 9, 7]
    assert got["trace"].tolist() == [[1, 0, 0], [2, 0, 0], [3, 30, 0], [4, 40, 400]]
    assert StepRecords(path, "series").index.tolist() == [0, 1, 2, 3]


def test_frames_before_the_first_id_have_no_columns_of_their_own(tmp_path):
    path = tmp_path / "v.sfv"
    written(path, [by_id(0, [], [[], []]), by_id(2, [5], [[7]])])
    assert read_values(StepRecords(path, "series"), [IDS, TRACE])["trace"].tolist() == [[0], [0], [7]]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(counts=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), min_size=1, max_size=8), flush=st.booleans())
def test_growing_traces_are_those_kept_in_memory_whatever_the_records(tmp_path, counts, flush):
    path, start, known, outputs, rows = tmp_path / "v.sfv", 0, 0, [], []
    path.unlink(missing_ok=True)
    for frames, born in counts:
        known += born
        values = [[float(100 * (start + t) + k) for k in range(known)] for t in range(frames)]
        outputs.append(by_id(start, list(range(known)), values))
        rows += values
        start += frames
    written(path, outputs, flush)
    expected = [row + [0.0] * (known - len(row)) for row in rows]
    assert read_values(StepRecords(path, "series"), [IDS, TRACE])["trace"].tolist() == expected


# Tables


def spots(index, frames):
    return Output(index, {"spots": Table({"frame": np.array(frames, np.int64), "x": np.array(frames) * 0.5})})


@pytest.mark.parametrize("flush", [False, True], ids=["gathered", "one by one"])
def test_rows_of_a_table_come_back_in_order_and_may_speak_of_earlier_frames(tmp_path, flush):
    path = tmp_path / "v.sfv"
    written(path, [spots(0, [0, 0, 1]), spots(4, []), spots(8, [2, 9])], flush)
    got = read_values(StepRecords(path, "series"), [SPOTS])["spots"]
    assert got["frame"].tolist() == [0, 0, 1, 2, 9]
    assert got["x"].tolist() == [0, 0, 0.5, 1, 4.5]
    assert got["x"].dtype == float


def test_tables_and_per_frame_values_of_one_step_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "v.sfv"
    outputs = [Output(n, {**per_frame(n, n + 2).values, **spots(n, [n]).values}) for n in (0, 2, 8)]
    written(path, outputs)
    got = read_values(StepRecords(path, "series"), [MEAN, SPOTS])
    assert got["mean"].tolist() == [0, 0.5, 1, 1.5, 4, 4.5]
    assert got["spots"]["frame"].tolist() == [0, 2, 8]
    assert StepRecords(path, "series").index.tolist() == [0, 1, 2, 3, 8, 9]


# What a crash leaves, and what is refused


def test_cut_at_any_byte_of_its_last_record_the_rest_is_readable(tmp_path):
    path = tmp_path / "v.sfv"
    written(path, [per_frame(0, 3), per_frame(10, 12)])
    data = path.read_bytes()
    first, last = (record.stop for record in scan_records(path, data))
    assert last == len(data)
    for cut in range(first, last):
        path.write_bytes(data[:cut])
        assert read_values(StepRecords(path, "series"), [MEAN])["mean"].tolist() == [0, 0.5, 1], f"cut at {cut}"
        assert StepRecords(path, "series").index.tolist() == [0, 1, 2]


def test_a_writer_begins_the_file_anew(tmp_path):
    path = tmp_path / "v.sfv"
    written(path, [per_frame(0, 30)])
    written(path, [per_frame(0, 2)])
    assert len(read_values(StepRecords(path, "series"), [MEAN])["mean"]) == 2
