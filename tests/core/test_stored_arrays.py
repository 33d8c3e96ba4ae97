"""Arrays of files that declare more than they hold: refused before memory is asked for."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from streamfluo import Camera, StreamfluoError
from streamfluo.core.stored_arrays import NOT_AN_ARRAY, read_array, stored_arrays
from streamfluo.engine.loading import load
from streamfluo.session.checkpoint import load_checkpoint
from streamfluo.session.schema import read_arrays

HUGE = 1 << 50


def header(shape, dtype="<f8", version=(1, 0)):
    written = io.BytesIO()
    write = np.lib.format.write_array_header_1_0 if version == (1, 0) else np.lib.format.write_array_header_2_0
    write(written, {"descr": dtype, "fortran_order": False, "shape": shape})
    return written.getvalue()


def zipped(path, *members, how=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", how) as made:
        for n, data in enumerate(members):
            made.writestr(f"a{n}.npy", data)
    return path


def with_sizes(path, nbytes):
    """The list of arrays says that the first one is so large, packed and not."""
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02") + 20
    data[at : at + 8] = 2 * nbytes.to_bytes(4, "little")
    path.write_bytes(data)
    return path


def listed_twice(path):
    """A list of many arrays whose bytes are the same ones."""
    data = zipped(path, header((1 << 17,)) + bytes(1 << 20)).read_bytes()
    at, end = data.rfind(b"PK\x01\x02"), data.rfind(b"PK\x05\x06")
    entries = b"".join(data[at:end].replace(b"a0", f"{n:02d}".encode()) for n in range(99))
    tail = bytearray(data[end:])
    tail[8:12] = 2 * (99).to_bytes(2, "little")
    tail[12:16] = len(entries).to_bytes(4, "little")
    path.write_bytes(data[:at] + entries + tail)
    return path


def read_all(path):
    with stored_arrays(path) as stored:
        return {name: stored.read(name) for name in stored.names}


BOMBS = {
    "a shape of 2⁵⁰": lambda p: zipped(p, header((HUGE,))),
    "a shape beyond any number": lambda p: zipped(p, header((HUGE, HUGE, HUGE))),
    "items of 2 GB": lambda p: zipped(p, header((9,), "|V2147483647")),
    "version 2 of the format": lambda p: zipped(p, header((HUGE,), version=(2, 0))),
    "zeros, packed": lambda p: zipped(p, header((1 << 27,), "|u1") + bytes(1 << 27), how=zipfile.ZIP_BZIP2),
    "a list with sizes of 4 GB": lambda p: with_sizes(zipped(p, header((3,))), 0xFFFFFFF0),
    "a list of one array a hundred times": listed_twice,
    "a short array": lambda p: zipped(p, header((100,)) + bytes(799)),
    "a long array": lambda p: zipped(p, header((100,)) + bytes(801)),
    "objects": lambda p: zipped(p, header((100,), "|O") + bytes(800)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_declares_more_than_it_holds_is_refused_in_one_line_and_takes_no_memory(tmp_path, name):
    path = BOMBS[name](tmp_path / "a.npz")
    tracemalloc.start()
    try:
        with pytest.raises(NOT_AN_ARRAY):
            read_all(path)
        arrays, wrong = read_arrays(path)
        assert wrong
        assert sum(a.nbytes for a in arrays.values()) <= path.stat().st_size
        assert load_checkpoint(path) is None
        for read in (Camera.load, load):
            with pytest.raises(StreamfluoError) as told:
                read(path)
            assert "\n" not in str(told.value)
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
    finally:
        tracemalloc.stop()


def test_a_session_holds_nothing_packed_and_others_may(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, frames=np.zeros((1000, 1000)))
    assert load(path).arrays["frames"].shape == (1000, 1000)
    arrays, wrong = read_arrays(path)
    assert (arrays, wrong) == ({}, ["'frames.npy' is packed, as this program packs none"])
    assert load_checkpoint(path) is None


@pytest.mark.parametrize(("shape", "dtype"), [((HUGE,), "<f8"), ((9,), "|V2147483647"), ((4, 4), "<u2"), ((), "|O")])
def test_an_npy_file_that_declares_more_than_it_holds_is_refused(tmp_path, shape, dtype):
    path = tmp_path / "a.npy"
    path.write_bytes(header(shape, dtype))
    with pytest.raises(NOT_AN_ARRAY):
        read_array(path)
    with pytest.raises(StreamfluoError, match=r"a\.npy cannot be read: ") as told:
        load(path)
    assert "\n" not in str(told.value)


def test_whole_arrays_come_back_to_the_bit(tmp_path):
    arrays = {
        "none": np.empty((0, 7)), "one": np.array(3.5), "many": np.arange(24, dtype=">i2").reshape(2, 3, 4),
        "turned": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "names": np.array(["a", "µm"]),
    }  # fmt: skip
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        back = read_all(tmp_path / "a.npz")
        for name, array in arrays.items():
            assert (back[name].dtype, back[name].tolist()) == (array.dtype, array.tolist())
    for array in arrays.values():
        np.save(tmp_path / "a.npy", array)
        assert read_array(tmp_path / "a.npy").tolist() == array.tolist()
