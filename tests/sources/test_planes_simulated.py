"""`sim:calcium` with channels and slices: one motion, cells through slices, planes the same bits however they come."""

import numpy as np
import pytest
from scipy import sparse

from streamfluo import ConfigError, open_source, simulate
from streamfluo.sources.simulate.timeline import CHUNK_FRAMES
from streamfluo.sources.simulate.tissue import Bodies, draw_footprints

SMALL = "sim:calcium?shape=48x40&frames=20&seed=3&channels=2&z=3"
PLANES = ("red/0", "green/0", "red/1", "green/1", "red/2", "green/2")
STILL = {"neuropil": 0, "motion_px": 0, "bleach_fraction": 0, "spike_rate_hz": 0}
NOISELESS = {"photons": 5e4, "read_noise_e": 0, "gain_e_per_adu": 10, "offset_adu": 0}


def movies(source, max_frames=32):
    found = {name: [] for name in source.spec.plane_names}
    for block in source.blocks(max_frames):
        assert block.index == sum(map(len, found[block.plane]))
        found[block.plane].append(block.pixels)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def footprints(truth, plane):
    parts = (truth[f"{plane}/A_{part}"] for part in ("data", "indices", "indptr"))
    return sparse.csc_array(tuple(parts), tuple(truth[f"{plane}/A_shape"]))


def volume(**params):
    movie, truth = simulate.calcium(frames=2, **params)
    return dict(zip([name for name in PLANES if int(name[-1]) < params["z"]], movie, strict=True)), truth


# The same bits


def test_planes_come_slice_by_slice_red_before_green_with_their_depth():
    with open_source(SMALL + "&z_step_um=8") as source:
        assert source.spec.plane_names == PLANES
        assert [plane.z_um for plane in source.spec.planes] == [0, 0, 8, 8, 16, 16]
        assert [plane.colour for plane in source.spec.planes[:2]] == ["#ff0000", "#00ff00"]
        assert source.series.frames == 20 * 6
        assert source.spec.interval_s == pytest.approx(1 / 30)
        order = [(block.index, len(block), block.plane) for block in source.blocks(16)]
    assert order == [(0, 16, name) for name in PLANES] + [(16, 4, name) for name in PLANES]


@pytest.mark.parametrize("max_frames", [1, 7, 20])
def test_cuts_do_not_change_a_bit_of_any_plane(max_frames):
    whole, cut = movies(open_source(SMALL)), movies(open_source(SMALL), max_frames)
    assert all(np.array_equal(whole[name], cut[name]) for name in PLANES)


def test_every_plane_is_the_same_after_seeking_over_a_chunk_border():
    uri = f"sim:calcium?shape=16x16&neuron_sigma_px=2&frames={CHUNK_FRAMES + 20}&channels=2&z=2&line_motion_px=0.3"
    whole, source = movies(open_source(uri)), open_source(uri)
    for index in (CHUNK_FRAMES - 5, CHUNK_FRAMES + 3, 2):
        source.seek(index)
        blocks = source.blocks(12)
        for name in source.spec.plane_names:
            block = next(blocks)
            assert (block.plane, block.index) == (name, index)
            assert np.array_equal(block.pixels, whole[name][index : index + 12])


def test_who_takes_one_block_at_a_time_misses_no_plane():
    source, whole = open_source(SMALL), movies(open_source(SMALL))
    taken = [next(iter(source.blocks(n))) for n in (8, 4, 8, 8)]
    assert [(b.plane, b.index, len(b)) for b in taken] == [
        ("red/0", 0, 8), ("green/0", 0, 4), ("green/0", 4, 4), ("red/1", 0, 8),
    ]  # fmt: skip
    assert np.array_equal(taken[2].pixels, whole["green/0"][4:8])


def test_one_channel_and_one_slice_are_the_series_without_planes():
    plain, stated = open_source("sim:calcium?frames=9"), open_source("sim:calcium?frames=9&channels=1&z=1")
    assert stated.series == plain.series
    assert stated.spec == plain.spec
    assert plain.spec.planes == ()


def test_noise_of_no_two_planes_is_the_same():
    found, _ = volume(shape=(32, 32), channels=2, z=3, neurons=0, **STILL)
    noise = {name: np.diff(movie.astype(float), axis=0).ravel() for name, movie in found.items()}
    for a in PLANES:
        for b in PLANES:
            assert abs(np.corrcoef(noise[a], noise[b])[0, 1] - (a == b)) < 0.15


# What is in them


