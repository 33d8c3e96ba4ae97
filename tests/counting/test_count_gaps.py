"""Counting where the model of the traces does not hold, and where only the right brightness gives the right number."""

import numpy as np
import pytest
from emitter_oracle import emission_probability, transitions
from scipy.stats import binom, norm

from streamfluo import Block, ConfigError, FrameError, Spec, create
from streamfluo.counting import estimate_y
from streamfluo.counting.checks import doubts, residuals
from streamfluo.counting.kernels.crosschecks import widened
from streamfluo.counting.kernels.likelihood import EmitterModel
from streamfluo.counting.traces import steady
from streamfluo.simulate import Dyes, Light, emitter_traces

EMITTERS = np.repeat(np.arange(1, 5), 3)
LIGHT = Light(400, 500, 15)


def counted(dyes=Dyes(), light=LIGHT, seed=0, frames=400, emitters=EMITTERS, **options):
    traces, _ = emitter_traces(emitters, frames, dyes, light, seed)
    return estimate_y(traces, 6, emission="camera", brightness_scatter=0.0, **options)


@pytest.fixture(scope="module")
def with_empty():
    """12 traces with emitters, the first with a cosmic ray, and 4 of background alone."""
    traces, _ = emitter_traces([*EMITTERS, *[0] * 4], 400, light=LIGHT, seed=1)
    traces[0, 100] = 1e6
    return estimate_y(traces, 6, emission="camera", brightness_scatter=0.0)


def test_empty_traces_are_none_and_leave_the_others_as_they_are(with_empty):
    assert with_empty.y[12:].tolist() == [0] * 4
    assert np.mean(with_empty.y[:12] == EMITTERS) >= 11 / 12
    assert with_empty.credible_interval[12:][~with_empty.doubtful[12:]].max() == 0


def test_traces_that_the_model_made_are_hardly_ever_doubtful(with_empty):
    assert with_empty.doubtful.sum() <= 1  # of 16; of 596 of background, one has a χ² above the threshold
    assert ((with_empty.doubts != "") == with_empty.doubtful).all()


@pytest.mark.slow
def test_as_many_empty_traces_as_others_leave_those_as_they_are():
    traces, _ = emitter_traces([*EMITTERS, *[0] * 12], 500, light=LIGHT, seed=1)
    found = estimate_y(traces, 8, emission="camera", brightness_scatter=0.0)
    alone = estimate_y(traces[:12], 8, emission="camera", brightness_scatter=0.0)
    assert found.y.tolist() == [*alone.y.tolist(), *[0] * 12]
    assert np.mean(alone.y == EMITTERS) >= 11 / 12
    assert not found.doubtful.any()


def test_background_alone_is_none_or_not_determined():
    traces, _ = emitter_traces([0] * 6, 300, light=LIGHT, seed=2)
    found = estimate_y(traces, 4, emission="camera", brightness_scatter=0.0)
    assert ((found.y == 0) | found.flat).all()
    assert (found.credible_interval[:, 0] == 0).all()


def test_spots_without_emitters_are_none_while_frames_arrive():
    traces, _ = emitter_traces([1, 2, 3, 2, 0, 0, 0, 0], 400, light=LIGHT, seed=3)
    operator = create("count", Spec((4, 4), "uint16"), max_emitters=4, update_every=300, brightness_scatter=0.0)
    for at in range(0, 400, 20):
        block = Block(at, np.arange(at, at + 20), np.zeros((20, 4, 4), np.uint16))
        operator.update(block, {"photons": traces[:, at : at + 20].T})
    operator.finish()
    found = operator.read()
    assert found["count"].tolist() == [1, 2, 3, 2, 0, 0, 0, 0]
    assert found["doubtful_spots"] == found["doubtful"].sum() == 0


@pytest.mark.parametrize("dyes", [Dyes(0.1, 0.03), pytest.param(Dyes(0.4, 0.1), marks=pytest.mark.slow)], ids=str)
def test_dyes_that_are_mostly_on_are_not_counted_twice_nor_their_background_as_one(dyes):
    found = counted(dyes, seed=4)
    assert np.mean(found.y == EMITTERS) >= 11 / 12
    assert found.parameters.mu[0, 1] == pytest.approx(400, rel=0.03)
    assert found.parameters.mu_bg[0, 1] == pytest.approx(500, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("dyes", "least"), [(Dyes(0.2, 0.01), 0.9), (Dyes(0.2, 0.03), 0.9), (Dyes(0.03, 0.4), 0.6)])
