"""TIFF stacks as a source: the same pixels as tifffile, in blocks, and one clear line for what cannot be read."""

import tracemalloc

import numpy as np
import pytest
import tifffile
from tiff_stacks import FRAMES, SHAPE, movie, pixels_of, recording, unlink_pages_after, write_pages

from streamfluo import SourceError, open_source

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
