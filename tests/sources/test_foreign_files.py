"""Files that somebody else made: they name no bytes but their own, and their sizes are checked before they are used."""

import json
import os
import struct
import time

import numpy as np
import pytest
from small_recordings import write_ndtiff
from written_formats import MOVIE, SHAPE, pixels_of

from streamfluo import SourceError, open_source

h5py = pytest.importorskip("h5py", reason="needs the extra [formats]")
zarr = pytest.importorskip("zarr", reason="needs the extra [formats]")

MANY = 60_000


def secret(folder):
    """A file beside the recording's folder that no recording may show."""
    (folder / "secret").write_bytes(b"root:x:0:0:" * 100)
    return folder / "secret"


def inside(folder):
    (folder / "in").mkdir(exist_ok=True)
    return folder / "in"


def external_bytes(folder):
    path = inside(folder) / "m.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("movie", (4, 8, 8), "u1", external=[(str(secret(folder)), 0, 256)])
    return path


def external_link(folder):
    with h5py.File(folder / "other.h5", "w") as file:
        file["movie"] = MOVIE
    path = inside(folder) / "m.h5"
    with h5py.File(path, "w") as file:
        file["soft"] = h5py.SoftLink("/link")
        file["link"] = h5py.ExternalLink("../other.h5", "/movie")
    return path


def virtual(path, part, name="movie", file_name=None):
    """A virtual dataset of one part."""
    layout = h5py.VirtualLayout(MOVIE.shape, MOVIE.dtype)
    layout[:] = h5py.VirtualSource(file_name or part, name, MOVIE.shape, MOVIE.dtype)
    with h5py.File(path, "a", libver="latest") as file:
        file.create_virtual_dataset("virtual", layout, fillvalue=0)
    return path


def virtual_outside(folder):
    with h5py.File(folder / "other.h5", "w") as file:
        file["movie"] = MOVIE
    return virtual(inside(folder) / "m.h5", "../other.h5")


def virtual_of_external_bytes(folder):
    path = inside(folder) / "m.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("movie", MOVIE.shape, "u2", external=[(str(secret(folder)), 0, MOVIE.nbytes)])
    return virtual(path, ".")


def virtual_of_virtual(folder):
    virtual_outside(folder).rename(inside(folder) / "part.h5")
    return virtual(inside(folder) / "m.h5", "part.h5", "virtual")


def virtual_of_a_pattern(folder):
    space = h5py.h5s.create_simple(MOVIE.shape, (h5py.h5s.UNLIMITED, *SHAPE))
    space.select_hyperslab((0, 0, 0), (h5py.h5s.UNLIMITED, 1, 1), (40, *SHAPE), (40, *SHAPE))
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_virtual(space, b"part_%b.h5", b"movie", h5py.h5s.create_simple(MOVIE.shape))
    with h5py.File(inside(folder) / "m.h5", "w", libver="latest") as file:
        h5py.h5d.create(file.id, b"virtual", h5py.h5t.NATIVE_UINT16, space, settings)
    return inside(folder) / "m.h5"


def virtual_without_its_part(folder):
    return virtual(inside(folder) / "m.h5", "gone.h5")


def times_from_elsewhere(folder):
    path = inside(folder) / "m.nwb"
    with h5py.File(path, "w") as file:
        series = file.create_group("acquisition/S")
        series.attrs["neurodata_type"] = "TwoPhotonSeries"
        series["data"] = MOVIE.transpose(0, 2, 1)
        series.create_dataset("timestamps", (40,), "f8", external=[(str(secret(folder)), 0, 320)])
    return path


@pytest.mark.parametrize(
    ("write", "query", "says"),
    [
        (external_bytes, "", "/movie names bytes of another file"),
        (external_bytes, "?dataset=/movie", "/movie names bytes of another file"),
        (external_link, "?dataset=/link", "/link is a link into another file, ../other.h5"),
        (external_link, "?dataset=soft", "soft is a link into another file"),
        (virtual_outside, "", "a part of /virtual lies outside this file's folder, ../other.h5"),
        (virtual_of_external_bytes, "?dataset=virtual", "its bytes do not lie in this file"),
        (virtual_of_virtual, "", "virtual is part of another dataset"),
        (virtual_of_a_pattern, "", "names its parts by a pattern"),
        (virtual_without_its_part, "", "a part of /virtual is missing, gone.h5"),
        (times_from_elsewhere, "", "timestamps names bytes of another file"),
    ],
)
def test_an_hdf5_file_shows_no_bytes_but_those_of_its_own_folder(tmp_path, write, query, says):
    with pytest.raises(SourceError) as refused:
        open_source(f"{write(tmp_path)}{query}")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("part", ["part.h5", "parts/part.h5", "TMP/part.h5"])
def test_a_virtual_dataset_of_files_in_its_folder_and_a_soft_link_are_read(tmp_path, part):
    part = part.replace("TMP", str(tmp_path))
    (tmp_path / "parts").mkdir()
    with h5py.File(tmp_path / part, "w") as file:
        file["movie"] = MOVIE
    virtual(tmp_path / "m.h5", part)
    with h5py.File(tmp_path / "m.h5", "a") as file:
        file["latest"] = h5py.SoftLink("virtual")
    for query in ("", "?dataset=latest", "?dataset=/virtual"):
        with open_source(f"{tmp_path / 'm.h5'}{query}") as source:
            assert np.array_equal(pixels_of(source), MOVIE)


