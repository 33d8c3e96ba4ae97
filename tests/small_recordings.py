"""Recordings of some kB in every format of others: what is changed and forged in tests begins with them."""

import json
import struct
from functools import cache

import numpy as np
import tifffile

from streamfluo import open_source
from streamfluo.core.errors import StreamfluoError

FRAMES = np.random.default_rng(3).integers(0, 4096, (5, 12, 16), np.uint16)


def write_ndtiff(folder, images, facts_of=None):
    """An NDTiff folder: pixels and metadata in one file, an index that says where."""
    folder.mkdir()
    index, data = b"", b""
    for axes, image in images.items():
        known = {"ElapsedTime-ms": 50.0 * dict(axes).get("time", 0), "PixelSizeUm": 0.5} | (facts_of or {}).get(
            axes, {}
        )
        facts = json.dumps(known).encode()
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


def scanimage(path, pages, numbers, **facts):
    """A BigTIFF as ScanImage writes it: behind 16 bytes a magic number and the header's text, then the pages."""
    known = {"SI.VERSION_MAJOR": 2020, "SI.hRoiManager.scanFrameRate": 30.0, "SI.hChannels.channelSave": 1}
    lines = {**known, **{f"SI.{key.replace('__', '.')}": value for key, value in facts.items()}}
    header = "\n".join(f"{key} = {value}" for key, value in lines.items()).encode() + b"\0"
    head = struct.pack("<IIII", 117637889, 4, len(header), 3) + header + b"{}\0"
    out, link = bytearray(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0) + head), 8
    software = 32
    for number, page in zip(numbers, pages, strict=True):
        text = f"frameNumbers = {number}\nframeTimestamps_sec = {number / 30:.6f}\n".encode() + b"\0"
        at = []
        for part in (page.astype("<i2").tobytes(), text):
            out += b"\0" * (-len(out) % 8)
            at.append(len(out))
            out += part
        out += b"\0" * (-len(out) % 8)
        struct.pack_into("<Q", out, link, len(out))
        height, width = page.shape
        short = ((258, 16), (259, 1), (262, 1), (277, 1), (339, 2))
        long = ((256, width), (257, height), (278, height))
        tags = [(code, 3, 1, value) for code, value in short] + [(code, 4, 1, value) for code, value in long]
        tags += [(273, 16, 1, at[0]), (279, 16, 1, page.nbytes), (270, 2, len(text), at[1])]
        tags += [(305, 2, len(header), software)]
        out += struct.pack("<Q", len(tags)) + b"".join(struct.pack("<HHQQ", *tag) for tag in sorted(tags))
        link = len(out)
        out += bytes(8)
    path.write_bytes(out)


def scanimage_volumes(folder):
    facts = {"hStackManager__enable": "true", "hFastZ__enable": "true", "hStackManager__framesPerSlice": 1}
    facts |= {"hStackManager__numSlices": 2, "hStackManager__numFramesPerVolumeWithFlyback": 3}
    scanimage(folder / "m.tif", np.resize(FRAMES, (9, 12, 16)), range(1, 10), **facts)


OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="I:0"><Pixels '
    'ID="P:0" DimensionOrder="XYCZT" Type="uint16" SizeX="16" SizeY="12" SizeC="2" SizeZ="1" SizeT="3">'
    '<Channel ID="C:0" Name="Red"/><Channel ID="C:1" Name="Green"/>{}</Pixels></Image></OME>'
)
OME_PLANE = '<TiffData IFD="{1}" FirstC="{0}" FirstT="{1}" PlaneCount="1"><UUID FileName="{0}.tif">u</UUID></TiffData>'


def ome_folder(folder):
    """Two files of one channel each, as their OME-XML says."""
    (folder / "o").mkdir()
    text = OME.format("".join(OME_PLANE.format(c, t) for c in (0, 1) for t in range(3)))
    for c in (0, 1):
        with tifffile.TiffWriter(folder / "o" / f"{c}.tif") as file:
            for t in range(3):
                file.write(FRAMES[t], contiguous=False, metadata=None, description=text if t == 0 else None)


def avi(folder):
    import av

    with av.open(str(folder / "m.avi"), "w") as container:
        stream = container.add_stream("ffv1", rate=20, options={"g": "1"})
        stream.height, stream.width, stream.pix_fmt = *FRAMES[0].shape, "gray"
        for frame in (FRAMES >> 4).astype(np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode(None))


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
    "ScanImage": (scanimage_volumes, "m.tif?z=1", "m.tif"),
    "folder, OME": (ome_folder, "o?channel=1", "o/0.tif"),
    "NDTiff, index": (ndtiff, "m", "m/NDTiff.index"),
    "NDTiff, images": (ndtiff, "m", "m/NDTiffStack.tif"),
    "HDF5": (hdf5(), "m.h5", "m.h5"),
    "HDF5, chunks": (hdf5(chunks=(2, 16, 12), compression="gzip", shuffle=True), "m.h5", "m.h5"),
    "HDF5, checksums": (hdf5(chunks=(1, 16, 12), fletcher32=True), "m.h5", "m.h5"),
    "NWB": (hdf5("m.nwb"), "m.nwb", "m.nwb"),
    "AVI": (avi, "m.avi", "m.avi"),
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
