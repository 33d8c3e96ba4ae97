"""A TIFF that is still being written, followed to its end: every frame once."""

import struct
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import tifffile
from commands import command

from streamfluo import SourceError, open_source
from streamfluo.sources import following

WRITER = """
import sys, time
import numpy as np, tifffile
path, frames, options = sys.argv[1], int(sys.argv[2]), eval(sys.argv[3])
movie = np.random.default_rng(5).integers(0, 4096, (frames, 24, 31), np.uint16)
time.sleep(0.3)
with tifffile.TiffWriter(path, bigtiff=True) as file:
    for n, frame in enumerate(movie):
        file.write(frame, contiguous=False, metadata=None, **options)
        if n % 7 == 0:
            file.filehandle.flush()
            time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(following, "QUIET_S", 1.5)


def movie(frames):
    return np.random.default_rng(5).integers(0, 4096, (frames, 24, 31), np.uint16)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"rowsperstrip": 5}], ids=str)
def test_a_file_written_by_another_process_is_followed_to_its_end_every_frame_once(tmp_path, options):
    path = tmp_path / "growing.tif"
    writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), path, "300", repr(options)])
    while not path.exists():
        time.sleep(0.01)
    with open_source(f"{path}?follow=1") as source:
        assert source.series.frames is None
        blocks = list(source.blocks())
    assert writer.wait(10) == 0
    assert [n for b in blocks for n in range(b.index, b.stop)] == list(range(300))
    assert np.array_equal(np.concatenate([b.pixels for b in blocks]), movie(300))
    assert len(blocks) > 3


def test_a_window_of_a_growing_file_is_read_and_nothing_else_selected(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", movie(20), photometric="minisblack")
    with open_source(f"{tmp_path / 'a.tif'}?follow=1&roi=2:9,4:") as source:
        assert np.array_equal(np.concatenate([b.pixels for b in source.blocks()]), movie(20)[:, 2:9, 4:])
    with pytest.raises(SourceError, match="frames cannot be selected of a file that grows"):
        open_source(f"{tmp_path / 'a.tif'}?follow=1&frames=0:5")
    with pytest.raises(SourceError, match="follow=1 follows a file that grows, found follow=yes"):
        open_source(f"{tmp_path / 'a.tif'}?follow=yes")


def test_a_growing_file_is_not_replayed_since_its_end_is_not_known(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", movie(20), photometric="minisblack")
    done = command("replay", "a.tif?follow=1", "--max", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "a.tif?follow=1: still grows; record it, or replay what is there without ?follow=1" in done.stderr


def test_the_same_growing_file_is_the_same_series(tmp_path):
    uids = []
    for frames in (5, 9):
        tifffile.imwrite(tmp_path / "a.tif", movie(9)[:frames], photometric="minisblack")
        with open_source(f"{tmp_path / 'a.tif'}?follow=1") as source:
            uids.append(source.series.uid)
    assert uids[0] == uids[1]


def test_following_ends_soon_when_interrupted_and_with_a_page_that_differs(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", movie(5), photometric="minisblack")
    with open_source(f"{tmp_path / 'a.tif'}?follow=1") as source:
        threading.Timer(0.2, source.interrupt).start()
        began = time.monotonic()
        assert sum(len(b) for b in source.blocks()) == 5
        assert time.monotonic() - began < 1
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        file.write(movie(1)[0], contiguous=False, metadata=None)
        file.write(movie(1)[0, :9], contiguous=False, metadata=None)
    with pytest.raises(SourceError, match="its pages differ"):
        open_source(f"{tmp_path / 'b.tif'}?follow=1")


def test_a_file_that_never_gets_a_page_is_named(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"")
    with pytest.raises(SourceError, match=r"a\.tif: empty"):
        open_source(f"{tmp_path / 'a.tif'}?follow=1")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("target", [0, 3, 4])
def test_a_list_of_pages_that_leads_back_is_named(tmp_path, target):
    path = tmp_path / "round.tif"
    with tifffile.TiffWriter(path) as file:
        for frame in movie(5):
            file.write(frame, contiguous=False, metadata=None)
    with tifffile.TiffFile(path) as file:
        places = [page.offset for page in file.pages]
    data = bytearray(path.read_bytes())
    tags = struct.unpack_from("<H", data, places[-1])[0]
    struct.pack_into("<I", data, places[-1] + 2 + 12 * tags, places[target])
    path.write_bytes(data)
    with pytest.raises(SourceError, match=f"lead back to page {target}"):
        open_source(f"{path}?follow=1")
