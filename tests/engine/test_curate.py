"""Decisions about a step's results: each at a frame, in the session, made again by a rerun and a resumed run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from systems import needs_signals
from toys import LEVEL, SPEC, Movie, a, block, chain, config, toys  # noqa: F401
from turnstile import Turnstile, events, let, ones, running

from streamfluo import Plane, SourceError, open_session, open_source
from streamfluo.client import ask
from streamfluo.core import wire
from streamfluo.core.control import request_words
from streamfluo.core.decision import Decision
from streamfluo.core.errors import ConfigError
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

FLAGGED = a("flagged", id="'flagged'")


def flagged(folder):
    return open_session(folder).values("flagged")["flagged"]


def rerun(folder, out, **options):
    with open_source(str(folder)) as source:
        again = Engine(source, parse_config((folder / "config.toml").read_text()), out, **options)
        again.start()
        assert again.wait(20)
    return again


def test_a_decision_takes_effect_at_a_frame_stands_in_the_session_and_is_made_again_in_a_rerun(tmp_path):
    with running(Turnstile(ones()), tmp_path / "s", FLAGGED, LEVEL) as (engine, control):
        let(engine, 7)
        answer = control.curate("flagged", "flag", [3, 4], note="vessel", author="anna")
        assert (answer.frame, answer.said) == (7, "flagged")
        let(engine, 40)
        assert control.curate("flagged", "flag", [5], author="ben").frame == 47
        let(engine, 3)
        assert control.curate("flagged", "undo", undo_of=1, author="anna").frame == 50
        let(engine, 10)
        assert control.curate("flagged", "undo", author="ben").frame == 60  # no frame comes after it
    np.testing.assert_array_equal(flagged(tmp_path / "s"), np.repeat([0, 7, 12, 5], [7, 40, 3, 10]))
    assert events(tmp_path / "s", "curate") == [
        dict(frame=7, step="flagged", verb="flag", ids=[3, 4], author="anna", note="vessel", number=1, undo_of=0),
        dict(frame=47, step="flagged", verb="flag", ids=[5], author="ben", note="", number=2, undo_of=0),
        dict(frame=50, step="flagged", verb="undo", ids=[], author="anna", note="", number=3, undo_of=1),
        dict(frame=60, step="flagged", verb="undo", ids=[], author="ben", note="", number=4, undo_of=2),
    ]
    rerun(tmp_path / "s", tmp_path / "again")
    np.testing.assert_array_equal(flagged(tmp_path / "again"), flagged(tmp_path / "s"))
    assert events(tmp_path / "again", "curate") == events(tmp_path / "s", "curate")
    rerun(tmp_path / "s", tmp_path / "without", changes=())
    assert not flagged(tmp_path / "without").any()


def test_what_people_may_decide_is_told_by_hello(tmp_path):
    with running(Turnstile(ones()), tmp_path / "s", FLAGGED, LEVEL) as (engine, _):
        takes = ask(engine.publisher.endpoint, wire.Hello()).takes
    assert takes == {"toy-flagged": {"flag": ("ids", "counts them"), "undo": ("nothing", "not again")}}


REFUSED = [
    ({"step": "flagged", "decision": "flog", "ids": [1]}, "no decision 'flog'; did you mean 'flag'?; it takes"),
    ({"step": "level", "decision": "flag", "ids": [1]}, "step 'level': no decision 'flag'; it takes none"),
    ({"step": "flagged", "decision": "flag"}, "flag which ones? name their ids"),
    ({"step": "flagged", "decision": "flag", "ids": [1, 1]}, "names an id twice: 1 1"),
    ({"step": "flagged", "decision": "flag", "ids": [12]}, "no id 12"),
    ({"step": "flagged", "decision": "undo", "ids": [1]}, "undo takes no ids, found 1"),
    ({"step": "flagged", "decision": "flag", "ids": [1], "undo_of": 1}, "only undo takes back a decision"),
    ({"step": "flagged", "decision": "undo"}, "nothing is to be taken back"),
    ({"step": "flagged", "decision": "flag", "ids": [1], "polygons": [[[0, 0], [0, 4], [4, 4]]]}, "flag takes nothing"),
    ({"step": "flegged", "decision": "undo"}, "no step 'flegged'; did you mean 'flagged'?"),
]  # fmt: skip


def test_what_cannot_be_decided_is_refused_in_one_line_and_changes_nothing(tmp_path):
    with running(Turnstile(ones()), tmp_path / "s", FLAGGED, LEVEL) as (engine, control):
        let(engine, 5)
        for words, reason in REFUSED:
            with pytest.raises(SourceError) as told:
                control.ask("curate", **words)
            assert reason in str(told.value)
            assert "\n" not in str(told.value)
        let(engine, 5)
    assert not flagged(tmp_path / "s").any()
    assert {event["event"] for event in open_session(tmp_path / "s").events} == {"closed"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("extract reject 12 14", {"step": "extract", "decision": "reject", "ids": [12, 14]}),
        ("green/0/extract merge 3 4", {"step": "green/0/extract", "decision": "merge", "ids": [3, 4]}),
        ("extract undo", {"step": "extract", "decision": "undo", "undo_of": 0}),
        ("extract undo 3", {"step": "extract", "decision": "undo", "undo_of": 3}),
        (
            "voltage add [[1,2],[1,8],[7.5,4]] [[20,2],[20,8],[27,4]]",
            {
                "step": "voltage",
                "decision": "add",
                "polygons": [[[1, 2], [1, 8], [7.5, 4]], [[20, 2], [20, 8], [27, 4]]],
            },
        ),
        ("voltage add [[1,2],[1,8]] 3", "write curate STEP VERB"),
        ("extract reject 12,14", "write curate STEP VERB"),
        ("extract", "write curate STEP VERB"),
        ("", "write curate STEP VERB"),
        ("extract undo 3 4", "takes back one decision, found the numbers 3 4"),
    ],
)
def test_decisions_are_written_as_people_say_them(words, expected):
    if isinstance(expected, dict):
        assert request_words("curate", words.split()) == expected
    else:
        with pytest.raises(ConfigError, match=expected):
            request_words("curate", words.split())


def test_decisions_take_effect_at_their_frames_however_they_come_in_blocks():
    def told(cuts):
        one = chain(FLAGGED)
        decisions = (
            (5, "flag", (3,), 1, 0),
            (5, "flag", (4,), 2, 0),
            (64, "undo", (), 3, 1),
            (70, "flag", (99,), 4, 0),
        )
        for frame, verb, ids, number, undo_of in decisions:
            decision = Decision(frame, "flagged", verb, ids, "anna", "", number, undo_of)
            one.changes.plan_recorded(decision, told=False)
        made = [one.push(block(start, stop)) for start, stop in cuts]
        assert [(event["event"], event["frame"]) for event in one.events] == [
            ("curate", 5), ("curate", 5), ("curate", 64), ("noted", 70),
        ]  # fmt: skip
        assert one.events[-1]["said"] == "decision 4, flag, is left out: no id 99"
        assert one.steps[0].muted is None
        return np.concatenate([out.values["flagged"] for results in made for _, out in results])

    for cuts in ([(0, 100)], [(0, 5), (5, 64), (64, 100)], [(n, n + 1) for n in range(100)], [(0, 70), (70, 100)]):
        np.testing.assert_array_equal(told(cuts), np.repeat([0, 7, 4], [5, 59, 36]))


def test_of_several_planes_the_step_of_one_is_named():
    one = chain(FLAGGED, spec=SPEC.with_(planes=(Plane("green", 0), Plane("green", 1))))
    reached = {"green/0": 5, "green/1": 7}
    with pytest.raises(ConfigError, match="which step\\? there are green/0/flagged, green/1/flagged"):
        one.changes.plan_decision(Decision(0, "flagged", "flag", (3,)), reached)
    decided, make = one.changes.plan_decision(Decision(0, "green/1/flagged", "flag", (3,)), reached)
    assert decided.decision == Decision(7, "green/1/flagged", "flag", (3,), number=1)
    make()
    again, _ = one.changes.plan_decision(Decision(0, "green/1/flagged", "flag", (4,)), {"green/0": 5, "green/1": 6})
    assert (again.decision.frame, again.decision.number) == (7, 2)  # behind the one that is to come


KILLED = """
import os, sys, time
sys.path.insert(0, {tests!r})
import toys
from toys import Movie, block, parse_config, register, FLAGGED
from streamfluo.engine.engine import Engine
from streamfluo.core.control import Curate
from pathlib import Path
for toy in toys.TOYS:
    register("toy-" + toy.__name__.lower())(toy)
