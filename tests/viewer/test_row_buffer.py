"""Rows in one piece of memory: the newest are kept, and the memory is there from the start."""

from pathlib import Path

import numpy as np
import pytest

from streamfluo.viewer.row_buffer import RowBuffer
from streamfluo.viewer.traces import Trace

STATM = Path("/proc/self/statm")


@pytest.mark.parametrize("seed", range(4))
def test_rows_are_those_of_a_plain_table_whatever_comes(seed):
    rng = np.random.default_rng(88_000 + seed)
    buffer, table, newest, oldest = RowBuffer(capacity=50), {}, 1000, 1000
    for _ in range(300):
        count = int(rng.integers(1, 30))
        if rng.random() < 0.1:
            buffer.widen(buffer.columns + int(rng.integers(1, 4)))
        if not buffer.columns:
            buffer.widen(2)
        columns = rng.permutation(buffer.columns)[: max(1, buffer.columns - 1)].tolist()
        rows, index = rng.random((count, len(columns))), np.arange(newest, newest + count)
        if rng.random() < 0.3:  # of before
            index -= newest - oldest + count
            free = max(0, buffer.most_rows - len(buffer))
            index, rows = index[count - min(count, free) :], rows[count - min(count, free) :]
            if len(index):
                buffer.insert(0, index, rows, columns)
                oldest = int(index[0])
        else:
            buffer.append(index, rows, columns)
            newest += count
        table |= {i: dict(zip(columns, row, strict=True)) for i, row in zip(index.tolist(), rows, strict=True)}
        kept = sorted(table)[-50:]
        oldest = kept[0]
        table = {i: table[i] for i in kept}
        assert buffer.index.tolist() == kept
        wanted = [[table[i].get(column, np.nan) for column in range(buffer.columns)] for i in kept]
        assert np.array_equal(buffer.rows, wanted, equal_nan=True)


def test_rows_go_into_a_hole_and_the_oldest_go_for_them():
    buffer = RowBuffer(capacity=20)
    buffer.widen(1)
    for first in (0, 15):
        buffer.append(np.arange(first, first + 10), np.arange(first, first + 10.0)[:, None], slice(None))
    buffer.insert(10, np.arange(10, 15), np.arange(10, 15.0)[:, None], slice(None))
    assert buffer.index.tolist() == list(range(5, 25))
    assert buffer.rows[:, 0].tolist() == list(range(5, 25))


@pytest.mark.skipif(not STATM.exists(), reason="says what is resident")
def test_memory_stands_from_the_first_row_on_and_when_curves_are_born():
    def resident_mb():
        return int(STATM.read_text().split()[1]) * 4096 / 2**20

    trace, before = Trace(), resident_mb()
    trace.take(0, np.zeros((1, 120)), range(120))
    assert resident_mb() - before > 25
    trace.take(1, np.zeros((1, 121)), range(121))  # one is born
    at_first, nbytes = resident_mb(), trace.nbytes
    for index in range(2, 40_000, 500):
        trace.take(index, np.ones((500, 121)), range(121))
    assert trace.nbytes == nbytes
    assert resident_mb() - at_first < 8


def test_curves_that_ended_long_ago_make_room_for_those_that_are_born():
    trace = Trace(capacity=100)
    for born in range(200):
        trace.take(10 * born, np.full((10, 9), float(born)), [*range(8), 100 + born])
    assert trace.curves <= 40
    assert trace.ids[:8] == list(range(8))
    _, rows = trace.since()
    assert (rows[:, :8] == np.repeat(np.arange(190.0, 200), 10)[:, None]).all()
    alive = [trace.ids.index(100 + born) for born in range(190, 200)]
    assert np.array_equal(np.isfinite(rows[:, alive]), np.repeat(np.eye(10, dtype=bool), 10, axis=0))
    assert trace.nbytes < 100 * 1.3 * 8 * 41


def test_curves_that_are_born_one_by_one_keep_the_bound():
    trace = Trace()
    for curves in range(1, 3000, 60):
        trace.take(10 * curves, np.ones((1, curves)), range(curves))
        assert trace.nbytes <= 1.3 * (64 << 20)
    assert trace.since()[1][0, :2].tolist() == pytest.approx([1.0, np.nan], nan_ok=True)
    assert (trace.since()[1][-1, :2941] == 1).all()
