"""NDTiff folders that another program still writes: every time point once, in order, to the end."""

import json
import os
import struct
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from streamfluo import SourceError, open_source
from streamfluo.sources import following, ndtiff_index
from tests.small_recordings import write_ndtiff
from tests.sources.test_follow_folders import assert_whole, collected, written_beside

SHAPE = (16, 24)
MOVIE = np.random.default_rng(5).integers(1, 30000, (20, 2, 3, *SHAPE), np.uint16)  # t, c, z
NAMES = ("red", "green")

PROCESS = """
import sys, time
import numpy as np
from pathlib import Path
from tests.sources.test_follow_ndtiff import MOVIE, Writer
writer = Writer(Path(sys.argv[1]))
for t in range(20):
    for c in range(2):
        for z in range(3):
            writer.add(t, c, z)
            time.sleep(0.004)
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(following, "QUIET_S", 1.5)
    monkeypatch.setattr(following, "GRACE_S", 0.3)


class Writer:
    """Writes as Micro-Manager does: pixels and metadata into the data file, then the entry into the index; a new data
    file after so many images."""

    def __init__(self, folder, per_file=50):
        folder.mkdir(exist_ok=True)
        self.folder, self.per_file, self.count = folder, per_file, 0

    def add(self, t, c=0, z=0, torn=False, pixels=True, axes=None, image=None):
        image = MOVIE[t % 20, c, z] if image is None else image
        facts = json.dumps({"ElapsedTime-ms": 50.0 * t, "PixelSizeUm": 0.5, "ZPosition_um_Intended": 2.0 * z}).encode()
        file = f"NDTiffStack_{self.count // self.per_file}.tif"
        self.count += 1
        with (self.folder / file).open("ab") as out:
            at = out.tell()
            out.write(image.tobytes() + facts if pixels else b"")
        name = json.dumps(axes or {"time": t, "channel": NAMES[c], "z": z}).encode()
        numbers = (at, image.shape[1], image.shape[0], 1, 0, at + image.nbytes, len(facts), 0)
        entry = struct.pack("<I", len(name)) + name + struct.pack("<I", len(file)) + file.encode()
        entry += struct.pack("<8I", *numbers)
        with (self.folder / "NDTiff.index").open("ab") as index:
            if torn:
                index.write(entry[:20])
                index.flush()
                time.sleep(0.1)
            index.write(entry[20:] if torn else entry)

    def all(self, lost=(), torn=False, pause_s=0.005, times=range(20)):
        for t in times:
            for c, z in np.ndindex(2, 3):
                if (t, c, z) not in lost:
                    self.add(t, c, z, torn=torn and (c, z) == (1, 1))
                    time.sleep(pause_s)


def assert_planes(found, lost=(), length=20):
    assert len(found) == 6
    for name, images in found.items():
        c, z = NAMES.index(name.split("/")[0]), int(name.split("/")[1])
        assert list(images) == [t for t in range(length) if (t, c, z) not in lost]
        assert all(np.array_equal(image, MOVIE[t, c, z]) for t, image in images.items())


def another_process(folder):
    root = Path(__file__).parents[2]
    known = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])}
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(PROCESS), folder], env=known)
    while not (folder / "NDTiff.index").exists():
        assert process.poll() is None
        time.sleep(0.01)
    return process


def test_the_folder_that_another_process_writes_is_followed_to_its_end(tmp_path):
    process = another_process(tmp_path / "nd")
    with open_source(f"{tmp_path}/nd?follow=1&planes=all") as source:
        assert source.series.frames is None
        assert source.spec.plane_names == ("red/0", "red/1", "red/2", "green/0", "green/1", "green/2")
        assert source.spec.interval_s == pytest.approx(0.05)
        assert source.spec.pixel_um == 0.5
        assert source.spec.planes[2].z_um == pytest.approx(4.0)
        found = collected(source)
    assert process.wait(10) == 0
    assert_planes(found)


def test_an_index_that_is_torn_while_it_is_written_is_read_when_it_is_whole(tmp_path):
    written_beside(Writer(tmp_path / "nd").all, (), True)
    time.sleep(0.1)
    with open_source(f"{tmp_path}/nd?follow=1&planes=all") as source:
        assert_planes(collected(source))


def test_images_that_do_not_come_are_gaps_of_their_planes(tmp_path):
    lost = {(3, 1, 2), (4, 0, 0), (19, 0, 1), *((9, c, z) for c in range(2) for z in range(3))}
    written_beside(Writer(tmp_path / "nd").all, lost)
    time.sleep(0.1)
    with open_source(f"{tmp_path}/nd?follow=1&planes=all") as source:
        assert_planes(collected(source), lost)


def test_a_plane_that_stops_holds_the_others_up_once(tmp_path):
    lost = {(t, 1, 2) for t in range(5, 20)}
    Writer(tmp_path / "nd").all(lost, pause_s=0)
    began = time.monotonic()
    with open_source(f"{tmp_path}/nd?follow=1&planes=all") as source:
        assert_planes(collected(source), lost)
    assert time.monotonic() - began < 3


def test_an_image_that_comes_late_keeps_its_place(tmp_path):
    writer = Writer(tmp_path / "nd")
    writer.all({(4, 1, 0)}, pause_s=0, times=range(8))
    threading.Timer(0.15, writer.add, (4, 1, 0)).start()
    with open_source(f"{tmp_path}/nd?follow=1&planes=all") as source:
        assert_planes(collected(source), length=8)


def test_one_plane_does_not_wait_for_the_others(tmp_path):
    writer = Writer(tmp_path / "nd")
    writer.all({(t, 0, z) for t in range(2, 20) for z in range(3)}, pause_s=0)
    with open_source(f"{tmp_path}/nd?follow=1&channel=green&z=1") as source:
        began = time.monotonic()
        blocks = source.blocks()
        assert len(next(blocks)) == 20
        assert time.monotonic() - began < 0.25


def test_an_index_is_followed_though_its_pixels_come_later(tmp_path):
    writer = Writer(tmp_path / "nd", per_file=1000)
    for t in range(3):
        writer.add(t)
    for t in range(3, 6):
        writer.add(t, pixels=False)
    file = tmp_path / "nd" / "NDTiffStack_0.tif"
    entries = ndtiff_index.Index(tmp_path / "nd" / "NDTiff.index").more()
    assert {entry.offset for entry in entries[3:]} == {file.stat().st_size}  # of images that are not there

    def late():
        time.sleep(0.3)
        with file.open("ab") as out:
            out.write(MOVIE[3, 0, 0].tobytes())

    with open_source(f"{tmp_path}/nd?follow=1") as source:
        blocks = source.blocks()
        assert len(next(blocks)) == 3
        written_beside(late)
        assert all(np.array_equal(block.pixels, MOVIE[3:4, 0, 0].repeat(3, 0)) for block in blocks)


def test_of_a_process_that_is_killed_the_whole_images_are_given(tmp_path):
    process = another_process(tmp_path / "nd")
    with open_source(f"{tmp_path}/nd?follow=1&planes=all") as source:
        threading.Timer(0.1, process.kill).start()
        found = collected(source)
    assert process.wait(10) != 0
    last = max(map(len, found.values()))
    assert 1 < last < 20
    for name, images in found.items():
        c, z = NAMES.index(name.split("/")[0]), int(name.split("/")[1])
        assert last - len(images) in (0, 1)
        assert_whole(images, MOVIE[: len(images), c, z])


def six_images(folder, behind):
    """A folder of six images, with bytes behind those of its index."""
    writer = Writer(folder)
    for t in range(6):
        writer.add(t)
    with (folder / "NDTiff.index").open("ab") as index:
        index.write(behind)


def test_a_writer_that_is_killed_leaves_what_is_whole(tmp_path):
    six_images(tmp_path / "nd", behind=struct.pack("<I", 30) + b'{"time": 6, "cha')
    with pytest.raises(SourceError, match=r"damaged after 6 images .* read what is whole: nd\?follow=1"):
        open_source(tmp_path / "nd")
    with open_source(f"{tmp_path}/nd?follow=1") as source:
        assert_whole(collected(source)[""], MOVIE[:6, 0, 0])


def test_an_index_with_room_behind_it_is_whole(tmp_path):
    six_images(tmp_path / "nd", behind=bytes(5000))
    for query in ("", "?follow=1"):
        with open_source(f"{tmp_path}/nd{query}") as source:
            assert_whole(collected(source)[""], MOVIE[:6, 0, 0])


def test_a_damaged_index_is_named_when_what_is_before_has_been_given(tmp_path):
    six_images(tmp_path / "nd", behind=struct.pack("<I", 1 << 30) + bytes(range(1, 60)))
    with open_source(f"{tmp_path}/nd?follow=1") as source:
        blocks = source.blocks()
        assert len(next(blocks)) == 6
        with pytest.raises(SourceError, match="damaged after 6 images"):
            next(blocks)


def test_a_single_time_point_is_given_after_a_while(tmp_path):
    writer = Writer(tmp_path / "nd")
    for c, z in np.ndindex(2, 3):
        writer.add(0, c, z)
    began = time.monotonic()
    with open_source(f"{tmp_path}/nd?follow=1&planes=all") as source:
        assert 0.3 <= time.monotonic() - began < 1
        assert_planes(collected(source), length=1)


OTHERS = {
    "another channel": ({"axes": {"time": 3, "channel": "blue", "z": 0}}, "another channel than those"),
    "another position": ({"axes": {"time": 3, "channel": "red", "z": 0, "position": 1}}, "another position than"),
    "another size": ({"image": MOVIE[0, 0, 0, :8]}, "differs from the first in size"),
    "a time without number": ({"axes": {"time": "3", "channel": "red", "z": 0}}, "not counted along time"),
    "a time far off": ({"axes": {"time": 10**9, "channel": "red", "z": 0}}, "far behind all others"),
}


@pytest.mark.parametrize(("what", "says"), OTHERS.values(), ids=OTHERS)
def test_an_image_that_fits_in_no_place_is_named(tmp_path, what, says):
    writer = Writer(tmp_path / "nd")
    for t in range(3):
        writer.add(t)
    with open_source(f"{tmp_path}/nd?follow=1") as source:
        blocks = source.blocks()
        assert len(next(blocks)) == 3
        writer.add(3, **what)
        with pytest.raises(SourceError, match=says):
            list(blocks)


def test_images_of_channels_and_positions_that_are_not_selected_do_no_harm(tmp_path):
    writer = Writer(tmp_path / "nd")
    for t in range(6):
        for position in range(1 + (t > 3)):
            writer.add(t, axes={"time": t, "channel": ("red", "blue")[t > 3 and position], "position": position})
    with open_source(f"{tmp_path}/nd?follow=1&channel=red&position=0") as source:
        assert_whole(collected(source)[""], MOVIE[:6, 0, 0])


def test_of_several_positions_one_is_selected(tmp_path):
    images = {(("position", f"P{p}"), ("time", t)): MOVIE[t, 0, p] for p in (1, 0) for t in range(5)}
    path = write_ndtiff(tmp_path / "nd", images)
    with pytest.raises(SourceError, match=r"several positions: P1, P0; select one: nd\?position=P1"):
        open_source(path)
    with pytest.raises(SourceError, match="no position 'P2'"):
        open_source(f"{path}?position=P2")
    for query in ("position=P0", "position=1", "position=P0&follow=1"):
        with open_source(f"{path}?{query}") as source:
            assert_whole(collected(source)[""], MOVIE[:5, 0, 0])


def test_a_folder_that_is_empty_at_first_is_read_as_what_comes(tmp_path, monkeypatch):
    monkeypatch.setattr(following, "GRACE_S", 0.8)
    folder = tmp_path / "nd"
    folder.mkdir()

    def come():
        time.sleep(0.2)
        (folder / "NDTiffStack_0.tif").touch()
        time.sleep(1.0)  # the first image comes later than GRACE_S, the others of its time soon after it
        Writer(folder).all(pause_s=0.02)

    written_beside(come)
    with open_source(f"{folder}?follow=1&planes=all") as source:
        assert_planes(collected(source))


def test_an_image_is_given_soon_after_it_is_written(tmp_path):
    writer, late_s = Writer(tmp_path / "nd"), []
    written = {}

    def write():
        for t in range(2, 30):
            time.sleep(0.03)
            writer.add(t)
            written[t] = time.monotonic()

    writer.add(0)
    writer.add(1)
    with open_source(f"{tmp_path}/nd?follow=1") as source:
        written_beside(write)
        for block in source.blocks():
            late_s += [time.monotonic() - written[t] for t in range(block.index, block.stop) if t in written]
    assert len(late_s) == 28
    assert np.median(late_s) < 0.1


def test_an_index_of_many_images_is_read_on_and_not_anew(tmp_path, monkeypatch):
    writer, count = Writer(tmp_path / "nd", per_file=10**6), 3000
    read = []
    whole = ndtiff_index._entry_at
    monkeypatch.setattr(ndtiff_index, "_entry_at", lambda *at: read.append(1) or whole(*at))

    def write():
        for t in range(2, count):
            writer.add(t)

    writer.add(0)
    writer.add(1)
    with open_source(f"{tmp_path}/nd?follow=1") as source:
        written_beside(write)
        assert sum(len(block) for block in source.blocks()) == count
    assert len(read) < 1.2 * count
