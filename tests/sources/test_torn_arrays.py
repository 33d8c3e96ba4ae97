"""HDF5 and Zarr recordings that were stopped, cut or holed: all that is whole is read, the rest are gaps."""

import os

import numpy as np
import pytest

from streamfluo import SourceError, open_source

h5py = pytest.importorskip("h5py", reason="needs the extra [formats]")
zarr = pytest.importorskip("zarr", reason="needs the extra [formats]")

MOVIE = np.random.default_rng(5).integers(1, 60000, (60, 32, 40), np.uint16)
VOLUMES = MOVIE.reshape(15, 2, 2, 32, 40)


def images_of(uri):
    """What is read of a recording by index; every image must be what was written."""
    with open_source(uri) as source:
        found = {name: {} for name in source.spec.plane_names}
        for block in source.blocks(7):
            name = block.plane if source.spec.planes else ""
            found[name] |= dict(zip(range(block.index, block.stop), block.pixels, strict=True))
        return found, source.series


def assert_written(images, written):
    assert all(np.array_equal(image, written[n]) for n, image in images.items())


# HDF5


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (1, 32, 40)}, {"chunks": (4, 16, 40), "compression": "gzip"}, {"maxshape": (None, 32, 40)}, {},
    ],
    ids=["frames", "compressed", "of any length", "in one run"],
)  # fmt: skip
def test_of_an_hdf5_file_that_is_cut_all_whole_frames_are_read(tmp_path, libver, options):
    path = tmp_path / "m.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("movie", data=MOVIE, **options)
    nbytes = path.stat().st_size
    os.truncate(path, int(nbytes * 0.6))
    found, series = images_of(path)
    assert_written(found[""], MOVIE)
    assert 60 * 0.6 - 12 <= len(found[""]) <= 60 * 0.6
    assert series.frames == 60
    assert series.user["missing"].startswith(f"{60 - len(found[''])} of 60 images, the first is frame ")
    assert series.user["cut"] == f"ends at byte {int(nbytes * 0.6)}, its header names more"
    assert list(images_of(f"{path}?frames=0:5")[0][""]) == list(range(5))


