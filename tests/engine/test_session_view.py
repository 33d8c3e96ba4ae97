"""A session in the viewer: results as they stood at the end, newest frames, and what cannot be read is said."""

import time

import numpy as np
from toys import FRAMES, Movie, block, bright_above

from streamfluo import open_session
from streamfluo.core import wire
from streamfluo.core.source import Gap
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.engine.session_view import SessionView
from streamfluo.network.watching import Watch

PATIENCE_S = 10.0


def recorded(folder, items):
    engine = Engine(Movie(items), parse_config(bright_above(8000), "c.toml"), folder)
    engine.start()
    assert engine.wait(60)
    assert engine.error is None
    return open_session(folder)


def seen(session, topics, enough, previews=()):
    """What a viewer gets of a session: messages with what came with them, by topic-like names."""
    got = []
    with SessionView(session) as shown, Watch(shown.endpoint) as watch:
        until = time.monotonic() + PATIENCE_S
        watch.want(topics, previews)
        while not enough(got) and time.monotonic() < until:
            got += [(message, payload) for message, payload in watch.turn()]
            time.sleep(0.01)
    assert enough(got), [type(message).__name__ for message, _ in got]
    return got


def results(got, step):
    return [(m, arrays) for m, arrays in got if isinstance(m, wire.Result) and m.step == step]


def test_values_snapshots_events_and_the_newest_frame_are_there(tmp_path):
    session = recorded(tmp_path / "S", [block(0, 100), Gap(100, 20), block(120, 200)])
    topics = ["values/moments/", "snapshot/moments/mean/", "values/bright/"]

    def enough(got):
        kinds = {type(message) for message, _ in got}
        return len(results(got, "moments")) >= 3 and wire.Image in kinds and len(results(got, "bright")) >= 2

    got = seen(session, topics, enough, [("source", 1)])
    runs = [(m.index, arrays["total_signal"]) for m, arrays in results(got, "moments") if m.kind == "values"]
    assert [(index, len(values)) for index, values in runs] == [(0, 100), (120, 80)], "a hole was closed"
    assert np.array_equal(np.concatenate([v for _, v in runs]), session.values("moments")["total_signal"])
    (mean,) = [arrays["mean"] for m, arrays in results(got, "moments") if m.kind == "snapshot"]
    assert np.array_equal(mean, session.snapshot("moments")["mean"])
    fired = np.concatenate([arrays["fired"] for _, arrays in results(got, "bright")])
    assert np.array_equal(fired, session.values("bright")["fired"])
    image = next((m, pixels) for m, pixels in got if isinstance(m, wire.Image))
    assert image[0].index == 199
    assert np.array_equal(image[1], FRAMES[199])
    hello = next(m for m, _ in got if isinstance(m, wire.Hello))
    assert hello.presents["moments"][0][-1] == "frames", "live frames come last: there are none"
    status = next(m for m, _ in got if isinstance(m, wire.Status))
    assert (status.state, status.counters["lost"]) == ("finished", 20)
    assert any(isinstance(m, wire.Event) and m.event == "gap" for m, _ in got)


def test_what_is_damaged_is_said_and_the_rest_is_shown(tmp_path):
    session = recorded(tmp_path / "S", [block(0, 100)])
    (tmp_path / "S" / "snapshots" / "moments.npz").write_bytes(b"nothing")
    session = open_session(tmp_path / "S")
    got = seen(session, ["values/moments/", "snapshot/moments/mean/"], lambda got: results(got, "moments"))
    assert all(m.kind == "values" for m, _ in results(got, "moments"))
