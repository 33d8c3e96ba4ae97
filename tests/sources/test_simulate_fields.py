"""What makes simulated calcium fields hard, off by default: each as strong as it says, and known to the truth."""

import numpy as np
import pytest
from scipy import ndimage, sparse

from streamfluo import open_source, simulate

QUIET = {"neuropil": 0.0, "motion_px": 0.0, "bleach_fraction": 0.0}
BRIGHT = {**QUIET, "photons": 4000.0, "shape": (64, 64), "neuron_sigma_px": 2.5}


def columns(truth, name="A"):
    parts = (truth[f"{name}_data"], truth[f"{name}_indices"], truth[f"{name}_indptr"])
    return sparse.csc_array(parts, tuple(truth[f"{name}_shape"])).toarray()


def light(frames, truth):
    return (frames.reshape(len(frames), -1) - 100.0) * 0.5 - truth["background"].ravel()


@pytest.mark.slow
def test_neuropil_follows_the_cells_around_with_the_stated_strength():
    frames, t = simulate.calcium(1500, **BRIGHT, neuropil_follows=0.8, seed=2)
    cells = columns(t)
    rest = light(frames, t) - (cells @ t["C"]).T
    here = ndimage.gaussian_filter(rest.reshape(-1, 64, 64), (0, 3, 3)).reshape(len(rest), -1)
    middle = np.arange(64 * 64).reshape(64, 64)[24:40, 24:40].ravel()
    typical = np.sqrt(0.01 / (1 - t["g"][0] ** 2)) * 0.5 * 4000
    assert here[:, middle].std(0).mean() == pytest.approx(0.8 * typical, rel=0.35)
    assert np.corrcoef(here[:, middle].mean(1), t["C"].mean(0))[0, 1] > 0.5


def test_a_process_is_a_thin_line_with_the_light_that_the_truth_says():
    frames, t = simulate.calcium(120, **BRIGHT, neurons=0, processes=3, spike_rate_hz=2.0)
    lines = columns(t, "P")
    found = np.linalg.lstsq(lines, light(frames, t).T, rcond=None)[0]
    assert np.corrcoef(found.ravel(), t["P_C"].ravel())[0, 1] > 0.999
    for line in lines.T.reshape(-1, 64, 64) > 0.2:
        assert ndimage.distance_transform_edt(line).max() <= 3  # never wider than 5 px
        assert np.ptp(np.nonzero(line), axis=1).max() > 15


def test_a_saturating_indicator_answers_less_to_more():
    plain, saturated = (open_source(f"sim:calcium?frames=400&shape=64x64&saturation={s}").truth for s in (0, 0.3))
    spikes = plain["C"] / plain["amplitude"][:, None]
    expected = plain["C"] / (1 + 0.3 * spikes)
    assert np.allclose(saturated["C"], expected, rtol=1e-4, atol=1e-4)


def test_bursts_gather_the_same_number_of_spikes():
    counts = {}
    for share in (0, 0.8):
        spikes = open_source(f"sim:calcium?frames=6000&shape=128x128&spike_rate_hz=0.5&bursts={share}").truth["spikes"]
        assert spikes.sum(1).mean() == pytest.approx(0.5 * 200, rel=0.15)
        in_bursts = spikes[:, :6000].reshape(len(spikes), -1, 6).sum(2)
        counts[share] = (in_bursts.var(1) / in_bursts.mean(1)).mean()
    assert counts[0] == pytest.approx(1, rel=0.05)
    assert counts[0.8] > 2


def test_focus_drift_dims_cells_as_their_depth_says():
    still, drifting = (
        open_source(f"sim:calcium?frames=2000&shape=64x64&z_drift={z}&frame_rate_hz=5").truth for z in (0, 0.7)
    )
    z, depth = drifting["focus"], drifting["depth"][:, None]
    factor = np.minimum(np.exp(-((depth - z) ** 2 - depth**2) / 2), 2)
    assert z.std() > 0.3
    assert np.allclose(drifting["C"], still["C"] * factor, rtol=1e-4, atol=1e-4)


def test_lines_move_within_a_frame_as_the_truth_says():
    frames, t = simulate.calcium(6, **BRIGHT, spike_rate_hz=0.0, line_motion_px=1.0)
    scene = t["background"].astype(float)
    slope = np.gradient(scene, axis=1)
    found = -(light(frames, t).reshape(frames.shape) * slope).sum(2) / (slope**2).sum(1)
    assert t["line_shift_px"].std() == pytest.approx(1, rel=0.4)
    assert np.corrcoef(found[2:].ravel(), t["line_shift_px"][2:].ravel())[0, 1] > 0.8


def test_cells_are_unequal_and_rings_have_a_dark_nucleus():
    t = open_source("sim:calcium?frames=1&shape=160x160&neuron_sigma_px=3&size_spread=0.3&rings=1").truth
    images = columns(t).T.reshape(-1, 160, 160)
    area = (images > 0.2).sum((1, 2))
    assert area.std() / area.mean() > 0.3
    y, x = np.rint(t["position_px"]).astype(int).T
    assert (images[np.arange(len(images)), y, x] < 0.35).all()
