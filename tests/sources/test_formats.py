"""Whatever a lab has on disk: the same frames, the facts the file has, and one clear line for what cannot be read."""

import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.io import savemat
from small_recordings import write_ndtiff

from streamfluo import SourceError, open_session, open_source
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

h5py = pytest.importorskip("h5py", reason="needs the extra [formats]")
zarr = pytest.importorskip("zarr", reason="needs the extra [formats]")
av = pytest.importorskip("av", reason="needs the extra [formats]")

SHAPE = (12, 16)
MOVIE = np.random.default_rng(3).integers(0, 4096, (40, *SHAPE), np.uint16)
PLANES = np.random.default_rng(4).integers(0, 255, (10, 2, 3, *SHAPE), np.uint8)  # t, c, z, y, x


def pixels_of(source, max_frames=32):
    return np.concatenate([block.pixels for block in source.blocks(max_frames)])


def npy(folder):
    np.save(folder / "m.npy", MOVIE)
    return folder / "m.npy"


def big_endian_npy(folder):
    np.save(folder / "m.npy", MOVIE.astype(">u2"))
    return folder / "m.npy"


def raw(folder):
    (folder / "m.raw").write_bytes(b"header" + MOVIE.tobytes())
    return f"{folder / 'm.raw'}?dtype=uint16&shape=12x16&offset=6"


def hdf5(folder):
    with h5py.File(folder / "m.h5", "w") as file:
        data = file.create_dataset("rig/movie", data=MOVIE, chunks=(4, *SHAPE), compression="gzip")
        data.attrs["fps"] = 20.0
        data.attrs["element_size_um"] = [1.0, 0.5, 0.5]
        file["table"] = np.zeros((40, 3))
    return folder / "m.h5"


def nwb(folder):
    with h5py.File(folder / "m.nwb", "w") as file:
        series = file.create_group("acquisition/TwoPhotonSeries")
        series.attrs["neurodata_type"] = "TwoPhotonSeries"
        series["data"] = MOVIE.transpose(0, 2, 1)
        series["starting_time"] = 0.0
        series["starting_time"].attrs["rate"] = 20.0
    return folder / "m.nwb"


def zarr_v2(folder):
    array = zarr.create_array(folder / "m.zarr", shape=MOVIE.shape, chunks=(8, 6, 16), dtype="u2", zarr_format=2)
    array[:] = MOVIE
    return folder / "m.zarr"


def zarr_v3(folder):
    array = zarr.create_array(folder / "m.zarr", shape=MOVIE.shape, chunks=(1, *SHAPE), dtype="u2", zarr_format=3)
    array[:] = MOVIE
    return folder / "m.zarr"


def ome_zarr(folder, above=(1, 1, 1)):
    """Each axis' scale is that of the array times that of all resolutions, `above`."""
    group = zarr.open_group(folder / "m.zarr", mode="w", zarr_format=2)
    group.create_array("0", shape=MOVIE.shape, chunks=(8, *SHAPE), dtype="u2")[:] = MOVIE
    units = [("t", "second", 0.05), ("y", "micrometer", 0.5), ("x", "micrometer", 0.5)]
    scale = [{"type": "scale", "scale": [s / a for (*_, s), a in zip(units, above, strict=True)]}]
    axes = [{"name": name, "unit": unit} for name, unit, _ in units]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    if set(above) != {1}:
        image["coordinateTransformations"] = [{"type": "scale", "scale": list(above)}]
    group.attrs["multiscales"] = [image]
    return folder / "m.zarr"


def tiff_folder(folder):
    (folder / "frames").mkdir()
    for n, frame in enumerate(MOVIE):
        tifffile.imwrite(folder / "frames" / f"img_{n}.tif", frame)
    return folder / "frames"


def folder_of_stacks(folder):
    (folder / "parts").mkdir()
    for n, stop in enumerate((7, 19, 40)):
        start = (0, 7, 19)[n]
        tifffile.imwrite(folder / "parts" / f"part{n + 1}.tif", MOVIE[start:stop], photometric="minisblack")
    return folder / "parts"


def ome_over_files(folder):
    (folder / "ome").mkdir()
    pixels = 'DimensionOrder="XYZCT" Type="uint16" SizeX="16" SizeY="12" SizeZ="1" SizeC="1" SizeT="40"'
    times = 'TimeIncrement="0.05" TimeIncrementUnit="s" PhysicalSizeX="0.5" PhysicalSizeY="0.5"'
    ome = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    inner = f'<Image ID="Image:0"><Pixels ID="Pixels:0" {pixels} {times}><TiffData/></Pixels></Image>'
    text = f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{ome}">{inner}</OME>'
    for n in range(2):
        with tifffile.TiffWriter(folder / "ome" / f"run_{n}.ome.tif") as file:
            for i, frame in enumerate(MOVIE[20 * n : 20 * n + 20]):
                file.write(frame, contiguous=False, metadata=None, description=text if i == 0 else None)
    return folder / "ome"