@pytest.mark.parametrize("size_spread", [0.0, 0.3])
def test_a_section_is_a_disc_of_the_sphere_at_its_depth(size_spread):
    sigma, step = 4.0, 4.0
    _, truth = simulate.calcium(1, shape=(96, 96), z=5, z_step_um=step, neuron_sigma_px=sigma, pixel_um=0.5, **STILL)
    radius_px, checked = 2.5 * sigma, 0
    for z in range(5):
        a = footprints(truth, f"green/{z}")
        away_px = (truth["position_z_um"][truth[f"green/{z}/cell"]] - step * z) / 0.5
        areas = np.diff(a.indptr)
        within = np.hypot(*(truth[f"green/{z}/position_px"] - 47.5).T) < 30
        visible = np.pi * np.maximum(radius_px**2 - away_px**2, 0)
        assert within.any()
        assert areas[within] == pytest.approx(visible[within], rel=0.15)
        checked += int(within.sum())
    assert checked > 20


def test_cells_are_in_every_slice_as_many_as_alone_and_some_in_several():
    _, one = simulate.calcium(1, shape=(128, 128))
    _, truth = simulate.calcium(1, shape=(128, 128), z=5, z_step_um=6)
    shown = [truth[f"green/{z}/cell"] for z in range(5)]
    assert np.mean([len(cells) for cells in shown]) == pytest.approx(len(one["position_px"]), rel=0.1)
    times = np.bincount(np.concatenate(shown), minlength=len(truth["position_px"]))
    assert set(times) <= {1, 2, 3}
    assert (times >= 2).mean() > 0.5
    for here, there in zip(shown, shown[2:], strict=False):  # who is in two slices is in the one between
        assert set(here) & set(there) <= set(shown[1]) | set(shown[2]) | set(shown[3])
    for z, cells in enumerate(shown):
        assert np.array_equal(truth[f"green/{z}/position_px"], truth["position_px"][cells])
        assert truth[f"green/{z}/section"].min() >= 0.2
        assert truth["C"].shape[0] > cells.max()


def test_a_frame_of_the_indicator_is_its_sections_times_the_common_activity():
    params = dict(STILL, spike_rate_hz=5)
    frames, truth = simulate.calcium(40, shape=(48, 48), z=2, z_step_um=5, **params, **NOISELESS)
    for z in range(2):
        light = footprints(truth, f"green/{z}") @ truth["C"][truth[f"green/{z}/cell"]]
        made = truth[f"green/{z}/background"] + light.T.reshape(-1, 48, 48)
        assert frames[z] * 10.0 == pytest.approx(made, abs=6 * float(np.sqrt(made.max())) + 10)


def test_the_structural_channel_shows_the_same_cells_and_no_activity():
    params = dict(STILL, spike_rate_hz=20)
    frames, truth = simulate.calcium(60, shape=(64, 64), channels=2, **params, **NOISELESS)
    red, green = frames.astype(float)
    assert np.array_equal(truth["red/0/cell"], truth["green/0/cell"])
    assert np.array_equal(truth["red/0/A_indices"], truth["green/0/A_indices"])
    cells = footprints(truth, "red/0").sum(1).reshape(64, 64) > 0.5
    assert red[:, cells].mean() > 1.5 * red[:, ~cells].mean()
    assert red[:, cells].std(0).mean() < 1.2 * np.sqrt(red[:, cells].mean() / 10)
    assert green[:, cells].std(0).mean() > 5 * red[:, cells].std(0).mean()
    assert red.mean() * 10 == pytest.approx(5e4, rel=0.01)


def test_motion_is_one_for_the_volume():
    params = dict(STILL, motion_px=2.0, neurons=20, photons=5e3)
    frames, truth = simulate.calcium(50, shape=(48, 48), channels=2, z=2, **params)
    assert truth["shift_px"].shape == (50, 2)
    assert not any(name.endswith("/shift_px") for name in truth)
    first, last = np.rint(truth["shift_px"][[0, 40]]).astype(int)
    moved = [slice(8 + d, 40 + d) for d in last - first]
    for plane in frames.astype(float):
        before = plane[0, 8:40, 8:40].ravel()
        assert np.corrcoef(before, plane[40][tuple(moved)].ravel())[0, 1] > 0.9


def test_with_motion_in_lines_each_slice_moves_at_its_own_time_and_both_channels_as_one():
    _, truth = simulate.calcium(50, shape=(24, 24), channels=2, z=4, motion_px=2.0, line_motion_px=0.4)
    common = truth["shift_px"]
    assert np.array_equal(truth["green/0/shift_px"], common)
    for z in range(4):
        between = common[:-1] + z / 4 * np.diff(common, axis=0)
        assert truth[f"green/{z}/shift_px"][:-1] == pytest.approx(between)
        for name in ("shift_px", "line_shift_px"):
            assert np.array_equal(truth[f"red/{z}/{name}"], truth[f"green/{z}/{name}"])
    assert not np.array_equal(truth["green/0/line_shift_px"], truth["green/1/line_shift_px"])


