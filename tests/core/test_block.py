"""The block: whatever array comes in, steps see native, aligned, C-order, read-only frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfluo import Block, FrameError
from streamfluo.core.spec import FRAME_DTYPES

FRAMES = np.arange(5 * 3 * 4, dtype=np.uint16).reshape(5, 3, 4)
TIMES = np.arange(5) * 1000

FOREIGN = {
    "big-endian": FRAMES.astype(">u2"),
    "every second row": np.repeat(FRAMES, 2, axis=1)[:, ::2],
    "Fortran order": np.asfortranarray(FRAMES),
    "reversed in time": FRAMES[::-1][::-1],
    "unaligned": np.frombuffer(b"\0" + FRAMES.tobytes(), np.uint16, offset=1).reshape(FRAMES.shape),
    "a list": FRAMES.tolist(),
}


@pytest.mark.parametrize("name", [n for n in FOREIGN if n != "a list"])
def test_foreign_layouts_become_native_aligned_c_order(name):
    pixels = Block(7, TIMES, FOREIGN[name]).pixels
    assert np.array_equal(pixels, FRAMES)
    assert pixels.dtype == np.uint16
    assert pixels.dtype.isnative
    assert pixels.flags.c_contiguous
    assert pixels.flags.aligned
    assert not pixels.flags.writeable


def test_a_native_array_is_viewed_not_copied_and_stays_writeable_itself():
    mine = FRAMES.copy()
    block = Block(0, TIMES, mine)
    assert np.shares_memory(block.pixels, mine)
    assert mine.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        block.pixels[0] = 0


def test_times_become_read_only_int64():
    block = Block(0, [1, 2, 3, 4, 5], FRAMES)
    assert block.times_ns.dtype == np.int64
    assert not block.times_ns.flags.writeable


@pytest.mark.parametrize("dtype", FRAME_DTYPES)
def test_every_frame_dtype_passes(dtype):
    assert Block(0, TIMES, FRAMES.astype(dtype)).pixels.dtype.name == dtype


REFUSED = [
    (dict(index=0, times_ns=TIMES[:4], pixels=FRAMES), r"5 frames need as many times, found \(4,\)"),
    (dict(index=0, times_ns=0, pixels=FRAMES[:1]), r"1 frames need as many times, found \(\)"),
    (dict(index=-1, times_ns=TIMES, pixels=FRAMES), "index is 0 or more, found -1"),
    (dict(index=0, times_ns=TIMES, pixels=FRAMES[0]), r"pixels are \(t, y, x\) with none of them 0, found \(3, 4\)"),
    (dict(index=0, times_ns=[], pixels=FRAMES[:0]), r"none of them 0, found \(0, 3, 4\)"),
    (dict(index=0, times_ns=TIMES, pixels=FRAMES.astype("f2")), "cannot be of type 'float16'; use one of"),
    (dict(index=0, times_ns=TIMES, pixels=FRAMES.astype(object)), "cannot be of type 'object'"),
    (dict(index=0, times_ns=TIMES, pixels=FRAMES.tolist()), "cannot be of type 'int64'"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_impossible_blocks_are_refused_with_what_was_found(fields, message):
    with pytest.raises(FrameError, match=message):
        Block(**fields)


@given(a=st.integers(0, 30), b=st.integers(0, 30))
def test_a_cut_holds_exactly_the_frames_asked_for_or_is_refused(a, b):
    block = Block(10, TIMES, FRAMES, "green")
    wanted = [n for n in range(a, b) if 10 <= n < 15]
    if not wanted:
        with pytest.raises(FrameError, match=r"block 10\.\.15: no frame between"):
            block.cut(a, b)
        return
    cut = block.cut(a, b)
    assert list(range(cut.index, cut.stop)) == wanted
    assert np.array_equal(cut.pixels, FRAMES[wanted[0] - 10 : wanted[-1] - 9])
    assert np.array_equal(cut.times_ns, TIMES[wanted[0] - 10 : wanted[-1] - 9])
    assert np.shares_memory(cut.pixels, block.pixels)
    assert cut.channel == "green"


def test_a_cut_that_takes_everything_is_the_block_itself():
    block = Block(10, TIMES, FRAMES)
    assert block.cut(0, 100) is block