text = parse_config("[record]\\ncheckpoint_s = {checkpoint_s}\\n[[step]]\\n" + {flagged!r})
engine = Engine(Movie([block(n, n + 1) for n in range(150)], wait=0.002), text, Path({out!r}))
engine.start()
def decided(n, after, **words):
    while engine.health().frames < after:
        time.sleep(0.001)
    engine.control.ask(Curate(nonce=str(n), step="flagged", author="anna", **words)).result(20)
decided(1, 30, decision="flag", ids=[3])
decided(2, 60, decision="flag", ids=[5])
decided(3, 60, decision="undo", undo_of=1)
while engine.health().frames < 120 or {checkpoint_s} < 1 and not Path({out!r}, "checkpoint.npz").exists():
    time.sleep(0.001)
os.kill(os.getpid(), 9)
"""


@needs_signals
@pytest.mark.parametrize("checkpoints", [True, False], ids=["from a checkpoint", "from the journal's start"])
def test_killed_after_decisions_it_goes_on_under_them(tmp_path, checkpoints):
    words = {"tests": str(Path(__file__).parents[1]), "out": str(tmp_path / "s"), "flagged": FLAGGED}
    program = KILLED.replace(", FLAGGED", "").format(**words, checkpoint_s=1e-6 if checkpoints else 1e6)
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == -9
    first, second, third = (event["frame"] for event in events(tmp_path / "s", "curate"))
    assert (tmp_path / "s" / "checkpoint.npz").exists() == checkpoints
    engine = Engine(Movie(ones()), config(FLAGGED), tmp_path / "s", resume=True)
    engine.start()
    assert engine.wait(20)
    expected = np.zeros(200)
    expected[first:] += 3
    expected[second:] += 5
    expected[third:] -= 3
    np.testing.assert_array_equal(flagged(tmp_path / "s"), expected)
    assert len(events(tmp_path / "s", "curate")) == 3
