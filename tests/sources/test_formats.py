"""Whatever a lab has on disk: the same frames, the facts the file has, and one clear line for what cannot be read."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from written_formats import FORMATS, HYPER, MOVIE, PLANES, SHAPE, five_axes_ndtiff, five_axes_ome, pixels_of, session

from streamfluo import SourceError, open_session, open_source

h5py = pytest.importorskip("h5py", reason="needs the extra [formats]")
zarr = pytest.importorskip("zarr", reason="needs the extra [formats]")
av = pytest.importorskip("av", reason="needs the extra [formats]")


@pytest.mark.parametrize(("write", "interval_s", "pixel_um"), FORMATS.values(), ids=FORMATS)
def test_every_format_gives_the_frames_and_the_facts_it_has_however_they_are_taken(
    tmp_path, write, interval_s, pixel_um
):
    uri = write(tmp_path)
    with open_source(uri) as source:
        assert (source.spec.shape, source.spec.dtype) == (SHAPE, "uint16")
        assert source.spec.interval_s == (None if interval_s is None else pytest.approx(interval_s))
        assert source.spec.pixel_um == pixel_um
        assert source.series.frames == 40
        blocks = list(source.blocks(7))
        assert all(b.pixels.dtype.isnative and len(b) <= 7 for b in blocks)
        assert np.array_equal(np.concatenate([b.pixels for b in blocks]), MOVIE)
        source.seek(33)
        assert np.array_equal(pixels_of(source), MOVIE[33:])
        source.seek(2)
        assert np.array_equal(next(source.blocks(5)).pixels, MOVIE[2:7])
        with pytest.raises(SourceError, match="no frame 41"):
            source.seek(41)
        uid = source.series.uid
    with open_source(uri) as again:
        assert again.series.uid == uid


@pytest.mark.parametrize("write", [f[0] for f in FORMATS.values()], ids=FORMATS)
def test_frames_and_windows_are_selected_in_every_format(tmp_path, write):
    uri = str(write(tmp_path))
    uri += ("&" if "?" in uri else "?") + "frames=5:21&roi=2:9,4:"
    with open_source(uri) as source:
        assert source.spec.shape == (7, 12)
        assert np.array_equal(pixels_of(source, 6), MOVIE[5:21, 2:9, 4:])


AVI = {"rawvideo": "gray", "ffv1": "gray", "ffv1, 16 bit": "gray16le", "huffyuv": "rgb24"}


@pytest.mark.parametrize("codec", AVI)
def test_lossless_videos_are_read_to_the_bit(tmp_path, codec):
    movie = (MOVIE >> 4).astype(np.uint8) if AVI[codec] != "gray16le" else MOVIE
    with av.open(str(tmp_path / "m.avi"), "w") as container:
        stream = container.add_stream(codec.partition(",")[0], rate=20)
        stream.width, stream.height, stream.pix_fmt = 16, 12, AVI[codec]
        for frame in movie:
            image = np.repeat(frame[..., None], 3, -1) if AVI[codec] == "rgb24" else frame
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format=AVI[codec])))
        container.mux(stream.encode())
    with open_source(tmp_path / "m.avi") as source:
        assert source.spec.interval_s == pytest.approx(0.05)
        assert source.series.user["exact"]
        assert np.array_equal(pixels_of(source, 7), movie)
        source.seek(5)
        assert np.array_equal(next(source.blocks(3)).pixels, movie[5:8])


@pytest.mark.parametrize("write", HYPER, ids=lambda f: f.__name__)
def test_channel_and_z_are_selected_and_refused_with_the_list_where_they_are_not(tmp_path, write):
    path = write(tmp_path)
    for channel, z in ((0, 0), (1, 2)):
        with open_source(f"{path}?channel={channel}&z={z}&frames=2:9") as source:
            assert np.array_equal(pixels_of(source, 4), PLANES[2:9, channel, z])
    for query, left in (("", "channel 2, z 3"), ("?z=1", "channel 2"), ("?channel=0", "z 3")):
        with pytest.raises(SourceError) as caught:
            open_source(f"{path}{query}")
        assert "several planes: time 10" in str(caught.value)
        assert all(axis in str(caught.value) for axis in left.split(", "))
    with pytest.raises(SourceError, match=r"channel=2 selects nothing|no channel '2'"):
        open_source(f"{path}?channel=2&z=0")


@pytest.mark.parametrize("write", [five_axes_ome, five_axes_ndtiff])
def test_channels_have_names_where_the_file_has_them(tmp_path, write):
    path = write(tmp_path)
    with open_source(f"{path}?channel=red&z=1") as source:
        assert source.spec.channel == "red"
        assert next(source.blocks(1)).channel == "red"
        source.seek(0)
        assert np.array_equal(pixels_of(source), PLANES[:, 1, 1])
    with pytest.raises(SourceError, match=r"\(green, red\)"):
        open_source(path)
    with pytest.raises(SourceError, match="no channel 'gren'; did you mean 'green'"):
        open_source(f"{path}?channel=gren&z=0")


def test_a_session_with_a_gap_is_served_with_its_indices_and_the_gap(tmp_path):
    from streamfluo import Block
    from streamfluo.core.source import Gap
    from streamfluo.session.journal import JournalWriter

    folder = session(tmp_path)
    shutil.rmtree(folder / "journal")
    writer = JournalWriter(folder / "journal", open_session(folder).series["uid"])
    writer.append(Block(0, np.arange(10), MOVIE[:10]))
    writer.append(Block(14, np.arange(14, 40), MOVIE[14:]))
    writer.close()
    with open_source(folder) as source:
        items = list(source.blocks())
    assert [(i.first, i.count) for i in items if isinstance(i, Gap)] == [(10, 4)]
    assert [n for b in items if isinstance(b, Block) for n in range(b.index, b.stop)] == [*range(10), *range(14, 40)]


# Real recordings


def data(name):
    folder = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (folder / name).exists():
        pytest.skip(f"{folder / name} is absent; set STREAMFLUO_DATA to the folder with the recordings")
    return folder / name


REAL = {
    "formats/ndtiff3.2_11bit_1": ((64, 64), "uint16", 10),
    "formats/ndtiff3.2_monochrome?z=3": ((64, 64), "uint16", 8),
    "formats/12_bit_pycromanager_mda?channel=0": ((64, 64), "uint16", 4),
    "formats/volume_tzyx_u8.tif?z=1": ((76, 87), "uint8", 20),
    "mesoscope/mouse_160x160x1000.tif": ((160, 160), "int16", 1000),
    "thunder_mouse/thunder_mouse_500x64x64_int16.tif": ((64, 64), "int16", 500),
    "scmos/storm_scmos_11x256x256.tif": ((256, 256), "uint16", 11),
    "single_molecule/pMHC_AF647_10x128x128.tif": ((128, 128), "uint16", 10),
}


@pytest.mark.parametrize("name", REAL)
def test_real_recordings_are_read_as_tifffile_reads_them(name):
    location, _, query = name.partition("?")
    path = data(location)
    stack = tifffile.imread(path / next(path.glob("*.tif")).name if path.is_dir() else path)
    with open_source(f"{path}?{query}" if query else path) as source:
        assert (source.spec.shape, source.spec.dtype, source.series.frames) == REAL[name]
        assert pixels_of(source).shape[0] == REAL[name][2]
        if stack.ndim == 3:
            assert np.array_equal(pixels_of_again(source), stack)
        else:
            n = int(query.partition("=")[2])
            assert np.array_equal(pixels_of_again(source), stack[:, n])


def pixels_of_again(source):
    source.seek(0)
    return pixels_of(source, 3)