def test_a_chunk_of_hdf5_that_nobody_wrote_is_a_gap(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        data = file.create_dataset("movie", MOVIE.shape, "u2", chunks=(4, 32, 40))
        data[:20], data[28:40] = MOVIE[:20], MOVIE[28:40]
    found, series = images_of(tmp_path / "m.h5")
    assert list(found[""]) == [*range(20), *range(28, 40)]
    assert_written(found[""], MOVIE)
    assert series.user["missing"] == "28 of 60 images, the first is frame 20"


@pytest.mark.parametrize("chunks", [(1, 1, 1, 32, 40), (2, 1, 2, 16, 40)])
def test_of_a_cut_hdf5_file_of_volumes_each_plane_keeps_what_is_whole(tmp_path, chunks):
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("movie", data=VOLUMES, chunks=chunks)
    os.truncate(path, int(path.stat().st_size * 0.5))
    found, _ = images_of(f"{path}?planes=all")
    assert len(found) == 4
    for name, images in found.items():
        channel, z = map(int, name.split("/"))
        assert_written(images, VOLUMES[:, channel, z])
        assert 4 <= len(images) <= 8


def test_of_a_cut_nwb_file_the_frames_are_as_they_were(tmp_path):
    path = tmp_path / "m.nwb"
    with h5py.File(path, "w") as file:
        series = file.create_group("acquisition/S")
        series.attrs["neurodata_type"] = "TwoPhotonSeries"
        series.create_dataset("data", data=VOLUMES[:, 0].transpose(0, 3, 2, 1), chunks=(1, 40, 32, 2))
    os.truncate(path, int(path.stat().st_size * 0.7))
    found, _ = images_of(f"{path}?planes=all")
    for z in (0, 1):
        assert_written(found[f"0/{z}"], VOLUMES[:, 0, z])
        assert 8 <= len(found[f"0/{z}"]) <= 11


def test_a_file_without_one_whole_frame_is_one_line(tmp_path):
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("movie", data=MOVIE)
    os.truncate(path, 3000)
    with pytest.raises(SourceError, match="cut short: no image of /movie is whole"):
        open_source(path)


# Zarr


def zarr_movie(path, data, fill, version=3, chunks=None, **options):
    chunks = chunks or (4, *(1,) * (data.ndim - 3), 16, 40)
    array = zarr.create_array(
        str(path), shape=data.shape, chunks=chunks, dtype=data.dtype, fill_value=fill, zarr_format=version, **options
    )
    array[:] = data
    return array


def without(path, array, places):
    for place in places:
        (path / array.metadata.encode_chunk_key(place)).unlink()
    return path


@pytest.mark.parametrize(("fill", "version", "dtype"), [(None, 2, "u2"), (65535, 3, "u2"), (np.nan, 3, "f4")])
def test_chunks_that_are_not_there_are_gaps_where_the_fill_means_not_written(tmp_path, fill, version, dtype):
    path = tmp_path / "m.zarr"
    array = zarr_movie(path, MOVIE.astype(dtype), fill, version)
    found, series = images_of(without(path, array, [(3, 0, 0), (3, 1, 0), (7, 1, 0), (14, 0, 0)]))
    lost = [*range(12, 16), *range(28, 32), *range(56, 60)]
    assert list(found[""]) == [n for n in range(60) if n not in lost]
    assert_written(found[""], MOVIE)
    assert series.user["missing"] == "12 of 60 images, the first is frame 12"


@pytest.mark.parametrize("version", [2, 3])
def test_where_the_fill_is_zero_only_what_comes_after_the_last_chunk_was_not_written(tmp_path, version):
    path = tmp_path / "m.zarr"
    data = MOVIE.copy()
    data[8:12] = 0  # which the writer leaves out
    zarr_movie(path, data, 0, version)
    found, series = images_of(path)
    assert len(found[""]) == 60
    assert "missing" not in series.user
    array = zarr.open_array(str(path), mode="r")
    found, series = images_of(without(path, array, [(n, y, 0) for n in (13, 14) for y in (0, 1)]))
    assert list(found[""]) == list(range(52))
    assert_written(found[""], data)
    assert series.user["missing"] == "8 of 60 images, the first is frame 52"


def test_a_plane_that_was_stopped_before_the_others_has_a_gap_at_its_end(tmp_path):
    path = tmp_path / "m.zarr"
    array = zarr_movie(path, VOLUMES, 0, chunks=(1, 1, 1, 32, 40))
    found, _ = images_of(f"{without(path, array, [(13, 1, 1, 0, 0), (14, 1, 1, 0, 0)])}?planes=all")
    assert {name: len(images) for name, images in found.items()} == {"0/0": 15, "0/1": 15, "1/0": 15, "1/1": 13}
    for name, images in found.items():
        channel, z = map(int, name.split("/"))
        assert_written(images, VOLUMES[:, channel, z])


@pytest.mark.parametrize("nbytes", [0, 37])
def test_the_last_chunk_of_a_stopped_recording_may_be_cut(tmp_path, nbytes):
    path = tmp_path / "m.zarr"
    array = zarr_movie(path, MOVIE, 0, chunks=(4, 32, 40))
    without(path, array, [(14, 0, 0), (13, 0, 0)])
    os.truncate(path / array.metadata.encode_chunk_key((12, 0, 0)), nbytes)
    found, _ = images_of(path)
    assert list(found[""]) == list(range(48))
    assert_written(found[""], MOVIE)


def test_shards_that_are_not_there_are_gaps(tmp_path):
    path = tmp_path / "m.zarr"
    array = zarr_movie(path, MOVIE, 65535, chunks=(1, 32, 40), shards=(5, 32, 40))
    found, _ = images_of(without(path, array, [(2, 0, 0)]))
    assert list(found[""]) == [*range(10), *range(15, 60)]
    assert_written(found[""], MOVIE)


def test_a_zarr_to_which_nothing_was_written_is_one_line(tmp_path):
    options = {"shape": (9, 32, 40), "chunks": (1, 32, 40), "dtype": "uint16", "fill_value": 65535}
    zarr.create_array(str(tmp_path / "m.zarr"), **options)
    with pytest.raises(SourceError, match="no image was written to it"):
        open_source(tmp_path / "m.zarr")
