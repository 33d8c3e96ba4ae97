"""Recordings of one movie, and of several channels and slices, in every format a lab has."""

from functools import partial

import numpy as np
import pytest
import tifffile
from scipy.io import savemat
from small_recordings import write_ndtiff

from streamfluo import open_source
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
