"""TIFF files that are damaged, or are no stack of frames: what is whole is read, the rest is said in one line."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from tiff_stacks import FRAMES, NBYTES, SHAPE, movie, pixels_of, unlink_pages_after, write_pages

from streamfluo import SourceError, open_source
from streamfluo.sources.tiff import TiffSource


def cut(path: Path, nbytes: int) -> None:
    os.truncate(path, nbytes)


def cut_contiguous(path: Path) -> None:
    tifffile.imwrite(path, movie())
    with tifffile.TiffFile(path) as file:
        start = file.pages[0].dataoffsets[0]
    cut(path, start + 7 * NBYTES + 5)


def cut_imagej(path: Path) -> None:
    tifffile.imwrite(path, movie(), imagej=True, photometric="minisblack", metadata={"axes": "TYX"})
    unlink_pages_after(path, 0)
    with tifffile.TiffFile(path) as file:
        start = file.pages[0].dataoffsets[0]
    cut(path, start + 7 * NBYTES + 5)


def cut_scattered(path: Path) -> None:
    write_pages(path, list(movie()))
    with tifffile.TiffFile(path) as file:
        cut(path, file.pages[7].dataoffsets[0] + 5)


def cut_compressed(path: Path) -> None:
    tifffile.imwrite(path, movie(), compression="zlib")
    with tifffile.TiffFile(path) as file:
        cut(path, file.pages[7].dataoffsets[0] + 5)


def chain_into_nowhere(path: Path) -> None:
    write_pages(path, list(movie()))
    unlink_pages_after(path, 6, to=2**31)


def chain_in_a_circle(path: Path) -> None:
    write_pages(path, list(movie()))
    unlink_pages_after(path, 6, to=8)


def aborted_ome(path: Path) -> None:
    tifffile.imwrite(path, movie(), ome=True, compression="zlib", metadata={"axes": "TYX"})
    unlink_pages_after(path, 6)


def mixed_shape(path: Path) -> None:
    write_pages(path, [*movie()[:7], movie(shape=(9, 16))[0], *movie()[8:]])


def mixed_dtype(path: Path) -> None:
    write_pages(path, [*movie()[:7], movie("int16")[0], *movie()[8:]])


BROKEN_AFTER_7 = {
    cut_contiguous: "cut short: 20 frames end at byte",
    cut_imagej: "cut short: 20 frames end at byte",
    cut_scattered: "cut short: the pixels of page 7 end at byte",
    cut_compressed: "cut short: the pixels of page 7 end at byte",
    chain_into_nowhere: "cut short: its list of pages breaks off after 7 pages",
    chain_in_a_circle: "cut short: its list of pages breaks off after 7 pages",
    aborted_ome: "aborted, or continued in another file .then open their folder.: it names 20 frames and holds 7",
    mixed_shape: "page 7 is 9 × 16 uint16.*page 0 is 12 × 16 uint16",
    mixed_dtype: "page 7 is 12 × 16 int16.*page 0 is 12 × 16 uint16",
}


@pytest.mark.parametrize(("damage", "says"), BROKEN_AFTER_7.items(), ids=lambda v: getattr(v, "__name__", ""))
def test_a_damaged_file_is_refused_with_the_selection_that_reads_its_whole_frames(tmp_path, damage, says):
    path = tmp_path / "a.tif"
    damage(path)
    with pytest.raises(SourceError, match=says) as refused:
        open_source(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert str(refused.value).endswith("its first 7 frames are whole: read them as a.tif?frames=0:7")
    with open_source(f"{path}?frames=0:7") as source:
        np.testing.assert_array_equal(pixels_of(source), movie()[:7])
    for beyond in ("0:8", "3:"):
        with pytest.raises(SourceError, match=r"0:7"):
            open_source(f"{path}?frames={beyond}")


def write_bytes(content: bytes):
    return lambda path: path.write_bytes(content)


def write_stack(frames: np.ndarray, **options: object):
    return lambda path: tifffile.imwrite(path, frames, **options)


def cut_in_the_first_frame(path: Path) -> None:
    write_pages(path, list(movie()))
    cut(path, 400)


UNREADABLE = {
    "empty": (write_bytes(b""), "empty, 0 bytes"),
    "text": (write_bytes(b"frame,value\n0,1\n" * 9), "not a TIFF"),
    "header only": (write_bytes(b"II*\0\x08\0\0\0"), "cut short at the start"),
    "pages beyond the end": (write_bytes(b"II*\0\0\xff\0\0" + bytes(64)), "cut short at the start"),
    "cut in frame 0": (cut_in_the_first_frame, "cut short.*no frame is whole"),
    "complex": (write_stack(movie("complex64")), "pixels of type complex64 are not supported"),
    "bool": (write_stack(movie("bool")), "pixels of type bool are not supported"),
    "int64": (write_stack(movie("int64")), "pixels of type int64 are not supported; convert them to one of uint8"),
    "RGB": (write_stack(movie("uint8", shape=(12, 48)).reshape(-1, 12, 16, 3), photometric="rgb"), "sample 3"),
    "channels": (
        write_stack(movie().reshape(10, 2, *SHAPE), imagej=True, metadata={"axes": "TCYX"}),
        "several planes: time 10, channel 2; select one: a.tif.channel=0",
    ),
    "z, OME": (
        write_stack(movie().reshape(5, 4, *SHAPE), ome=True, metadata={"axes": "TZYX"}),
        "several planes: time 5, z 4; select one: a.tif.z=0",
    ),
    "planes without names": (
        write_stack(movie().reshape(5, 4, *SHAPE), photometric="minisblack"),
        "several planes: time 5, z 4",
    ),
}


@pytest.mark.parametrize(("write", "says"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_is_no_plane_stream_is_refused_in_one_line(tmp_path, write, says):
    path = tmp_path / "a.tif"
    write(path)
    with pytest.raises(SourceError, match=says) as refused:
        open_source(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


def test_a_file_that_goes_away_before_it_is_opened_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"gone\.tif: cannot be read: No such file"):
        TiffSource(tmp_path / "gone.tif", {})


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_file_cut_while_it_is_read_raises_instead_of_giving_black_frames(tmp_path, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, movie(), compression=compression)
    with open_source(path) as source:
        blocks = source.blocks(4)
        next(blocks)
        cut(path, 1500)
        with pytest.raises(SourceError, match=r"a\.tif: ended while frame \d+ was read"):
            list(blocks)


def test_damaged_compressed_pixels_are_named_by_frame(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, movie(), compression="zlib")
    with tifffile.TiffFile(path) as file:
        at = file.pages[3].dataoffsets[0]
    with path.open("r+b") as raw:
        raw.seek(at)
        raw.write(b"\xff" * 40)
    with (
        open_source(path) as source,
        pytest.raises(SourceError, match=r"frame 3 \(ADOBE_DEFLATE\) cannot be decoded"),
    ):
        list(source.blocks(1))


def opened_in_a_bare_python(path: Path) -> subprocess.CompletedProcess[str]:
    """Open the file where imagecodecs is not installed and no logging is configured."""
    code = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "import streamfluo\n"
        "try:\n    with streamfluo.open_source(sys.argv[1]) as s: print(sum(len(b) for b in s.blocks()))\n"
        "except streamfluo.SourceError as error: print(error)"
    )
    return subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)


def test_a_codec_that_is_not_installed_is_named_with_what_to_install(tmp_path):
    path = write_pages(tmp_path / "a.tif", list(movie()))
    with tifffile.TiffFile(path, mode="r+") as file:
        for page in file.pages:
            page.tags["Compression"].overwrite(5)
    said = opened_in_a_bare_python(path).stdout
    assert 'compressed with LZW, which needs imagecodecs; pip install "streamfluo[formats]"' in said


def test_deflate_with_predictor_needs_no_extra_package(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", movie("int16"), compression="zlib", predictor=True)
    assert opened_in_a_bare_python(tmp_path / "a.tif").stdout == f"{FRAMES}\n"


@pytest.mark.parametrize("damage", [cut_contiguous, cut_imagej, chain_into_nowhere])
def test_nothing_but_the_error_is_said_about_a_damaged_file(tmp_path, damage):
    damage(tmp_path / "a.tif")
    assert opened_in_a_bare_python(tmp_path / "a.tif").stderr == ""
