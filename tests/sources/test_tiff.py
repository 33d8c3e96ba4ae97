"""TIFF stacks as a source: the same pixels as tifffile, in blocks, and one clear line for what cannot be read."""

import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile

from streamfluo import SourceError, open_source
from streamfluo.core.source import Source
from streamfluo.sources.tiff import TiffSource

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


STACKS = {
    "contiguous": ("uint16", {}),
    "big-endian": ("uint16", {"byteorder": ">"}),
    "BigTIFF": ("uint16", {"bigtiff": True}),
    "ImageJ": ("uint16", {"imagej": True}),
    "OME": ("uint16", {"ome": True, "metadata": {"axes": "TYX"}}),
    "uint8": ("uint8", {}),
    "int16": ("int16", {}),
    "float32": ("float32", {}),
    "zlib": ("uint16", {"compression": "zlib"}),
    "zlib with predictor": ("int16", {"compression": "zlib", "predictor": True}),
    "zlib, big-endian, strips": ("uint16", {"compression": "zlib", "byteorder": ">", "rowsperstrip": 5}),
    "strips": ("uint16", {"rowsperstrip": 5}),
    "tiles": ("uint16", {"tile": (16, 16)}),
    "z as time": ("uint16", {"metadata": {"axes": "ZYX"}}),
}


@pytest.mark.parametrize(("dtype", "options"), STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("max_frames", [1, 7, 32])
def test_a_stack_gives_the_pixels_that_were_written_however_blocks_are_cut(tmp_path, dtype, options, max_frames):
    written = movie(dtype)
    tifffile.imwrite(tmp_path / "a.tif", written, photometric="minisblack", **options)
    with open_source(tmp_path / "a.tif") as source:
        blocks = list(source.blocks(max_frames))
    assert (source.spec.shape, source.spec.dtype, source.series.frames) == (SHAPE, dtype, FRAMES)
    assert [block.index for block in blocks] == list(range(0, FRAMES, max_frames))
    assert all(block.pixels.dtype.isnative for block in blocks)
    np.testing.assert_array_equal(np.concatenate([block.pixels for block in blocks]), written)


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"rowsperstrip": 5}], ids=str)
def test_pages_scattered_over_the_file_are_read_in_order(tmp_path, options):
    options = dict(options)
    big, order = options.pop("bigtiff", False), options.pop("byteorder", "<")
    with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=big, byteorder=order) as file:
        for page in movie():
            file.write(page, contiguous=False, metadata=None, **options)
    with open_source(tmp_path / "a.tif") as source:
        np.testing.assert_array_equal(pixels_of(source, 7), movie())


def test_strips_in_any_order_in_the_file_are_put_in_their_place(tmp_path):
    written = movie(frames=3)
    path = write_pages(tmp_path / "a.tif", list(written), rowsperstrip=6)
    with tifffile.TiffFile(path, mode="r+") as file:
        for page in file.pages:
            page.tags["StripOffsets"].overwrite(page.dataoffsets[::-1])
    with open_source(path) as source:
        np.testing.assert_array_equal(pixels_of(source), np.roll(written, 6, axis=1))


