"""`count` against a plain forward pass over a recording with missing frames; its results and its errors."""

import numpy as np
import pytest
from emitter_oracle import trace_log_likelihood
from emitter_traces import simulated

from streamfluo import Block, Chain, ConfigError, FrameError, Gives, Operator, Output, Spec, create, register
from streamfluo.core import registry
from streamfluo.engine.config import parse_config

SPEC = Spec((4, 4), "uint16")
THETA = {"lognormal": (2000.0, 5000.0, 0.05, 0.05, 0.08, 0.0), "camera": (1000.0, 1000.0, 15.8, 0.05, 0.08, 0.0)}


def feed(operator, traces, sizes=(7,), start=0, lost=()):
    """Run traces (n, t) through an operator in blocks; return the mean counts (t, n)."""
    means, at = [], start
    while at < traces.shape[1]:
        stop = min([at + sizes[len(means) % len(sizes)], traces.shape[1], *(f for f in lost if f > at)])
        if at not in lost:
            block = Block(at, np.arange(at, stop), np.zeros((stop - at, 4, 4), np.uint16))
            means.append(operator.update(block, {"photons": traces[:, at:stop].T}).values["mean_count"])
        at = stop if at not in lost else at + 1
    return np.concatenate(means)


@pytest.mark.parametrize("p_bleach", [0.0, 0.004])
@pytest.mark.parametrize("emission", THETA)
def test_it_is_the_plain_forward_pass_with_frames_that_never_came_and_spots_not_measured(emission, p_bleach):
    theta = (*THETA[emission][:5], p_bleach)
    traces, _ = simulated(emission, emitters=(1, 2, 3), frames=120, seed=1)
    traces[1, 30:50] = np.nan
    traces[0, 0] = np.nan
    params = {"bleaching": p_bleach > 0, "update_every": 0, "parameters": theta, "max_x": 2e4}
    operator = create("count", SPEC, max_emitters=4, emission=emission, **params)
    lost = (60, 61, 62, 63)
    feed(operator, traces, sizes=(7, 1, 32), lost=lost)
    measured = traces.copy()
    measured[:, list(lost)] = np.nan
    found = operator.read(["log_likelihood", "posterior", "count"])
    for n, trace in enumerate(measured):
        expected = [
            trace_log_likelihood(trace, n_emitters, emission, theta, width=2e4 / 1024) for n_emitters in range(5)
        ]
        np.testing.assert_allclose(found["log_likelihood"][n], expected, rtol=1e-13, atol=1e-9)
        expected -= np.log(np.arange(1, 6))  # the prior, 1 / (n + 1)
        probabilities = np.exp(expected - np.max(expected))
        np.testing.assert_allclose(found["posterior"][n], probabilities / probabilities.sum(), rtol=0, atol=1e-9)
        assert found["count"][n] == np.argmax(expected)


@pytest.mark.parametrize("params", [{}, {"pooled": False}, {"brightness_scatter": None}], ids=str)
def test_after_learning_it_is_the_forward_pass_at_the_parameters_it_shows(params):
    traces, _ = simulated("lognormal", emitters=(1, 2, 3), frames=260, seed=2)
    operator = create(
        "count", SPEC, max_emitters=4, emission="lognormal", update_every=100, max_x=2e4, learn_frames=200, **params
    )
    feed(operator, traces)
    found = operator.read(["log_likelihood", "parameters", "count"])
    for n, trace in enumerate(traces):
        for k in range(5):
            theta = found["parameters"][n, k, :5]
            expected = trace_log_likelihood(trace, k, "lognormal", theta, width=2e4 / 1024)
            assert found["log_likelihood"][n, k] == pytest.approx(expected, abs=1e-9, rel=1e-13)
    assert len(operator.state()["record"]) == 0  # learned from enough frames


@pytest.mark.slow
def test_counts_settle_while_frames_arrive():
    emitters = np.tile([1, 2, 3, 4], 6)
    traces, _ = simulated("camera", emitters=emitters, frames=800, seed=3)
    operator = create("count", SPEC, max_emitters=6, read_noise_e=15.8)
    means = feed(operator, traces, sizes=(32,))
    operator.finish()
    found = operator.read()
    assert np.mean(found["count"] == emitters) >= 22 / 24
    assert found["posterior"].sum(1) == pytest.approx(np.ones(24))
    assert np.abs(means[-1] - emitters).mean() < 0.4 < np.abs(means[100] - emitters).mean()
    assert found["parameters"][0, 0, 0] == pytest.approx(1000, rel=0.02)
    assert np.nanmedian(found["cumulant_count"] / emitters) == pytest.approx(1, abs=0.5)


