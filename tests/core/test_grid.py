"""The grid: cells end at multiples of 32 of the frame index and at gaps, however the stream was cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamfluo import Block, Spec, StateError
from streamfluo.core.grid import GRID_FRAMES, FrameGrid

SPEC = Spec((2, 3), "u4")


def frames(start, stop):
    """Frames whose every pixel says their index."""
    return np.broadcast_to(np.arange(start, stop, dtype=np.uint32)[:, None, None], (stop - start, 2, 3))


def block(start, stop):
    return Block(start, np.arange(start, stop), frames(start, stop))


def pushed(grid, runs):
    """The cells, as lists of frame indices, that blocks (start, stop) give; the last flush included."""
    cells = []
    for start, stop in runs:
        cells += [cell[:, 0, 0].tolist() for cell in grid.push(block(start, stop))]
    return cells + [cell[:, 0, 0].tolist() for cell in grid.flush()]


def by_hand(runs):
    """The cells these frames belong to: consecutive indices of one multiple of 32."""
    cells = []
    for index in (n for start, stop in runs for n in range(start, stop)):
        if cells and index == cells[-1][-1] + 1 and index % GRID_FRAMES:
            cells[-1].append(index)
        else:
            cells.append([index])
    return cells


@st.composite
def streams(draw):
    """Blocks in order, with gaps between some."""
    runs, at = [], draw(st.integers(0, 40))
    for count, gap in draw(st.lists(st.tuples(st.integers(1, 70), st.sampled_from([0, 0, 0, 1, 40])), max_size=8)):
        runs.append((at, at + count))
        at += count + gap
    return runs


@given(runs=streams())
def test_cells_are_those_made_by_hand_whatever_the_cuts(runs):
    assert pushed(FrameGrid(SPEC), runs) == by_hand(runs)


@settings(max_examples=50)
@given(runs=streams(), data=st.data())
def test_resumed_from_its_state_a_grid_gives_the_same_cells(runs, data):
    at = data.draw(st.integers(0, len(runs)))
    unbroken = pushed(FrameGrid(SPEC), runs)
    first, second = FrameGrid(SPEC), FrameGrid(SPEC)
    cells = [cell[:, 0, 0].tolist() for run in runs[:at] for cell in first.push(block(*run))]
    second.restore(first.state())
    assert cells + pushed(second, runs[at:]) == unbroken


def test_a_whole_cell_passes_without_a_copy():
    whole = block(32, 96)
    cells = list(FrameGrid(SPEC).push(whole))
    assert [len(cell) for cell in cells] == [32, 32]
    assert all(np.shares_memory(cell, whole.pixels) for cell in cells)


def test_waiting_frames_are_read_only_and_stay_when_only_looked_at():
    grid = FrameGrid(SPEC)
    assert list(grid.push(block(0, 5))) == []
    assert grid.waiting[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert not grid.waiting.flags.writeable
    assert len(grid.waiting) == 5


def test_state_is_a_copy():
    grid = FrameGrid(SPEC)
    list(grid.push(block(0, 5)))
    state = grid.state()
    state["waiting"][...] = 99
    assert grid.waiting[0, 0, 0] == 0


@pytest.mark.parametrize("shape", [(32, 2, 3), (3, 2, 2), (40, 2, 3)])
def test_waiting_frames_that_cannot_be_are_refused(shape):
    with pytest.raises(StateError, match=r"waiting frames: expected fewer than 32 of \(2, 3\)"):
        FrameGrid(SPEC).restore({"waiting": np.zeros(shape, np.uint32), "next_index": 3})