def ndtiff(folder):
    return write_ndtiff(folder / "nd", {(("time", n),): frame for n, frame in enumerate(MOVIE)})


def matlab_73(folder):
    """As MATLAB saves (y, x, t): HDF5 behind a block of its own, with the axes in reverse."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "m.mat", "w", userblock_size=512) as file:
        file.create_dataset("mov", data=MOVIE.transpose(0, 2, 1)).attrs["MATLAB_class"] = np.bytes_(MOVIE.dtype.name)
    return folder / "m.mat"


def matlab(folder):
    savemat(folder / "m.mat", {"mov": MOVIE.transpose(1, 2, 0), "rate": 20.0}, do_compression=True)
    return folder / "m.mat"


def session(folder):
    np.save(folder / "m.npy", MOVIE)
    with open_source(folder / "m.npy") as source:
        engine = Engine(source, parse_config("[source]\ninterval_s = 0.05\n[record]\nraw = true"), folder / "S")
        engine.start()
        assert engine.wait(20)
    return folder / "S"


# format → (how to write it, interval, pixel size the file has)
FORMATS = {
    "npy": (npy, None, None),
    "npy, big-endian": (big_endian_npy, None, None),
    "raw": (raw, None, None),
    "HDF5": (hdf5, 0.05, 0.5),
    "NWB": (nwb, 0.05, None),
    "Zarr v2": (zarr_v2, None, None),
    "Zarr v3": (zarr_v3, None, None),
    "OME-Zarr": (ome_zarr, 0.05, 0.5),
    "OME-Zarr, time in the outer scale": (partial(ome_zarr, above=(0.05, 1, 1)), 0.05, 0.5),
    "OME-Zarr, all in the outer scale": (partial(ome_zarr, above=(0.05, 0.5, 0.5)), 0.05, 0.5),
    "folder of frames": (tiff_folder, None, None),
    "folder of stacks": (folder_of_stacks, None, None),
    "OME-TIFF over files": (ome_over_files, 0.05, 0.5),
    "NDTiff": (ndtiff, 0.05, 0.5),
    "MATLAB": (matlab, None, None),
    "MATLAB 7.3": (matlab_73, None, None),
    "session": (session, 0.05, None),
}


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


def five_axes_npy(folder):
    np.save(folder / "m.npy", PLANES)
    return folder / "m.npy"


def five_axes_imagej(folder):
    tifffile.imwrite(folder / "m.tif", PLANES.transpose(0, 2, 1, 3, 4), imagej=True, metadata={"axes": "TZCYX"})
    return folder / "m.tif"


def five_axes_ome(folder):
    meta = {"axes": "TCZYX", "Channel": {"Name": ["green", "red"]}}
    tifffile.imwrite(folder / "m.ome.tif", PLANES, ome=True, metadata=meta, photometric="minisblack")
    return folder / "m.ome.tif"


def five_axes_shaped(folder):
    tifffile.imwrite(folder / "m.tif", PLANES, photometric="minisblack", metadata={"axes": "TCZYX"})
    return folder / "m.tif"


def five_axes_ndtiff(folder):
    names = ("green", "red")
    images = {
        (("time", t), ("channel", names[c]), ("z", z)): PLANES[t, c, z]
        for z in range(3)
        for c in (0, 1)
        for t in range(10)
    }
    return write_ndtiff(folder / "nd", images)


def five_axes_zarr(folder):
    zarr.create_array(folder / "m.zarr", shape=PLANES.shape, chunks=(4, 1, 2, *SHAPE), dtype="u1")[:] = PLANES
    return folder / "m.zarr"


def five_axes_hdf5(folder):
    with h5py.File(folder / "m.h5", "w") as file:
        file["movie"] = PLANES
    return folder / "m.h5"


HYPER = [
    five_axes_npy,
    five_axes_imagej,
    five_axes_ome,
    five_axes_shaped,
    five_axes_ndtiff,
    five_axes_zarr,
    five_axes_hdf5,
]


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


# What cannot be read


def text(folder):
    (folder / "m.npy").write_text("not an array")
    return folder / "m.npy"


def cut_npy(folder):
    np.save(folder / "m.npy", MOVIE)
    os.truncate(folder / "m.npy", 2000)
    return folder / "m.npy"


def objects(folder):
    np.save(folder / "m.npy", np.array([{}, None], object), allow_pickle=True)
    return folder / "m.npy"


def flat(folder):
    np.save(folder / "m.npy", np.arange(5))
    return folder / "m.npy"


def complex_pixels(folder):
    np.save(folder / "m.npy", MOVIE.astype(complex))
    return folder / "m.npy"


def several_datasets(folder):
    with h5py.File(folder / "m.h5", "w") as file:
        file["a"], file["b"] = MOVIE, MOVIE
    return folder / "m.h5"


def no_hdf5(folder):
    (folder / "m.h5").write_bytes(b"x" * 3000)
    return folder / "m.h5"


def cut_hdf5(folder):
    path = hdf5(folder)
    os.truncate(path, 5000)
    return path


def left_open_hdf5(folder):
    path = folder / "m.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("movie", data=MOVIE, chunks=True, maxshape=(None, *SHAPE))
        file.swmr_mode = True
        file.flush()
        left = path.read_bytes()  # what a crash leaves
    path.write_bytes(left)
    return path


def no_zarr(folder):
    (folder / "m.zarr").mkdir()
    (folder / "m.zarr" / "0.0.0").write_bytes(b"x")
    return folder / "m.zarr"


def empty_folder(folder):
    (folder / "nothing").mkdir()
    return folder / "nothing"


def missing_file(folder):
    path = tiff_folder(folder)
    (path / "img_17.tif").unlink()
    return path


def another_shape(folder):
    path = tiff_folder(folder)
    tifffile.imwrite(path / "img_20.tif", MOVIE[0, :5])
    return path


def cut_index(folder):
    path = ndtiff(folder)
    os.truncate(path / "NDTiff.index", 400)
    return path


def escaping_index(folder):
    path = ndtiff(folder)
    data = (path / "NDTiff.index").read_bytes()
    (path / "NDTiff.index").write_bytes(data.replace(b"NDTiffStack.tif", b"../passwd/x.tif"))
    return path


def no_video(folder):
    (folder / "m.avi").write_bytes(b"RIFF" + bytes(100))
    return folder / "m.avi"


def q(query, write=npy):
    return lambda folder: f"{write(folder)}?{query}"


def bare(folder):
    return str(raw(folder)).partition("?")[0]


BAD = {
    "text": (text, "not an array that can be read"),
    "cut npy": (cut_npy, "cut short"),
    "objects": (objects, "not an array that can be read"),
    "flat": (flat, "an array of shape (5,); frames are (t, y, x)"),
    "complex": (complex_pixels, "pixels of type complex128 are not supported"),
    "raw, nothing stated": (
        lambda f: str(raw(f)).partition("?")[0],
        "say what they are: m.raw?dtype=uint16&shape=512x512",
    ),
    "raw, no dtype": (q("dtype=uint17&shape=2x2", bare), "no dtype 'uint17'"),
    "raw, no shape": (q("dtype=u2&shape=12", bare), "found '12'"),
    "raw, too short": (
        q("dtype=u2&shape=900x900", bare),
        "not one frame of 1620000",
    ),
    "raw, rest": (q("dtype=u2&shape=12x16", bare), "and 6 bytes more"),
    "several datasets": (
        several_datasets,
        "/a (40, 12, 16) uint16, /b (40, 12, 16) uint16; name one: m.h5?",
    ),
    "no such dataset": (q("dataset=/c", several_datasets), "no dataset of images '/c'; there is /a"),
    "no HDF5": (no_hdf5, "not an HDF5 file"),
    "cut HDF5": (cut_hdf5, "cut short"),
    "HDF5 left open": (left_open_hdf5, "left open by the program that wrote it"),
    "no Zarr": (no_zarr, "no Zarr metadata"),
    "no such array": (q("dataset=7", ome_zarr), "no array '7'"),
    "empty folder": (empty_folder, "a folder without session, Zarr or TIFF files"),
    "missing file": (missing_file, "img_16.tif is followed by img_18.tif; files between are missing"),
    "another shape": (another_shape, "img_20.tif is (5, 16) uint16, img_0.tif (12, 16) uint16"),
    "one file of several": (
        lambda f: ome_over_files(f) / "run_0.ome.tif",
        "continued in another file (then open their folder)",
    ),
    "cut index": (cut_index, "NDTiff.index: damaged after"),
    "escaping index": (escaping_index, "'../passwd/x.tif' is no file in this folder"),
    "no MATLAB file": (lambda f: no_video(f).rename(f / "m.mat"), "not a MATLAB file that can be read"),
    "no such variable": (q("dataset=x", matlab), "arrays (y, x, t): mov (12, 16, 40); name one"),
    "no video": (no_video, "not a video that can be read"),
    "empty selection": (q("frames=7:7"), "frames=7:7 selects nothing"),
    "negative selection": (q("frames=-5:3"), "selects nothing"),
    "outside window": (q("roi=0:99,0:5"), "is not a window y0:y1,x0:x1 inside 12 × 16 pixels"),
    "empty window": (q("roi=3:3,0:5"), "is not a window"),
    "no such setting": (q("chanel=0"), "no setting 'chanel'"),
    "no such z": (q("z=1"), "z=1 selects nothing; there is z=0 to 0"),
}


@pytest.mark.parametrize(("write", "says"), BAD.values(), ids=BAD)
def test_what_cannot_be_read_is_one_line_that_says_why(tmp_path, write, says):
    uri = write(tmp_path)
    with pytest.raises(SourceError) as caught:
        open_source(uri)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


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
