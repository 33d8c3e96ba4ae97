"""Counting traces in memory: accuracy against the reference and the truth, and errors for bad traces."""

import os
from pathlib import Path

import numpy as np
import pytest
from emitter_oracle import trace_log_likelihood
from emitter_traces import BRIGHTNESS, simulated

from streamfluo import Camera, ConfigError, FrameError, counting
from streamfluo.counting import HyperParameters, ParameterRanges, Parameters, estimate_parameters, estimate_y
from streamfluo.counting.batched_bfgs import minimise
from streamfluo.counting.kernels.crosschecks import bleaching_steps, credible_interval, is_flat
from streamfluo.counting.kernels.likelihood import EmitterModel, binned_logs

DATA = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[3] / "shared" / "data"))
REFERENCE = {emission: DATA / "reference_outputs" / f"blinx_loglik_{emission}.npz" for emission in BRIGHTNESS}
READ = {"lognormal": None, "camera": Camera(0.0, 1.0, 15.8)}
YS = np.repeat(np.arange(1, 9), 5)


def reference(emission):
    if not REFERENCE[emission].exists():
        pytest.skip(f"{REFERENCE[emission]} is absent; set STREAMFLUO_DATA to the folder with the reference outputs")
    return np.load(REFERENCE[emission])


def test_likelihoods_are_the_reference_s_to_two_hundredths_of_a_nat():
    theta, hyper = Parameters(2000, 5000, 0.05, 0.05, 0.08), HyperParameters(max_x=30000, p_outlier=0.1)
    with reference("lognormal") as values:
        for y in (1, 2, 4, 8):
            [found] = counting.log_likelihood(values[f"trace_y{y}"], y, theta, hyper)
            assert found == pytest.approx(float(values[f"ll64_y{y}"]), abs=1e-9)
            assert found == pytest.approx(float(values[f"ll_y{y}"]), abs=0.02)
        for y in range(1, 11):
            [found] = counting.log_likelihood(values["trace_y4"], y, theta, hyper)
            assert found == pytest.approx(float(values[f"scan_y{y}"]), abs=0.02)


def test_under_the_camera_s_emission_they_are_the_reference_s_but_for_the_frames_it_drops():
    """The reference treats the 20 brightest frames as outliers: here they are not measured, each a factor 1 / bins."""
    theta = np.array([[1000.0, 1000.0, np.sqrt(1000) / 2, 0.05, 0.08, 0.0]])
    width = 30000 / 1024
    with reference("camera") as values:
        cases = [(f"trace_y{y}", y, f"ll_y{y}") for y in (1, 2, 4, 8)]
        for trace, y, name in cases + [("trace_y4", y, f"scan_y{y}") for y in range(1, 11)]:
            bins = np.floor(values[trace] / width)
            edges = (bins * width - 5000) / 2
            edges[np.argsort(-bins, kind="stable")[:20]] = np.nan
            [[found]] = binned_logs(edges[:, None], theta, EmitterModel(True, False, y, y, width / 2, p_outlier=0.1))
            assert found - 20 * np.log(1024) == pytest.approx(float(values[name]), abs=0.02)


@pytest.mark.parametrize("emission", BRIGHTNESS)
def test_what_is_returned_is_the_forward_pass_at_the_parameters_returned(emission):
    traces, _ = simulated(emission, (1, 2, 3, 2), 200)
    found = estimate_y(traces, 4, emission=emission, camera=READ[emission], pooled=False)
    y, parameters, logs = found
    assert y is found.y
    assert logs.shape == (4, 5) == parameters.mu.shape
    for n, trace in enumerate(traces):
        theta = parameters.array()[n, 3, :5]
        expected = trace_log_likelihood(trace, 3, emission, theta, width=np.abs(traces).max() / 1024)
        assert logs[n, 3] == pytest.approx(expected, abs=1e-9, rel=1e-13)
    likely = logs - np.log(np.arange(1, 6))  # the prior, 1 / (y + 1)
    np.testing.assert_allclose(
        found.posterior, np.exp(likely - np.logaddexp.reduce(likely, axis=1)[:, None]), rtol=1e-9, atol=1e-300
    )


