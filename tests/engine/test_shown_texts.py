"""Texts of inputs in the viewer, and inputs of a stream of several planes: live, for who comes late, in the session."""

import time

import numpy as np
from toys import Movie

from streamfluo import Block, Plane, Spec, open_session
from streamfluo.core import wire
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.engine.session_view import SessionView
from streamfluo.engine.shown_inputs import TEXTS, ShownInputs, rows_of_texts, texts_step
from streamfluo.network.watching import Watch
from streamfluo.viewer.earlier import Earlier
from streamfluo.viewer.lines_panel import LinesPanel
from streamfluo.viewer.model import Model

SPEC = Spec((4, 4), "uint16", interval_s=0.01, planes=(Plane("red"), Plane("green")))
CHAIN = """
[record]
raw = true
[publish]
uri = "tcp://127.0.0.1:0"
[[input]]
name = "speed"
uri = "frame:speed"
[[input]]
name = "stimulus"
uri = "frame:stimulus"
[[step]]
kind = "moments"
"""
SAID = {0: "grey", 10: "left", 20: "grey", 30: "right µ"}


class Slow(Movie):
    """Frames of two planes, until it is stopped."""

    def blocks(self, max_frames=32):
        for n in range(2000):
            for plane in ("red", "green"):
                if self.stopped:
                    return
                said = {"speed": n, "stimulus": SAID[max(k for k in SAID if k <= n)]}
                pixels = np.ones((1, 4, 4), np.uint16)
                yield Block(n, np.array([n * 10_000_000]), pixels, plane, user={n: said})
            time.sleep(0.005)


def lines(model):
    rows = model.tables["table/texts/texts"].columns
    return list(zip(*(rows[name].tolist() for name in ("frame", "input", "text")), strict=True)) if rows else []


def seen(endpoint, enough, patience_s=15.0):
    """A model that was shown everything until there is enough."""
    model, until = Model(endpoint), time.monotonic() + patience_s
    with Watch(endpoint) as watch:
        earlier = Earlier(model, watch)
        while not (model.hello is not None and enough(model)) and time.monotonic() < until:
            for message in watch.turn():
                model.take(*message)
            model.connection(watch.connected)
            shown = list(model._each.values())
            watch.want(model.topics(shown, []), ())
            earlier.turn(shown)
            time.sleep(0.01)
    return model


def speeds(model, plane):
    trace = model.traces[f"per_frame/{plane}/speed/value"]
    return dict(zip(*(a.ravel().tolist() for a in trace.since()), strict=True))


def test_texts_and_the_inputs_of_each_plane_are_shown_also_to_who_comes_late_and_by_the_session(tmp_path, qapp):
    source = Slow([])
    source.spec = SPEC
    engine = Engine(source, parse_config(CHAIN, "c.toml"), tmp_path / "S")
    engine.start()
    while engine.health().planes["green/0"].frames < 60:
        time.sleep(0.01)
    expected = [(frame, "stimulus", text) for frame, text in SAID.items()]
    model = seen(
        engine.publisher.endpoint, lambda m: len(lines(m)) >= 4 and all(speeds(m, p) for p in SPEC.plane_names)
    )
    engine.stop("finished")
    assert engine.wait(60)
    assert lines(model) == expected, "they came before anybody watched"
    assert all(speed == n for plane in SPEC.plane_names for n, speed in speeds(model, plane).items())
    session = open_session(tmp_path / "S")
    with SessionView(session) as shown:
        model = seen(shown.endpoint, lambda m: lines(m) and all(40 in speeds(m, p) for p in SPEC.plane_names))
    assert lines(model) == expected
    assert speeds(model, "green/0") == speeds(model, "red/0")
    assert speeds(model, "red/0")[40] == 40
    (panel,) = [p for p in model.panels.values() if p.kind == "lines"]
    shown = LinesPanel(panel, model)
    shown.refresh()
    assert shown.toPlainText().splitlines()[-1].endswith("  right µ")


def test_a_text_is_a_row_where_it_is_another_than_before():
    shown = ShownInputs({}, ["red/0", "green/0"], ["a", "b"])
    said = [{}, {"a": "x"}, {"a": "x", "b": [1.0]}, {"a": "y", "b": "z"}]
    user = {4 + n: {"inputs": one} for n, one in enumerate(said)}
    block = Block(4, np.arange(4), np.zeros((4, 4, 4), np.uint16), user=user)
    assert list(shown.values("green/0", block)) == [], "once, not in every plane"
    (values,) = shown.values("red/0", block)
    assert (values.step, values.frames) == ("texts", 0)
    assert {n: a.tolist() for n, a in values.arrays.items()} == {
        n: a.tolist() for n, a in rows_of_texts([(5, "a", "x"), (7, "a", "y"), (7, "b", "z")]).items()
    }
    (again,) = shown.values("red/0", Block(8, np.arange(1), block.pixels[:1], user={8: {"inputs": {"a": "x"}}}))
    assert again.arrays["texts/frame"].tolist() == [8]


def test_a_step_or_an_input_of_that_name_keeps_it():
    assert texts_step(["motion"]) == "texts"
    assert texts_step(["texts"]) == "texts (inputs)"
    assert wire.fits(wire.Hello(gives={"texts": [(TEXTS.name, TEXTS.kind, TEXTS.dims, TEXTS.unit, TEXTS.meaning)]}))
