"""Motion correction against batch oracles, at the Cramér–Rao bound, and under faults."""

import threading
from functools import cache

import numpy as np
import pytest
import scipy.ndimage as ndi
from moving_tissue import (
    COUNTS,
    OFFSET,
    READ_E,
    bound_px,
    drift,
    errors_px,
    interpolation_weights,
    record,
    rmse_px,
    scene,
    seen_at,
)
from scipy.optimize import least_squares

import streamfluo
from streamfluo import Block, ConfigError, FrameError, Spec
from streamfluo.motion.template import Template

SHAPE = (120, 136)
TISSUE = scene(SHAPE, seed=1)
TRUTH = drift(600, seed=2)


@cache
def recorded():
    """The movie most tests look at: tissue that drifts; made when the first of them asks."""
    return record(TISSUE, TRUTH, photons=20, seed=3)


def blocks(movie, size=1, start=0):
    for a in range(start, len(movie), size):
        part = movie[a : a + size]
        yield Block(a, np.arange(a, a + len(part)) * 1000, part)


def run(movie, size=1, operator=None, **params):
    """Values by name and corrected frames of a whole movie, and the operator."""
    operator = operator or streamfluo.create("motion", Spec(movie.shape[1:], movie.dtype), **params)
    outputs = [operator.update(block) for block in blocks(movie, size)]
    values = {name: np.concatenate([o.values[name] for o in outputs]) for name in outputs[0].values}
    return values, np.concatenate([o.block.pixels for o in outputs]), operator


@pytest.fixture(scope="module")
def done():
    return run(recorded())


# Oracles


def shift_by_least_squares(frame, tissue, start):
    """Textbook: the shift, gain and offset that make the known scene most like the frame, pixels weighted by noise."""
    variance = (seen_at(tissue, start) * 20 + READ_E**2) * COUNTS**2

    def residual(p):
        model = p[2] * seen_at(tissue, p[:2]) * 20 * COUNTS + p[3]
        return ((frame - model) / np.sqrt(variance)).ravel()

    return least_squares(residual, [*start, 1.0, OFFSET], method="lm").x[:2]


def test_shifts_are_those_of_a_least_squares_fit_of_the_known_scene(done):
    chosen = np.arange(300, 600, 25)
    oracle = np.array([shift_by_least_squares(recorded()[t].astype(float), TISSUE, TRUTH[t]) for t in chosen])
    ours = done[0]["shift_px"][chosen]
    apart = errors_px(ours, oracle, 0)
    assert rmse_px(apart) < 0.9 * bound_px(TISSUE, 20)  # both at the bound, with much of their error in common
    assert rmse_px(oracle - TRUTH[chosen]) < 2 * bound_px(TISSUE, 20)


def interpolation_matrix(shift, side):
    """The matrix that interpolates a line of pixels at y + shift."""
    integer = int(np.floor(shift))
    weights = interpolation_weights(shift - integer, 6, order=2)
    return sum(w * np.eye(side, k=integer - 2 + n) for n, w in enumerate(weights))


def test_pixels_are_interpolated_at_the_shift_reported(done):
    values, corrected, _ = done
    for t in (0, 57, 311, 599):
        dy, dx = values["shift_px"][t]
        expected = (
            interpolation_matrix(dy, SHAPE[0]) @ recorded()[t].astype(float) @ interpolation_matrix(dx, SHAPE[1]).T
        )
        inside = np.s_[8:-8, 8:-8]
        assert np.allclose(corrected[t][inside], expected[inside], rtol=1e-4, atol=0.3)


def test_the_mean_is_that_of_the_corrected_frames(done):
    _, corrected, operator = done
    inside = np.s_[8:-8, 8:-8]
    mean = operator.read(["mean"])["mean"]
    assert np.allclose(mean[inside], corrected[1:].mean(0)[inside], rtol=0.01)
    assert np.corrcoef(mean[inside].ravel(), seen_at(TISSUE, (0, 0))[inside].ravel())[0, 1] > 0.995


def test_the_correlation_is_numpys(done):
    values, corrected, operator = done
    inside = np.s_[8:-8, 8:-8]
    template = operator.read(["template"])["template"]
    expected = np.corrcoef(corrected[-1][inside].ravel(), template[inside].ravel())[0, 1]
    assert values["correlation"][-1] == pytest.approx(expected, abs=0.03)


# At the bound


@pytest.mark.parametrize(("photons", "limit"), [(20, 1.4), pytest.param(4, 1.5, marks=pytest.mark.slow)])
def test_errors_are_near_the_cramer_rao_bound(photons, limit):
    movie = record(TISSUE, TRUTH[:400], photons, seed=5)
    values, _, _ = run(movie)
    errors = errors_px(values["shift_px"], TRUTH[:400], 200)
    assert rmse_px(errors) < limit * bound_px(TISSUE, photons)
    assert np.abs(errors).max() < 1
    assert values["valid"][2:].all()  # at 4 photons one frame alone is no template yet