@pytest.mark.parametrize("emission", ["lognormal", pytest.param("camera", marks=pytest.mark.slow)])
def test_counts_are_right_where_traces_share_their_dye(emission):
    ys = np.repeat(np.arange(1, 5), 3)
    traces, z = simulated(emission, ys, 600, seed=1)
    found = estimate_y(traces, 6, emission=emission, camera=READ[emission])
    assert np.mean(found.y == ys) >= 11 / 12
    assert np.mean(found.states == z) > 0.95
    low, high = found.credible_interval.T
    assert np.mean((low <= ys) & (ys <= high)) >= 11 / 12
    assert not found.flat.any()


@pytest.mark.slow
def test_traces_whose_brightness_scatters_are_counted_as_well():
    ys = np.repeat(np.arange(1, 5), 4)
    traces, _ = simulated("lognormal", ys, 600, seed=2)
    factors = np.exp(0.15 * np.random.default_rng(3).normal(size=(16, 1)))
    traces = 5000 + factors * (traces - 5000)
    found = estimate_y(traces, 6)
    assert found.scatter == pytest.approx(np.log(factors).std(), abs=0.05)
    assert np.mean(found.y == ys) >= 14 / 16
    assert np.corrcoef(found.parameters.mu[:, 0], factors[:, 0])[0, 1] > 0.95
    known = Parameters(2000, 5000, 0.05, 0.05, 0.08)
    plain = 1 + np.argmax([counting.log_likelihood(traces, y, known) for y in range(1, 7)], axis=0)
    assert np.mean(plain == ys) < np.mean(found.y == ys)  # one brightness for all, the true mean


def test_bleaching_is_part_of_the_model():
    ys = np.repeat(np.arange(1, 5), 3)
    traces, _ = simulated("lognormal", ys, 400, seed=4, kinetics=(0.05, 0.08, 0.005))
    found = estimate_y(traces, 6, bleaching=True)
    theta = Parameters(2000, 5000, 0.05, 0.05, 0.08, 0.005)
    ceiling = 1 + np.stack([counting.log_likelihood(traces, y, theta) for y in range(1, 7)], axis=1).argmax(1)
    assert np.mean(found.y == ys) >= np.mean(ceiling == ys) - 1 / 12
    assert found.parameters.p_bleach[0, 0] == pytest.approx(0.005, rel=0.5)


def test_a_single_trace_and_the_parameters_of_a_known_number():
    traces, _ = simulated("lognormal", (2,), 600, seed=5)
    found = estimate_y(traces[0], 4)  # one trace: not pooled
    assert found.y.tolist() == [2]
    parameters, logs = estimate_parameters(traces, 2)
    assert parameters.mu[0] == pytest.approx(2000, rel=0.02)
    assert logs[0] == pytest.approx(found.log_likelihoods[0, 2], abs=0.05)
    assert np.isnan(found.parameters.mu[0, 0])  # nothing that is never on has a brightness


def test_adu_and_electrons_are_counted_alike():
    electrons, _ = simulated("camera", (1, 2, 3, 3), 300, seed=6)
    options = {"emission": "camera", "brightness_scatter": 0.0}
    one = estimate_y(electrons, 4, camera=Camera(0.0, 1.0, 15.8), **options)
    two = estimate_y(2 * electrons + 100, 4, camera=Camera(100.0, 0.5, 15.8), **options)
    assert two.y.tolist() == one.y.tolist()
    np.testing.assert_allclose(two.parameters.mu, one.parameters.mu, rtol=1e-3)


