"""Cells that people draw in a run: through control, in the session, made again by a rerun and a run that resumes."""

import numpy as np
import pytest
from toys import block
from turnstile import Turnstile, events, let, running, until

from streamfluo import ConfigError, SourceError, open_session, open_source
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

VOLTAGE = (
    'kind = "voltage"\nparams = { masks = [[[0, 0], [0, 2], [2, 2], [2, 0]]], interval_s = 0.001, context_px = 2 }'
)
DRAWN = [[[1.6, 1.6], [1.6, 3.4], [3.4, 3.4], [3.4, 1.6]], [[0.0, 2.6], [0.0, 3.4], [1.0, 3.4], [1.0, 2.6]]]
NAMES = ("ids", "dff", "trace", "spiked")


def voltage(folder):
    return open_session(folder).values("voltage")


def played(source, config, out, **options):
    with source:
        engine = Engine(source, parse_config(config.read_text()), out, **options)
        engine.start()
        assert engine.wait(60)


def test_drawn_cells_stand_in_the_session_with_author_and_frame_and_a_rerun_gives_the_same_bits(tmp_path):
    folder, again, without = (tmp_path / name for name in ("s", "again", "without"))
    with running(Turnstile([block(n, n + 1) for n in range(90)]), folder, VOLTAGE) as (engine, control):
        let(engine, 20)
        added = control.curate("voltage", "add", polygons=DRAWN, author="anna", note="by eye")
        assert (added.frame, added.said) == (20, "decision 1: add 1 2")
        let(engine, 20)
        assert control.curate("voltage", "remove", [0], author="ben").frame == 40
        let(engine, 20)
        assert control.curate("voltage", "undo", undo_of=1, author="ben").frame == 60
        let(engine, 30)
    told = events(folder, "curate")
    assert [(e["frame"], e["verb"], e["author"], e["number"], e["undo_of"]) for e in told] == [
        (20, "add", "anna", 1, 0), (40, "remove", "ben", 2, 0), (60, "undo", "ben", 3, 1),
    ]  # fmt: skip
    assert told[0]["polygons"] == DRAWN
    assert all("polygons" not in event for event in told[1:])
    values = voltage(folder)
    rows = {name: values["decisions"][name].tolist() for name in ("frame", "id", "decision", "by", "note")}
    assert rows == {
        "frame": [20, 20, 40, 60, 60], "id": [1, 2, 0, 1, 2], "decision": ["added", "added", "removed", "", ""],
        "by": ["anna", "anna", "ben", "ben", "ben"], "note": ["by eye", "by eye", "", "", ""],
    }  # fmt: skip
    seen = {i: np.flatnonzero(values["trace"][:, k]) for k, i in enumerate(values["ids"].tolist())}
    assert seen[1].min() >= 20
    assert seen[1].max() < 60
    assert seen[0].max() < 40
    played(open_source(str(folder)), folder / "config.toml", again)
    assert all(np.array_equal(voltage(again)[n], values[n], equal_nan=True) for n in NAMES)
    assert events(again, "curate") == told
    played(open_source(str(folder)), folder / "config.toml", without, changes=())
    assert voltage(without)["ids"].tolist() == [0]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"decision": "add"}, "add what? draw it: polygons, corners"),
        ({"decision": "add", "polygons": [[[0, 0], [9, 9]]]}, "polygons[0]: expected a list of length >= 3"),
        ({"decision": "add", "polygons": [[[0, 0], [0, 4], [1e9, 4]]]}, "polygons[0][2][0]: expected a number <="),
        ({"decision": "add", "polygons": [[[90, 90], [90, 99], [99, 99]]]}, "region 0 has no pixel in frames"),
        ({"decision": "add", "polygons": DRAWN, "ids": [1]}, "add takes no ids"),
        ({"decision": "remove", "ids": [4]}, "no cell 4; the newest is 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line_and_changes_nothing(words, reason, tmp_path):
    with running(Turnstile([block(n, n + 1) for n in range(9)]), tmp_path / "s", VOLTAGE) as (engine, control):
        let(engine, 5)
        with pytest.raises((SourceError, ConfigError)) as told:
            control.ask("curate", step="voltage", **words)
        assert reason in str(told.value)
        assert "\n" not in str(told.value)
        let(engine, 4)
    assert voltage(tmp_path / "s")["ids"].tolist() == [0]
    assert not events(tmp_path / "s", "curate")


def test_a_run_that_resumes_has_what_was_drawn(tmp_path):
    frames = [block(n, n + 1) for n in range(70)]
    with running(Turnstile(frames, seekable=True), tmp_path / "s", VOLTAGE) as (engine, control):
        let(engine, 20)
        control.curate("voltage", "add", polygons=DRAWN[:1], author="anna")
        let(engine, 20)
    with running(Turnstile(frames, seekable=True), tmp_path / "s", VOLTAGE, resume=True) as (engine, control):
        engine.source.free.release(60)
        until(lambda: engine.health().frames == 60)
        assert control.curate("voltage", "remove", [1]).said == "decision 2: remove 1"
    with running(Turnstile(frames), tmp_path / "whole", VOLTAGE) as (engine, control):
        let(engine, 20)
        control.curate("voltage", "add", polygons=DRAWN[:1], author="anna")
        let(engine, 40)
    for name in NAMES:
        assert np.array_equal(voltage(tmp_path / "s")[name], voltage(tmp_path / "whole")[name], equal_nan=True), name