def test_one_emitter_more_or_less_in_every_trace_is_compared(dyes, least):
    """Mostly on, one of them passes for background; seldom on, more of them that come on less often look alike."""
    emitters = np.repeat(np.arange(1, 6), 2)
    traces, _ = emitter_traces(emitters, 800, dyes, LIGHT, 700)
    found = estimate_y(traces, 10, emission="camera")
    assert np.mean(found.y == emitters) >= least


GAPS = {
    "illumination": (Dyes(), {"illumination_loss": 0.3}),
    "dyes differ": (Dyes(dye_sd=0.25), {}),
    "crosstalk": (Dyes(), {"crosstalk": 0.2}),
    "background": (Dyes(), {"background_drift": 0.3}),
}


@pytest.mark.slow
@pytest.mark.parametrize("gap", GAPS)
def test_what_the_model_could_not_have_made_is_doubtful(gap):
    dyes, drift = GAPS[gap]
    found = counted(dyes, LIGHT._replace(**drift), seed=5, frames=500)
    low, high = found.credible_interval.T
    assert found.doubtful[found.y != EMITTERS].all()
    assert found.doubtful.mean() > 0.5
    assert np.mean((low <= EMITTERS) & (high >= EMITTERS)) >= 0.85
    assert (found.doubts[found.doubtful] != "").all()


@pytest.mark.slow
def test_what_it_made_is_not():
    assert not np.concatenate([counted(seed=seed).doubtful for seed in (6, 7)]).any()


def test_a_lamp_and_a_background_that_are_given_are_taken_out():
    course = np.linspace(1, 0.7, 400)
    found = counted(light=LIGHT._replace(illumination_loss=0.3), seed=5, illumination=7 * course)
    assert np.mean(found.y == EMITTERS) >= 10 / 12
    assert not found.doubtful.any()
    traces, rise = np.ones((2, 3)), np.array([1.0, 2, 3])
    np.testing.assert_allclose(steady(traces + rise, background=rise), 3)
    np.testing.assert_allclose(steady(5 + traces * rise, rise, offset=5.0), 7)
    for name in ("illumination", "background"):
        with pytest.raises(ConfigError, match=rf"{name}: numbers .t,."):
            steady(traces, **{name: np.ones(4)})
    with pytest.raises(ConfigError, match="illumination: is above 0"):
        steady(traces, np.array([0.0, 1, 1]))


def test_residuals_are_those_of_the_plain_forward_pass():
    [trace], _ = emitter_traces([2], 60, light=LIGHT, seed=8)
    theta = (400.0, 500.0, 15.0, 0.05, 0.08)
    found, switched_on = residuals(
        trace[:, None], np.array([2]), np.array([[*theta, 0.0]]), EmitterModel(True, False, 0, 4, 3.0)
    )
    mean = 500 + 400 * np.arange(3)
    below = norm.cdf(trace[:, None], mean, np.sqrt(mean + 15**2))
    seen = emission_probability(trace, np.arange(3), "camera", theta[:3], 3.0)
    state, steps = binom.pmf(np.arange(3), 2, 0.05 / 0.13), transitions(2, 0.05, 0.08)
    more = np.maximum(np.arange(3) - np.arange(3)[:, None], 0)
    for t in range(60):
        following = state @ steps if t else state
        assert found[t, 0] == pytest.approx(norm.ppf(np.clip(following @ below[t], 1e-5, 1 - 1e-5)), abs=1e-9)
        if t:
            joint = state[:, None] * steps * seen[t]
            expected = (joint * more).sum() / joint.sum() - (state[:, None] * steps * more).sum()
            assert switched_on[t, 0] == pytest.approx(expected, abs=1e-9)
        state = following * seen[t] / (following @ seen[t])


