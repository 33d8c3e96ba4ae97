"""The calcium simulator: the same frames whatever way they come, and as bright, noisy and shifted as it says."""

import numpy as np
import pytest
from scipy import ndimage, sparse, stats

from streamfluo import ConfigError, SourceError, open_source, simulate
from streamfluo.sources.simulate.camera import generator, poisson_counts
from streamfluo.sources.simulate.timeline import CHUNK_FRAMES, Timeline, run_filter

SMALL = "sim:calcium?shape=48x40&frames=90&seed=3"
STILL = {"neuropil": 0, "motion_px": 0, "bleach_fraction": 0, "spike_rate_hz": 0}


def movie(source, max_frames=32):
    return np.concatenate([block.pixels for block in source.blocks(max_frames)])


def footprints(truth):
    return sparse.csc_array((truth["A_data"], truth["A_indices"], truth["A_indptr"]), tuple(truth["A_shape"]))


# The same frames, whatever way they are asked for


@pytest.mark.parametrize("max_frames", [1, 7, 90])
def test_block_cuts_do_not_change_a_bit(max_frames):
    assert np.array_equal(movie(open_source(SMALL)), movie(open_source(SMALL), max_frames))


def test_a_frame_is_the_same_after_seeking_forward_and_back_over_a_chunk_border():
    uri = f"sim:calcium?shape=16x16&neuron_sigma_px=2&frames={CHUNK_FRAMES + 20}"
    whole, source = movie(open_source(uri)), open_source(uri)
    for index in (CHUNK_FRAMES - 5, CHUNK_FRAMES + 3, 2):
        source.seek(index)
        block = next(iter(source.blocks(12)))
        assert block.index == index
        assert np.array_equal(block.pixels, whole[index : index + 12])


