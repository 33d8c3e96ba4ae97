"""Export: the same frames, values and snapshots in every format, and gaps that stay gaps."""

import csv

import numpy as np
import pytest
import tifffile
from toys import FRAMES, LEVEL, ONES, SPEC, Movie, config, toys  # noqa: F401

from streamfluo import SessionError, open_session, open_source
from streamfluo.core.source import Gap
from streamfluo.engine.engine import Engine
from streamfluo.session.csv_writer import as_table, column_names
from streamfluo.session.export import export_session
from streamfluo.session.pixel_sizes import pixel_of_shape

pytest.importorskip("ome_writers", reason="needs the extra [formats]")
SEEN = [*range(50), *range(53, 100)]
ITEMS = [*ONES[:50], Gap(50, 3, "camera"), *ONES[53:100]]


@pytest.fixture(scope="module")
def session(toys, tmp_path_factory):  # noqa: F811
    source = Movie(ITEMS)
    source.spec = SPEC.with_(pixel_um=0.5, channel="green")
    folder = tmp_path_factory.mktemp("s") / "S"
    engine = Engine(source, config(LEVEL, 'kind = "moments"\nafter = "source"'), folder)
    engine.start()
    assert engine.wait(20)
    return open_session(folder)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize(
    ("to", "name"),
    [("tiff", "frames.ome.tif"), ("ome-zarr", "frames.ome.zarr"), ("npy", "frames.npy"), ("nwb", "frames.nwb")],
)
def test_frames_come_back_from_every_format_with_their_facts(session, tmp_path, to, name):
    counted = []
    written = export_session(session, to, tmp_path / "E", counted.append)
    assert tmp_path / "E" / name in written
    assert counted == list(range(1, 98))
    with open_source(tmp_path / "E" / name) as source:
        assert np.array_equal(np.concatenate([b.pixels for b in source.blocks()]), FRAMES[SEEN])
        if to in ("tiff", "ome-zarr"):
            assert source.spec.interval_s == pytest.approx(0.1)
            assert source.spec.pixel_um == 0.5
    table = rows(tmp_path / "E" / "frames.csv")
    assert table[0] == ["index", "t_ns", "t_s"]
    assert [int(i) for i, *_ in table[1:]] == SEEN
    assert [int(t) for _, t, _ in table[1:]] == [100 * n for n in SEEN]
    assert [float(t) for *_, t in table[1:]] == [100 * n / 1e9 for n in SEEN]
    assert rows(tmp_path / "E" / "gaps.csv") == [["first", "t_s", "count", "lost by"], ["50", "5.0", "3", "camera"]]


@pytest.mark.parametrize(
    ("shape", "side"), [((10, 12), 0.5), ((3, 20, 24), 0.25), ((28, 34), 0.5 / 3), ((5, 6), 1.0), ((7, 90), None)]
)
def test_an_images_pixels_follow_from_how_many_lie_along_the_frames(shape, side):
    found = pixel_of_shape(shape, (10, 12), 0.5)
    assert found == (side if side is None else pytest.approx(side))


def test_pictures_carry_their_pixel_size_and_unit(session, tmp_path):
    export_session(session, "tiff", tmp_path / "E", pixel_um=0.16)
    for name in ("moments.mean.tif", "frames.ome.tif"):
        with tifffile.TiffFile(tmp_path / "E" / name) as file:
            assert 'PhysicalSizeX="0.16"' in file.ome_metadata
            assert 'PhysicalSizeXUnit="µm"' in file.ome_metadata
            x, per = file.pages[0].tags["XResolution"].value
            assert x / per == pytest.approx(1e4 / 0.16)
            assert file.pages[0].tags["ResolutionUnit"].value == 3  # centimetres


def test_image_snapshots_are_written_as_pictures(session, tmp_path):
    export_session(session, "tiff", tmp_path / "E")
    mean = tifffile.imread(tmp_path / "E" / "moments.mean.tif")
    assert np.allclose(mean, FRAMES[SEEN].mean(0))


