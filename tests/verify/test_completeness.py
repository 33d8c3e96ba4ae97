"""What a session lacks is said: frames, losses, values, counters."""

import json

import pytest
from tampered import (
    CONFIG,
    FILES_ONLY,
    URI,
    Gappy,
    counted_otherwise,
    cut_frames,
    forget_manifest,
    found,
    resealed,
)

from streamfluo import open_session
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session.schema import sealed
from streamfluo.sources.opening import open_source
from streamfluo.verify.verifying import Wanted, verify_session


def test_a_run_that_did_not_end_is_incomplete(session):
    facts = json.loads((session / "session.json").read_text())
    resealed(session, state="running", manifest_blake2b=None)
    assert any("incomplete: session.json: interrupted" in one for one in found(session))
    resealed(session, state="aborted", manifest_blake2b=facts["manifest_blake2b"])
    assert verify_session(session, FILES_ONLY).code == 3


def test_frames_that_nothing_accounts_for_are_incomplete(session):
    cut_frames(session, 10, 13)
    forget_manifest(session)
    assert any(
        "incomplete: frames: frames 10 to 12: 3 neither recorded nor noted as lost" in one for one in found(session)
    )
    assert any("health.json counted 80, 77 are there" in one for one in found(session))


def test_values_that_a_step_should_have_given_are_missed(session):
    path = session / "values" / "moments.sfv"
    path.write_bytes(b"")
    forget_manifest(session)
    assert any("incomplete: moments: no values at all, of 80 frames" in one for one in found(session))


def test_losses_that_no_event_names_are_noticed(session):
    counted_otherwise(session, lost=5)
    assert "incomplete: gaps: health.json counted 5 lost frames, events name 0" in found(session)


def test_frames_behind_the_end_of_the_run_are_noticed(session):
    cut_frames(session, 10, 13)
    for step in ("motion", "moments"):
        (session / "values" / f"{step}.sfv").write_bytes(b"")
    counted_otherwise(session, next_index=70)
    assert "damaged: frames: 3 from 77 on, where the run says that it ended" in found(session)


@pytest.mark.parametrize("said", [{"elapsed_s": "long"}, {"lost": "none"}, {"frames": -1}])
def test_counters_that_are_none_are_damaged(session, said):
    counted_otherwise(session, **said)
    assert any(one.startswith("damaged: health.json: ") for one in found(session, Wanted()))


@pytest.mark.parametrize("said", [{}, {"step": "moments"}, {"step": "moments", "frame": "soon"}])
def test_an_event_that_does_not_say_what_was_muted_is_damaged(session, said):
    with (session / "events.jsonl").open("ab") as file:
        file.write(json.dumps(sealed({"event": "muted", **said})).encode() + b"\n")
    forget_manifest(session)
    assert any(one.startswith("damaged: events.jsonl, byte ") for one in found(session, Wanted()))


def test_frames_noted_as_lost_are_accounted_for(tmp_path):
    with open_source(URI) as source:
        gappy = type("G", (Gappy,), {})(source)
        engine = Engine(gappy, parse_config(CONFIG), tmp_path / "s")
        engine.start()
        engine.wait()
    assert open_session(tmp_path / "s").lost == 5
    assert found(tmp_path / "s", Wanted(full=True)) == []
