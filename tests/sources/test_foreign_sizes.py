"""Sizes that a file claims and cannot have: refused before memory is asked for."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from scipy.io import savemat
from small_recordings import write_ndtiff
from written_formats import MOVIE, pixels_of

from streamfluo import SourceError, open_source
from streamfluo.sources import planes

h5py = pytest.importorskip("h5py", reason="needs the extra [formats]")
zarr = pytest.importorskip("zarr", reason="needs the extra [formats]")

MANY = 60_000


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