def test_corrected_frames_registered_again_have_nothing_left_to_correct(done):
    _, corrected, _ = done
    again, _, _ = run(corrected)
    left = errors_px(again["shift_px"], np.zeros((600, 2)), 200)
    assert rmse_px(left) < bound_px(TISSUE, 20)


def test_illumination_that_flickers_does_not_shift_frames():
    illumination = 1 + 0.2 * np.sin(np.arange(400) / 5)
    values, _, _ = run(record(TISSUE, TRUTH[:400], 20, seed=5, illumination=illumination))
    assert rmse_px(errors_px(values["shift_px"], TRUTH[:400], 200)) < 1.5 * bound_px(TISSUE, 20)


# What a stream does


def test_blocks_resume_and_restore_change_no_bit(done):
    values, corrected, _ = done
    other, pixels, _ = run(recorded(), size=32)
    assert all(np.array_equal(other[name], values[name], equal_nan=True) for name in values)
    assert np.array_equal(pixels, corrected, equal_nan=True)
    first = streamfluo.create("motion", Spec(SHAPE, "uint16"))
    for block in blocks(recorded()[:257]):
        first.update(block)
    second = streamfluo.create("motion", Spec(SHAPE, "uint16"))
    second.restore(first.state())
    rest = [second.update(block) for block in blocks(recorded(), start=257)]
    assert np.array_equal(np.concatenate([o.values["shift_px"] for o in rest]), values["shift_px"][257:])
    assert np.array_equal(np.concatenate([o.block.pixels for o in rest]), corrected[257:], equal_nan=True)


