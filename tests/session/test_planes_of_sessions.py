"""Sessions of several planes: each reads like a session of its own, and exports have channel and slice in place."""

import csv

import numpy as np
import pytest
import tifffile

from streamfluo import Block, Plane, SessionError, Source, Spec, open_session, open_source
from streamfluo.core.names import plane_file_names
from streamfluo.core.source import Gap, Series
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session.export import export_session
from streamfluo.session.exported import VERIFIABLE, differences, export_verified

PLANES = tuple(
    Plane(c, z, z * 5.0, colour=colour) for c, colour in (("red", "#ff0000"), ("GFP 488", "")) for z in (0, 1, 2)
)
NAMES = tuple(plane.name for plane in PLANES)
FRAMES = 40
CHAIN = '[[step]]\nkind = "moments"\n[[step]]\nid = "binned"\nkind = "bin"\nparams = { bin_px = 2 }\nplanes = ["red"]\n'


def movie(name):
    rng = np.random.default_rng(NAMES.index(name))
    return rng.integers(0, 4000, (FRAMES, 6, 8), np.uint16)


class Planes(Source):
    """Frames of six planes in turn, those in `missing` (plane, index) left out."""

    seekable = False

    def __init__(self, missing=(), cut=4):
        self.spec = Spec((6, 8), "uint16", 0.5, 0.25, planes=PLANES)
        self.series = Series("several", "test", 5, FRAMES * len(PLANES))
        self._missing, self._cut, self._next = set(missing), cut, 0

    def blocks(self, max_frames=32):
        for start in range(self._next, FRAMES, self._cut):
            for n, plane in enumerate(PLANES):
                for index in range(start, min(start + self._cut, FRAMES)):
                    if (plane.name, index) in self._missing:
                        yield Gap(index, 1, "camera", plane.name)
                    else:
                        pixels = movie(plane.name)[index : index + 1]
                        yield Block(index, [index * 500_000_000 + n], pixels, plane.channel, plane.z)

    def seek(self, index):
        self._next = index


def recorded(tmp_path, missing=(), text=CHAIN):
    engine = Engine(Planes(missing), parse_config(text, "c.toml"), tmp_path / "S")
    engine.start()
    assert engine.wait(60)
    assert engine.error is None
    return open_session(tmp_path / "S")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("whole"))


HOLES = {("red/1", 3), ("red/1", 4), ("GFP 488/0", 39)}


@pytest.fixture(scope="module")
def holed(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("holed"), HOLES)


def test_each_plane_reads_like_a_session_of_its_own(whole):
    assert whole.planes == NAMES
    assert whole.frames == FRAMES * len(PLANES)
    for name in NAMES:
        plane = whole.plane(name)
        assert (plane.frames, plane.lost, plane.spec.channel) == (FRAMES, 0, name.rpartition("/")[0])
        np.testing.assert_array_equal(plane.read_frames(0, FRAMES), movie(name))
        np.testing.assert_array_equal(whole.read_frames(5, 9, plane=name), movie(name)[5:9])
        np.testing.assert_allclose(plane.snapshot("moments")["mean"], movie(name).mean(0), rtol=1e-6)
        np.testing.assert_allclose(plane.values("moments")["total_signal"], movie(name).sum((1, 2)), rtol=1e-6)
        assert plane.steps["moments"].after == "source"
    assert list(whole.plane("red/0").steps) == ["moments", "binned"]
    assert list(whole.plane("GFP 488/0").steps) == ["moments"]


def test_the_whole_session_has_the_steps_of_every_plane_under_its_name(whole):
    assert set(whole.steps) == {f"{name}/moments" for name in NAMES} | {f"red/{z}/binned" for z in range(3)}
    np.testing.assert_array_equal(
        whole.values("red/2/moments")["total_signal"], whole.plane("red/2").values("moments")["total_signal"]
    )


def test_no_channels_name_is_the_name_of_a_file(whole):
    assert not [path for path in whole.path.rglob("*") if "GFP" in path.name or "red" in path.name]


def test_gaps_are_counted_by_plane(holed):
    assert [(gap.plane, gap.first, gap.count) for gap in holed.gaps] == [
        ("red/1", 3, 1),
        ("red/1", 4, 1),
        ("GFP 488/0", 39, 1),
    ]
    assert holed.lost == 3
    assert {name: holed.plane(name).lost for name in NAMES if holed.plane(name).lost} == {"red/1": 2, "GFP 488/0": 1}
    assert holed.health["planes"]["red/1"] == {"frames": 38, "lost": 2, "next_index": 40}
    np.testing.assert_array_equal(holed.read_frames(2, 6, plane="red/1"), movie("red/1")[[2, 5]])


def test_frames_of_several_planes_are_read_by_plane(whole):
    with pytest.raises(SessionError, match="several planes, name one: red/0, red/1, red/2, GFP 488/0"):
        whole.read_frames(0, 3)
    with pytest.raises(SessionError, match=r"no plane 'rde/0'; did you mean 'red/0'\?"):
        whole.read_frames(0, 3, plane="rde/0")
    with pytest.raises(SessionError, match="no step 'blue/0/moments'"):
        whole.values("blue/0/moments")


GRID = np.stack([[movie(f"{channel}/{z}") for z in range(3)] for channel in ("red", "GFP 488")]).transpose(
    2, 0, 1, 3, 4
)


