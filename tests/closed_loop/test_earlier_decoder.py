"""A decoder that begins with an earlier session's weights: as if its frames had come before these."""

import numpy as np
import pytest
from test_models import CELLS, FRAMES, SPEC, ridge, run, session

from streamfluo import Chain, ConfigError, FrameError, create, open_session, open_source
from streamfluo.core.operator import Gives
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

CUT = 700
BORN = np.zeros(CELLS, int)


def two_sessions(seed, cells=np.arange(CELLS), **params):
    """The decoder of a second session whose activity has some of the cells, and what it gave; traces and behaviour."""
    traces, _, behaviour, _ = session(seed)
    first = create("decode", SPEC)
    run(first, traces[:CUT], BORN, {"value": behaviour[:CUT]})
    second = create("decode", SPEC, weights=first.read(["ids", "products", "targets"]), **{"cells": "same", **params})
    later = np.where(np.isin(np.arange(CELLS), cells), traces[CUT:], 0.0)
    born = np.where(np.isin(np.arange(CELLS), cells), 0, FRAMES)
    outputs = run(second, later, born, {"value": behaviour[CUT:]})
    return second, np.concatenate([o.values["predicted"] for o in outputs]), traces, behaviour


def test_learning_goes_on_as_if_it_were_one_recording():
    second, predicted, traces, behaviour = two_sessions(21)
    intercept, weights = ridge(traces, behaviour, 1.0)
    found = second.read()
    np.testing.assert_allclose(found["weights"], weights[found["ids"] - 100], atol=1e-9)
    np.testing.assert_allclose(found["intercept"], intercept, atol=1e-9)
    assert found["frames"] == FRAMES
    began, slopes = ridge(traces[:CUT], behaviour[:CUT], 1.0)
    np.testing.assert_allclose(predicted[:49], (began + traces[CUT:] @ slopes)[:49], atol=1e-8)


def test_r2_is_honest_from_the_first_frame_on():
    second, predicted, _, behaviour = two_sessions(22, r2_frames=100, train_frames=0)
    errors, spread = np.zeros((2, 2))
    for t, (one, signal) in enumerate(zip(predicted, behaviour[CUT:], strict=True)):
        mean = behaviour[CUT : CUT + t].mean(0) if t else behaviour[:CUT].mean(0)
        errors, spread = 0.99 * errors + (signal - one) ** 2, 0.99 * spread + (signal - mean) ** 2
    np.testing.assert_allclose(second.read(["r2"])["r2"], 1 - errors / spread, atol=1e-9)
    assert (second.read(["r2"])["r2"] > 0.7).all()


def test_cells_that_are_not_there_any_more_leave_the_regression_of_the_others():
    there = np.arange(0, CELLS, 2)
    second, predicted, traces, behaviour = two_sessions(23, there, train_frames=0)
    intercept, weights = ridge(traces[:CUT, there], behaviour[:CUT], 1.0)
    np.testing.assert_allclose(predicted[1:], (intercept + traces[CUT:, there] @ weights)[1:], atol=1e-8)
    found = second.read()
    assert (found["weights"][~np.isin(found["ids"] - 100, there)] == 0).all()


def test_pairs_say_which_cell_is_which():
    traces, _, behaviour, _ = session(24)
    first = create("decode", SPEC)
    run(first, traces[:CUT], BORN, {"value": behaviour[:CUT]})
    pairs = [(100 + n, 100 + (n + 5) % CELLS) for n in range(12)]
    second = create("decode", SPEC, weights=first.read(), cells=pairs, train_frames=0)
    moved = np.roll(traces[CUT:], 5, 1)
    outputs = run(second, moved, BORN, {"value": behaviour[CUT:]})
    intercept, weights = ridge(traces[:CUT, :12], behaviour[:CUT], 1.0)
    predicted = np.concatenate([o.values["predicted"] for o in outputs])
    np.testing.assert_allclose(predicted, intercept + traces[CUT:, :12] @ weights, atol=1e-8)


def test_nothing_is_predicted_before_one_of_the_cells_is_there():
    traces, _, behaviour, _ = session(25)
    first = create("decode", SPEC)
    run(first, traces[:CUT], BORN, {"value": behaviour[:CUT]})
    second = create("decode", SPEC, weights=first.read(), cells="same")
    later = traces[CUT:].copy()
    later[:60] = 0
    predicted = [o.values["predicted"] for o in run(second, later, BORN, {"value": behaviour[CUT:]})]
    assert np.isnan(np.concatenate(predicted)[:60]).all()
    assert np.isfinite(np.concatenate(predicted)[61:]).all()
    assert second.read(["frames"])["frames"] < FRAMES - 60 + 2


