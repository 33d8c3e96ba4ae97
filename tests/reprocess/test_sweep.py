"""Parameter sweeps: a grid checked before anything begins, a session each, a table and a picture of what depends."""

import csv

import numpy as np
import pytest
import tifffile

from streamfluo import open_session
from streamfluo.core.errors import ConfigError
from streamfluo.reprocess.one_recording import Outcome, reprocess_one
from streamfluo.reprocess.recordings import Recording, recordings
from streamfluo.sweep.grid import axes_of, check, point_name, points_of, tasks_of
from streamfluo.sweep.report import draw_sweep
from streamfluo.sweep.table import Row, figure_names, rows_of, telling, write_table
from streamfluo.sweep.truth import against_truth

CONFIG = '[[step]]\nkind = "bin"\nparams = { bin_px = 1 }\n[[step]]\nkind = "moments"\n'
STATED = ("binned.toml", CONFIG, ())
ONE = [Recording("day", "sim:spots?frames=6")]


@pytest.fixture
def movie(tmp_path):
    path = tmp_path / "day.tif"
    tifffile.imwrite(path, np.random.default_rng(2).poisson(40, (20, 24, 24)).astype(np.uint16))
    return path


def test_every_combination_of_every_recording_is_a_point_with_a_name_that_tells_it():
    axes = axes_of(["bin.bin_px=1,2", "bin.bin_frames=1,4,8"])
    points = points_of(axes, [*ONE, Recording("night", "x.tif")], 100)
    assert len({point.name for point in points}) == len(points) == 12
    assert points[1].name == "day_bin.bin_px=1_bin.bin_frames=4"
    assert points[1].changes == ("bin.bin_px=1", "bin.bin_frames=4")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a.b=1,2.5,-3", ("1", "2.5", "-3")),
        ("a.b=[1,2],[3,4]", ("[1,2]", "[3,4]")),
        ('a.b="x,y",z', ('"x,y"', "z")),
        ("a.b= rule , learned ", ("rule", "learned")),
    ],
)
def test_values_are_apart_at_commas_outside_of_brackets_and_quotes(text, values):
    assert axes_of([text])[0].values == values


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["bin.bin_px"], "write step.key=value"),
        (["bin_px=1,2"], "write step.key=value"),
        (["bin.bin_px=1,,2"], "write step.key=value"),
        (["bin.bin_px=1,2,1.0"], "1.0 is there twice"),
        (["bin.bin_px=1", "bin.bin_px=2"], "swept twice"),
    ],
)
def test_what_is_no_sweep_is_refused_in_one_line(texts, said):
    with pytest.raises(ConfigError, match=said):
        axes_of(texts)


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ("bins.space=1,2", "no step 'bins' in binned.toml; did you mean 'bin'"),
        ("bin.bin_pix=1,2", "no parameter 'bin_pix'; did you mean 'bin_px'"),
        ("bin.bin_px=1,two", "--sweep bin.bin_px=two: "),
        ("bin.bin_px=1,-2", "--sweep bin.bin_px=-2: "),
    ],
)
@pytest.mark.parametrize("uri", ["sim:spots?frames=6&shape=32x32", "gone.tif"])
def test_an_unknown_step_parameter_or_value_is_refused_before_anything_begins(sweep, said, uri):
    with pytest.raises(ConfigError, match=said):
        check(axes_of([sweep]), STATED, uri)


def test_a_grid_that_is_too_large_is_refused_with_its_number():
    axes = axes_of(
        [f"bin.bin_px={','.join(map(str, range(1, 41)))}", f"bin.bin_frames={','.join(map(str, range(1, 51)))}"]
    )
    with pytest.raises(ConfigError, match=r"40 × 50 values are 2,000 sessions, more than 1,000; .* --most 2000"):
        points_of(axes, ONE, 1000)
    assert len(points_of(axes, ONE, 2000)) == 2000


def test_long_and_strange_values_have_names_that_are_short_and_apart():
    long = [f"extract.seeds='/data/{'x' * 200}/{n}.npy'" for n in range(2)]
    names = [point_name("day", (one,)) for one in long]
    assert names[0] != names[1]
    assert all(len(name) <= 120 and "/" not in name and "'" not in name for name in names)
    assert point_name("day", ("a.b=[1, 2]",)) != point_name("day", ("a.b=12",))