@pytest.mark.parametrize(
    "dtype", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("uint8", "int16")), "float32", ">u2"]
)
def test_any_type_of_pixel_gives_the_same_shifts(done, dtype):
    movie = (recorded()[:260] // 16 if dtype == "uint8" else recorded()[:260]).astype(dtype)
    values, _, _ = run(movie.astype(movie.dtype.newbyteorder("=")))
    apart = values["shift_px"] - done[0]["shift_px"][:260]
    assert np.abs(apart[50:]).max() < (0.1 if dtype == "uint8" else 1e-3)


def test_fields_that_are_not_square_and_small_ones():
    for shape in ((48, 150), (33, 41)):
        tissue = scene(shape, seed=4)
        values, _, _ = run(record(tissue, TRUTH[:300], 50, seed=6))
        assert rmse_px(errors_px(values["shift_px"], TRUTH[:300], 100)) < 1.6 * bound_px(tissue, 50)


def test_a_frame_is_handed_on_before_the_template_learns_from_it(monkeypatch):
    """Whoever reads waits for the template; the frames are those of an operator that waits at each."""
    go, done, learned, average = threading.Event(), threading.Event(), [], Template._average

    def slow(self, *frame):
        go.wait(10)
        learned.append(threading.current_thread().name)
        average(self, *frame)
        done.set()

    movie = recorded()[:2]
    in_turn, operator = (streamfluo.create("motion", Spec(SHAPE, "uint16")) for _ in range(2))
    expected = next(in_turn.update(block).block.pixels for block in blocks(movie, 2))
    found = [operator.update(block).block.pixels[0] for block in blocks(movie[:1])]
    monkeypatch.setattr(Template, "_average", slow)
    found += [operator.update(block).block.pixels[0] for block in blocks(movie, start=1)]
    assert not learned
    assert np.array_equal(found, expected, equal_nan=True)
    go.set()
    assert done.wait(10)  # the thread begins by itself
    assert np.array_equal(operator.read(["mean"])["mean"], in_turn.read(["mean"])["mean"])
    assert [name.partition("_")[0] for name in learned] == ["afterwards"]


# When things go wrong


def test_jumps_are_followed():
    truth = TRUTH[:400] * 0.3
    truth[::25] += 8 * np.array([0.6, -0.8])
    values, _, _ = run(record(TISSUE, truth, 20, seed=7), max_shift_px=12)
    errors = errors_px(values["shift_px"], truth, 50)
    assert np.abs(errors).max() < 1
    assert rmse_px(errors) < 1.5 * bound_px(TISSUE, 20)


@pytest.mark.parametrize(("photons", "wrong"), [(20, 0.0), pytest.param(4, 0.01, marks=pytest.mark.slow)])
def test_jitter_of_six_pixels_from_frame_to_frame_is_followed_or_flagged(photons, wrong):
    truth = np.random.default_rng(8).uniform(-6, 6, (400, 2))
    truth[:10] *= 0.05
    values, _, _ = run(record(TISSUE, truth, photons, seed=9), max_shift_px=12)
    errors = np.abs(errors_px(values["shift_px"], truth, 0)).max(1)
    bad = (errors > 1) & values["valid"]
    assert bad[20:].mean() <= wrong
    assert values["valid"][20:].mean() > 0.9


def test_blank_frames_are_flagged_keep_the_last_shift_and_do_not_update_the_template(done):
    movie = recorded().copy()
    blank = record(np.zeros_like(TISSUE), np.zeros((120, 2)), 0, seed=10)
    movie[300:420] = blank
    values, _, operator = run(movie)
    assert not values["valid"][300:420].any()
    assert np.array_equal(values["shift_px"][300:420], np.repeat(values["shift_px"][299:300], 120, 0))
    assert values["valid"][420:].all()
    assert not values["restarted"].any()
    assert rmse_px(errors_px(values["shift_px"], TRUTH, 420)) < 1.4 * bound_px(TISSUE, 20)
    assert operator.read(["template"])["template"].mean() == pytest.approx(recorded().mean(), rel=0.02)


def test_a_blank_first_frame_costs_only_itself(done):
    movie = recorded().copy()
    movie[0] = record(np.zeros_like(TISSUE), np.zeros((1, 2)), 0)[0]
    values, _, _ = run(movie)
    assert values["valid"][5:].all()
    assert rmse_px(errors_px(values["shift_px"], TRUTH, 200)) < 1.4 * bound_px(TISSUE, 20)


def test_half_saturated_frames_are_flagged():
    movie = recorded().copy()
    movie[250:260, :, 60:] = 65535
    values, _, _ = run(movie)
    assert not values["valid"][250:260].any()
    assert values["valid"][260:].all()


def test_hot_pixels_do_not_pin_the_shift():
    movie = recorded().copy()
    rng = np.random.default_rng(11)
    y, x = rng.integers(0, SHAPE[0], 30), rng.integers(0, SHAPE[1], 30)
    movie[:, y, x] = 60000  # one pixel in 500, a hundred times as bright as the rest
    values, corrected, operator = run(movie)
    assert values["valid"].all()
    assert np.array_equal(np.argwhere(operator.read(["hot_pixels"])["hot_pixels"]), np.unique(np.c_[y, x], axis=0))
    assert np.nanmax(corrected[5:]) < 30_000
    assert rmse_px(errors_px(values["shift_px"], TRUTH, 200)) < 1.35 * bound_px(TISSUE, 20)


def test_cosmic_rays_do_not_move_a_frame(done):
    movie = recorded().copy()
    rng = np.random.default_rng(12)
    for t in range(200, 600):
        y, x = rng.integers(3, SHAPE[0] - 3), rng.integers(3, SHAPE[1] - 3)
        movie[t, y - 1 : y + 2, x - 1 : x + 2] = 65535
    values, _, _ = run(movie)
    assert rmse_px(errors_px(values["shift_px"], TRUTH, 200)) < 1.35 * bound_px(TISSUE, 20)


def test_shifts_beyond_the_largest_are_flagged():
    truth = TRUTH[:400] * 0.2
    truth[250:260] = 9.0
    values, _, _ = run(record(TISSUE, truth, 20, seed=13), max_shift_px=5)
    assert not values["valid"][250:260].any()
    assert np.abs(values["shift_px"]).max() <= 5
    assert values["valid"][260:].all()


def test_another_scene_begins_a_new_template_and_says_so():
    other = record(scene(SHAPE, seed=99), TRUTH[:300], 20, seed=14)
    movie = np.concatenate([recorded()[:250], other])
    values, _, _ = run(movie, restart_frames=40)
    (at,) = np.flatnonzero(values["restarted"])
    assert 285 <= at <= 300
    assert values["valid"][at:].all()
    assert rmse_px(errors_px(values["shift_px"][at:], TRUTH[at - 250 : 300], 60)) < 2 * bound_px(TISSUE, 20)


def test_nan_and_constant_frames_are_flagged():
    movie = recorded()[:300].astype(np.float32)
    movie[210] = np.nan
    movie[211] = 7.0
    movie[212, :, :5] = np.nan
    values, corrected, operator = run(movie)
    assert not values["valid"][210:212].any()
    assert values["valid"][212:].all()
    assert np.isfinite(operator.read(["template"])["template"]).all()
    assert np.isnan(corrected[210]).all()


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("value", [0, 7])
def test_a_movie_of_nothing_gives_nothing_valid_and_no_crash(dtype, value):
    values, _, _ = run(np.full((40, 32, 40), value, dtype))
    assert not values["valid"][1:].any()
    assert (values["shift_px"] == 0).all()


# Parameters


def test_a_stated_template_is_registered_against_unchanged():
    template = seen_at(TISSUE, (0, 0)) * 20 * COUNTS + OFFSET
    values, _, operator = run(recorded()[:300], template=template)
    assert np.array_equal(operator.read(["template"])["template"], template.astype(np.float32))
    assert rmse_px(values["shift_px"][1:] - TRUTH[1:300]) < 1.3 * bound_px(TISSUE, 20)


def test_a_frozen_template_stays_once_it_is_anchored():
    operator = streamfluo.create("motion", Spec(SHAPE, "uint16"), init_frames=50, template_update="frozen")
    for block in blocks(recorded()[:60]):
        operator.update(block)
    before = operator.read(["template"])["template"]
    for block in blocks(recorded(), start=60):
        operator.update(block)
    assert np.array_equal(operator.read(["template"])["template"], before)


def test_known_shifts_are_applied_without_measuring():
    values, corrected, _ = run(recorded()[:50], mode="apply", shifts_px=TRUTH[:40])
    assert np.array_equal(values["shift_px"][:40], TRUTH[:40])
    assert values["valid"][:40].all()
    assert not values["valid"][40:].any()
    shifted = ndi.shift(recorded()[9].astype(float), -TRUTH[9], order=3)
    assert np.corrcoef(corrected[9, 10:-10, 10:-10].ravel(), shifted[10:-10, 10:-10].ravel())[0, 1] > 0.99


def test_borders():
    truth = np.tile([[2.0, -3.0]], (60, 1)) * (np.arange(60) > 0)[:, None]
    movie = record(TISSUE, truth, 20, seed=15)
    shifts = {"mode": "apply", "shifts_px": truth}
    _, copied, _ = run(movie, border="copy", **shifts)
    _, holed, operator = run(movie, **shifts)
    _, cropped, small = run(movie, border="crop", max_shift_px=(3, 4), **shifts)
    top, bottom, left, right = operator.read(["valid_rectangle"])["valid_rectangle"]
    assert (top, bottom, left, right) == (2, SHAPE[0] - 5, 5, SHAPE[1] - 3)
    assert np.isfinite(copied).all()
    assert np.isnan(holed[1]).sum() == SHAPE[0] * SHAPE[1] - (SHAPE[0] - 5) * (SHAPE[1] - 5)
    assert cropped.shape[1:] == small.out_spec.shape == (SHAPE[0] - 12, SHAPE[1] - 14)
    assert np.array_equal(cropped[1], copied[1, 6:-6, 7:-7])


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"max_shift_px": 0}, "max_shift_px must be positive"),
        ({"border": "crop", "max_shift_px": 70}, "nothing is left"),
        ({"shifts_px": [[0, 0]]}, 'shifts_px are for mode = "apply"'),
        ({"mode": "apply", "shifts_px": [1, 2, 3]}, r"shifts_px must be \(frames, 2\)"),
        ({"mode": "apply", "shifts_px": "nowhere.npy"}, "shifts_px: nowhere.npy cannot be read"),
        ({"template": np.zeros((3, 3))}, "template must be finite and"),
        ({"template": "nowhere.npy"}, "template: nowhere.npy cannot be read"),
        ({"init_frames": 1}, "init_frames"),
        ({"max_shift": 3}, "did you mean 'max_shift_px'"),
    ],
)
def test_impossible_parameters_are_one_line(params, error):
    with pytest.raises((ConfigError, FrameError), match=error) as raised:
        streamfluo.create("motion", Spec(SHAPE, "uint16"), **params)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_template_does_not_walk_in_fifteen_thousand_frames():
    tissue = scene((96, 96), seed=16)
    truth = drift(15_000, seed=17)
    operator = streamfluo.create("motion", Spec((96, 96), "uint16"))
    found = []
    for start in range(0, 15_000, 500):
        movie = record(tissue, truth[start : start + 500], 20, seed=start)
        part = [operator.update(Block(start + b.index, b.times_ns, b.pixels)) for b in blocks(movie, 32)]
        found += [o.values["shift_px"] for o in part]
    error = np.concatenate(found) - truth
    walk = error[-3000:].mean(0) - error[300:3300].mean(0)
    print(f"walked {np.abs(walk).max():.4f} px, RMSE {rmse_px(errors_px(np.concatenate(found), truth, 200)):.4f} px, "
          f"bound {bound_px(tissue, 20):.4f}")  # fmt: skip
    assert np.abs(walk).max() < 0.005
