"""Files that somebody else made: they name no bytes but their own, and their sizes are checked before they are used."""

import json
import os
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from scipy.io import savemat
from small_recordings import write_ndtiff
from written_formats import MOVIE, SHAPE, pixels_of

from streamfluo import SourceError, open_source
from streamfluo.sources import planes

h5py = pytest.importorskip("h5py", reason="needs the extra [formats]")
zarr = pytest.importorskip("zarr", reason="needs the extra [formats]")

MANY = 60_000


def secret(folder):
    """A file beside the recording's folder that no recording may show."""
    (folder / "secret").write_bytes(b"root:x:0:0:" * 100)
    return folder / "secret"


def inside(folder):
    (folder / "in").mkdir(exist_ok=True)
    return folder / "in"


def external_bytes(folder):
    path = inside(folder) / "m.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("movie", (4, 8, 8), "u1", external=[(str(secret(folder)), 0, 256)])
    return path


def external_link(folder):
    with h5py.File(folder / "other.h5", "w") as file:
        file["movie"] = MOVIE
    path = inside(folder) / "m.h5"
    with h5py.File(path, "w") as file:
        file["soft"] = h5py.SoftLink("/link")
        file["link"] = h5py.ExternalLink("../other.h5", "/movie")
    return path


def virtual(path, part, name="movie", file_name=None):
    """A virtual dataset of one part."""
    layout = h5py.VirtualLayout(MOVIE.shape, MOVIE.dtype)
    layout[:] = h5py.VirtualSource(file_name or part, name, MOVIE.shape, MOVIE.dtype)
    with h5py.File(path, "a", libver="latest") as file:
        file.create_virtual_dataset("virtual", layout, fillvalue=0)
    return path


def virtual_outside(folder):
    with h5py.File(folder / "other.h5", "w") as file:
        file["movie"] = MOVIE
    return virtual(inside(folder) / "m.h5", "../other.h5")


def virtual_of_external_bytes(folder):
    path = inside(folder) / "m.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("movie", MOVIE.shape, "u2", external=[(str(secret(folder)), 0, MOVIE.nbytes)])
    return virtual(path, ".")


def virtual_of_virtual(folder):
    virtual_outside(folder).rename(inside(folder) / "part.h5")
    return virtual(inside(folder) / "m.h5", "part.h5", "virtual")


def virtual_of_a_pattern(folder):
    space = h5py.h5s.create_simple(MOVIE.shape, (h5py.h5s.UNLIMITED, *SHAPE))
    space.select_hyperslab((0, 0, 0), (h5py.h5s.UNLIMITED, 1, 1), (40, *SHAPE), (40, *SHAPE))
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_virtual(space, b"part_%b.h5", b"movie", h5py.h5s.create_simple(MOVIE.shape))
    with h5py.File(inside(folder) / "m.h5", "w", libver="latest") as file:
        h5py.h5d.create(file.id, b"virtual", h5py.h5t.NATIVE_UINT16, space, settings)
    return inside(folder) / "m.h5"


def virtual_without_its_part(folder):
    return virtual(inside(folder) / "m.h5", "gone.h5")


def times_from_elsewhere(folder):
    path = inside(folder) / "m.nwb"
    with h5py.File(path, "w") as file:
        series = file.create_group("acquisition/S")
        series.attrs["neurodata_type"] = "TwoPhotonSeries"
        series["data"] = MOVIE.transpose(0, 2, 1)
        series.create_dataset("timestamps", (40,), "f8", external=[(str(secret(folder)), 0, 320)])
    return path


@pytest.mark.parametrize(
    ("write", "query", "says"),
    [
        (external_bytes, "", "/movie names bytes of another file"),
        (external_bytes, "?dataset=/movie", "/movie names bytes of another file"),
        (external_link, "?dataset=/link", "/link is a link into another file, ../other.h5"),
        (external_link, "?dataset=soft", "soft is a link into another file"),
        (virtual_outside, "", "a part of /virtual lies outside this file's folder, ../other.h5"),
        (virtual_of_external_bytes, "?dataset=virtual", "its bytes do not lie in this file"),
        (virtual_of_virtual, "", "virtual is part of another dataset"),
        (virtual_of_a_pattern, "", "names its parts by a pattern"),
        (virtual_without_its_part, "", "a part of /virtual is missing, gone.h5"),
        (times_from_elsewhere, "", "timestamps names bytes of another file"),
    ],
)
def test_an_hdf5_file_shows_no_bytes_but_those_of_its_own_folder(tmp_path, write, query, says):
    with pytest.raises(SourceError) as refused:
        open_source(f"{write(tmp_path)}{query}")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("part", ["part.h5", "parts/part.h5", "TMP/part.h5"])
