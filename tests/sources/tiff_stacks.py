"""A movie, and how pages of it are written into TIFF files."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from streamfluo.core.source import Source

FRAMES, SHAPE = 20, (12, 16)
NBYTES = SHAPE[0] * SHAPE[1] * 2


def movie(dtype: str = "uint16", frames: int = FRAMES, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 100, (frames, *shape)).astype(dtype)


def write_pages(path: Path, pages: list[np.ndarray], **options: object) -> Path:
    """One directory after each page, as cameras write, instead of one run of pixels."""
    with tifffile.TiffWriter(path, bigtiff=bool(options.pop("bigtiff", False))) as file:
        for page in pages:
            file.write(page, contiguous=False, metadata=None, **options)
    return path


def pixels_of(source: Source, max_frames: int = 32) -> np.ndarray:
    return np.concatenate([block.pixels for block in source.blocks(max_frames)])


def recording(name: str) -> Path:
    data = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (data / name).exists():
        pytest.skip(f"{data / name} is absent; set STREAMFLUO_DATA to the folder with the recordings")
    return data / name


def unlink_pages_after(path: Path, page: int, to: int = 0) -> None:
    """Point the directory of `page` to another place in the file; 0 ends the list of pages."""
    with tifffile.TiffFile(path) as file:
        at = file.pages[page].offset
    with path.open("r+b") as raw:
        raw.seek(at)
        (tags,) = struct.unpack("<H", raw.read(2))
        raw.seek(at + 2 + 12 * tags)
        raw.write(struct.pack("<I", to))
