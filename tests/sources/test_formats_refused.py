"""Files of every format that cannot be read: one clear line that says why."""

import os

import numpy as np
import pytest
import tifffile
from written_formats import MOVIE, SHAPE, hdf5, matlab, ndtiff, npy, ome_over_files, ome_zarr, raw, tiff_folder

from streamfluo import SourceError, open_source

h5py = pytest.importorskip("h5py", reason="needs the extra [formats]")
zarr = pytest.importorskip("zarr", reason="needs the extra [formats]")
av = pytest.importorskip("av", reason="needs the extra [formats]")


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