def test_bleaching_steps_are_counted_while_the_record_is_kept():
    trace = np.repeat([300.0, 200, 100, 0], 60) + np.random.default_rng(0).normal(0, 5, 240)
    operator = create("count", SPEC, max_emitters=4, update_every=0, parameters=(100.0, 1.0, 5.0, 0.1, 0.1, 0.0))
    feed(operator, trace[None])
    assert np.isnan(operator.read(["bleaching_steps"])["bleaching_steps"][0])  # nothing was recorded
    operator = create("count", SPEC, max_emitters=4, emission="camera", update_every=500)
    feed(operator, trace[None])
    assert operator.read(["bleaching_steps"])["bleaching_steps"][0] == pytest.approx(3, abs=0.2)


@pytest.fixture
def brightness():
    """A step that gives photons, as `spots` does: the pixels of the first row."""
    registry.operators()

    @register("first-row")
    class FirstRow(Operator):
        gives = (Gives("photons", "per_frame", ("t", "spot"), "e", "pixels of the first row"),)

        def update(self, block, inputs={}):
            return Output(block.index, {"photons": block.pixels[:, 0].astype(float)})

        def state(self):
            return {}

        def restore(self, state):
            pass

    yield
    del registry._operators["first-row"]


def test_in_a_chain_it_finds_the_photons_of_the_step_before(brightness):
    config = '[[step]]\nkind = "first-row"\n[[step]]\nkind = "count"\nparams = { max_emitters = 3, update_every = 50 }'
    chain = Chain(parse_config(config), SPEC)
    traces, _ = simulated("camera", emitters=(1, 2, 3, 3), frames=120, seed=4)
    movie = np.zeros((120, 4, 4), np.uint16)
    movie[:, 0] = traces.T
    for at in range(0, 120, 24):
        chain.push(Block(at, np.arange(at, at + 24), movie[at : at + 24]))
    assert chain.read("count")["posterior"].shape == (4, 4)


def test_traces_come_from_a_file_as_well(tmp_path):
    traces, _ = simulated("camera", emitters=(1, 2), frames=60, seed=5)
    np.savetxt(tmp_path / "t.csv", traces.T, delimiter=",", header="a,b", comments="")
    theta = THETA["camera"]
    fed = create("count", SPEC, max_emitters=3, update_every=0, parameters=theta)
    filed = create("count", SPEC, max_emitters=3, update_every=0, parameters=theta, traces=tmp_path / "t.csv")
    assert filed.needs == ()
    expected = feed(fed, traces)
    for at in range(0, 60, 20):
        filed.update(Block(at, np.arange(20), np.zeros((20, 4, 4), np.uint16)))
    np.testing.assert_allclose(filed.read()["posterior"], fed.read()["posterior"], rtol=1e-9)
    assert len(expected) == 60


BAD = {
    "max below min": ({"max_emitters": 2, "min_emitters": 3}, "max_emitters = 2 is below min_emitters = 3"),
    "nothing determines the parameters": ({"update_every": 0}, "update_every = 0 needs parameters"),
    "a probability above 1": ({"parameters": (1.0, 1.0, 1.0, 0.1, 1.5, 0.0)}, "parameters"),
    "no brightness": ({"parameters": (0.0, 1.0, 1.0, 0.1, 0.1, 0.0)}, "mu and sigma are above 0"),
    "no logarithm": (
        {"emission": "lognormal", "parameters": (1.0, -5.0, 1.0, 0.1, 0.1, 0.0)},
        "mu_bg is 0 or more where emission = 'lognormal'",
    ),
    "no such emission": ({"emission": "poisson"}, "emission"),
    "no such file": ({"traces": "nowhere.csv"}, "traces: nowhere.csv cannot be read"),
    "misspelt": ({"max_emiters": 3}, "did you mean 'max_emitters'"),
}


@pytest.mark.parametrize(("params", "message"), BAD.values(), ids=BAD)
def test_bad_parameters_give_one_clear_line(params, message):
    with pytest.raises(ConfigError, match=message):
        create("count", SPEC, **params)


def test_a_config_from_before_the_rename_gives_the_same_step():
    old, new = create("count", SPEC, max_y=4, min_y=2), create("count", SPEC, max_emitters=4, min_emitters=2)
    assert old.params == new.params
    with pytest.raises(ConfigError, match="'max_y' is the former name of 'max_emitters'"):
        create("count", SPEC, max_y=4, max_emitters=4)


def test_photons_that_are_missing_or_of_spots_that_went_are_refused():
    operator = create("count", SPEC, max_emitters=2)
    block = Block(0, [0], np.zeros((1, 4, 4), np.uint16))
    operator.update(block, {"photons": np.ones((1, 3))})
    with pytest.raises(FrameError, match="count: 3 traces so far, now 2"):
        operator.update(Block(1, [1], np.zeros((1, 4, 4), np.uint16)), {"photons": np.ones((1, 2))})
    with pytest.raises(FrameError, match="needs photons"):
        operator.update(Block(1, [1], np.zeros((1, 4, 4), np.uint16)))


