"""OME-Zarr behind a web server: the same frames and gaps as on this disk, and one line for what is not there."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from streamfluo.core.errors import SourceError
from streamfluo.sources.opening import open_source
from streamfluo.sources.zarr_remote import RemoteZarrSource

zarr = pytest.importorskip("zarr")
pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")
from zarr_served import image, serving  # noqa: E402

ROOT = Path(__file__).parents[2]


@pytest.fixture
def served(tmp_path):
    with serving(tmp_path) as address:
        yield address


def frames(source):
    blocks = [block for block in source.blocks() if hasattr(block, "pixels")]
    return np.concatenate([block.pixels for block in blocks]), [(block.index, block.stop) for block in blocks]


@pytest.mark.parametrize("form", [2, 3])
def test_frames_elsewhere_are_those_on_this_disk(tmp_path, served, form):
    movie = image(tmp_path / "rec.zarr", form)
    with RemoteZarrSource(f"{served}/rec.zarr?frames=1:8&roi=2:10,0:7") as source:
        assert (source.spec.shape, source.spec.interval_s, source.series.frames) == ((8, 7), 0.5, 7)
        np.testing.assert_array_equal(frames(source)[0], movie[1:8, 2:10, :7])
        source.seek(3)
        np.testing.assert_array_equal(frames(source)[0], movie[4:8, 2:10, :7])
        assert source.series.source == f"{served}/rec.zarr?frames=1:8&roi=2:10,0:7"


def test_chunks_as_large_as_files_are_read_and_those_no_memory_holds_refused(tmp_path, served):
    for name, side in (("large", 1024), ("absurd", 1 << 15)):
        array = zarr.create_array(str(tmp_path / f"{name}.zarr"), shape=(20, side, side), chunks=(20, side, side),
                                  dtype="uint16", fill_value=0)  # fmt: skip
        if name == "large":
            array[:] = 7
    with RemoteZarrSource(f"{served}/large.zarr") as source:
        assert (source.spec.shape, source.series.frames) == ((1024, 1024), 20)
        assert (frames(source)[0] == 7).all()
    with pytest.raises(SourceError, match="a chunk would take 42949672960 bytes"):
        RemoteZarrSource(f"{served}/absurd.zarr")


def test_a_chunk_that_is_not_there_is_a_gap_and_no_black_frame(tmp_path, served):
    movie = image(tmp_path / "rec.zarr", fill=7)
    (tmp_path / "rec.zarr" / "0" / "2.0.0").unlink()
    with RemoteZarrSource(f"{served}/rec.zarr") as there, open_source(tmp_path / "rec.zarr") as here:
        pixels, spans = frames(there)
        np.testing.assert_array_equal(pixels, np.delete(movie, [4, 5], 0))
        assert spans == frames(here)[1]


def test_a_recording_that_has_changed_is_another_series(tmp_path, served):
    image(tmp_path / "rec.zarr")
    with RemoteZarrSource(f"{served}/rec.zarr") as source:
        first = source.series.uid
    with RemoteZarrSource(f"{served}/rec.zarr") as source:
        assert source.series.uid == first
    zarr.open(str(tmp_path / "rec.zarr"))["0"][8, 3, 3] = 60000
    with RemoteZarrSource(f"{served}/rec.zarr") as source:
        assert source.series.uid != first


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("/gone.zarr", "no Zarr that can be read there"),
        ("/rec.zarr?dataset=7", "no array '7'; arrays: none that is listed; name one"),
        ("/rec.zarr?follow=1", "follow"),
        ("/rec.zarr?frames=90:99", "frames=90:99"),
    ],
)
def test_what_is_not_there_is_one_line(tmp_path, served, uri, said):
    image(tmp_path / "rec.zarr")
    with pytest.raises(SourceError, match=said) as raised:
        RemoteZarrSource(served + uri)
    assert "\n" not in str(raised.value)


def test_a_server_that_is_away_is_one_line(tmp_path):
    with pytest.raises(SourceError, match=r"http://127\.0\.0\.1:9/rec\.zarr"):
        RemoteZarrSource("http://127.0.0.1:9/rec.zarr")


def test_more_chunks_than_can_be_asked_for_are_refused(tmp_path, served, monkeypatch):
    image(tmp_path / "rec.zarr")
    monkeypatch.setattr("streamfluo.sources.zarr_remote.MAX_ASKED", 4)
    with pytest.raises(SourceError, match="5 chunks, and a web server does not list"):
        RemoteZarrSource(f"{served}/rec.zarr")


def test_a_session_does_not_open_an_address_by_itself():
    assert not RemoteZarrSource.seekable  # what `stays` asks: who writes a session could have any address asked
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["streamfluo.schemes"]
    for scheme in ("s3", "http", "https"):
        assert known[scheme] == "streamfluo.sources.zarr_remote:RemoteZarrSource"


def test_a_store_that_lists_its_chunks_is_read_with_those_that_are_there(tmp_path, monkeypatch):
    memory = pytest.importorskip("fsspec.implementations.memory").MemoryFileSystem
    read = memory.cat_file

    def with_a_version_first(self, path, version_id=None, start=None, end=None, **kwargs):  # as s3fs has it
        assert version_id is None
        return read(self, path, start, end, **kwargs)

    monkeypatch.setattr(memory, "cat_file", with_a_version_first)
    movie = image(tmp_path / "rec.zarr", form=3, fill=7)
    memory().put(str(tmp_path / "rec.zarr"), "/bucket/rec.zarr", recursive=True)
    memory().rm("/bucket/rec.zarr/0/c/2/0/0")
    with RemoteZarrSource("memory://bucket/rec.zarr") as source:
        seen, spans = frames(source)
    np.testing.assert_array_equal(seen, np.delete(movie, [4, 5], 0))
    assert spans[0][0] == 0
