"""`streamfluo register`: sessions of two days, from movies to a table of cells."""

import csv
import re

import numpy as np
import pytest
from commands import command

from streamfluo import open_session, register_sessions
from streamfluo.cli import register as register_command

DAY = (
    "sim:calcium?animal=5&seed={}&shape=80x80&frames=200&neuron_sigma_px=3&motion_px=0&neurons=18&spike_rate_hz=1"
    "&day_common=0.9"
)


@pytest.fixture(scope="module")
def week(tmp_path_factory):
    folder = tmp_path_factory.mktemp("week")
    (folder / "cells.toml").write_text(
        '[[step]]\nkind = "extract"\nparams = { neuron_sigma_px = 3.0, init_frames = 100 }\n', encoding="utf-8"
    )
    for name, seed in (("monday", 1), ("tuesday", 2)):
        done = command("run", "cells.toml", "--source", DAY.format(seed), "--out", name, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def test_two_days_become_one_table(week):
    done = command("register", "monday", "tuesday", "--max-turn-deg", "3", "--no-picture", cwd=week)
    assert done.returncode == 0, done.stderr
    assert "on more than one day" in done.stdout
    with (week / "monday-registered" / "cells.csv").open(encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    days = {name: open_session(week / name).components() for name in ("monday", "tuesday")}
    for name, found in days.items():
        of_day = sorted(int(row["component"]) for row in rows if row["session"] == name)
        assert of_day == sorted(found.ids[found.accepted].tolist())
    assert sum(int(row["days"]) == 2 for row in rows) >= 8


def test_python_gives_the_same_table_and_leaves_out_what_people_rejected(week):
    days = [open_session(week / name) for name in ("monday", "tuesday")]
    found = register_sessions(days, max_turn_deg=3.0)
    first = int(found.component[found.day == 0][0])
    days[0].components().reject(first)
    fewer = register_sessions(days, max_turn_deg=3.0)
    days[0].components().restore(first)
    assert len(fewer) == len(found) - 1
    assert first not in fewer.component[fewer.day == 0]
    assert np.isin(fewer.component[fewer.day == 0], found.component[found.day == 0]).all()


def test_a_run_carries_yesterdays_ids(week):
    (week / "today.toml").write_text(
        '[[step]]\nkind = "extract"\nparams = { neuron_sigma_px = 3.0, init_frames = 100, init = "seeded", '
        'seeds = "monday", match_seeds = true }\n',
        encoding="utf-8",
    )
    done = command("run", "today.toml", "--source", DAY.format(2), "--out", "today", cwd=week)
    assert done.returncode == 0, done.stderr
    days = [open_session(week / name) for name in ("monday", "tuesday", "today")]
    known = days[0].components()
    (yesterday, unseeded), today = register_sessions(days[:2], max_turn_deg=3.0).ids().T, days[2].components()
    common = yesterday[(yesterday >= 0) & (unseeded >= 0)]
    carried = today.ids[today.accepted]
    assert np.isin(common, carried).mean() > 0.8
    new = np.setdiff1d(carried, known.ids)
    assert new.size == 0 or new.min() > known.ids.max()
    told = re.search(r"not seen of the \d+ cells of monday: ([\d, ]+)", done.stdout)
    unseen = {int(number) for number in told[1].split(",")} if told else set()
    events = days[2].values("extract")["events"]
    outside = events["id"][events["event"] == "refused"].tolist()
    assert {*np.setdiff1d(known.ids[known.accepted], carried).tolist()} == unseen | {*outside}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("monday",), "two sessions at least, found 1"),
        (("monday", "monday"), "is named twice; a session is one day"),
        (("monday", "sunday"), "sunday: no such session folder"),
        (("monday", "tuesday", "--max-turn-deg", "80"), "max_turn_deg is 0 to 40, found 80"),
        (("monday", "tuesday", "--out", "monday"), "monday: exists and is not empty; name another --out"),
        (("monday", "tuesday", "--step", "extracts"), "no step 'extracts' that extracts; there is extract"),
    ],
)
def test_what_cannot_be_registered_is_one_line(week, words, said):
    done = command("register", *(words if "--out" in words else (*words, "--out", "none")), cwd=week)
    assert done.returncode == 1
    assert not (week / "none").exists()
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_what_is_stopped_as_it_writes_leaves_no_folder(week, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(register_command, "_draw", stop)
    with pytest.raises(KeyboardInterrupt):
        register_command.register([week / "monday", week / "tuesday"], week / "stopped")
    assert not list(week.glob("stopped*"))


def test_a_session_without_cells_is_one_line(week):
    command("record", "sim:gain?frames=8&shape=32x32", "--out", "empty", cwd=week)
    done = command("register", "monday", "empty", "--out", "none", cwd=week)
    assert done.returncode == 1
    assert "empty: no step of kind 'extract' in it" in done.stderr