def test_a_virtual_dataset_of_files_in_its_folder_and_a_soft_link_are_read(tmp_path, part):
    part = part.replace("TMP", str(tmp_path))
    (tmp_path / "parts").mkdir()
    with h5py.File(tmp_path / part, "w") as file:
        file["movie"] = MOVIE
    virtual(tmp_path / "m.h5", part)
    with h5py.File(tmp_path / "m.h5", "a") as file:
        file["latest"] = h5py.SoftLink("virtual")
    for query in ("", "?dataset=latest", "?dataset=/virtual"):
        with open_source(f"{tmp_path / 'm.h5'}{query}") as source:
            assert np.array_equal(pixels_of(source), MOVIE)


def damaged_chunk(path, nbytes, name="data", **options):
    """A chunk whose size in the index is wrong; the dataset is image-like or, with `name` timestamps, of the times."""
    with h5py.File(path, "w") as file:
        group = file.create_group("acquisition/S")
        group.attrs["neurodata_type"] = "TwoPhotonSeries"
        chunked = {"chunks": (1, *SHAPE)} | options if name == "data" else {}
        group.create_dataset("data", data=MOVIE, **chunked)
        times = np.arange(len(MOVIE)) * 0.05
        group.create_dataset("timestamps", data=times, **({"chunks": (2,)} | options if name == "timestamps" else {}))
        chunk = group[name].id.get_chunk_info(1)
    raw = bytearray(path.read_bytes())
    at = raw.index(struct.pack("<Q", chunk.byte_offset)) - 8 - 8 * (4 if name == "data" else 2)  # its key in the index
    assert struct.unpack_from("<I", raw, at) == (chunk.size,)
    struct.pack_into("<I", raw, at, nbytes)
    path.write_bytes(raw)
    return path


CHECKED, PACKED, SHUFFLED = {"fletcher32": True}, {"fletcher32": True, "compression": "gzip"}, {"shuffle": True}


@pytest.mark.parametrize(
    ("nbytes", "options"),
    [
        (0, CHECKED),
        (3, CHECKED),
        (100, CHECKED),
        (0, PACKED),
        (3, PACKED),
        (0, {"shuffle": True}),
        (9, {"shuffle": True}),
    ],
    ids=str,
)
def test_a_chunk_that_is_too_short_for_its_filters_is_one_line_and_not_the_end_of_the_process(
    tmp_path, nbytes, options
):
    with pytest.raises(SourceError, match=rf"the chunk of .*/data at .* has {nbytes} bytes, it takes \d+; the file is"):
        open_source(damaged_chunk(tmp_path / "m.h5", nbytes, **options))


def test_times_in_a_chunk_that_is_too_short_are_one_line(tmp_path):
    with pytest.raises(SourceError, match=r"chunk of .*/timestamps at \(2,\) has 0 bytes, it takes 20"):
        open_source(damaged_chunk(tmp_path / "m.nwb", 0, "timestamps", fletcher32=True))


# Sizes


def zlib_tiff(folder):
    """One page of 60000 × 60000 in a few bytes."""
    path = folder / "m.tif"
    tifffile.imwrite(path, MOVIE[0], compression="zlib", metadata=None)
    return with_tags(path, ImageWidth=MANY, ImageLength=MANY, RowsPerStrip=MANY)


def huge_tile(folder):
    path = folder / "m.tif"
    tifffile.imwrite(path, MOVIE[0], compression="zlib", tile=(16, 16), metadata=None)
    return with_tags(path, TileWidth=16 * 4000, TileLength=16 * 4000)


def with_tags(path, **tags):
    with tifffile.TiffFile(path, mode="r+") as file:
        for name, value in tags.items():
            file.pages[0].tags[name].overwrite(value)
    return path


