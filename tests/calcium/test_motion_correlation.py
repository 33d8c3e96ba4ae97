"""The correlation of activity with the tissue's motion: against least squares over all frames, and in `extract`."""

import numpy as np
import pytest

import streamfluo
from streamfluo import Block, FrameError, Spec
from streamfluo.calcium.extract.components import Components
from streamfluo.calcium.extract.motion_correlation import LEAST_FRAMES, add_motion, motion_correlation
from streamfluo.calcium.extracted_components import MEASURES
from streamfluo.simulate import calcium

FRAMES = 300


def measured(activity, shift_px):
    """The correlation (K,) of activity (t, K), frame by frame."""
    cells = Components((20, 20), (5, 5), 1, 20, 0.0)
    for _ in range(activity.shape[1]):
        cells.append()
    for now, shift in zip(activity, shift_px, strict=True):
        cells["activity"][:] = now
        add_motion(cells, shift)
    return motion_correlation(cells["motion"])


def least_squares(activity, shift_px):
    """The root of what a regression on both axes explains, over all frames with a known shift."""
    known = np.isfinite(shift_px).all(1)
    design = np.column_stack([np.ones(known.sum()), shift_px[known]])
    found = []
    for trace in activity[known].T:
        fit = design @ np.linalg.lstsq(design, trace, rcond=None)[0]
        found.append(np.sqrt(fit.var() / trace.var()))
    return found


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(4)


def test_it_is_the_multiple_correlation_of_a_regression_on_both_axes(rng):
    shift = np.cumsum(rng.standard_normal((FRAMES, 2)), 0)
    activity = rng.standard_normal((FRAMES, 4)) + 50
    activity[:, 1] += shift @ [0.3, -0.1]
    activity[:, 2] -= 5 * shift[:, 1]
    shift[40:60] = np.nan  # frames in which no shift was measured
    np.testing.assert_allclose(measured(activity, shift), least_squares(activity, shift), atol=1e-6)


def test_motion_along_one_axis_and_along_a_diagonal_count_alike(rng):
    way = rng.standard_normal(FRAMES)
    activity = (way + 0.5 * rng.standard_normal(FRAMES))[:, None]
    wanted = abs(np.corrcoef(activity[:, 0], way)[0, 1])
    for direction in ([1, 0], [0, 1], [2, -2]):
        np.testing.assert_allclose(measured(activity, np.outer(way, direction)), wanted, atol=1e-6)


def test_it_is_not_known_without_motion_nor_of_few_frames(rng):
    activity = rng.standard_normal((FRAMES, 2))
    assert np.isnan(measured(activity, np.zeros((FRAMES, 2)))).all()
    assert np.isnan(measured(activity, np.full((FRAMES, 2), np.nan))).all()
    moves = rng.standard_normal((FRAMES, 2))
    assert np.isnan(measured(activity[: LEAST_FRAMES - 1], moves[: LEAST_FRAMES - 1])).all()
    assert np.isfinite(measured(activity[:LEAST_FRAMES], moves[:LEAST_FRAMES])).all()


@pytest.fixture(scope="module")
def moving():
    """A movie of six cells, with shifts that one cell's light follows: an edge that motion brings in."""
    movie, _ = calcium(frames=500, shape=(48, 48), seed=8, neurons=6, neuron_sigma_px=3.0, motion_px=0.0, signal=1.0)
    return movie, np.cumsum(np.random.default_rng(1).standard_normal((500, 2)), 0) / 10


def run(movie, shift_px, cut=None):
    """`quality_now` by measure of a run, resumed in between at frame `cut`."""
    spec = Spec(movie.shape[1:], movie.dtype, interval_s=1 / 30)
    operator = streamfluo.create("extract", spec, neuron_sigma_px=3.0)
    for n in range(len(movie)):
        if n == cut:
            kept, operator = operator.state(), streamfluo.create("extract", spec, neuron_sigma_px=3.0)
            operator.restore(kept)
        inputs = {} if shift_px is None else {"shift_px": shift_px[n : n + 1]}
        operator.update(Block(n, np.array([n]), movie[n : n + 1]), inputs)
    return dict(zip(MEASURES, operator.read(["quality_now"])["quality_now"].T, strict=True))


def test_extract_measures_it_where_a_step_before_gives_shifts_and_resumes_to_the_bit(moving):
    movie, shift = moving
    found = run(movie, shift)["motion_corr"]
    assert np.isfinite(found).sum() >= 4  # not of one that is new
    assert ((found >= 0) & (found <= 1))[np.isfinite(found)].all()
    np.testing.assert_array_equal(run(movie, shift, cut=400)["motion_corr"], found)
    assert np.isnan(run(movie, None)["motion_corr"]).all()


def test_shifts_of_another_number_of_frames_are_refused(moving):
    movie, shift = moving
    operator = streamfluo.create("extract", Spec(movie.shape[1:], movie.dtype, interval_s=1 / 30))
    with pytest.raises(FrameError, match=r"'shift_px' of 2 frames must be \(2, 2\), found \(1, 2\)"):
        operator.update(Block(0, np.arange(2), movie[:2]), {"shift_px": shift[:1]})
