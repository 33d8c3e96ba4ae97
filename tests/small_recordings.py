"""Recordings of some kB in every format of others: what is changed and forged in tests begins with them."""

import json
import struct
from functools import cache

import numpy as np
import tifffile

from streamfluo import open_source
from streamfluo.core.errors import StreamfluoError

FRAMES = np.random.default_rng(3).integers(0, 4096, (5, 12, 16), np.uint16)


def write_ndtiff(folder, images):
    """An NDTiff folder: pixels and metadata in one file, an index that says where."""
    folder.mkdir()
    index, data = b"", b""
    for axes, image in images.items():
        facts = json.dumps({"ElapsedTime-ms": 50.0 * dict(axes).get("time", 0), "PixelSizeUm": 0.5}).encode()
        name, file = json.dumps(dict(axes)).encode(), b"NDTiffStack.tif"
        kind = {"uint8": 0, "uint16": 1}[image.dtype.name]
        at = len(data)
        data += image.tobytes() + facts
        numbers = (at, image.shape[1], image.shape[0], kind, 0, at + image.nbytes, len(facts), 0)
        index += (
            struct.pack("<I", len(name)) + name + struct.pack("<I", len(file)) + file + struct.pack("<8I", *numbers)
        )
    (folder / "NDTiffStack.tif").write_bytes(data)
    (folder / "NDTiff.index").write_bytes(index)
    return folder


def tiff(**options):
    return lambda folder: tifffile.imwrite(folder / "m.tif", FRAMES, photometric="minisblack", **options)


def scattered(folder):
    with tifffile.TiffWriter(folder / "m.tif") as file:
        for frame in FRAMES:
            file.write(frame, contiguous=False, metadata=None)


def ndtiff(folder):
    write_ndtiff(folder / "m", {(("time", n), ("channel", "a")): frame for n, frame in enumerate(FRAMES)})


def hdf5(name="m.h5", **options):
    def write(folder):
        import h5py

        with h5py.File(folder / name, "w") as file:
            data = file.create_dataset("acquisition/S/data", data=FRAMES.transpose(0, 2, 1), **options)
            data.attrs["fps"] = 20.0
            if name.endswith("nwb"):
                data.parent.attrs["neurodata_type"] = "TwoPhotonSeries"
                data.parent["timestamps"] = np.arange(len(FRAMES)) * 0.05

    return write


# what is fuzzed → (how to write it, what is opened, the file whose bytes are changed)
FILES = {
    "TIFF": (tiff(), "m.tif", "m.tif"),
    "TIFF, pages": (scattered, "m.tif", "m.tif"),
    "TIFF, zlib": (tiff(compression="zlib", predictor=True), "m.tif", "m.tif"),
    "TIFF, zlib tiles": (tiff(compression="zlib", tile=(16, 16)), "m.tif", "m.tif"),
    "BigTIFF": (tiff(bigtiff=True, rowsperstrip=5), "m.tif", "m.tif"),
    "ImageJ": (tiff(imagej=True, metadata={"axes": "TYX", "finterval": 0.05}), "m.tif", "m.tif"),
    "OME": (tiff(ome=True, metadata={"axes": "TYX", "TimeIncrement": 0.05}), "m.ome.tif", "m.ome.tif"),
    "NDTiff, index": (ndtiff, "m", "m/NDTiff.index"),
    "NDTiff, images": (ndtiff, "m", "m/NDTiffStack.tif"),
    "HDF5": (hdf5(), "m.h5", "m.h5"),
    "HDF5, chunks": (hdf5(chunks=(2, 16, 12), compression="gzip", shuffle=True), "m.h5", "m.h5"),
    "HDF5, checksums": (hdf5(chunks=(1, 16, 12), fletcher32=True), "m.h5", "m.h5"),
    "NWB": (hdf5("m.nwb"), "m.nwb", "m.nwb"),
    "npy": (lambda folder: np.save(folder / "m.npy", FRAMES), "m.npy", "m.npy"),
}


@cache
def original(name, folder):
    write, _, changed = FILES[name]
    write(folder)
    made = folder / changed.replace(".ome", "")
    if not (folder / changed).exists():
        made.rename(folder / changed)
    return (folder / changed).read_bytes()


def read(path):
    """Open a file and read all of it; returns the error, None if there were frames."""
    try:
        with open_source(path) as source:
            for block in source.blocks():
                assert block.pixels.shape[1:] == source.spec.shape
                assert block.pixels.dtype.name == source.spec.dtype
    except StreamfluoError as error:
        return str(error)
    return None