def test_what_is_off_by_default_is_there_in_slices_too():
    options = {"neuropil_follows": 0.5, "processes": 3, "bursts": 0.5, "saturation": 0.2, "rings": 0.5}
    frames, truth = simulate.calcium(8, shape=(32, 32), z=2, **options)
    assert truth["green/1/P_C"].shape == (3, 8)
    assert not np.array_equal(truth["green/0/P_data"], truth["green/1/P_data"])
    assert frames.shape == (2, 8, 32, 32)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"channels": 3}, "channels"),
        ({"z": 33}, "z"),
        ({"z": 2, "z_drift": 0.5}, "z_drift is of one slice, found z 2"),
        ({"z_step_um": 0}, "z_step_um"),
    ],
)
def test_volumes_that_cannot_be_are_refused(params, message):
    with pytest.raises(ConfigError, match=message):
        simulate.calcium(3, **params)


# Through a PSF, and one after the other


def test_a_slice_shows_through_a_psf_what_lies_above_and_below_it():
    params = dict(STILL, shape=(64, 64), z=3, z_step_um=8, pixel_um=1.0, neurons=20)
    _, sharp = simulate.calcium(2, **params)
    _, blurred = simulate.calcium(2, **params, z_psf_um=4.0)
    for truth, least in ((sharp, 0.2), (blurred, 0.02)):
        sections = np.concatenate([truth[f"green/{z}/section"] for z in range(3)])
        assert sections.min() >= least * 0.999
    assert sum(len(blurred[f"green/{z}/cell"]) for z in range(3)) > sum(len(sharp[f"green/{z}/cell"]) for z in range(3))


def test_what_a_psf_shows_is_the_mean_of_sections_weighted_by_a_gaussian_of_depth():
    sigma_px, psf_px, below = 4.0, 3.0, 5.0
    bodies = Bodies(np.ones(1), np.zeros(1, bool))
    args = (np.array([[20.0, 20.0]]), (41, 41), 0, sigma_px)
    depths = np.linspace(-4, 4, 161)
    weights = np.exp(-(depths**2) / 2)
    sharp = draw_footprints(*args, np.random.default_rng(1), bodies, (below + psf_px * depths)[:, None])
    (found,) = draw_footprints(*args, np.random.default_rng(1), bodies, np.array([[below]]), psf_px)
    expected = sum(w * one.toarray() for w, one in zip(weights / weights.sum(), sharp, strict=True))
    assert np.abs(found.toarray() - expected).max() < 0.05  # five points, and the faint rim that sharp sections lack


def test_interleaved_slices_are_taken_one_after_the_other_and_their_frames_say_so():
    uri = "sim:calcium?shape=24x24&frames=30&seed=3&z=3&interleaved=true&frame_rate_hz=10&motion_px=1"
    with open_source(uri) as source:
        times = {block.plane: block.times_ns for block in source.blocks(30)}
        truth = source.truth
        for z in range(3):
            expected = np.rint((np.arange(30) + z / 3) * 1e8)
            np.testing.assert_allclose(times[f"green/{z}"], expected, atol=1)
            np.testing.assert_array_equal(source.times_ns(f"green/{z}"), times[f"green/{z}"])
    np.testing.assert_array_equal(truth["C_of_slices"][0], truth["C"])
    late = truth["C_of_slices"].transpose(1, 2, 0).reshape(len(truth["C"]), -1)  # (K, moments), in the order of time
    g = np.exp(-1 / (0.4 * 30))
    jumps = late[:, 1:] - g * late[:, :-1]
    assert jumps.min() > -1e-3 * late.max()
    amplitude = truth["amplitude"][:, None]
    np.testing.assert_allclose(jumps / amplitude, np.rint(jumps / amplitude), atol=1e-3)  # whole spikes
    assert truth["spikes"].sum() == np.rint(jumps / amplitude).sum() + np.rint(late[:, 0] / truth["amplitude"]).sum()
    assert np.abs(truth["green/1/shift_px"] - truth["green/0/shift_px"]).max() > 0


def test_frames_of_interleaved_slices_are_made_of_the_calcium_of_their_time():
    params = dict(STILL, spike_rate_hz=5, interleaved=True, frame_rate_hz=5)
    frames, truth = simulate.calcium(40, shape=(48, 48), z=2, z_step_um=5, **params, **NOISELESS)
    for z in range(2):
        light = footprints(truth, f"green/{z}") @ truth["C_of_slices"][z][truth[f"green/{z}/cell"]]
        made = truth[f"green/{z}/background"] + light.T.reshape(-1, 48, 48)
        assert frames[z] * 10.0 == pytest.approx(made, abs=6 * float(np.sqrt(made.max())) + 10)
