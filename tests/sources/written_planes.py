"""Recordings of two channels and three slices, written in every format that has such axes."""

from itertools import product

import numpy as np
import pytest
import tifffile

from tests.small_recordings import write_ndtiff
from tests.sources.test_planes_of_tiffs import SHAPE, scanimage

T, C, Z = 9, 2, 3
MOVIE = np.random.default_rng(7).integers(0, 60000, (T, C, Z, *SHAPE), np.uint16)
RED, GREEN = -16776961, 16711935  # #ff0000 and #00ff00, as OME writes them: with alpha, signed


def ome(folder, axes="TCZYX", **options):
    order = ["TCZYX".index(axis) for axis in axes]
    meta = {
        "axes": axes,
        "Channel": {"Name": ["red", "green"], "Color": [RED, GREEN]},
        "PhysicalSizeZ": 5.0,
        "PhysicalSizeZUnit": "µm",
        "TimeIncrement": 0.2,
        "TimeIncrementUnit": "s",
    }
    tifffile.imwrite(
        folder / "m.ome.tif", MOVIE.transpose(order), photometric="minisblack", ome=True, metadata=meta, **options
    )
    return folder / "m.ome.tif"


def imagej(folder):
    meta = {"axes": "TZCYX", "spacing": 5.0, "unit": "um", "finterval": 0.2}
    tifffile.imwrite(folder / "m.tif", MOVIE.transpose(0, 2, 1, 3, 4), imagej=True, metadata=meta)
    return folder / "m.tif"


def scan(folder):
    facts = {
        "hStackManager__enable": "true", "hFastZ__enable": "true", "hStackManager__framesPerSlice": 1,
        "hStackManager__numSlices": Z, "hStackManager__numFramesPerVolumeWithFlyback": Z + 1,
        "hStackManager__stackZStepSize": -5, "hChannels__channelSave": "[1;2]", "hRoiManager__scanFrameRate": 20.0,
    }  # fmt: skip
    pages = [MOVIE[t, c, z].astype("<u2").view("<i2") for t in range(T) for z in range(Z) for c in range(C)]
    numbers = [t * (Z + 1) + z + 1 for t in range(T) for z in range(Z) for _ in range(C)]
    scanimage(folder / "m.tif", pages, numbers, **facts)
    return folder / "m.tif"


def stated(folder):
    tifffile.imwrite(folder / "m.tif", MOVIE.transpose(0, 2, 1, 3, 4).reshape(-1, *SHAPE), photometric="minisblack")
    return f"{folder}/m.tif?axes=tzcyx&channels=2&slices=3"


def images_of_micro_manager(folder):
    for t, c, z in np.ndindex(T, C, Z):
        name = f"img_channel{c:03d}_position000_time{t:09d}_z{z:03d}.tif"
        tifffile.imwrite(folder / name, MOVIE[t, c, z], photometric="minisblack")
    return folder


def stacks_of_channels(folder):
    """Two files of a channel, of five and four time points, with slices inside."""
    for c, part in product(range(C), range(2)):
        stack = MOVIE[5 * part : 5 * part + 5, c]
        tifffile.imwrite(folder / f"rec_Ch{c}_{part:03d}.tif", stack, imagej=True, metadata={"axes": "TZYX"})
    return folder


def zarr_array(chunks, axes="tczyx"):
    def write(folder):
        zarr = pytest.importorskip("zarr")
        group = zarr.open_group(str(folder / "m.zarr"), mode="w")
        data = MOVIE.transpose(["tczyx".index(axis) for axis in axes])
        array = group.create_array("0", shape=data.shape, chunks=chunks, dtype="uint16")
        array[:] = data
        units = {"t": ("time", "second"), "z": ("space", "micrometer"), "c": ("channel", None)}
        named = [{"name": a, "type": units.get(a, ("space", "micrometer"))[0]} for a in axes]
        for entry, axis in zip(named, axes, strict=True):
            if unit := units.get(axis, ("space", "micrometer"))[1]:
                entry["unit"] = unit
        scale = [{"t": 0.2, "c": 1.0, "z": 5.0}.get(axis, 0.5) for axis in axes]
        level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        shown = {"channels": [{"label": "red", "color": "FF0000"}, {"label": "green", "color": "00FF00"}]}
        image = {"multiscales": [{"version": "0.5", "axes": named, "datasets": [level]}], "omero": shown}
        group.attrs["ome"] = image
        return folder / "m.zarr"

    return write


def hdf5(chunks):
    def write(folder):
        h5py = pytest.importorskip("h5py")
        with h5py.File(folder / "m.h5", "w") as file:
            file.create_dataset("movie", data=MOVIE, chunks=chunks, compression="gzip")
        return folder / "m.h5"

    return write


def npy(folder):
    np.save(folder / "m.npy", MOVIE)
    return folder / "m.npy"


def ndtiff(folder):
    images = {
        (("time", t), ("channel", ("red", "green")[c]), ("z", z)): MOVIE[t, c, z] for t, c, z in np.ndindex(T, C, Z)
    }
    return write_ndtiff(folder / "m", images)


# What is written, the names its channels have, whether colours, the z step and the interval are known.
WRITERS = {
    "OME, t c z": (ome, ("red", "green"), True, 5.0, 0.2),
    "OME, z c t": (lambda f: ome(f, "ZCTYX"), ("red", "green"), True, 5.0, 0.2),
    "OME, compressed": (lambda f: ome(f, compression="zlib"), ("red", "green"), True, 5.0, 0.2),
    "ImageJ hyperstack": (imagej, ("0", "1"), False, 5.0, 0.2),
    "ScanImage": (scan, ("0", "1"), False, 5.0, 0.2),
    "pages as stated": (stated, ("0", "1"), False, None, None),
    "Micro-Manager images": (images_of_micro_manager, ("channel000", "channel001"), False, None, None),
    "a folder of stacks": (stacks_of_channels, ("Ch0", "Ch1"), False, None, None),
    "OME-Zarr, chunks of a plane": (zarr_array((1, 1, 1, *SHAPE)), ("red", "green"), True, 5.0, 0.2),
    "OME-Zarr, chunks of volumes": (zarr_array((4, 2, 3, 8, 24)), ("red", "green"), True, 5.0, 0.2),
    "OME-Zarr, c t z": (zarr_array((2, 3, 2, *SHAPE), "ctzyx"), ("red", "green"), True, 5.0, 0.2),
    "HDF5": (hdf5((1, 1, 1, *SHAPE)), ("0", "1"), False, None, None),
    "HDF5, chunks of volumes": (hdf5((4, 2, 3, 8, 8)), ("0", "1"), False, None, None),
    "npy": (npy, ("0", "1"), False, None, None),
    "NDTiff": (ndtiff, ("red", "green"), False, None, 0.05),
}


def query(uri, text):
    return f"{uri}{'&' if '?' in str(uri) else '?'}{text}"


def collected(source, max_frames=4):
    """Each plane's images by time point, from all blocks, which are checked on their way."""
    found = {name: {} for name in source.spec.plane_names}
    for block in source.blocks(max_frames):
        assert len(block) <= max_frames
        assert block.plane in found
        found[block.plane] |= dict(zip(range(block.index, block.stop), block.pixels, strict=True))
    return found


def movie(images):
    assert list(images) == list(range(len(images)))
    return np.stack(list(images.values()))


def expected(name, c, z):
    return MOVIE[:, c, z].view(np.int16) if name == "ScanImage" else MOVIE[:, c, z]
