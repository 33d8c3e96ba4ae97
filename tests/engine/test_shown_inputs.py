"""An input that no step takes into the chain is in the viewer as well, live and in the session."""

import time

import numpy as np
from toys import Movie

from streamfluo import Block, Spec, open_session
from streamfluo.core import wire
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.engine.session_view import SessionView
from streamfluo.engine.shown_inputs import ShownInputs, unshown
from streamfluo.network.watching import Watch
from streamfluo.viewer.panels import panels_of

SPEC = Spec((4, 4), "uint16", interval_s=0.01)
INPUTS = """
[record]
raw = true
[publish]
uri = "tcp://127.0.0.1:0"
[[input]]
name = "running"
uri = "frame:speed"
[[input]]
name = "lick"
uri = "frame:lick"
[[step]]
kind = "input"
id = "licks"
params = { name = "lick" }
"""


def frames(start, stop):
    user = {n: {"speed": [n, -n], "lick": n % 2} for n in range(start, stop)}
    return Block(start, np.arange(start, stop) * 10_000_000, np.ones((stop - start, 4, 4), np.uint16), user=user)


def watched(endpoint, enough, patience_s=15.0):
    """The hello, and the messages of a step "running", until there are enough."""
    hello, got, until = None, [], time.monotonic() + patience_s
    with Watch(endpoint) as watch:
        watch.want(["values/running/"], ())
        while not enough(got) and time.monotonic() < until:
            for message, arrays in watch.turn():
                hello = message if isinstance(message, wire.Hello) else hello
                got += [(message, arrays)] if isinstance(message, wire.Result) and message.step == "running" else []
            time.sleep(0.01)
    return hello, got


def numbers(got):
    return {m.index + n: row.tolist() for m, arrays in got for n, row in enumerate(arrays["value"])}


def test_it_is_shown_while_frames_come_and_by_its_session(tmp_path):
    class Slow(Movie):
        def blocks(self, max_frames=32):
            for n in range(1000):
                if self.stopped:
                    return
                time.sleep(0.005)
                yield frames(n, n + 1)

    source = Slow([])
    source.spec = SPEC
    engine = Engine(source, parse_config(INPUTS, "c.toml"), tmp_path / "S")
    engine.start()
    hello, got = watched(engine.publisher.endpoint, lambda got: len(numbers(got)) > 20)
    engine.stop("finished")
    assert engine.wait(60)
    assert len(numbers(got)) > 20
    assert all(row == [n, -n] for n, row in numbers(got).items())
    assert ("running", "input", "source") in hello.steps
    assert [step for step, kind, _ in hello.steps if kind == "input"] == ["licks", "running", "texts"]
    signals = [panel.step for panel in panels_of(hello) if panel.signal]
    assert signals == ["licks", "running"]
    session = open_session(tmp_path / "S")
    with SessionView(session) as shown:
        hello, got = watched(shown.endpoint, lambda got: len(numbers(got)) >= session.frames)
    assert [panel.step for panel in panels_of(hello) if panel.signal] == ["licks", "running"]
    assert numbers(got) == {n: [n, -n] for n in range(session.frames)}


def test_what_has_not_come_yet_and_texts_are_not_shown():
    shown = ShownInputs({"wheel": "wheel", "stimulus": "stimulus"}, [""])
    pixels = np.zeros((4, 4, 4), np.uint16)
    said = [{}, {"wheel": [1.0, 2.0]}, {"wheel": [3.0], "stimulus": "left"}, {}]
    assert list(shown.values("", Block(0, np.arange(4), pixels))) == []
    user = {4 + n: {"inputs": one} for n, one in enumerate(said)}
    (values,) = shown.values("", Block(4, np.arange(4), pixels, user=user))
    assert (values.step, values.index, values.frames) == ("wheel", 4, 4)
    np.testing.assert_array_equal(values.arrays["value"], [[np.nan] * 2, [1, 2], [3, np.nan], [np.nan] * 2])
    (later,) = shown.values("", Block(8, np.arange(4), pixels))
    assert np.isnan(later.arrays["value"]).all()


def test_a_step_of_that_name_keeps_it():
    steps = {"running": ("moments", {}), "speed": ("input", {"name": "wheel"})}
    assert unshown(["running", "wheel"], steps) == {"running": "running (input)"}