def test_no_spots_at_all_are_counted_as_none():
    for params in ({}, {"update_every": 0, "parameters": THETA["camera"]}):
        operator = create("count", SPEC, **{"max_emitters": 3, "update_every": 50, **params})
        assert feed(operator, np.empty((0, 60))).shape == (60, 0)
        assert {name: array.size for name, array in operator.read().items() if array.ndim} == dict.fromkeys(
            (name for name, array in operator.read().items() if array.ndim), 0
        )


def test_spots_that_cannot_be_counted_do_not_stop_the_others():
    traces, _ = simulated("camera", emitters=(2, 2, 2), frames=120, seed=6)
    traces = np.concatenate([traces, np.full((1, 120), np.nan), np.full((1, 120), 7.0)])
    operator = create("count", SPEC, max_emitters=3, update_every=60)
    feed(operator, traces)
    found = operator.read()
    assert np.isfinite(found["parameters"][:3]).all()
    assert np.isfinite(found["posterior"]).all()
    assert found["flat"][3]


UNCOUNTABLE = {
    "constant": np.full((3, 60), 7.0),
    "not measured": np.full((3, 60), np.nan),
    "constant but for rounding": 1e15 + np.arange(180.0).reshape(3, 60) % 2,
    "beyond numbers": 1e300 * (1 + np.arange(180.0).reshape(3, 60) % 2),
}


@pytest.mark.parametrize("emission", ["camera", "lognormal"])
@pytest.mark.parametrize("traces", UNCOUNTABLE.values(), ids=UNCOUNTABLE)
def test_where_no_spot_can_be_counted_all_are_undetermined_and_it_says_so(traces, emission):
    operator = create("count", SPEC, max_emitters=3, update_every=30, learn_delay_frames=5, emission=emission)
    feed(operator, traces[:, :30])
    assert operator.doubt() == ""  # as long as nothing was to be learnt
    feed(operator, traces, start=30)
    assert "the numbers of all spots are undetermined" in operator.doubt()
    found = operator.read()
    assert found["flat"].all()
    np.testing.assert_allclose(found["posterior"], 0.25)


@pytest.mark.parametrize(
    "params",
    [
        {"update_every": 0, "max_x": 2e4},
        {"update_every": 50, "learn_frames": 150},
        {"update_every": 130, "learn_frames": 130, "pooled": False},
    ],
    ids=["known", "estimated", "alone"],
)
@pytest.mark.parametrize("sizes", [pytest.param((1,), marks=pytest.mark.slow), (7, 30)], ids=str)
def test_spots_found_later_are_traces_that_were_not_measured_before(params, sizes):
    """To the bit, however many frames a block has; values by id are 0 until a spot is born."""
    theta = THETA["camera"] if params["update_every"] == 0 else None
    traces, _ = simulated("camera", emitters=tuple(range(1, 5)) * 6, frames=260, seed=5)
    births = np.sort(np.random.default_rng(3).integers(0, 200, len(traces)))
    births[0] = 3
    measured = traces.copy()
    for trace, birth in zip(measured, births, strict=True):
        trace[:birth] = np.nan
    operators = [create("count", SPEC, max_emitters=5, parameters=theta, **params) for _ in range(2)]
    feed(operators[0], measured, sizes=(32,))
    at, step = 0, 0
    while at < traces.shape[1]:
        stop = min(at + sizes[step % len(sizes)], traces.shape[1])
        known = births < stop
        photons = np.nan_to_num(measured[known, at:stop]).T
        operators[1].update(
            Block(at, np.arange(at, stop), np.zeros((stop - at, 4, 4), np.uint16)), {"photons": photons}
        )
        at, step = stop, step + 1
    one, other = (operator.read(["log_likelihood", "count", "parameters", "cumulant_count"]) for operator in operators)
    for name in one:
        np.testing.assert_array_equal(other[name], one[name], err_msg=name)


def test_it_goes_on_from_a_state_that_was_learning():
    """To the bit, also with spots added during an estimate; the estimate takes effect half an interval later."""
    traces, _ = simulated("camera", emitters=(1, 2, 3), frames=260, seed=5)
    operators = [create("count", SPEC, max_emitters=4, update_every=100) for _ in range(2)]
    feed(operators[0], traces[:2, :110])
    operators[1].restore(operators[0].state())
    for operator in operators:
        assert np.isnan(operator.read(["parameters"])["parameters"]).all()
        late = np.where(np.arange(260) < 120, 0, traces[2])
        feed(operator, np.stack([*traces[:2], late]), start=110)
        operator.finish()
    one, other = (operator.state() for operator in operators)
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(other[name], value, err_msg=name)
    assert np.isfinite(operators[0].read(["parameters"])["parameters"]).all()
