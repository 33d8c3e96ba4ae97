"""Folders of TIFFs and Zarr arrays that another program still writes: every time point once, in order, to the end."""

import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import tifffile

from streamfluo import SourceError, open_source
from streamfluo.sources import following, zarr_store
from tests.sources.test_planes_of_tiffs import SHAPE, scanimage

MOVIE = np.random.default_rng(5).integers(1, 30000, (120, *SHAPE), np.uint16)
VOLUMES = MOVIE.reshape(20, 3, 2, *SHAPE)  # t, z, c

FRAMES = """
import sys, time
import numpy as np, tifffile
movie = np.random.default_rng(5).integers(1, 30000, (120, 16, 24), np.uint16)
for n, frame in enumerate(movie[:60]):
    tifffile.imwrite(f"{sys.argv[1]}/img_{n}.tif", frame, photometric="minisblack")
    time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(following, "QUIET_S", 1.5)
    monkeypatch.setattr(following, "GRACE_S", 0.3)


def written_beside(write, *parts):
    """A thread that writes, and whatever it raised."""
    thread = threading.Thread(target=write, args=parts, daemon=True)
    thread.start()
    return thread


def collected(source, max_frames=8):
    found = {name: {} for name in source.spec.plane_names}
    for block in source.blocks(max_frames):
        name = block.plane if source.spec.planes else ""
        assert block.index not in found[name]
        found[name] |= dict(zip(range(block.index, block.stop), block.pixels, strict=True))
    return found


def assert_whole(images, movie):
    assert list(images) == list(range(len(movie)))
    assert np.array_equal(np.stack(list(images.values())), movie)


def test_a_numbered_series_of_another_process_is_followed_to_its_end(tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(FRAMES), tmp_path])
    while not list(tmp_path.glob("*.tif")):
        time.sleep(0.01)
    with open_source(f"{tmp_path}?follow=1") as source:
        assert source.series.frames is None
        blocks = list(source.blocks())
    assert writer.wait(10) == 0
    assert [n for b in blocks for n in range(b.index, b.stop)] == list(range(60))
    assert np.array_equal(np.concatenate([b.pixels for b in blocks]), MOVIE[:60])
    assert len(blocks) > 3


def rolling_files(folder, flyback):
    """ScanImage's files of eight, eight and four volumes, written piece by piece, the next when one is full."""
    whole = folder / "whole"
    whole.mkdir()
    facts = {
        "hStackManager__enable": "true", "hFastZ__enable": "true", "hStackManager__framesPerSlice": 1,
        "hStackManager__numSlices": 3, "hStackManager__numFramesPerVolumeWithFlyback": 3 + flyback,
        "hChannels__channelSave": "[1;2]",
    }  # fmt: skip
    for n, start in enumerate((0, 8, 16)):
        part = VOLUMES[start : start + 8].view(np.int16)
        pages = [page for volume in part for z in range(3 + flyback) for page in volume[min(z, 2)]]
        numbers = [1 + start * (3 + flyback) + k // 2 for k in range(len(pages))]
        scanimage(whole / f"rec_{n + 1:05d}.tif", pages, numbers, **facts)

    def write():
        for file in sorted(whole.iterdir()):
            data = file.read_bytes()
            for at in range(0, len(data), len(data) // 7):
                with (folder / file.name).open("ab") as out:
                    out.write(data[at : at + len(data) // 7])
                time.sleep(0.03)

    return write


@pytest.mark.parametrize("flyback", [0, 1])
def test_files_of_scanimage_that_roll_over_while_they_grow_are_one_recording(tmp_path, flyback):
    written_beside(rolling_files(tmp_path, flyback))
    with open_source(f"{tmp_path}?follow=1&planes=all") as source:
        assert source.spec.plane_names == ("0/0", "1/0", "0/1", "1/1", "0/2", "1/2")
        found = collected(source)
    for name, images in found.items():
        c, z = map(int, name.split("/"))
        assert_whole(images, VOLUMES[:, z, c].view(np.int16))


def test_one_growing_file_of_several_planes_is_followed_by_volume(tmp_path):
    written_beside(rolling_files(tmp_path, 1))
    file = tmp_path / "rec_00001.tif"
    while not file.exists():
        time.sleep(0.01)
    with pytest.raises(SourceError, match="z 3, channel 2; select one"):
        open_source(f"{file}?follow=1")
    with open_source(f"{file}?follow=1", planes=True) as source:
        found = collected(source)
        assert source.series.source == "rec_00001.tif?follow=1&planes=all"
    for name, images in found.items():
        c, z = map(int, name.split("/"))
        assert_whole(images, VOLUMES[:8, z, c].view(np.int16))


def pairs(folder, lost=(), first=0, last=12):
    for t in range(first, last):
        for c in (0, 1):
            if (t, c) not in lost:
                tifffile.imwrite(folder / f"a_Ch{c}_{t:03d}.tif", VOLUMES[t, 0, c], photometric="minisblack")
                time.sleep(0.01)


def test_files_of_two_channels_are_given_when_both_are_there(tmp_path):
    written_beside(pairs, tmp_path)
    with open_source(f"{tmp_path}?follow=1", planes=True) as source:
        found = collected(source)
    for c in (0, 1):
        assert_whole(found[f"Ch{c}/0"], VOLUMES[:12, 0, c])


def test_a_file_that_does_not_come_is_a_gap_of_its_plane_when_others_have_come_for_long_enough(tmp_path):
    written_beside(pairs, tmp_path, {(4, 1), (11, 0)})
    with open_source(f"{tmp_path}?follow=1&planes=all") as source:
        found = collected(source)
    assert_whole(found["Ch0/0"], VOLUMES[:11, 0, 0])
    assert list(found["Ch1/0"]) == [n for n in range(12) if n != 4]
    assert all(np.array_equal(image, VOLUMES[t, 0, 1]) for t, image in found["Ch1/0"].items())


def test_a_plane_that_stops_holds_the_others_up_once(tmp_path):
    pairs(tmp_path, {(t, 1) for t in range(3, 12)})
    began = time.monotonic()
    with open_source(f"{tmp_path}?follow=1&planes=all") as source:
        found = collected(source)
    assert time.monotonic() - began < 3
    assert_whole(found["Ch0/0"], VOLUMES[:12, 0, 0])
    assert_whole(found["Ch1/0"], VOLUMES[:3, 0, 1])


def test_a_file_that_comes_late_keeps_its_place(tmp_path):
    pairs(tmp_path, {(4, 1)}, last=8)
    late = threading.Timer(0.2, pairs, (tmp_path, {(4, 0)}, 4, 5))
    with open_source(f"{tmp_path}?follow=1&planes=all") as source:
        late.start()
        found = collected(source)
    for c in (0, 1):
        assert_whole(found[f"Ch{c}/0"], VOLUMES[:8, 0, c])


def test_a_number_of_which_no_file_comes_is_named(tmp_path):
    pairs(tmp_path, {(4, 0), (4, 1)}, last=8)
    with open_source(f"{tmp_path}?follow=1&planes=all") as source:
        blocks = source.blocks()
        assert len(next(blocks)) == 4
        with pytest.raises(SourceError, match="files between are missing"):
            list(blocks)


def test_a_folder_into_which_nothing_comes_is_named(tmp_path):
    with pytest.raises(SourceError, match="no TIFF came into this folder"):
        open_source(f"{tmp_path}?follow=1")


def test_following_a_folder_ends_soon_when_interrupted(tmp_path):
    pairs(tmp_path, last=4)
    with open_source(f"{tmp_path}?follow=1&channel=Ch0") as source:
        threading.Timer(0.3, source.interrupt).start()
        began = time.monotonic()
        assert sum(map(len, source.blocks())) == 4  # the last may still grow, its whole pages are given
        assert time.monotonic() - began < 1


# Zarr


def in_turn(array, volumes, per_write=1, lost=()):
    for t in range(0, len(volumes), per_write):
        for c, z in np.ndindex(2, 3):
            if (t, c, z) not in lost:
                array[t : t + per_write, c, z] = volumes[t : t + per_write, z, c]
        time.sleep(0.03)


def appended(zarr, path, volumes):
    for t, volume in enumerate(volumes):
        array = zarr.open_array(path, mode="a")
        array.resize((t + 1, *array.shape[1:]))
        array[t] = volume.swapaxes(0, 1)
        time.sleep(0.03)


@pytest.mark.parametrize("way", ["into its place", "several at once", "appended", "appended to chunks"])
@pytest.mark.parametrize("fill", [0, pytest.param(65535, marks=pytest.mark.slow)])
def test_a_zarr_that_grows_is_followed_to_its_end(tmp_path, way, fill):
    zarr = pytest.importorskip("zarr")
    side = 4 if way in ("several at once", "appended to chunks") else 1
    grows = way.startswith("appended")
    array = zarr.create_array(
        str(tmp_path / "m.zarr"), shape=(1 if grows else 20, 2, 3, *SHAPE), chunks=(side, 1, 1, *SHAPE), dtype="uint16",
        fill_value=fill,
    )  # fmt: skip
    if grows:
        written_beside(appended, zarr, str(tmp_path / "m.zarr"), VOLUMES)
    else:
        written_beside(in_turn, array, VOLUMES, side)
    with open_source(f"{tmp_path}/m.zarr?follow=1&planes=all") as source:
        found = collected(source)
    for name, images in found.items():
        c, z = map(int, name.split("/"))
        assert_whole(images, VOLUMES[:, z, c])


def empty_zarr(path, frames):
    """An array (t, z, c, y, x) for so many time points, a chunk for each image; skips without zarr."""
    zarr = pytest.importorskip("zarr")
    chunks = (1, 1, 1, *SHAPE)
    return zarr.create_array(str(path), shape=(frames, 2, 3, *SHAPE), chunks=chunks, dtype="uint16", fill_value=65535)


def test_a_chunk_that_never_comes_is_a_gap_and_a_recording_that_stops_ends(tmp_path):
    array = empty_zarr(tmp_path / "m.zarr", 40)
    written_beside(in_turn, array, VOLUMES, 1, {(5, 1, 2), (6, 0, 0)})
    with open_source(f"{tmp_path}/m.zarr?follow=1&planes=all") as source:
        found = collected(source)
    for name, images in found.items():
        c, z = map(int, name.split("/"))
        lost = {"1/2": 5, "0/0": 6}.get(name)
        assert list(images) == [t for t in range(20) if t != lost]
        assert all(np.array_equal(image, VOLUMES[t, z, c]) for t, image in images.items())


def test_a_chunk_that_comes_while_a_growing_zarr_is_looked_at_is_no_gap(tmp_path, monkeypatch):
    array = empty_zarr(tmp_path / "m.zarr", 20)
    in_turn(array, VOLUMES[:3])
    told, written = zarr_store.written_images, iter(range(3, 20))

    def and_then_more(*facts):
        images = told(*facts)
        if (t := next(written, None)) is not None:
            array[t] = VOLUMES[t].swapaxes(0, 1)
        return images

    monkeypatch.setattr(zarr_store, "written_images", and_then_more)
    with open_source(f"{tmp_path}/m.zarr?follow=1&planes=all") as source:
        found = collected(source)
    for name, images in found.items():
        c, z = map(int, name.split("/"))
        assert_whole(images, VOLUMES[:, z, c])


def test_a_chunk_under_its_first_name_is_not_there_yet(tmp_path):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(
        str(tmp_path / "m.zarr"), shape=(3, *SHAPE), chunks=(1, *SHAPE), dtype="uint16", fill_value=65535
    )
    array[:2] = VOLUMES[:2, 0, 0]
    (tmp_path / "m.zarr" / "c" / "2" / "0").mkdir(parents=True)
    (tmp_path / "m.zarr" / "c" / "2" / "0" / "0.7646b62abbb0.partial").write_bytes(b"half")
    with open_source(f"{tmp_path}/m.zarr?follow=1") as source:
        assert_whole(collected(source)[""], VOLUMES[:2, 0, 0])


def test_a_plane_of_a_zarr_that_stops_holds_the_others_up_once(tmp_path):
    array = empty_zarr(tmp_path / "m.zarr", 20)
    in_turn(array, VOLUMES, 1, {(t, 1, 2) for t in range(4, 20)})
    began = time.monotonic()
    with open_source(f"{tmp_path}/m.zarr?follow=1&planes=all") as source:
        found = collected(source)
    assert time.monotonic() - began < 4
    for name, images in found.items():
        c, z = map(int, name.split("/"))
        assert_whole(images, VOLUMES[: 4 if name == "1/2" else 20, z, c])