def npy_beyond_64_bits(folder):
    header = b"{'descr': '<u2', 'fortran_order': False, 'shape': (99999999999, 99999999999, 60000), }"
    header = header.ljust(118) + b"\n"
    (folder / "m.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(500))
    return folder / "m.npy"


def zarr_frame(folder):
    zarr.create_array(folder / "m.zarr", shape=(4, MANY, MANY), chunks=(1, 512, 512), dtype="u2")
    return folder / "m.zarr"


def zarr_chunk(folder):
    zarr.create_array(folder / "m.zarr", shape=(10**6, 64, 64), chunks=(10**6, 64, 64), dtype="u2")
    return folder / "m.zarr"


def zarr_frames(folder):
    zarr.create_array(folder / "m.zarr", shape=(10**15, 8, 8), chunks=(1, 8, 8), dtype="u2")
    return folder / "m.zarr"


def zarr_of_single_pixels(folder):
    zarr.create_array(folder / "m.zarr", shape=(4, 2048, 2048), chunks=(1, 1, 1), dtype="u2")
    return folder / "m.zarr"


def hdf5(shape, chunks):
    def write(folder):
        with h5py.File(folder / "m.h5", "w") as file:
            file.create_dataset("movie", shape, "u2", chunks=chunks, compression="gzip")
        return folder / "m.h5"

    return write


def matlab(folder):
    savemat(folder / "m.mat", {"mov": MOVIE.transpose(1, 2, 0)}, do_compression=False)
    data = (folder / "m.mat").read_bytes()
    old, new = struct.pack("<3i", 12, 16, 40), struct.pack("<3i", MANY, MANY, 40)
    assert data.count(old) == 1
    (folder / "m.mat").write_bytes(data.replace(old, new))
    return folder / "m.mat"


def ndtiff_frame(folder):
    path = write_ndtiff(folder / "nd", {(("time", n),): frame for n, frame in enumerate(MOVIE[:3])})
    index = (path / "NDTiff.index").read_bytes()
    (path / "NDTiff.index").write_bytes(index.replace(struct.pack("<2I", 16, 12), struct.pack("<2I", MANY, MANY)))
    return path


def bomb_in_a_strip(folder):
    """A small page whose strip unpacks into 200 MB."""
    path = folder / "m.tif"
    packed = zlib.compress(bytes(200 << 20), 9)
    tifffile.imwrite(path, MOVIE[0], compression="zlib", metadata=None)
    at = path.stat().st_size
    with path.open("ab") as file:
        file.write(packed)
    return with_tags(path, StripOffsets=at, StripByteCounts=len(packed))


HUGE = {
    "zlib TIFF": (zlib_tiff, "a frame would take 7200000000 bytes"),
    "tile of a TIFF": (huge_tile, "a strip or tile would take 8192000000 bytes"),
    "strip of a TIFF": (bomb_in_a_strip, "bytes for 384"),
    "npy": (npy_beyond_64_bits, "not an array that can be read"),
    "frame of a Zarr": (zarr_frame, "a frame would take 7200000000 bytes"),
    "chunk of a Zarr": (zarr_chunk, "a chunk would take 8192000000 bytes"),
    "frames of a Zarr": (zarr_frames, "1000000000000000 planes cannot lie in"),
    "a chunk for each pixel": (zarr_of_single_pixels, "a frame in 4194304 chunks"),
    "frame of an HDF5": (hdf5((4, MANY, MANY), (1, 1000, 1000)), "a frame would take 7200000000 bytes"),
    "chunk of an HDF5": (hdf5((10**6, 40, 40), (10**6, 40, 40)), "a chunk would take 3200000000 bytes"),
    "frames of an HDF5": (hdf5((10**15, 8, 8), (1, 8, 8)), "1000000000000000 planes cannot lie in"),
    "MATLAB": (matlab, "mov would take"),
    "NDTiff": (ndtiff_frame, "a frame would take 7200000000 bytes"),
}


@pytest.mark.parametrize(("write", "says"), HUGE.values(), ids=HUGE)
def test_a_size_that_cannot_be_there_is_refused_before_memory_is_asked_for(tmp_path, write, says):
    path = write(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(SourceError) as refused:
            open_source(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert peak < 64 << 20


def test_a_black_movie_packed_into_nothing_is_read(tmp_path):
    black = np.zeros((3, 2048, 2048), np.uint16)
    tifffile.imwrite(tmp_path / "m.tif", black, compression="zlib", photometric="minisblack")
    zarr.create_array(tmp_path / "m.zarr", shape=black.shape, chunks=(1, 512, 512), dtype="u2")[:] = black
    for name in ("m.tif", "m.zarr"):
        with open_source(tmp_path / name) as source:
            assert not pixels_of(source).any()


def test_blocks_of_large_frames_are_shorter(tmp_path, monkeypatch):
    monkeypatch.setattr(planes, "MAX_BLOCK_BYTES", 3 * MOVIE[0].nbytes)
    (tmp_path / "f").mkdir()
    for n in range(2):
        tifffile.imwrite(tmp_path / "f" / f"part{n}.tif", MOVIE[20 * n : 20 * n + 20], photometric="minisblack")
    np.save(tmp_path / "m.npy", MOVIE)
    for uri in ("m.npy", "f", "f?roi=0:2,0:2"):
        with open_source(tmp_path / uri) as source:
            blocks = list(source.blocks())
        assert [len(block) for block in blocks] == [3] * 13 + [1]
        window = np.s_[:, :2, :2] if "roi" in uri else np.s_[:]
        assert np.array_equal(np.concatenate([block.pixels for block in blocks]), MOVIE[window])


# NDTiff indices


def test_axes_that_multiply_beyond_the_images_are_refused_at_once(tmp_path):
    axes = [f"a{k}" for k in range(8)]
    images = {tuple((axis, n) for axis in axes): MOVIE[n] for n in range(30)}
    path, began = write_ndtiff(tmp_path / "nd", images), time.process_time()
    with pytest.raises(SourceError, match=f"{30**8 - 30} of {30**8} images are not there"):
        open_source(path)
    assert time.process_time() - began < 5


def test_an_index_of_many_images_opens_in_time_that_grows_with_it(tmp_path):
    path = write_ndtiff(tmp_path / "nd", {(("time", 10_000),): MOVIE[0]})
    one = (path / "NDTiff.index").read_bytes()
    (path / "NDTiff.index").write_bytes(b"".join(one.replace(b"10000", b"%d" % n) for n in range(10_000, 80_000)))
    began = time.process_time()
    with open_source(path) as source:
        assert source.series.frames == 70_000
    assert time.process_time() - began < 10  # of a core, however many share it


@pytest.mark.parametrize(
    "axes", ["[1]", '"time"', '{"time": [1]}', '{"time": null}', '{"time": {}}', "[" * 5000, "\x00"]
)
def test_axes_that_are_no_axes_are_one_line(tmp_path, axes):
    path = write_ndtiff(tmp_path / "nd", {(("time", 0),): MOVIE[0]})
    index, name = (path / "NDTiff.index").read_bytes(), json.dumps({"time": 0}).encode()
    head = struct.pack("<I", len(name)) + name
    (path / "NDTiff.index").write_bytes(index.replace(head, struct.pack("<I", len(axes)) + axes.encode()))
    with pytest.raises(SourceError, match=r"damaged after 0 images") as refused:
        open_source(path)
    assert "\n" not in str(refused.value)


# What is no file


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes in folders")
@pytest.mark.parametrize("name", ["m.tif", "m.npy", "m.h5"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(SourceError, match="neither a file nor a folder, but a pipe or a device"):
        open_source(tmp_path / name)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_an_ndtiff_folder_shows_no_file_of_another(tmp_path):
    path = write_ndtiff(tmp_path / "nd", {(("time", n),): frame for n, frame in enumerate(MOVIE)})
    (path / "NDTiffStack.tif").unlink()
    (path / "NDTiffStack.tif").symlink_to(secret(tmp_path))
    with pytest.raises(SourceError, match=r"'NDTiffStack.tif' is no file in this folder"):
        open_source(path)


def test_a_zarr_packed_as_python_objects_is_refused(tmp_path):
    zarr.create_array(tmp_path / "m.zarr", shape=MOVIE.shape, chunks=(8, *SHAPE), dtype="u2", zarr_format=2)
    facts = json.loads((tmp_path / "m.zarr" / ".zarray").read_text())
    (tmp_path / "m.zarr" / ".zarray").write_text(json.dumps({**facts, "filters": [{"id": "pickle", "protocol": 5}]}))
    with pytest.raises(SourceError, match="pickle"):
        open_source(tmp_path / "m.zarr")


@pytest.mark.parametrize("dtype", ["O", "V0", "S0", "u2,u2", "i8", "(2", "a;b"])
def test_raw_bytes_are_frames_of_known_types(tmp_path, dtype):
    (tmp_path / "m.raw").write_bytes(MOVIE.tobytes())
    with pytest.raises(SourceError) as refused:
        open_source(f"{tmp_path / 'm.raw'}?dtype={dtype}&shape=12x16")
    assert "dtype" in str(refused.value) or "key=value" in str(refused.value)
