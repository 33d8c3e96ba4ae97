"""What every simulator keeps: the same frames whatever way they come, in flat memory, with a plain truth."""

import numpy as np
import pytest

from streamfluo import ConfigError, SourceError, open_source, simulate
from streamfluo.sources.simulate.source import SIMULATORS
from streamfluo.sources.simulate.timeline import CHUNK_FRAMES

VARIANTS = {
    "blinking": "k_bleach_hz=0.5&brightness_sd=0.3",
    "blinking-random": "structure=random&k_on_hz=100&k_off_hz=300",
    "gain": "levels=3&level_frames=7&dark_frames=5&flicker=0.05&gain_sd=0.1&read_noise_sd=0.3&full_well_e=3000",
    "gain-gaussian": "illumination=gaussian&levels=2&level_frames=40",
    "spots": "drift_y_px=0.1&drift_x_px=-0.05&background_gradient=0.5",
    "spots-diffusing": "motion=diffusing",
    "spots-random": "motion=random&photon_distribution=exponential",
    "calcium-field": "neuropil_follows=1&processes=3&saturation=0.2&bursts=0.5&z_drift=0.5&line_motion_px=0.5"
    "&size_spread=0.3&rings=0.5&neuron_sigma_px=2",
    "bleaching-steps": "brightness_sd=0.2",
    "voltage": "polarity=negative&motion_px=0.5&vessels=2&radius_px=3",
    "bleaching-steps-lognormal": "emission=lognormal&spot_background=100",
}


def uri(variant, **more):
    name = next(n for n in SIMULATORS if variant.startswith(n))
    parameters = {"shape": "24x32", "seed": 3, "frames": 90} | more
    return f"sim:{name}?{VARIANTS[variant]}&" + "&".join(f"{k}={v}" for k, v in parameters.items())


def movie(source, max_frames=32):
    return np.concatenate([block.pixels for block in source.blocks(max_frames)])


each = pytest.mark.parametrize("variant", VARIANTS)
ALIKE = {"blinking-random", "gain-gaussian", "spots-random", "bleaching-steps-lognormal"}  # in how they draw a chunk
few = pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=[pytest.mark.slow] if name in ALIKE else []) for name in VARIANTS]
)


@each
def test_the_same_parameters_give_the_same_frames_and_another_seed_others(variant):
    one = movie(open_source(uri(variant)))
    assert one.shape == (90, 24, 32)
    assert np.array_equal(one, movie(open_source(uri(variant))))
    assert not np.array_equal(one, movie(open_source(uri(variant, seed=4))))


@each
@pytest.mark.parametrize("max_frames", [1, 7, 90])
def test_block_cuts_do_not_change_a_bit(variant, max_frames):
    assert np.array_equal(movie(open_source(uri(variant))), movie(open_source(uri(variant)), max_frames))


@few
def test_a_frame_is_the_same_after_seeking_forward_and_back_over_a_chunk_border(variant):
    long = uri(variant, frames=CHUNK_FRAMES + 20, shape="16x16")
    whole, source = movie(open_source(long)), open_source(long)
    for index in (CHUNK_FRAMES - 5, CHUNK_FRAMES + 3, 2):
        source.seek(index)
        assert np.array_equal(next(iter(source.blocks(12))).pixels, whole[index : index + 12])


@few
def test_a_series_without_end_can_be_entered_far_ahead(variant):
    endless = uri(variant, frames="none", shape="16x16")
    far = 15 * CHUNK_FRAMES + 17
    one, two = open_source(endless), open_source(endless)
    one.seek(far)
    two.seek(far - 30)
    later = next(iter(one.blocks(4))).pixels
    assert np.array_equal(next(iter(two.blocks(34))).pixels[30:], later)


@each
def test_truth_is_plain_the_same_at_each_call_and_begins_alike_in_a_longer_series(variant):
    source = open_source(uri(variant))
    truth, again = source.truth, source.truth
    assert all(isinstance(array, np.ndarray) and array.dtype.kind in "iuf" for array in truth.values())
    assert all(np.array_equal(again[name], array) for name, array in truth.items())
    longer = open_source(uri(variant, frames=CHUNK_FRAMES + 50)).truth
    for name, array in truth.items():
        if array.shape[:1] == (90,):
            assert np.array_equal(longer[name][:90], array), name


@each
def test_the_uri_of_a_series_opens_it_again(variant):
    series = open_source(uri(variant)).series
    assert open_source(series.source).series == series


@pytest.mark.parametrize("name", [n for n in SIMULATORS if n != "calcium"])
def test_the_movie_in_python_is_the_one_that_streams(name):
    frames, truth = getattr(simulate, name.replace("-", "_"))(20, shape=(24, 32), seed=5)
    source = open_source(f"sim:{name}?shape=24x32&seed=5&frames=20")
    assert np.array_equal(frames, movie(source))
    assert all(np.array_equal(truth[key], array) for key, array in source.truth.items())


@pytest.mark.parametrize("uri", ["sim:blinking?emitters=0", "sim:spots?spots=0", "sim:bleaching-steps?spots=0"])
def test_a_field_without_light_sources_is_a_field_all_the_same(uri):
    source = open_source(f"{uri}&frames=200&shape=20x30&photons=30")
    frames = movie(source)
    assert abs(frames.mean() - 160) < 5 * np.sqrt((30 + 1.5**2) / 0.25 / frames.size)
    assert len(source.truth["position_px"]) == 0


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        ("sim:blinking?k_on=3", ConfigError, "sim:blinking: no parameter 'k_on'; did you mean 'k_on_hz'?"),
        ("sim:blinking?k_off_hz=-1", ConfigError, "sim:blinking: k_off_hz: expected a number >= 0.0, found -1.0"),
        ("sim:blinking?structure=lines", ConfigError, "sim:blinking: structure: Invalid enum value 'lines'"),
        ("sim:blinking?filaments=0", ConfigError, "sim:blinking: filaments: expected a whole number >= 1, found 0"),
        ("sim:gain?levels=0", ConfigError, "sim:gain: levels: expected a whole number >= 1, found 0"),
        ("sim:gain?min_photons=9&photons=5", ConfigError, "sim:gain: min_photons must not exceed photons, found 9.0"),
        ("sim:gain?dim_fraction=0", ConfigError, "sim:gain: dim_fraction: expected a number > 0.0, found 0.0"),
        ("sim:spots?motion=still", ConfigError, "sim:spots: motion: Invalid enum value 'still'"),
        ("sim:spots?sigma_px=0", ConfigError, "sim:spots: sigma_px: expected a number >= 0.3, found 0.0"),
        ("sim:bleaching-steps?p_on=1.5", ConfigError, "sim:bleaching-steps: p_on: expected a number <= 1.0, found 1.5"),
        ("sim:bleaching-steps?min_y=9", ConfigError, "sim:bleaching-steps: min_y must not exceed max_y, found 9 and 8"),
        ("sim:bleaching_steps", SourceError, "no simulator 'bleaching_steps'; did you mean 'bleaching-steps'?"),
    ],
)
def test_a_wrong_uri_is_refused_with_the_place_and_what_was_found(uri, error, message):
    with pytest.raises(error) as caught:
        open_source(uri)
    assert message in str(caught.value)
