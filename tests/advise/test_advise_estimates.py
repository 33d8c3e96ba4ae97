"""Each number that `advise` gives beside a textbook formula, on movies whose truth is known."""

import numpy as np
import pytest

from streamfluo import Spec
from streamfluo.advise.cell_size import by_autocorrelation, cell_size
from streamfluo.advise.decay import Transients, decay_s, transients
from streamfluo.advise.fluctuations import autocorrelation, fluctuations
from streamfluo.advise.interleaved import interleaved
from streamfluo.advise.light import bleaching, saturation, stuck_pixels, why_blank
from streamfluo.advise.lines import line_offset
from streamfluo.advise.sample import Sample

INTERVAL_S = 0.1


def blinking_shapes(image, places, side=96, frames=240, noise=1.0, seed=0, decay_frames=5.0):
    """Return a movie (t, y, x) of shapes image(dy, dx) at places with independent AR(1) courses, and white noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    events = (rng.random((len(places), frames)) < 0.05) * rng.uniform(5, 10, (len(places), frames))
    g = np.exp(-1 / decay_frames)
    for t in range(1, frames):
        events[:, t] += g * events[:, t - 1]
    shapes = np.array([image(y - a, x - b) for a, b in places])
    movie = np.tensordot(events.T, shapes, 1) + noise * rng.standard_normal((frames, side, side))
    return movie.astype(np.float32)


def grid(step, side=96):
    return [(a, b) for a in range(step, side - step + 1, step) for b in range(step, side - step + 1, step)]


def sampled(pixels, **known):
    spec = Spec(pixels.shape[1:], pixels.dtype, interval_s=INTERVAL_S, **known)
    return Sample(pixels, np.arange(len(pixels)), spec, len(pixels), pixels.shape[1:], 0, ("",), "")


def test_the_autocorrelation_is_the_mean_product_of_pixels_a_bin_apart():
    movie = blinking_shapes(lambda y, x: np.exp(-(y**2 + x**2) / 8), [(9, 9), (20, 14)], side=30, frames=40)
    found = fluctuations(movie.copy(), [slice(0, 25), slice(25, 40)], None)
    bins, product = found.bins, np.zeros((9, 9))
    counted = np.zeros((9, 9))
    for n in range(1, len(bins)):
        if n == 25:  # a run begins: what is before it has nothing to do with it
            continue
        for dy in range(-4, 5):
            for dx in range(-4, 5):
                a = bins[n - 1][max(0, -dy) : 30 - max(0, dy), max(0, -dx) : 30 - max(0, dx)]
                b = bins[n][max(0, dy) : 30 - max(0, -dy), max(0, dx) : 30 - max(0, -dx)]
                product[dy + 4, dx + 4] += (a * b).mean()
                counted[dy + 4, dx + 4] += 1
    y, x = np.mgrid[-4:5, -4:5]
    ring = np.rint(np.hypot(y, x))
    expected = [(product / counted)[ring == r].mean() for r in range(5)]
    np.testing.assert_allclose(autocorrelation(found, 4).radial, expected, rtol=1e-3)


@pytest.mark.parametrize("sigma", [1.3, 2.5, 4.0])
def test_a_gaussian_has_the_width_of_its_autocorrelation(sigma):
    radial = np.exp(-(np.arange(41) ** 2) / (4 * sigma**2)) + 0.5 * np.exp(-(np.arange(41) ** 2) / (2 * 60**2))
    diameter, broad, gaussian, _ = by_autocorrelation(radial)
    assert gaussian
    assert diameter == pytest.approx(2.355 * sigma, rel=0.12)
    assert broad == pytest.approx(1 / 3, abs=0.1)


@pytest.mark.parametrize("radius", [3.0, 5.0])
def test_discs_have_their_diameter_in_both_ways(radius):
    movie = blinking_shapes(lambda y, x: 1.0 * (y**2 + x**2 <= radius**2), grid(round(4 * radius)))
    found = fluctuations(movie, [slice(0, len(movie))], INTERVAL_S)
    size = cell_size(found, autocorrelation(found, 40))
    assert not size.reason
    assert size.diameter_px == pytest.approx(2 * radius, rel=0.15)
    assert size.by_field_px == pytest.approx(2 * radius, rel=0.2)


def test_noise_has_no_covariance_from_one_frame_to_the_next():
    noise = np.random.default_rng(1).standard_normal((150, 64, 64)).astype(np.float32)
    assert abs(autocorrelation(fluctuations(noise, [slice(0, 150)], None), 20).z) < 4


@pytest.mark.parametrize("decay", [0.3, 0.8])
def test_traces_have_their_decay_time(decay):
    movie = blinking_shapes(
        lambda y, x: np.exp(-(y**2 + x**2) / 18), grid(24), frames=400, decay_frames=decay / INTERVAL_S
    )
    courses = transients(movie, [slice(0, 400)], np.array(grid(24)), 3.0)
    found, reason = decay_s(courses, INTERVAL_S)
    assert not reason
    assert decay / 1.5 < found < decay * 1.5
    assert courses.asymmetry > 0.5


def test_noise_has_no_decay_time():
    noise = list(np.random.default_rng(2).standard_normal((20, 300)))
    assert "do not stand out" in decay_s(Transients(noise, [1.0] * 20, 0.0), INTERVAL_S)[1]


@pytest.mark.parametrize("shift", [-1.6, 0.0, 0.8])
def test_lines_shifted_by_a_bidirectional_scan_are_seen(shift):
    rng = np.random.default_rng(3)
    spectrum = np.fft.rfft2(rng.standard_normal((128, 128)))
    spectrum *= np.exp(-((np.fft.fftfreq(128)[:, None] ** 2 + np.fft.rfftfreq(128) ** 2) * 200))
    image = np.fft.irfft2(spectrum)
    lines = np.fft.rfft(image[1::2], axis=1) * np.exp(-2j * np.pi * shift * np.fft.rfftfreq(128))
    image[1::2] = np.fft.irfft(lines, axis=1)
    found = line_offset(image + image.std() * rng.standard_normal((20, *image.shape)))
    assert found.offset_px == pytest.approx(shift, abs=0.15)
    assert found.shows == (shift != 0)


def test_lines_of_noise_are_undetermined():
    assert not line_offset(np.random.default_rng(4).standard_normal((5, 128, 128))).shows


@pytest.mark.parametrize("planes", [1, 2, 3])
def test_frames_that_alternate_between_planes_are_seen(planes):
    rng = np.random.default_rng(9)
    structure = 100 + 20 * rng.standard_normal((planes, 32, 32))
    movie = rng.poisson(np.maximum(structure[np.arange(200) % planes], 0)).astype(np.uint16)
    assert interleaved(movie, [slice(0, 200)]) == planes


def test_bleaching_is_what_the_light_above_the_offset_loses():
    from streamfluo import Camera

    rng = np.random.default_rng(5)
    level = 100 + 400 * np.exp(-np.arange(300) / 400)
    movie = rng.poisson(level[:, None, None], (300, 32, 32)).astype(np.uint16)
    found = bleaching(sampled(movie, camera=Camera(offset_adu=100.0)))
    tenths = (level - 100).reshape(10, -1).mean(1)
    assert found.offset_known
    assert found.lost == pytest.approx(1 - tenths[-1] / tenths[0], abs=0.05)
    assert found.lost > 4 * found.error


def test_values_that_pile_up_saturate():
    light = np.random.default_rng(6).poisson(800, (40, 32, 32))
    assert saturation(sampled(light.astype(np.uint16))).share == 0
    found = saturation(sampled(np.minimum(light, 840).astype(np.uint16)))
    assert found.at_adu == 840
    assert found.share == pytest.approx((light >= 840).mean())


def test_hot_and_dead_pixels_are_counted():
    frames = np.random.default_rng(7).poisson(100, (30, 32, 32)).astype(np.uint16)
    frames[:, 5, 6], frames[:, 20, 9], frames[:, 3, 3] = 4000, 0, 0
    assert stuck_pixels(sampled(frames)) == (0, 3)
    frames[:, 5, 6] += np.random.default_rng(8).integers(0, 9, 30, dtype=np.uint16)
    assert stuck_pixels(sampled(frames)) == (1, 2)


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (np.full((40, 32, 32), 7, np.uint16), "every pixel is 7 ADU"),
        (np.zeros((40, 1, 32), np.uint16), "frames of 1 × 32 px"),
        (np.zeros((0, 32, 32), np.uint16), "none of 0 frames"),
    ],
)
def test_frames_that_say_nothing_are_named(pixels, why):
    assert why_blank(sampled(pixels)).startswith(why)