def test_a_single_page_is_a_series_of_one_frame(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", movie()[0])
    with open_source(tmp_path / "a.tif") as source:
        assert source.series.frames == 1
        np.testing.assert_array_equal(pixels_of(source), movie()[:1])


def test_an_imagej_stack_with_one_directory_for_all_frames_is_read_whole(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif", imagej=True) as file:
        file.write(movie(), metadata={"axes": "TYX"}, photometric="minisblack")
    unlink_pages_after(tmp_path / "a.tif", 0)
    with open_source(tmp_path / "a.tif") as source:
        np.testing.assert_array_equal(pixels_of(source), movie())


def test_seek_goes_forward_and_back_and_refuses_what_is_not_there(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", movie())
    with open_source(tmp_path / "a.tif") as source:
        for index in (11, 3, FRAMES - 1):
            source.seek(index)
            block = next(source.blocks(4))
            assert block.index == index
            np.testing.assert_array_equal(block.pixels, movie()[index : index + 4])
        source.seek(FRAMES)
        assert not list(source.blocks())
        for index in (-1, FRAMES + 1):
            with pytest.raises(SourceError, match=f"no frame {index}; there are {FRAMES}"):
                source.seek(index)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_selected_frames_are_a_series_of_their_own(tmp_path, compression):
    tifffile.imwrite(tmp_path / "a.tif", movie(), compression=compression)
    with open_source(f"{tmp_path}/a.tif?frames=5:9") as part, open_source(tmp_path / "a.tif") as whole:
        blocks = list(part.blocks())
        assert (blocks[0].index, part.series.frames, part.series.source) == (0, 4, "a.tif?frames=5:9")
        assert part.series.uid != whole.series.uid
        np.testing.assert_array_equal(blocks[0].pixels, movie()[5:9])
    with pytest.raises(SourceError, match=r"frames=5:90 selects nothing; give start:stop within 0:20"):
        open_source(f"{tmp_path}/a.tif?frames=5:90")


def test_the_same_content_has_the_same_uid_wherever_it_lies(tmp_path):
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / name, movie())
    with open_source(tmp_path / "a.tif") as a, open_source(tmp_path / "b.tif") as b:
        assert a.series.uid == b.series.uid


# What is written → (interval_s, pixel_um).
OME = {"axes": "TYX", "TimeIncrement": 20, "TimeIncrementUnit": "ms", "PhysicalSizeX": 108, "PhysicalSizeXUnit": "nm"}
SCALES = {
    "plain": ({}, (None, None)),
    "dots per inch are no scale": ({"resolution": (72, 72), "resolutionunit": "INCH"}, (None, None)),
    "OME": ({"ome": True, "metadata": OME}, (0.02, 0.108)),
    "OME, units by default": (
        {"ome": True, "metadata": {"axes": "TYX", "TimeIncrement": 0.5, "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2}},
        (0.5, 0.2),
    ),
    "OME, oblong pixels": (
        {"ome": True, "metadata": {"axes": "TYX", "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.4}},
        (None, None),
    ),
    "OME, unit without a length": (
        {"ome": True, "metadata": {"axes": "TYX", "PhysicalSizeX": 1, "PhysicalSizeXUnit": "pixel"}},
        (None, None),
    ),
    "ImageJ": (
        {"imagej": True, "resolution": (5, 5), "metadata": {"axes": "TYX", "finterval": 0.05, "unit": "um"}},
        (0.05, 0.2),
    ),
    "ImageJ, frames per second": ({"imagej": True, "metadata": {"axes": "TYX", "fps": 25.0}}, (0.04, None)),
    "ImageJ, both: the interval": (
        {"imagej": True, "metadata": {"axes": "TYX", "fps": 7.0, "finterval": 50, "tunit": "ms"}},
        (0.05, None),
    ),
    "ImageJ, interval of zero": ({"imagej": True, "metadata": {"axes": "TYX", "finterval": 0}}, (None, None)),
    "ImageJ, inches": (
        {"imagej": True, "resolution": (72, 72), "metadata": {"axes": "TYX", "unit": "inch"}},
        (None, None),
    ),
}


@pytest.mark.parametrize(("options", "scales"), SCALES.values(), ids=SCALES)
def test_interval_and_pixel_size_are_what_the_file_says_or_none(tmp_path, options, scales):
    tifffile.imwrite(tmp_path / "a.tif", movie(), photometric="minisblack", **options)
    with open_source(tmp_path / "a.tif") as source:
        assert (source.spec.interval_s, source.spec.pixel_um) == pytest.approx(scales)
        times = np.concatenate([block.times_ns for block in source.blocks(7)])
    np.testing.assert_array_equal(times, np.rint(np.arange(FRAMES) * (scales[0] or 0) * 1e9))


@pytest.mark.parametrize(("date", "trusted"), [("2024-05-01T12:00:00+02:00", True), ("2024-05-01T12:00:00", False)])
def test_the_series_begins_at_the_ome_date_if_it_has_a_zone_else_at_the_files_time(tmp_path, date, trusted):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, movie(), ome=True, metadata={"axes": "TYX", "AcquisitionDate": date})
    with open_source(path) as source:
        assert source.series.t0_ns == (1714557600 * 10**9 if trusted else path.stat().st_mtime_ns)


def unlink_pages_after(path: Path, page: int, to: int = 0) -> None:
    """Point the directory of `page` to another place in the file; 0 ends the list of pages."""
    with tifffile.TiffFile(path) as file:
        at = file.pages[page].offset
    with path.open("r+b") as raw:
        raw.seek(at)
        (tags,) = struct.unpack("<H", raw.read(2))
        raw.seek(at + 2 + 12 * tags)
        raw.write(struct.pack("<I", to))


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


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}], ids=["contiguous", "zlib"])
def test_memory_stays_flat_however_long_the_file_is(tmp_path, options):
    block_nbytes = 4 * 256 * 256 * 2
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((160, 256, 256), np.uint16), **options)
    with open_source(tmp_path / "a.tif") as source:
        tracemalloc.start()
        try:
            frames = sum(len(block) for block in source.blocks(4))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert frames == 160
    assert peak < 4 * block_nbytes < 160 * 256 * 256 * 2 / 8


@pytest.mark.parametrize(
    "name",
    [
        "mesoscope/mouse_160x160x1000.tif",
        "thunder_mouse/thunder_mouse_500x64x64_int16.tif",
        "formats/ndtiff3.2_11bit_1/ndtiff3.2_11bit_NDTiffStack.tif",
    ],
)
def test_a_real_recording_is_read_to_the_bit(name):
    path = recording(name)
    with open_source(path) as source:
        np.testing.assert_array_equal(pixels_of(source), tifffile.imread(path))
