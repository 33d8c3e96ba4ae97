"""What is asked of a catalogue is bound, never pasted: what fits is found, anything else is one line with the names."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from facility import copied

from streamfluo.catalogue.database import opened, put, transaction
from streamfluo.catalogue.entry import Entry, Measured
from streamfluo.catalogue.filters import span_of
from streamfluo.catalogue.find import Query, csv_cell, find, write_csv, write_json
from streamfluo.catalogue.scan import scan
from streamfluo.core.errors import ConfigError


def entry(name, began, measures=(), words=None, **fields):
    about = {"name": name, "path": f"/data/{name}", "state": "finished", "began": began, "steps": "motion extract"}
    return Entry({**about, "frames": 100, "lost": 0, **fields}, list(measures), words or {})


def cells(count, snr=5.0, step="extract"):
    return [Measured("motion", "motion", "motion_px", 2.0), Measured(step, "extract", "cells", count),
            Measured(step, "extract", "snr", snr)]  # fmt: skip


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "catalogue.sqlite"
    kept = [
        entry("a", "2026-10-31T23:59:59Z", cells(20), {"user.mouse": "M1", "user.weight_g": "21.5"}, lost=3),
        entry("b", "2026-11-01T00:00:00Z", cells(60), {"user.mouse": "M2"}, source="tcp://left:5555"),
        entry("c", "2026-11-30T12:00:30Z", cells(80, 9.0, "green/extract"), rig="left"),
        entry("d", "2026-12-01T00:00:00Z", steps="spots", state="failed", reason="=1+1"),
        entry("=e", None, cells(70), state="unreadable", frames=None),
    ]
    with opened(path, write=True) as connection, transaction(connection):
        for one in kept:
            put(connection, one, {"signature": "", "read_by": "1", "read_utc": "", "root": ""})
    return path


def names(file, *where, **query):
    return [row.fields["name"] for row in find(file, Query(where, **query)).rows]


FITTING = {
    "cells > 50": {"b", "c", "=e"},
    "cells>50 and snr >= 9": {"c"},
    "cells > 50 AND lost = 0 and state = finished": {"b", "c"},
    "extract.cells < 30": {"a"},
    "green/extract.cells = 80": {"c"},
    "motion.cells > 1": set(),
    "motion.motion_px = 2": {"a", "b", "c", "=e"},
    "source ~ LEFT": {"b"},
    "user.mouse = M1": {"a"},
    "user.mouse ~ m": {"a", "b"},
    "user.weight_g > 20": {"a"},
    "name = '=e'": {"=e"},
    "began = 2026-11": {"b", "c"},
    "began = 2026-11-30T12:00": {"c"},
    "began != 2026-11": {"a", "d"},
    "began <= 2026-11-01": {"a", "b"},
    "began > 2026-11-30": {"d"},
    "reason = '=1+1'": {"d"},
    'state == "no and so on\'"': set(),
}


@pytest.mark.parametrize("where", FITTING)
def test_a_condition_finds_the_sessions_that_fit(file, where):
    assert {*names(file, where)} == FITTING[where]


def test_dates_steps_and_several_conditions_all_hold(file):
    assert {*names(file, since="2026-11", until="2026-11")} == {"b", "c"}
    assert names(file, since="2026-11-01", until="2026-11-30", step="extract", sort="cells") == ["c", "b"]
    assert names(file, "cells > 50", "rig = left") == ["c"]
    assert {*names(file, step="spots")} == {"d"}
    assert names(file, step="green/extract") == ["c"]


def test_numbers_are_sorted_from_the_largest_texts_from_a_and_what_is_not_known_comes_last(file):
    assert names(file, sort="cells") == ["c", "=e", "b", "a", "d"]
    assert names(file, sort="cells", reverse=True) == ["a", "b", "=e", "c", "d"]
    assert names(file, sort="name") == ["=e", "a", "b", "c", "d"]
    assert names(file, sort="user.mouse")[:2] == ["a", "b"]
    assert names(file)[-1] == "=e"
    found = find(file, Query(sort="lost", limit=1))
    assert (found.rows[0].fields["name"], found.total) == ("a", 5)


BAD = {
    "cels > 50": r"no column 'cels'; did you mean 'cells'\?; columns: began, name, .*; measured: cells, motion_px, snr",
    "nothing.cells > 1": "no column 'nothing.cells'",
    "user.rat = 1": "said by the sender: user.mouse, user.weight_g",
    "cells > fifty": "cells is a number, found 'fifty'",
    "cells > nan": "cells is a number",
    "frames = 1e999": "frames is a number",
    "cells ~ 5": "cells is a number; ~ is for texts",
    "frames ~ 5": "frames is a number; ~ is for texts",
    "cells": "is no condition; write NAME = VALUE",
    "cells >": "is no condition",
    "zzzzzz = 1": "^no column 'zzzzzz'; columns: began, name, ",
    "name ~ 'a": 'quotes that begin at "\'a" do not end',
    "name ~ a and": "no condition after `and`",
    "cells > 5 or snr > 3": "there is no `or`",
    "began > yesterday": "a date is 2026-11",
    "began > 2026-13": "a date is 2026-11",
    "": "is no condition",
    "1=1; DROP TABLE sessions": "no column '1'",
    "name = x' OR 1=1 --": "there is no `or`",
    "s.name = x": "no column 's.name'",
    " and ".join(["lost = 0"] * 41): "at most 40 conditions",
}


@pytest.mark.parametrize("where", BAD)
def test_a_condition_that_cannot_be_is_one_line(file, where):
    with pytest.raises(ConfigError, match=BAD[where]) as told:
        names(file, where)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("value", ["x' OR '1'='1", 'x"; DROP TABLE sessions; --', "%", "_", "\0", "'", "?", "🔬"])
def test_no_value_becomes_part_of_a_statement(file, value):
    quote = '"' if '"' not in value else "'"
    if quote not in value:
        assert names(file, f"name = {quote}{value}{quote}") == []
        assert names(file, f"reason ~ {quote}{value}{quote}") == []
    assert names(file, step=value) == []
    with pytest.raises(ConfigError):
        names(file, sort=value)
    assert len(names(file)) == 5


def test_a_span_is_what_a_date_names():
    assert span_of("2026", "x") == ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z")
    assert span_of("2026-12", "x") == ("2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z")
    assert span_of("2026-02-28 23:59", "x") == ("2026-02-28T23:59:00Z", "2026-03-01T00:00:00Z")
    assert span_of("2026-02-28T23:59:59Z", "x") == ("2026-02-28T23:59:59Z", "2026-03-01T00:00:00Z")


def test_csv_has_every_column_and_runs_nothing_in_a_spreadsheet(file):
    text = io.StringIO()
    write_csv(find(file, Query()), [], text)
    rows = {row["path"]: row for row in csv.DictReader(io.StringIO(text.getvalue()))}
    assert rows["/data/c"]["cells"] == "80.0"
    assert rows["/data/a"]["user.mouse"] == "M1"
    assert rows["/data/d"]["reason"] == "'=1+1"
    assert rows["/data/=e"]["name"] == "'=e"


@pytest.mark.parametrize("begins", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_that_a_spreadsheet_would_run_is_written_as_it_is(begins):
    assert csv_cell(f"{begins}1+1") == f"'{begins}1+1"
    assert csv_cell(-1.5) == -1.5


def test_json_has_the_figures_of_each_step(file):
    text = io.StringIO()
    write_json(find(file, Query(("rig = left",))), [], text)
    [row] = json.loads(text.getvalue())
    assert row["measures"] == {"motion": {"motion_px": 2.0}, "green/extract": {"cells": 80.0, "snr": 9.0}}
    text = io.StringIO()
    write_json(find(file, Query(("rig = left",))), ["name", "cells", "user.mouse"], text)
    assert json.loads(text.getvalue()) == [{"name": "c", "cells": 80.0, "user.mouse": None}]


def test_a_table_shows_the_figures_that_most_sessions_have(file):
    found = find(file, Query())
    assert found.shown() == ["began", "name", "state", "steps", "frames", "lost", "cells", "motion_px", "snr"]
    assert found.shown(["name", "snr"]) == ["name", "snr"]
    with pytest.raises(ConfigError, match="no column 'colour'"):
        found.shown(["colour"])


def test_when_a_session_began_is_when_its_first_frame_came(tmp_path, first):
    copied(first, tmp_path / "shelf/one", began=datetime(2026, 3, 29, 1, 30, tzinfo=UTC))
    scan(tmp_path / "shelf", tmp_path / "c.sqlite")
    assert names(tmp_path / "c.sqlite", "began = 2026-03-29T01:30") == ["one"]
