"""Reading 512×512×u16 files as a source, against the bare library reading the same frames one by one in a loop.

Files of 4 GB, compressed ones of 0.5 GB; opening is part of it. The peak memory is that of a process that only reads.
"""

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import tifffile
import zarr
from bench import SPEC, show

from streamfluo import open_source

FRAMES, COMPRESSED_FRAMES, ROUNDS = 8192, 1024, 5


def frames(count: int) -> Iterator[np.ndarray]:
    """Frames like a camera's: a smooth field with shot noise."""
    field = 200 + 150 * np.sin(np.arange(512) / 40)[:, None] * np.cos(np.arange(512) / 60)
    random = np.random.default_rng(0)
    noise = random.normal(0, 12, (64, *SPEC.shape)).astype(np.float32)
    movie = (field + noise).astype(np.uint16)
    for n in range(count):
        yield movie[n % 64]


def write_files(folder: Path) -> dict[str, tuple[Path, Callable[[Path], int]]]:
    """Write the movie in each format; name → (file, how the bare library reads it)."""
    shape, short = (FRAMES, *SPEC.shape), (COMPRESSED_FRAMES, *SPEC.shape)
    movie = frames(FRAMES)
    tifffile.imwrite(folder / "a.tif", movie, shape=shape, dtype="uint16", bigtiff=True, photometric="minisblack")
    with tifffile.TiffWriter(folder / "z.tif", bigtiff=True) as file:
        for frame in frames(COMPRESSED_FRAMES):
            file.write(frame, compression="zlib", contiguous=False, metadata=None)
    with h5py.File(folder / "a.h5", "w") as file:
        data = file.create_dataset("movie", shape, "u2", chunks=(1, *SPEC.shape))
        for n, frame in enumerate(frames(FRAMES)):
            data[n] = frame
    array = zarr.create_array(folder / "a.zarr", shape=short, chunks=(1, *SPEC.shape), dtype="u2")
    for n, frame in enumerate(frames(COMPRESSED_FRAMES)):
        array[n] = frame
    return {
        "TIFF": (folder / "a.tif", bare_tiff),
        "TIFF, zlib": (folder / "z.tif", bare_tiff),
        "HDF5": (folder / "a.h5", bare_hdf5),
        "Zarr, zstd": (folder / "a.zarr", bare_zarr),
    }


def bare_tiff(path: Path) -> int:
    """Read every page with tifffile."""
    with tifffile.TiffFile(path) as file:
        for page in file.pages:
            page.asarray()
        return len(file.pages)


def bare_hdf5(path: Path) -> int:
    """Read every frame with h5py."""
    with h5py.File(path) as file:
        data = file["movie"]
        for n in range(len(data)):
            data[n]
        return len(data)


def bare_zarr(path: Path) -> int:
    """Read every frame with zarr."""
    array = zarr.open_array(path, mode="r")
    for n in range(array.shape[0]):
        array[n]
    return array.shape[0]


def ours(path: Path) -> int:
    """Read every frame as a source."""
    with open_source(path) as source:
        return sum(len(block) for block in source.blocks())


def fps(read: Callable[[Path], int], path: Path) -> float:
    """Return frames a second, opening included."""
    began = time.perf_counter()
    return read(path) / (time.perf_counter() - began)


def peak_mb(path: Path) -> float:
    """Return the peak resident memory of a process that reads `path`."""
    ours(path)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(1) as pool:
        files = write_files(Path(folder))
        for name, (path, bare) in files.items():
            rounds = [(fps(bare, path), fps(ours, path)) for _ in range(ROUNDS)]
            theirs, mine = np.median(rounds, axis=0)
            show(f"{name}: {mine:.0f} of {theirs:.0f} frames/s", [m / t for t, m in rounds], "≥ 0.90", "–")
        for name in ("TIFF", "HDF5"):
            print(
                f"peak memory of a process that reads 4 GB of {name}: {pool.apply(peak_mb, (files[name][0],)):.0f} MB"
            )


if __name__ == "__main__":
    main()