def test_values_are_rows_of_frames(session, tmp_path):
    export_session(session, "csv", tmp_path / "E")
    table = rows(tmp_path / "E" / "level.values.csv")
    assert table[0] == ["frame", "t_s", "level"]
    assert [int(row[0]) for row in table[1:]] == SEEN
    assert [float(row[1]) for row in table[1:]] == [100 * n / 1e9 for n in SEEN]
    assert np.allclose([float(row[2]) for row in table[1:]], FRAMES[SEEN].mean((1, 2)))
    assert rows(tmp_path / "E" / "level.sum.csv")[0] == ["sum"]
    assert rows(tmp_path / "E" / "level.sum.csv")[1][0] == str(float(session.snapshot("level")["sum"]))
    assert not (tmp_path / "E" / "frames.csv").exists()


def test_values_and_snapshots_are_arrays_for_numpy(session, tmp_path):
    export_session(session, "npy", tmp_path / "E")
    with np.load(tmp_path / "E" / "level.values.npz") as values:
        assert values["index"].tolist() == SEEN
        assert values["t_s"].tolist() == [100 * n / 1e9 for n in SEEN]
        assert np.array_equal(values["level"], session.values("level")["level"])
    assert np.array_equal(np.load(tmp_path / "E" / "moments.mean.npy"), session.snapshot("moments")["mean"])


def test_vectors_and_ids_become_columns():
    values = {
        "shift_px": np.array([[1.0, 2.0], [3.0, 4.0]]),
        "ids": np.array([7, 9]),
        "trace": np.array([[0.1, 0.2], [0.3, 0.4]]),
    }
    header, table = as_table(np.array([4, 5]), values, {"trace"})
    assert header == ["frame", "shift_px[0]", "shift_px[1]", "trace[7]", "trace[9]"]
    assert list(table) == [(4, 1.0, 2.0, 0.1, 0.2), (5, 3.0, 4.0, 0.3, 0.4)]


@pytest.mark.parametrize(
    ("shape", "dims", "names"),
    [
        ((), ("t",), ["v"]),
        ((2,), ("t", "yx"), ["v[y]", "v[x]"]),
        ((2,), ("t", "accepted, candidates"), ["v[accepted]", "v[candidates]"]),
        ((1, 2), ("t", "py", "yx"), ["v[0,y]", "v[0,x]"]),
        ((4,), ("edge",), ["v[top]", "v[bottom]", "v[left]", "v[right]"]),
        ((3,), (), ["v[0]", "v[1]", "v[2]"]),
        ((2, 0), ("t", "a", "b"), []),
    ],
)
def test_columns_are_called_by_what_the_places_are(shape, dims, names):
    assert column_names("v", shape, dims) == names


def test_values_of_which_nothing_is_whole_are_a_table_without_rows():
    names, rows = as_table(np.empty(0, np.int64), {"level": np.empty(0), "shift": np.empty((0, 2))}, set())
    assert names == ["frame", "level", "shift[0]", "shift[1]"]
    assert list(rows) == []


def test_tables_keep_their_columns(session, tmp_path, monkeypatch):
    spots = {"frame": np.array([0, 0, 1]), "y_px": np.array([1.5, 2.5, 3.5])}
    monkeypatch.setattr(session, "values", lambda step: {"spots": spots})
    export_session(session, "csv", tmp_path / "E")
    t_s = str(100 / 1e9)
    assert rows(tmp_path / "E" / "level.spots.csv") == [
        ["frame", "t_s", "y_px"], ["0", "0.0", "1.5"], ["0", "0.0", "2.5"], ["1", t_s, "3.5"],
    ]  # fmt: skip


def test_what_is_there_is_not_overwritten_and_an_unknown_format_is_refused(session, tmp_path):
    (tmp_path / "E").mkdir()
    (tmp_path / "E" / "x").write_text("mine")
    with pytest.raises(SessionError, match="exists and is not empty; name another --out"):
        export_session(session, "npy", tmp_path / "E")
    with pytest.raises(
        SessionError, match=r"export to 'mat' is not possible from .*; there is tiff, ome-zarr, npy, nwb, csv"
    ):
        export_session(session, "mat", tmp_path / "F")