def damaged_chunk(path, nbytes, name="data", **options):
    """A chunk whose size in the index is wrong; the dataset is image-like or, with `name` timestamps, of the times."""
    with h5py.File(path, "w") as file:
        group = file.create_group("acquisition/S")
        group.attrs["neurodata_type"] = "TwoPhotonSeries"
        chunked = {"chunks": (1, *SHAPE)} | options if name == "data" else {}
        group.create_dataset("data", data=MOVIE, **chunked)
        times = np.arange(len(MOVIE)) * 0.05
        group.create_dataset("timestamps", data=times, **({"chunks": (2,)} | options if name == "timestamps" else {}))
        chunk = group[name].id.get_chunk_info(1)
    raw = bytearray(path.read_bytes())
    at = raw.index(struct.pack("<Q", chunk.byte_offset)) - 8 - 8 * (4 if name == "data" else 2)  # its key in the index
    assert struct.unpack_from("<I", raw, at) == (chunk.size,)
    struct.pack_into("<I", raw, at, nbytes)
    path.write_bytes(raw)
    return path


CHECKED, PACKED, SHUFFLED = {"fletcher32": True}, {"fletcher32": True, "compression": "gzip"}, {"shuffle": True}


@pytest.mark.parametrize(
    ("nbytes", "options"),
    [
        (0, CHECKED),
        (3, CHECKED),
        (100, CHECKED),
        (0, PACKED),
        (3, PACKED),
        (0, {"shuffle": True}),
        (9, {"shuffle": True}),
    ],
    ids=str,
)
def test_a_chunk_that_is_too_short_for_its_filters_is_one_line_and_not_the_end_of_the_process(
    tmp_path, nbytes, options
):
    with pytest.raises(SourceError, match=rf"the chunk of .*/data at .* has {nbytes} bytes, it takes \d+; the file is"):
        open_source(damaged_chunk(tmp_path / "m.h5", nbytes, **options))


def test_times_in_a_chunk_that_is_too_short_are_one_line(tmp_path):
    with pytest.raises(SourceError, match=r"chunk of .*/timestamps at \(2,\) has 0 bytes, it takes 20"):
        open_source(damaged_chunk(tmp_path / "m.nwb", 0, "timestamps", fletcher32=True))


# NDTiff indices


def test_axes_that_multiply_beyond_the_images_are_refused_at_once(tmp_path):
    axes = [f"a{k}" for k in range(8)]
    images = {tuple((axis, n) for axis in axes): MOVIE[n] for n in range(30)}
    path, began = write_ndtiff(tmp_path / "nd", images), time.process_time()
    with pytest.raises(SourceError, match=f"{30**8 - 30} of {30**8} images are not there"):
        open_source(path)
    assert time.process_time() - began < 5


def test_an_index_of_many_images_opens_in_time_that_grows_with_it(tmp_path):
    path = write_ndtiff(tmp_path / "nd", {(("time", 10_000),): MOVIE[0]})
    one = (path / "NDTiff.index").read_bytes()
    (path / "NDTiff.index").write_bytes(b"".join(one.replace(b"10000", b"%d" % n) for n in range(10_000, 80_000)))
    began = time.process_time()
    with open_source(path) as source:
        assert source.series.frames == 70_000
    assert time.process_time() - began < 10  # of a core, however many share it


@pytest.mark.parametrize(
    "axes", ["[1]", '"time"', '{"time": [1]}', '{"time": null}', '{"time": {}}', "[" * 5000, "\x00"]
)
def test_axes_that_are_no_axes_are_one_line(tmp_path, axes):
    path = write_ndtiff(tmp_path / "nd", {(("time", 0),): MOVIE[0]})
    index, name = (path / "NDTiff.index").read_bytes(), json.dumps({"time": 0}).encode()
    head = struct.pack("<I", len(name)) + name
    (path / "NDTiff.index").write_bytes(index.replace(head, struct.pack("<I", len(axes)) + axes.encode()))
    with pytest.raises(SourceError, match=r"damaged after 0 images") as refused:
        open_source(path)
    assert "\n" not in str(refused.value)


# What is no file


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes in folders")
@pytest.mark.parametrize("name", ["m.tif", "m.npy", "m.h5"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(SourceError, match="neither a file nor a folder, but a pipe or a device"):
        open_source(tmp_path / name)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_an_ndtiff_folder_shows_no_file_of_another(tmp_path):
    path = write_ndtiff(tmp_path / "nd", {(("time", n),): frame for n, frame in enumerate(MOVIE)})
    (path / "NDTiffStack.tif").unlink()
    (path / "NDTiffStack.tif").symlink_to(secret(tmp_path))
    with pytest.raises(SourceError, match=r"'NDTiffStack.tif' is no file in this folder"):
        open_source(path)


def test_a_zarr_packed_as_python_objects_is_refused(tmp_path):
    zarr.create_array(tmp_path / "m.zarr", shape=MOVIE.shape, chunks=(8, *SHAPE), dtype="u2", zarr_format=2)
    facts = json.loads((tmp_path / "m.zarr" / ".zarray").read_text())
    (tmp_path / "m.zarr" / ".zarray").write_text(json.dumps({**facts, "filters": [{"id": "pickle", "protocol": 5}]}))
    with pytest.raises(SourceError, match="pickle"):
        open_source(tmp_path / "m.zarr")


@pytest.mark.parametrize("dtype", ["O", "V0", "S0", "u2,u2", "i8", "(2", "a;b"])
def test_raw_bytes_are_frames_of_known_types(tmp_path, dtype):
    (tmp_path / "m.raw").write_bytes(MOVIE.tobytes())
    with pytest.raises(SourceError) as refused:
        open_source(f"{tmp_path / 'm.raw'}?dtype={dtype}&shape=12x16")
    assert "dtype" in str(refused.value) or "key=value" in str(refused.value)
