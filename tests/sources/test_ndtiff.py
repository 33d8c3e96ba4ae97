"""NDTiff of recordings that were stopped or lost images, and channels in the order in which they were acquired."""

import os

import numpy as np
import pytest
from small_recordings import write_ndtiff

from streamfluo import SourceError, open_source

SHAPE = (12, 16)


def image(t, c, z=0):
    return np.full(SHAPE, 1000 * c + 100 * z + t, np.uint16)


def read(uri):
    with open_source(uri) as source:
        blocks = list(source.blocks(4))
        indices = [index for block in blocks for index in range(block.index, block.stop)]
        return indices, [int(v) for block in blocks for v in block.pixels[:, 5, 5]], source.spec.channel


@pytest.mark.parametrize("names", [("red", "green"), ("green", "red"), (1, 0), ("b", 2)])
def test_channels_come_as_they_were_acquired_and_numbers_by_number(tmp_path, names):
    images = {(("time", t), ("channel", name)): image(t, c) for t in range(3) for c, name in enumerate(names)}
    path = write_ndtiff(tmp_path / "nd", images)
    order = sorted(names) if names == (1, 0) else sorted(names, key=lambda n: isinstance(n, str))
    for number, name in enumerate(order):
        for way in (number, name) if isinstance(name, str) else (number,):
            _, values, channel = read(f"{path}?channel={way}")
            assert values == [1000 * names.index(name) + t for t in range(3)]
            assert channel == str(name)


@pytest.mark.parametrize(
    "lost",
    [{(3, 1)}, {(0, 0)}, {(9, 0), (9, 1)}, {(t, 1) for t in range(2, 8)}],
    ids=["one", "the first", "the last", "many"],
)
def test_images_that_are_missing_are_gaps_of_their_plane(tmp_path, lost):
    images = {(("time", t), ("channel", c)): image(t, c) for t in range(10) for c in range(2) if (t, c) not in lost}
    path = write_ndtiff(tmp_path / "nd", images)
    for c in range(2):
        indices, values, _ = read(f"{path}?channel={c}")
        there = [t for t in range(10) if (t, c) not in lost]
        assert values == [1000 * c + t for t in there]
        assert indices == there


def test_a_selection_of_frames_counts_those_that_are_missing(tmp_path):
    images = {(("time", t),): image(t, 0) for t in range(10) if t not in (4, 5)}
    path = write_ndtiff(tmp_path / "nd", images)
    indices, values, _ = read(f"{path}?frames=2:8")
    assert (indices, values) == ([0, 1, 4, 5], [2, 3, 6, 7])


def test_of_a_file_that_was_cut_the_whole_images_are_read(tmp_path):
    path = write_ndtiff(tmp_path / "nd", {(("time", t),): image(t, 0) for t in range(10)})
    file = path / "NDTiffStack.tif"
    os.truncate(file, int(file.stat().st_size * 0.65))
    indices, values, _ = read(path)
    assert indices == values == list(range(6))
    os.truncate(file, 100)
    with pytest.raises(SourceError, match="no image is whole"):
        open_source(path)


@pytest.mark.parametrize("elapsed", ["1" + 400 * "0", "1e400", "NaN", "-5", '"50"', "[]", "null"])
def test_elapsed_times_that_cannot_be_leave_the_interval_unknown(tmp_path, elapsed):
    path = write_ndtiff(tmp_path / "nd", {(("time", t), ("channel", "a")): image(t, 0) for t in range(3)})
    stack = (path / "NDTiffStack.tif").read_bytes()
    at = stack.rindex(b'{"ElapsedTime-ms"')
    (path / "NDTiffStack.tif").write_bytes(stack[:at] + f'{{"ElapsedTime-ms": {elapsed}}}'.encode())
    index = bytearray((path / "NDTiff.index").read_bytes())
    index[-8:-4] = len(f'{{"ElapsedTime-ms": {elapsed}}}').to_bytes(4, "little")
    (path / "NDTiff.index").write_bytes(index)
    with open_source(path) as source:
        assert source.spec.interval_s is None
        assert sum(len(block.pixels) for block in source.blocks()) == 3