@pytest.mark.slow
def test_single_fluorophores_in_every_trace_are_not_doubtful():
    """Where outliers pass for frames on, rates are biased, and look like a dark state in all traces together."""
    traces, _ = emitter_traces(np.ones(30, int), 800, light=LIGHT, seed=77)
    found = estimate_y(traces, 6, emission="camera")
    assert (found.y == 1).all()
    assert not found.doubtful.any()


@pytest.mark.slow
def test_dyes_that_are_nearly_always_on_scatter_as_little_as_they_do():
    """Seed 600: a rough fit shares half the brightness with the mean factor; twice its mu is then 20 % off."""
    emitters = np.repeat(np.arange(1, 6), 4)
    traces, _ = emitter_traces(emitters, 800, Dyes(0.1, 0.01), LIGHT, 600)
    found = estimate_y(traces, 10, emission="camera")
    assert (found.y == emitters).all()
    assert found.scatter < 0.02
    assert not found.doubtful.any()


@pytest.mark.parametrize(("dyes", "said"), [(Dyes(), ""), (Dyes(0.1, 0.5, substeps=20), "lit in part")], ids=str)
def test_live_counts_say_when_frames_are_lit_in_part(dyes, said):
    traces, _ = emitter_traces([1, 2, 3, 2, 1, 3], 400, dyes, LIGHT, seed=11)
    operator = create("count", Spec((4, 4), "uint16"), max_emitters=4, update_every=300, brightness_scatter=0.0)
    assert operator.doubt() == ""
    for at in range(0, 400, 50):
        block = Block(at, np.arange(at, at + 50), np.zeros((50, 4, 4), np.uint16))
        operator.update(block, {"photons": traces[:, at : at + 50].T})
    operator.finish()
    doubt = operator.doubt()
    assert ("undetermined, as the model could not have made their traces" in doubt) == bool(said)
    assert said in doubt
    restored = create("count", Spec((4, 4), "uint16"), max_emitters=4, update_every=300, brightness_scatter=0.0)
    restored.restore(operator.state())
    assert restored.doubt() == doubt


@pytest.mark.parametrize(("dyes", "clustered"), [(Dyes(), False), (Dyes(k_dark=0.02, k_back=0.01), True)])
def test_a_dark_state_shows_in_when_emitters_come_on(dyes, clustered):
    emitters = np.repeat(np.arange(1, 5), 6)
    traces, _ = emitter_traces(emitters, 1500, dyes, LIGHT, seed=21)
    leave = dyes.k_off + dyes.k_dark  # of two states, the rates that keep how often emitters are on, and for how long
    off = dyes.k_off / dyes.k_on + dyes.k_dark / dyes.k_back
    parameters = np.tile([400.0, 500, 15, leave / off, leave, 0], (24, 1))
    found = doubts(traces.T, emitters, parameters, EmitterModel(True, False, 0, 4, 3.0, p_outlier=1e-4), True)
    assert (found != "").all() == clustered


@pytest.mark.parametrize("scale", ["of all", "of each", "dF/F"])
def test_normalised_traces_are_not_electrons(scale):
    traces, _ = emitter_traces(EMITTERS, 300, light=LIGHT, seed=9)
    span = {"of all": (traces.min(), np.ptp(traces)), "dF/F": (500, 500)}
    low, span = span.get(scale, (traces.min(1, keepdims=True), np.ptp(traces, axis=1, keepdims=True)))
    with pytest.raises(FrameError, match=r"shot noise of electrons.*use emission = 'lognormal'"):
        estimate_y((traces - low) / span, 8, emission="camera")


def test_intervals_of_doubtful_numbers_go_from_a_third_to_twice():
    interval, candidates = np.array([[3, 3], [3, 4], [0, 0]]), np.arange(0, 8)
    found = widened(interval, np.array([3, 4, 0]), np.array([False, True, True]), candidates)
    assert found.tolist() == [[3, 3], [1, 7], [0, 1]]


def test_a_number_at_the_end_of_the_candidates_is_not_determined():
    traces, _ = emitter_traces([1, 2, 3], 400, light=LIGHT, seed=10)
    found = estimate_y(traces, 3, emission="camera", brightness_scatter=0.0)
    assert found.flat.tolist() == [False, False, True]
