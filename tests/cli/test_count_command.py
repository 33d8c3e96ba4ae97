"""`streamfluo count` as a person uses it: traces in, a table, files and plots out."""

import csv
from functools import partial

import numpy as np
import pytest
from commands import printed
from emitter_traces import simulated
from matplotlib.image import imread

from streamfluo import StreamfluoError

count = partial(printed, "count")


def test_a_table_gives_counts_posteriors_and_plots(tmp_path):
    traces, _ = simulated("lognormal", (1, 2, 2), 300)
    traces[1, 4] = np.nan
    header = "red;green;blue"
    np.savetxt(tmp_path / "t.csv", traces.T, delimiter=";", header=header, comments="")
    said = count(tmp_path / "t.csv", "--max-emitters", 3)
    assert "skipped" in said
    folder = tmp_path / "t-counts"
    with (folder / "counts.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["y"] for row in rows] == ["1", "", "2"]
    assert "not finite" in rows[1]["skipped"]
    assert sum(float(rows[2][f"P(y={y})"]) for y in range(4)) == pytest.approx(1, abs=1e-4)
    with np.load(folder / "counts.npz") as found:
        assert found["posterior"].shape == (3, 4)
    assert imread(folder / "trace_0000.png").std() > 0.01
    assert not (folder / "trace_0001.png").exists()


def test_an_array_is_counted_alone_without_plots(tmp_path):
    traces, _ = simulated("camera", (1, 2), 300)
    np.save(tmp_path / "t.npy", traces)
    words = ("--max-emitters", 3, "--emission", "camera", "--alone", "--no-plots", "--out", tmp_path / "C")
    count(tmp_path / "t.npy", *words)
    assert sorted(p.name for p in (tmp_path / "C").iterdir()) == ["counts.csv", "counts.npz"]


BAD = {
    "no such file": ("nowhere.csv", None, (), "nowhere.csv cannot be read"),
    "empty": ("t.csv", "\n", (), "it is empty"),
    "ragged": ("t.csv", "1,2\n3\n", (), "line 2 has 1 fields, not 2"),
    "a word": ("t.csv", "1,2\n3,x\n", (), "column '1' holds words; a trace is a column of numbers"),
    "max below min": ("t.csv", "1,2\n" * 9, ("--max-emitters", 1, "--min-emitters", 2), "--max-emitters = 1 is below"),
    "constant": ("t.csv", "1,2\n" * 9, (), "trace 0 is constant at 1 .*|trace 0 is constant"),
    "no such emission": ("t.csv", "1,2\n" * 9, ("--emission", "gauss"), "found 'gauss'"),
}


@pytest.mark.parametrize(("name", "text", "words", "message"), BAD.values(), ids=BAD)
def test_bad_input_gets_one_clear_line(tmp_path, name, text, words, message):
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(StreamfluoError, match=message):
        count(tmp_path / name, *words)