WHOLE = {"ids": [1, 2], "products": np.eye(3) * 9, "targets": np.ones((3, 1))}


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"weights": "nowhere"}, "weights: a session is expected, found 'nowhere', which is no folder"),
        ({"weights": {"ids": [1]}}, "no products of a decoder in it; was its run ended in time?"),
        ({"weights": {**WHOLE, "ids": [1]}}, "do not have the shapes (1,), (3, 3) and (3, 1)"),
        ({"weights": {**WHOLE, "products": np.eye(3)}}, "it had learned from less than two frames"),
        ({"weights": {**WHOLE, "targets": np.full((3, 1), np.nan)}}, "its sums are not finite"),
        ({"weights": WHOLE, "cells": [[1, 4], [7, 5]]}, "cells: no cell 7 in weights"),
        ({"weights": WHOLE, "cells": [[1, 4], [2, 4]]}, "cells: each cell is in one pair"),
        ({"train_frames": 0}, "train_frames = 0 needs weights of an earlier session"),
    ],
)
def test_what_cannot_be_begun_with_is_refused_in_one_line(params, says):
    with pytest.raises(ConfigError) as error:
        create("decode", SPEC, **params)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_cells_that_nothing_says_are_the_same_are_refused():
    decoder = create("decode", SPEC, weights=WHOLE)
    with pytest.raises(ConfigError, match="whether the cells here are those of weights is not known: begin extract"):
        decoder.meet({"traces": Gives("dff", "by_id", ("t", "id"), "", "")})
    create("decode", SPEC, weights=WHOLE, cells="same").meet({"traces": Gives("dff", "by_id", ("t", "id"), "", "")})


def test_a_signal_of_another_width_is_said():
    decoder = create("decode", SPEC, weights=WHOLE, cells="same")
    with pytest.raises(FrameError, match="those of weights predict 1 numbers a frame, the value here has 2"):
        run(decoder, np.ones((7, CELLS)), BORN, {"value": np.ones((7, 2))})


SOURCE = "sim:calcium?shape=64x64&frames=240&seed=11&spike_rate_hz=1&neuron_sigma_px=2.5"
CONFIG = """
[[step]]
kind = "motion"
[[step]]
kind = "extract"
params = { neuron_sigma_px = 2.5, init_frames = 100, init_delay_frames = 20 EXTRACT }
[[step]]
kind = "decode"
inputs = { traces = "extract.TRACES", value = "motion.shift_px" }
params = { solve_frames = 10 DECODE }
"""


def config(extract="", decode="", traces="dff"):
    return CONFIG.replace("EXTRACT", extract).replace("DECODE", decode).replace("TRACES", traces)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("earlier") / "S"
    with open_source(SOURCE) as source:
        engine = Engine(source, parse_config(config()), folder)
        engine.start()
        assert engine.wait(60)
    assert engine.error is None
    return open_session(folder)


def test_a_session_that_begins_from_another_knows_its_cells(earlier):
    text = config(f', init = "seeded", seeds = "{earlier.path}"', f', train_frames = 0, weights = "{earlier.path}"')
    with open_source(SOURCE) as source:
        chain = Chain(parse_config(text), source.spec)
        outputs = [dict(chain.push(block)) for block in source.blocks()]
    assert not [event for event in chain.events if event["event"] == "muted"]
    learned, known = earlier.snapshot("decode"), chain.read("decode")
    accepted = earlier.components().ids[earlier.components().accepted].tolist()
    assert accepted != list(range(len(accepted))), "a recording where no place among the accepted is an id"
    ids = {n for output in outputs for n in output["extract"].values["events"]["id"].tolist()}
    assert set(accepted) <= set(outputs[-1]["extract"].values["ids"].tolist())
    assert min(ids - set(accepted), default=99) >= earlier.snapshot("extract")["next_id"] > max(learned["ids"])
    np.testing.assert_array_equal(known["ids"][: len(learned["ids"])], learned["ids"])
    np.testing.assert_array_equal(
        known["products"][: len(learned["products"]), : len(learned["products"])], learned["products"]
    )
    there = np.isin(known["ids"], accepted)
    assert (known["weights"][~there] == 0).all()
    used = [0, *(1 + np.flatnonzero(there))]
    penalised = known["products"][np.ix_(used, used)] + np.diag([0.0, *np.ones(there.sum())])
    solved = np.linalg.solve(penalised, known["targets"][used])
    np.testing.assert_allclose(known["weights"][there], solved[1:], rtol=1e-6, atol=1e-9)
    predicted = np.concatenate([output["decode"].values["predicted"] for output in outputs])
    first = np.flatnonzero(np.isfinite(predicted).all(1))[0]
    assert first == 120  # with the first frame that the cells are there in


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "step 'decode': weights: whether the cells here are those of"),
        ({"traces": "traces"}, "are of dff [no unit], here traces are traces [σ]; set inputs.traces"),
        ({"decode": ', weights_step = "other"'}, "has decode; no such step"),
    ],
)
def test_what_does_not_fit_a_session_is_refused_in_one_line(earlier, changes, says):
    text = config(**{**changes, "decode": f', weights = "{earlier.path}"' + changes.get("decode", "")})
    with open_source(SOURCE) as source, pytest.raises(ConfigError) as error:
        Chain(parse_config(text), source.spec)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
