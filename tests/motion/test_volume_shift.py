"""One shift for a volume: against the best linear estimate that knows each plane's error."""

import numpy as np
import pytest

from streamfluo.motion.volume_shift import VolumeShift


def measured(rng, sigmas_px, offsets_px, frames):
    """A walk of the tissue, and what each plane measures of it."""
    walk_px = np.cumsum(rng.normal(0, 0.3, (frames, 2)), axis=0)
    noise_px = rng.normal(0, 1, (len(sigmas_px), frames, 2)) * np.reshape(sigmas_px, (-1, 1, 1))
    return walk_px, walk_px + np.reshape(offsets_px, (-1, 1, 2)) + noise_px


def spread_px(found_px, walk_px, after=100):
    """Standard deviation of the error, of frames once the planes are known; a constant says where the template is."""
    error_px = (found_px - walk_px)[after:]
    return float(np.sqrt(((error_px - error_px.mean(0)) ** 2).mean()))


@pytest.mark.parametrize(
    "sigmas_px",
    [
        [0.02, 0.1, 0.1, 0.4],
        *(pytest.param(each, marks=pytest.mark.slow) for each in ([0.05] * 4, [0.03, 0.03, 0.3], [0.05, 0.05])),
    ],
)
def test_its_error_is_that_of_the_mean_weighted_by_true_precisions(sigmas_px):
    best_px, spreads_px = np.sum(np.array(sigmas_px) ** -2.0) ** -0.5, []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        walk_px, shifts_px = measured(rng, sigmas_px, rng.normal(0, 1, (len(sigmas_px), 2)), 500)
        spreads_px.append(spread_px(VolumeShift().pool(shifts_px), walk_px))
    assert best_px * 0.95 <= np.mean(spreads_px) <= 1.1 * best_px
    assert np.max(spreads_px) <= 1.3 * best_px


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_planes_that_come_and_go_do_not_move_the_volume(seed):
    rng = np.random.default_rng(seed)
    walk_px, shifts_px = measured(rng, [0.05] * 4, [[0, 0], [2, -1], [-1, 1], [3, 3]], 600)
    shifts_px[1, 200:400] = np.nan
    shifts_px[3, :150] = np.nan
    shifts_px[2, 300:310] = np.nan
    found_px = VolumeShift().pool(shifts_px)
    assert np.abs(found_px - walk_px - (found_px - walk_px)[:100].mean(0)).max() < 0.25


def test_a_plane_that_says_something_else_is_left_out_until_it_has_an_offset_of_its_own():
    walk_px, shifts_px = measured(np.random.default_rng(5), [0.03] * 4, np.zeros((4, 2)), 600)
    shifts_px[2, 200:] += [4.0, -3.0]  # its template began again
    pool = VolumeShift()
    found_px = pool.pool(shifts_px)
    assert np.abs(found_px - walk_px).max() < 0.15
    np.testing.assert_allclose(pool.state()["volume_offsets_px"][2], [4, -3], atol=0.05)


def test_where_planes_contradict_each_other_or_none_knows_the_shift_is_unknown():
    _, shifts_px = measured(np.random.default_rng(6), [0.03] * 2, np.zeros((2, 2)), 30)
    shifts_px[1, 20:22] += 5.0
    shifts_px[:, 25] = np.nan
    unknown = np.isnan(VolumeShift().pool(shifts_px)).any(1)
    assert np.flatnonzero(unknown).tolist() == [20, 21, 25]


def test_the_cut_of_blocks_and_a_restored_state_change_no_bit():
    _, shifts_px = measured(np.random.default_rng(7), [0.05, 0.1, 0.2], np.ones((3, 2)), 100)
    whole, parts, restored = VolumeShift(), VolumeShift(), VolumeShift()
    expected_px = whole.pool(shifts_px)
    first_px = parts.pool(shifts_px[:, :37])
    restored.restore(parts.state(), "motion")
    np.testing.assert_array_equal(np.concatenate([first_px, restored.pool(shifts_px[:, 37:])]), expected_px)