@pytest.mark.parametrize(
    ("b", "a"), [([0.3], [1, -1.7, 0.72]), ([1.0], [1, -0.9]), ([0.2, 0.1], [1, -0.5]), ([0.5], [1, -1.3, 0.4, -0.05])]
)
def test_courses_are_filtered_as_scipy_does_also_in_parts(b, a):
    from scipy.signal import lfilter  # a second to import, in each process that lists the tests

    rng = np.random.default_rng(3)
    white, state = rng.normal(size=(7, 300)), rng.normal(size=(7, max(len(a), len(b)) - 1))
    expected, after = lfilter(b, a, white, axis=1, zi=state)
    first, between = run_filter(b, a, white[:, :113], state)
    rest, last = run_filter(b, a, white[:, 113:], between)
    np.testing.assert_allclose(np.concatenate([first, rest], axis=1), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(last, after, rtol=1e-12, atol=1e-12)


def test_a_timeline_keeps_few_states_and_still_goes_back_to_the_same_chunk():
    timeline = Timeline(lambda k, state: (state, state + k), 0)
    forward = [timeline.chunk(k) for k in range(1000)]
    assert len(timeline._states) <= 66
    assert [timeline.chunk(k) for k in range(999, -1, -7)] == forward[::-7]


def test_another_seed_makes_another_movie_and_another_series():
    one, two = open_source(SMALL), open_source(SMALL.replace("seed=3", "seed=4"))
    assert not np.array_equal(movie(one), movie(two))
    assert one.series.uid != two.series.uid


def test_the_same_parameters_in_another_order_are_the_same_series():
    one, two = open_source(SMALL), open_source("sim:calcium?seed=3&frames=90&decay_s=0.4&shape=48x40")
    assert one.series == two.series
    assert open_source(one.series.source).series == one.series


def test_a_series_without_end_goes_on_and_its_truth_covers_what_was_served():
    source = open_source("sim:calcium?shape=16x16")
    blocks = source.blocks(10)
    served = [next(blocks).index for _ in range(3)]
    assert (source.series.frames, served) == (None, [0, 10, 20])
    assert source.truth["C"].shape[1] == 30


def test_frames_are_stamped_with_index_times_interval():
    source = open_source(SMALL)
    source.seek(61)
    block = next(iter(source.blocks()))
    assert block.times_ns[:2].tolist() == [round(61e9 / 30), round(62e9 / 30)]


# As bright and noisy as it says


@pytest.mark.parametrize("mean", [0.3, 4.0, 10.0, 21.7, 300.0])
def test_counts_follow_the_poisson_distribution(mean):
    counts = poisson_counts(np.full((400, 500), mean, np.float32), generator(1, 0)).ravel().astype(int)
    low, high = stats.poisson.ppf((1e-4, 1 - 1e-4), mean).astype(int)
    observed = np.bincount(np.clip(counts, low, high) - low, minlength=high - low + 1)
    expected = stats.poisson.pmf(np.arange(low, high + 1), mean)
    expected[0], expected[-1] = stats.poisson.cdf(low, mean), stats.poisson.sf(high - 1, mean)
    assert stats.chisquare(observed, expected * counts.size).pvalue > 1e-3


@pytest.mark.parametrize(
    ("photons", "gain", "read", "offset"), [(20, 0.5, 1.5, 100), (8, 0.2, 0, 50), (400, 2, 6, 300)]
)
def test_mean_and_variance_of_pixels_follow_the_camera(photons, gain, read, offset):
    frames, truth = simulate.calcium(
        600, shape=(64, 64), photons=photons, gain_e_per_adu=gain, read_noise_e=read, offset_adu=offset, **STILL
    )
    mean = offset + truth["background"] / gain
    variance = (truth["background"] + read**2) / gain**2 + (1 / 12 if read else 0)
    z = (frames.mean(0) - mean) / np.sqrt(variance / len(frames))
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert z.std() == pytest.approx(1, abs=0.05)
    ratio = frames.var(0, ddof=1) / variance
    assert ratio.mean() == pytest.approx(1, abs=4 * np.sqrt(2.2 / len(frames) / z.size))


def test_frames_saturate_where_the_converter_ends():
    frames, _ = simulate.calcium(3, shape=(32, 32), photons=5000, bits=12)
    assert frames.max() == 4095
    assert open_source("sim:calcium?bits=12").spec.camera.saturation_adu == 4095


def test_the_mean_background_is_the_photons_asked_for():
    truth = open_source("sim:calcium?photons=35&frames=1").truth
    assert truth["background"].mean() == pytest.approx(35, rel=1e-5)


def test_frames_are_made_of_the_truth():
    frames, t = simulate.calcium(
        400, shape=(64, 64), motion_px=0, neuropil=0.4, bleach_fraction=0.5, bleach_s=5, photons=200, signal=2
    )
    tissue = t["background"].ravel() + np.outer(t["neuropil"], t["neuropil_map"])
    photons = t["bleaching"][:, None] * (tissue + (footprints(t) @ t["C"]).T)
    z = (frames.reshape(400, -1) - 100 - photons / 0.5) / np.sqrt((photons + 1.5**2) / 0.5**2 + 1 / 12)
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert z.std() == pytest.approx(1, abs=4 / np.sqrt(2 * z.size))


# Neurons


def test_footprints_peak_at_one_around_their_position():
    t = open_source("sim:calcium?shape=128x96&frames=1").truth
    a = footprints(t).toarray().reshape(128, 96, -1)
    assert a.shape[2] == len(t["position_px"]) == round(128 * 96 / (40 * 4**2))
    for k, position in enumerate(t["position_px"]):
        assert a[..., k].max() == 1
        assert np.allclose(ndimage.center_of_mass(a[..., k]), position, atol=0.5)


def test_an_isolated_transient_decays_by_g_from_the_amplitude_of_a_spike():
    t = open_source("sim:calcium?frames=3000&shape=64x64&spike_rate_hz=0.05").truth
    k, start = next(
        (k, i) for k, i in np.argwhere(t["spikes"] == 1) if i > 150 and t["spikes"][k, i - 150 : i + 20].sum() == 1
    )
    expected = t["amplitude"][k] * t["g"][k] ** np.arange(20)
    assert t["g"][k] == pytest.approx(np.exp(-1 / (0.4 * 30)))
    assert np.allclose(t["C"][k, start : start + 20], expected, rtol=1e-3)


def test_with_a_rise_time_calcium_is_ar2_and_one_spike_peaks_at_the_amplitude():
    t = open_source("sim:calcium?frames=3000&shape=128x128&rise_s=0.1&spike_rate_hz=0.01").truth
    g, r, c = t["g"][0], t["g_rise"][0], t["C"].astype(float)
    drive = c[:, 2:] - (g + r) * c[:, 1:-1] + g * r * c[:, :-2]
    assert np.allclose(drive > 0.01, t["spikes"][:, 2:] > 0)
    alone = [k for k in range(len(c)) if t["spikes"][k].sum() == 1 and t["spikes"][k, :-60].any()]
    assert alone
    assert np.allclose(c[alone].max(1), t["amplitude"][alone], rtol=1e-4)


def test_spikes_come_at_the_mean_rate():
    t = open_source("sim:calcium?frames=6000&shape=256x256&spike_rate_hz=0.5").truth
    rates = t["spikes"].sum(1) / 200
    assert rates.mean() == pytest.approx(0.5, rel=0.15)
    assert rates.std() > 0.1


# Motion


def register(frame, scene):
    """The shift (dy, dx) of `frame` against `scene`, by Gauss-Newton on a spline-shifted scene."""
    shift, inside = np.zeros(2), (slice(8, -8), slice(8, -8))
    for _ in range(8):
        moved = ndimage.shift(scene, shift, order=3, mode="nearest")
        slopes = np.stack([-g[inside].ravel() for g in np.gradient(moved)], 1)
        shift += np.linalg.lstsq(slopes, (frame - moved)[inside].ravel(), rcond=None)[0]
    return shift


def test_frames_are_shifted_as_the_truth_says_in_sign_and_size():
    frames, t = simulate.calcium(
        200, shape=(96, 80), photons=2000, motion_px=2, spike_rate_hz=0, neuropil=0, bleach_fraction=0, seed=5
    )
    picked = [*range(10, 200, 19), int(np.abs(t["shift_px"]).max(1).argmax())]
    found = np.array([register((frames[i] - 100.0) * 0.5, t["background"].astype(float)) for i in picked])
    assert np.abs(t["shift_px"][picked]).max() > 2
    assert np.abs(found - t["shift_px"][picked]).max() < 0.1


def test_motion_is_bounded_smooth_and_of_the_amplitude_asked_for():
    shift = open_source("sim:calcium?shape=16x16&motion_px=1.5&frames=20000").truth["shift_px"]
    assert shift.std(0) == pytest.approx([1.5, 1.5], rel=0.1)
    assert np.abs(shift).max() <= 4.5
    assert np.diff(shift, axis=0).std() < 0.3


# The truth is plain and complete


def test_truth_has_one_entry_per_frame_neuron_or_pixel():
    t = open_source(SMALL).truth
    k = len(t["position_px"])
    assert t["A_shape"].tolist() == [48 * 40, k]
    assert t["C"].shape == t["spikes"].shape == (k, 90)
    assert t["shift_px"].shape == (90, 2)
    assert t["g"].shape == t["amplitude"].shape == (k,)
    assert t["background"].shape == (48, 40)
    assert (t["seed"], t["photons"], t["gain_e_per_adu"], t["offset_adu"], t["read_noise_e"]) == (3, 20, 0.5, 100, 1.5)
    assert all(isinstance(array, np.ndarray) and array.dtype.kind in "iuf" for array in t.values())


def test_a_field_without_neurons_is_a_field_all_the_same():
    frames, t = simulate.calcium(4, shape=(20, 30), neurons=0)
    assert frames.shape == (4, 20, 30)
    assert t["C"].shape == (0, 4)


def test_the_movie_in_python_is_the_one_that_streams():
    frames, truth = simulate.calcium(90, shape=(48, 40), seed=3)
    source = open_source(SMALL)
    assert np.array_equal(frames, movie(source))
    assert all(np.array_equal(truth[name], array) for name, array in source.truth.items())


# Errors say where


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        ("sim:calcium?sede=3", ConfigError, "sim:calcium: no parameter 'sede'; did you mean 'seed'?"),
        ("sim:calcium?shape=-5x20", ConfigError, "sim:calcium: shape[0]: expected a whole number >= 8, found -5"),
        ("sim:calcium?shape=20", ConfigError, "sim:calcium: shape: expected a list of length 2"),
        ("sim:calcium?frames=0", ConfigError, "sim:calcium: frames: expected a whole number >= 1, found 0"),
        ("sim:calcium?seed=three", ConfigError, "seed: expected a whole number, not a text, found 'three'"),
        ("sim:gain?em=2", ConfigError, "sim:gain: em: expected true or false, not a text, found '2'"),
        ("sim:calcium?photons=nan", ConfigError, "sim:calcium: photons: "),
        ("sim:calcium?photons=inf", ConfigError, "sim:calcium: photons: "),
        ("sim:calcium?rise_s=2", ConfigError, "sim:calcium: rise_s must be shorter than decay_s, found 2.0 and 0.4"),
        ("sim:calcium?seed", SourceError, "sim:calcium: '?seed' is not parameter=value"),
        ("sim:calcium?seed=1&seed=2", SourceError, "sim:calcium: parameter 'seed' is given twice, '2' the last time"),
        ("sim:calzium?seed=1", SourceError, "no simulator 'calzium'; did you mean 'calcium'?"),
    ],
)
def test_a_wrong_uri_is_refused_with_the_place_and_what_was_found(uri, error, message):
    with pytest.raises(error) as caught:
        open_source(uri)
    assert message in str(caught.value)


@pytest.mark.parametrize("index", [-1, 91])
def test_seeking_outside_the_series_is_refused(index):
    with pytest.raises(SourceError, match=f"no frame {index}; the series is 90 frames long"):
        open_source(SMALL).seek(index)


def test_after_the_last_frame_there_is_no_more():
    source = open_source(SMALL)
    source.seek(90)
    assert list(source.blocks()) == []


def test_a_switch_is_true_or_false_in_a_uri_and_comes_back_from_it():
    with open_source("sim:gain?frames=9&em=true") as on, open_source("sim:gain?frames=9&em=false") as off:
        assert on.spec.camera.excess_noise == 2
        assert off.spec.camera.excess_noise == 1
        with open_source(on.series.source) as again:
            assert again.spec.camera == on.spec.camera
