"""What frames say of themselves as an input: one sample a frame, at its own time."""

import numpy as np
import pytest
from toys import Movie

from streamfluo import Block, ConfigError, SessionError, Spec, open_session, open_source
from streamfluo.core.source import Gap
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.inputs.opening import open_input

SPEC = Spec((4, 4), "uint16", interval_s=0.01)
TTL = '[[input]]\nname = "ttl"\nuri = "frame:TTL"\n'
STEPS = """
[[step]]
kind = "input"
id = "ttl"
params = { name = "ttl" }
[[step]]
kind = "trigger"
params = { when = "rising(ttl.value[0] > 0.5)" }
"""


def block(first, said, t0_ns=0):
    """Frames one after the other, of each what it says of itself."""
    times = t0_ns + np.arange(first, first + len(said)) * 10_000_000
    user = {first + n: one for n, one in enumerate(said) if one}
    return Block(first, times, np.ones((len(said), 4, 4), np.uint16), user=user)


def run(tmp_path, items, text=TTL, name="S", **more):
    source = Movie(items, seekable=False)
    source.spec = SPEC
    engine = Engine(source, parse_config("[record]\nraw = true\n" + text, "c.toml"), tmp_path / name, **more)
    engine.start()
    assert engine.wait(60)
    assert engine.error is None
    return open_session(tmp_path / name)


def test_each_frame_has_its_own_value_and_a_trigger_sees_it_at_that_frame(tmp_path):
    level = np.arange(60) % 7 > 4
    items = [block(n, [{"TTL": bool(on)} for on in level[n : n + 3]]) for n in range(0, 60, 3)]
    session = run(tmp_path, items, TTL + STEPS)
    np.testing.assert_array_equal(session.aligned("ttl")[:, 0], level)
    ttl = session.recorded_inputs.by_name["ttl"]
    np.testing.assert_array_equal(ttl.t_ns, np.arange(60) * 10_000_000)
    np.testing.assert_array_equal(ttl.frame, np.arange(60))
    assert ttl.clock.error_ns == 0
    np.testing.assert_array_equal(session.values("ttl")["value"][:, 0], level)
    rises = np.flatnonzero(np.diff(level.astype(int)) > 0) + 1
    np.testing.assert_array_equal(np.flatnonzero(session.values("trigger")["fired"]), rises)
    with open_source(tmp_path / "S") as source:  # and so does a rerun
        again = Engine(source, parse_config(TTL + STEPS, "c.toml"), tmp_path / "T")
        again.start()
        assert again.wait(60)
    np.testing.assert_array_equal(open_session(tmp_path / "T").values("trigger")["fired"].nonzero()[0], rises)


SAID = [
    ({"TTL": 1}, [1.0]),
    ({"TTL": "0.5"}, [0.5]),
    ({"TTL": [3]}, [3.0]),
    ({"TTL": 2, "other": "x"}, [2.0]),
    ({}, [np.nan]),
    ({"other": 1}, [np.nan]),
    ({"TTL": {"a": 1}}, [np.nan]),
    ({"TTL": None}, [np.nan]),
    ({"TTL": []}, [np.nan]),
    ({"TTL": ["on"]}, [np.nan]),
    ({"TTL": "on"}, [np.nan]),
    ({"TTL": [1, 2]}, [np.nan]),
]


def test_what_is_no_value_is_nan_of_that_frame_and_counted(tmp_path):
    items = [block(n, [said]) for n, (said, _) in enumerate(SAID)]
    session = run(tmp_path, items)
    np.testing.assert_array_equal(session.aligned("ttl"), [value for _, value in SAID])
    facts = session.health["inputs"]["ttl"]
    assert (facts["samples"], facts["of another width"]) == (4, 2)
    assert (facts["not in the frame"], facts["neither numbers nor text"]) == (3, 3)


def test_frames_that_never_came_and_planes_of_a_map(tmp_path):
    items = [block(0, [{"stage": {"z": 1.5, "x": [1, 2]}}]), Gap(1, 2, "camera"), block(3, [{"stage": {"z": -2}}])]
    text = '[[input]]\nname = "z"\nuri = "frame:stage.z"\n[[input]]\nname = "x"\nuri = "frame:stage.x"\n'
    session = run(tmp_path, items, text)
    assert session.aligned("z").tolist() == [[1.5], [-2]]
    np.testing.assert_array_equal(session.aligned("x"), [[1, 2], [np.nan, np.nan]])


def test_texts_are_kept_and_have_no_number(tmp_path):
    session = run(tmp_path, [block(0, [{"TTL": "left"}, {"TTL": "right"}])])
    assert session.recorded_inputs.by_name["ttl"].value.tolist() == ["left", "right"]
    with pytest.raises(SessionError, match="texts have no value"):
        session.aligned("ttl")


def test_a_resumed_run_has_each_frame_once(tmp_path):
    items = [block(n, [{"TTL": n}]) for n in range(30)]
    run(tmp_path, items[:20], TTL + STEPS)
    (tmp_path / "S" / "checkpoint.npz").unlink(missing_ok=True)  # so that the journal is read from its start
    session = run(tmp_path, items, TTL + STEPS, resume=True)
    assert session.recorded_inputs.by_name["ttl"].frame.tolist() == list(range(30))
    assert not session.damaged
    assert session.aligned("ttl")[:, 0].tolist() == list(range(30))


def test_a_time_that_goes_back_stays_with_its_frame(tmp_path):
    session = run(tmp_path, [block(0, [{"TTL": 1}], 10**9), block(1, [{"TTL": 2}])])
    assert session.aligned("ttl").tolist() == [[1], [2]]
    assert session.health["inputs"]["ttl"]["back in time"] == 1


def test_it_names_a_key():
    with pytest.raises(ConfigError, match="write frame:KEY"):
        open_input("frame:")


def test_tags_of_a_camera_are_an_input(tmp_path):
    pytest.importorskip("pymmcore_plus", reason="needs pymmcore-plus and mm-test-adapters: the extra [camera]")
    text = '[[input]]\nname = "count"\nuri = "frame:ImageNumber"\n[[input]]\nname = "none"\nuri = "frame:TTL"\n'
    with open_source("mm:demo?exposure_ms=2&roi=0:8,0:8&frames=40&tags=ImageNumber,TTL") as source:
        engine = Engine(source, parse_config(text, "c.toml"), tmp_path / "S")
        engine.start()
        assert engine.wait(60)
    session = open_session(tmp_path / "S")
    count = session.recorded_inputs.by_name["count"]
    np.testing.assert_array_equal(count.value[:, 0], count.frame)
    assert session.frames + session.lost == 40
    assert session.health["inputs"]["none"]["not in the frame"] == session.frames