def test_a_tiff_has_channel_and_slice_in_place(whole, tmp_path):
    export_session(whole, "tiff", tmp_path / "E", pixel_um=0.25)
    with tifffile.TiffFile(tmp_path / "E" / "frames.ome.tif") as tif:
        assert tif.series[0].axes == "TCZYX"
        np.testing.assert_array_equal(tif.asarray(), GRID)
        about = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]
    assert [channel["Name"] for channel in about["Channel"]] == ["red", "GFP 488"]
    assert (about["PhysicalSizeZ"], about["PhysicalSizeX"], about["TimeIncrement"]) == (5.0, 0.25, 0.5)
    rows = list(csv.DictReader((tmp_path / "E" / "frames.csv").read_text().splitlines()))
    assert len(rows) == FRAMES
    assert (rows[3]["index"], rows[3]["t_ns GFP 488/1"]) == ("3", str(3 * 500_000_000 + 4))
    assert (tmp_path / "E" / "red-1" / "moments.mean.tif").exists()
    assert (tmp_path / "E" / "GFP-488-0" / "moments.mean.tif").exists()


def test_a_tiff_is_read_back_as_the_same_planes(whole, tmp_path):
    export_session(whole, "tiff", tmp_path / "E")
    with open_source(f"{tmp_path / 'E' / 'frames.ome.tif'}?planes=all") as source:
        found = {name: [] for name in NAMES}
        assert source.spec.plane_names == NAMES
        assert [plane.z_um for plane in source.spec.planes] == [0.0, 5.0, 10.0] * 2
        for block in source.blocks():
            found[block.plane].append(block.pixels)
    for name, parts in found.items():
        np.testing.assert_array_equal(np.concatenate(parts), movie(name))


def test_an_ome_zarr_has_channel_and_slice_in_place(whole, tmp_path):
    zarr = pytest.importorskip("zarr")
    pytest.importorskip("ome_writers")
    export_session(whole, "ome-zarr", tmp_path / "E")
    np.testing.assert_array_equal(zarr.open(tmp_path / "E" / "frames.ome.zarr", mode="r")["0"][:], GRID)
    with open_source(f"{tmp_path / 'E' / 'frames.ome.zarr'}?planes=all") as source:
        assert source.series.frames == FRAMES * len(PLANES)


def test_arrays_and_tables_are_exported_by_plane(whole, tmp_path):
    export_session(whole, "npy", tmp_path / "E")
    np.testing.assert_array_equal(np.load(tmp_path / "E" / "frames.npy"), GRID)
    values = np.load(tmp_path / "E" / "red-1" / "moments.values.npz")
    np.testing.assert_array_equal(values["index"], np.arange(FRAMES))
    export_session(whole, "csv", tmp_path / "C")
    assert (tmp_path / "C" / "GFP-488-2" / "moments.values.csv").exists()


@pytest.mark.parametrize("to", ["tiff", "npy"])
def test_time_points_that_lack_a_plane_are_exported_plane_by_plane_nothing_is_filled(holed, tmp_path, to):
    written = export_session(holed, to, tmp_path / "E")
    read = tifffile.imread if to == "tiff" else np.load
    ending = {"tiff": "ome.tif", "npy": "npy"}[to]
    complete = [n for n in range(FRAMES) if n not in (3, 4, 39)]
    np.testing.assert_array_equal(read(tmp_path / "E" / f"frames.{ending}"), GRID[complete])
    for name, file in plane_file_names(NAMES).items():
        rest = [n for n in (3, 4, 39) if (name, n) not in HOLES]
        found = read(tmp_path / "E" / f"frames.incomplete.{file}.{ending}").reshape(-1, 6, 8)
        np.testing.assert_array_equal(found, movie(name)[rest])
        rows = list(csv.reader((tmp_path / "E" / f"frames.incomplete.{file}.csv").read_text().splitlines()))[1:]
        assert [int(row[0]) for row in rows] == rest
    assert all(path.exists() for path in written)
    rows = list(csv.DictReader((tmp_path / "E" / "gaps.csv").read_text().splitlines()))
    assert [(row["plane"], row["first"]) for row in rows] == [("red/1", "3"), ("red/1", "4"), ("GFP 488/0", "39")]


def test_a_session_is_a_source_of_its_planes_again(holed):
    with open_source(holed.path) as source:
        assert source.spec.planes == PLANES
        seen = {name: set() for name in NAMES}
        for item in source.blocks(7):
            if isinstance(item, Gap):
                assert all((item.plane, n) in HOLES for n in range(item.first, item.first + item.count))
                continue
            np.testing.assert_array_equal(item.pixels, movie(item.plane)[item.index : item.stop])
            seen[item.plane] |= set(range(item.index, item.stop))
    assert seen == {name: {n for n in range(FRAMES) if (name, n) not in HOLES} for name in NAMES}


@pytest.mark.parametrize(
    ("selection", "names"),
    [("planes=red", NAMES[:3]), ("planes=GFP 488/1", ("",)), ("planes=red/2,GFP 488/0", NAMES[2:4])],
)
def test_planes_of_a_session_are_selected(whole, selection, names):
    with open_source(f"{whole.path}?{selection}&frames=3:9&roi=1:5,:4") as source:
        assert source.spec.plane_names == names
        assert source.series.frames == 6 * len(names)
        for block in source.blocks():
            name = block.plane if source.spec.planes else "GFP 488/1"
            np.testing.assert_array_equal(block.pixels, movie(name)[block.index : block.stop, 1:5, :4])


def test_file_names_of_planes_that_are_alike_have_their_number():
    assert plane_file_names(("a b/0", "a-b/0", "c/0")) == {"a b/0": "0-a-b-0", "a-b/0": "1-a-b-0", "c/0": "2-c-0"}


@pytest.mark.parametrize("to", VERIFIABLE)
def test_a_verified_export_holds_every_frame_of_every_plane(holed, tmp_path, to):
    note = export_verified(holed, to, tmp_path / "E", tmp_path / "aside", lambda nbytes: None)
    assert (note.why, note.frames) == ("", sum(holed.plane(name).frames for name in NAMES))
    assert differences(holed.path, lambda nbytes: None) == ""