def swept(movie, texts):
    axes = axes_of(texts)
    points = points_of(axes, recordings([str(movie)]), 100)
    out = movie.parent / "out"
    tasks = tasks_of(points, STATED, str(out))
    return axes, points, {task.recording.name: reprocess_one(task) for task in tasks}, out


def test_each_combination_is_a_session_of_its_own_and_what_is_done_is_left_alone(movie):
    _, points, outcomes, out = swept(movie, ["bin.bin_px=1,2,3"])
    assert [outcome.became for outcome in outcomes.values()] == ["done"] * 3
    for point, side in zip(points, (24, 12, 8), strict=True):
        assert open_session(out / point.name).snapshot("moments")["mean"].shape == (side, side)
    again = swept(movie, ["bin.bin_px=1,2,3,4"])[2]
    assert [outcome.became for outcome in again.values()] == ["there"] * 3 + ["done"]


def test_the_table_has_a_row_for_each_and_the_picture_what_depends(movie):
    axes, points, outcomes, out = swept(movie, ["bin.bin_px=1,2,3", "bin.bin_frames=1,2"])
    rows = list(rows_of(points, outcomes, out))
    assert "frames" in figure_names(rows)
    assert "frames" not in telling(rows, 9)
    path = write_table(out / "sweep.csv", axes, rows)
    with path.open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["bin.bin_px"], row["bin.bin_frames"]) for row in table] == [(s, t) for s in "123" for t in "12"]
    assert {row["became"] for row in table} == {"done"}
    for row in table:
        figures = {k: float(v) for k, v in row.items() if k.startswith("moments.") and v}
        assert figures == {k: v for k, v in rows[table.index(row)].figures.items() if k.startswith("moments.")}
    picture = draw_sweep(out / "sweep.png", axes, rows)
    assert telling(rows, 9)
    assert picture is not None
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_differs_between_recordings_alone_does_not_depend_on_what_was_swept():
    points = points_of(axes_of(["bin.bin_px=1,2"]), [Recording(day, f"{day}.tif") for day in ("one", "two")], 100)
    found = {"one": {"mean": 1.0, "noise": 2.0}, "two": {"mean": 5.0, "noise": 2.0}}
    rows = [Row(point, "done", (), dict(found[point.recording.name])) for point in points]
    assert telling(rows, 9) == []
    rows[0].figures["noise"] = 3.0
    assert telling(rows, 9) == ["noise"]


def test_a_combination_that_failed_has_a_row_without_figures(movie):
    axes = axes_of(["bin.bin_px=1,2"])
    points = points_of(axes, recordings([str(movie)]), 100)
    outcomes = {points[0].name: Outcome(points[0].name, "x", "failed", "broken")}
    rows = list(rows_of(points, outcomes, movie.parent / "out"))
    assert [(row.became, row.figures) for row in rows] == [("failed", {}), ("not begun", {})]


def test_no_cell_of_the_table_is_a_formula_that_a_spreadsheet_runs(tmp_path):
    axes = axes_of(['source.channel=@SUM(1),-1.5,=HYPERLINK("x")'])
    rows = [
        Row(point, "unreadable: +1", (point.changes[0].partition("=")[2],), {})
        for point in points_of(axes, [Recording("=1+1", "a.tif")], 9)
    ]
    with write_table(tmp_path / "sweep.csv", axes, rows).open(newline="") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))] == ["-1.5"]
    assert "'@SUM(1)" in cells
    assert '\'=HYPERLINK("x")' in cells
    assert "'=1+1" in cells


def test_spots_are_scored_against_the_truth_that_the_simulation_knew(tmp_path):
    """Moved by a pixel and a half and more, each localisation is a false one; as they are nearly all are found."""
    stated = ("spots.toml", '[[step]]\nkind = "spots"\n', ())
    task = tasks_of(points_of([], recordings(["sim:spots?frames=30&seed=3&shape=64x64"]), 1), stated, str(tmp_path))[0]
    assert reprocess_one(task).became == "done"
    session = open_session(tmp_path / task.recording.name)
    truth = dict(session.truth)
    found = against_truth(session, truth)
    assert found["found_share"] > 0.5
    moved = against_truth(session, {**truth, "y_px": truth["y_px"] + 500})
    assert moved["found_share"] == 0
    assert moved["false_a_frame"] > found["false_a_frame"]
    assert against_truth(session, {}) == {}