@pytest.mark.slow
def test_ranges_hold_and_grids_begin_there():
    traces, _ = simulated("lognormal", (1, 2), 300, seed=7)
    ranges = ParameterRanges(
        mu_range=(1500, 1600), p_on_range=(0.05, 0.05), mu_step=2, p_off_range=(0.05, 0.2), p_off_step=3
    )
    for pooled in (True, False):
        found = estimate_y(traces, 3, ranges, HyperParameters(num_guesses=2), pooled=pooled, brightness_scatter=0.0)
        known = found.parameters.array()[:, 1:]  # without an emitter nothing is known of it
        assert ((known[..., 0] >= 1500) & (known[..., 0] <= 1600)).all()
        np.testing.assert_allclose(known[..., 3], 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("most", [5, 6, 8, 10])
def test_real_bleaching_traces_do_not_hang_on_the_largest_number(most):
    path = DATA / "bleaching" / "quickpbsa.npz"
    if not path.exists():
        pytest.skip(f"{path} is absent; set STREAMFLUO_DATA to the folder with it")
    with np.load(path) as values:
        found = estimate_y(1000 * values["traces"] + 500, most, bleaching=True)
        assert found.y.tolist() == values["fluorophores"].tolist() == [4, 3, 3]
    assert found.doubtful.all()  # plateaus drift by 3 %, which no model has


BAD_TRACES = {
    "NaN": (np.where(np.arange(50) == 7, np.nan, 5.0 + np.arange(50) % 3), {}, "trace 0 has 1 values .* frame 7"),
    "constant": (np.full(50, 3.0), {}, "trace 0 is constant at 3"),
    "negative": (np.linspace(-1, 5, 50), {}, "trace 0 has intensities down to -1.*emission = 'lognormal'"),
    "constant but for rounding": (1e15 + np.arange(50.0) % 3, {}, "trace 0 varies by 2 about 1e.15, which double"),
    "beyond numbers": (1e300 * (1 + np.arange(50) % 3), {}, "trace 0 varies by 2e.300"),
    "short": (np.arange(5.0) + 1, {}, "trace 0 has 5 frames; at least 6"),
    "words": (np.array([["a", "b"]]), {}, r"numbers \(n, t\)"),
    "below the offset": (
        np.arange(50.0),
        {"emission": "camera", "camera": Camera(100.0, 1.0, 1.0)},
        "offset_adu = 100",
    ),
}


@pytest.mark.parametrize(("trace", "options", "message"), BAD_TRACES.values(), ids=BAD_TRACES)
def test_a_trace_that_cannot_be_counted_is_named(trace, options, message):
    with pytest.raises(FrameError, match=message):
        estimate_y(trace, 3, **options)


def test_traces_that_no_parameters_within_their_ranges_explain_are_refused():
    traces, _ = simulated("camera", (1, 2), 60, seed=8)
    ranges = ParameterRanges(**dict.fromkeys(("mu_range", "mu_bg_range", "sigma_range"), (1e-200, 1e-200)))
    with pytest.raises(FrameError, match="no parameters within their ranges explain the traces"):
        estimate_y(traces, 2, ranges, HyperParameters(p_outlier=0.0), emission="camera")


def test_one_bad_trace_among_many_is_reported_and_the_others_are_counted(caplog):
    traces, _ = simulated("lognormal", (1, 2, 2, 1), 300, seed=8)
    traces[1, 3], traces[2] = np.nan, -traces[2]
    found = estimate_y(traces, 3)
    assert sorted(found.skipped) == [1, 2]
    assert "trace 1 has 1 values that are not finite" in caplog.text
    assert found.y[[0, 3]].tolist() == [1, 1]
    assert found.y[[1, 2]].tolist() == [0, 0]
    assert np.isnan(found.log_likelihoods[[1, 2]]).all()
    parameters, _ = estimate_parameters(traces, 2)
    assert np.isnan(parameters.mu[[1, 2]]).all()


BAD_PARAMETERS = {
    "max_y below min_y": (lambda: estimate_y(np.ones((2, 9)), 2, None, HyperParameters(min_y=3)), "max_y .* min_y = 3"),
    "max_y no number": (lambda: estimate_y(np.ones((2, 9)), 2.5), "max_y is an integer"),
    "upside down": (lambda: ParameterRanges(mu_range=(5, 1)), "mu_range is upside down: 5 is above 1"),
    "beyond 1": (lambda: ParameterRanges(p_on_range=(0.1, 1.5)), "p_on_range lies between 0 and 1"),
    "no pair": (lambda: ParameterRanges(sigma_range=3.0), "sigma_range is .low, high."),
    "a grid without range": (lambda: ParameterRanges(mu_step=3), "mu_step needs mu_range"),
    "no guesses": (lambda: HyperParameters(num_guesses=0), "num_guesses is an integer from 1 on"),
    "all outliers": (lambda: HyperParameters(p_outlier=1.0), "p_outlier"),
    "no such emission": (lambda: estimate_y(np.ones((2, 9)), 2, emission="poisson"), "found 'poisson'"),
    "no gain": (lambda: estimate_y(np.arange(9.0), 2, emission="camera", camera=Camera()), "gain_e_per_adu"),
    "y of 0": (lambda: estimate_parameters(np.arange(9.0) + 1, 0), "y is an integer"),
}


@pytest.mark.parametrize(("call", "message"), BAD_PARAMETERS.values(), ids=BAD_PARAMETERS)
def test_bad_parameters_give_one_clear_line(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_every_option_of_the_reference_is_there():
    fit = "min_y num_guesses epoch_length is_done_limit is_done_window step_sizes distribution_threshold"
    for name in (*fit.split(), "max_x", "num_x_bins", "p_outlier"):
        assert hasattr(HyperParameters(), name)
    for name in ("mu", "mu_bg", "sigma", "p_on", "p_off"):
        assert hasattr(ParameterRanges(), f"{name}_range")
        assert hasattr(ParameterRanges(), f"{name}_step")


def test_intervals_have_their_credibility_and_flat_posteriors_are_marked():
    probabilities = np.array([[0.02, 0.95, 0.03, 0], [0.3, 0.3, 0.2, 0.2], [0, 0, 0.5, 0.5], [0, 0, 0, 1.0]])
    candidates = np.arange(1, 5)
    interval = credible_interval(probabilities, candidates)
    assert interval.tolist() == [[2, 2], [1, 4], [3, 4], [4, 4]]
    assert is_flat(interval, candidates).tolist() == [False, True, True, True]


def test_steps_are_counted_through_noise():
    rng = np.random.default_rng(0)
    for steps in (0, 1, 4):
        levels = np.repeat(np.arange(steps, -1, -1.0), 80)
        assert bleaching_steps(levels + 0.1 * rng.normal(size=len(levels))) == pytest.approx(steps, abs=0.2)


def test_minima_are_found_side_by_side_and_at_bounds():
    middle = np.array([[1.0, 2.0], [-3.0, 0.5], [0.0, 9.0]])

    def losses(which, at):
        d = at - middle[which]
        return (d**2 * [1, 30]).sum(1) + d.prod(1), 2 * d * [1, 30] + d[:, ::-1]

    bounds = np.full((3, 2), -5.0), np.full((3, 2), 5.0)
    at, loss = minimise(losses, np.zeros((3, 2)), bounds, 200, 1e-12)
    np.testing.assert_allclose(at[:2], middle[:2], atol=1e-5)
    np.testing.assert_allclose(at[2], [2, 5], atol=1e-5)  # the second is at its bound
    np.testing.assert_allclose(loss[:2], 0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("emission", BRIGHTNESS)
def test_pooled_counts_are_right_nine_times_of_ten(emission):
    exact, error, held = [], [], []
    for seed in range(5):
        traces, _ = simulated(emission, YS, 1000, seed)
        found = estimate_y(traces, 10, emission=emission, camera=READ[emission])
        low, high = found.credible_interval.T
        exact.append(np.mean(found.y == YS))
        error.append(np.mean(np.abs(found.y - YS)))
        held.append(np.mean((low <= YS) & (high >= YS)))
    assert np.mean(exact) >= 0.9
    assert np.mean(error) <= 0.12
    assert np.mean(held) >= 0.87


@pytest.mark.slow
@pytest.mark.parametrize("emission", BRIGHTNESS)
def test_a_trace_alone_is_counted_right_six_times_of_ten(emission):
    exact = []
    for seed in range(5):
        traces, _ = simulated(emission, YS, 1000, seed)
        exact.append(np.mean(estimate_y(traces, 10, emission=emission, pooled=False, camera=READ[emission]).y == YS))
    assert np.mean(exact) >= 0.6
