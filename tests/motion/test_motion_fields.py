"""Displacement fields, a high-pass before registration, and known shifts: against numpy and scipy."""

import numpy as np
import pytest
import scipy.ndimage as ndi
from moving_tissue import COUNTS, OFFSET, PAD, READ_E, drift, errors_px, interpolation_weights, record, rmse_px, scene
from scipy.interpolate import CubicSpline

import streamfluo
from streamfluo import Block, Chain, ConfigError, FrameError, Spec

SIDE = 192
TISSUE = scene((SIDE, SIDE), seed=21)
RIGID = drift(160, seed=22)
PATCHES = {"mode": "piecewise", "patch_stride_px": 64, "patch_overlap_px": 32}


PLACES = np.mgrid[:SIDE, :SIDE].astype(float)


def bend_px(t, places=PLACES):
    """A smooth deformation (2, y, x) of 2.5 px at `places` [px], slowly changing."""
    y, x = places / SIDE
    return 2.5 * np.stack([np.sin(3 * x + y + t / 40), np.cos(2 * y - 2 * x + t / 60)])


def bent_movie(photons=60):
    """Frames (t, y, x) of tissue that moves as a whole and bends, and the field of each frame (t, 2, y, x)."""
    rng, tissue = np.random.default_rng(23), ndi.spline_filter(TISSUE)
    frames, fields = [], []
    for t, shift in enumerate(RIGID):
        field = bend_px(t) + shift[:, None, None]
        origin = PLACES - field
        for _ in range(2):  # where the tissue came from: u = y + d(y), solved for y to 1e-4 px
            origin = PLACES - bend_px(t, origin) - shift[:, None, None]
        mean = ndi.map_coordinates(tissue, origin + PAD, order=3, prefilter=False) * photons
        electrons = rng.poisson(np.maximum(mean, 0)) + READ_E * rng.standard_normal(mean.shape)
        frames.append(np.clip(np.rint(electrons * COUNTS + OFFSET), 0, 65535).astype(np.uint16))
        fields.append(field)
    return np.array(frames), np.array(fields)


def run(movie, operator=None, **params):
    operator = operator or streamfluo.create("motion", Spec(movie.shape[1:], movie.dtype), **params)
    outputs = [operator.update(Block(t, np.array([t]), movie[t : t + 1])) for t in range(len(movie))]
    values = {name: np.concatenate([o.values[name] for o in outputs]) for name in outputs[0].values}
    return values, np.concatenate([o.block.pixels for o in outputs])


def centres_px(side, stride, overlap):
    count = 1 + -(-(side - stride - overlap) // stride)
    return (stride + overlap - 1) / 2 + np.linspace(0, side - stride - overlap, count)


def through_patches(patches, centres, side):
    """Textbook: natural cubic splines through the patches' shifts along y, then x, straight beyond the outermost."""

    def along(values):
        spline, at = CubicSpline(centres, values, bc_type="natural"), np.arange(side)
        near = np.clip(at, centres[0], centres[-1])
        return spline(near) + spline(near, 1) * (at - near).reshape(-1, *[1] * (values.ndim - 1))

    rows = along(patches)  # (y, px, 2)
    return np.moveaxis(along(np.moveaxis(rows, 1, 0)), (0, 1, 2), (2, 1, 0))


def interpolated(frame, field):
    """Textbook: each pixel interpolated from the sixteen around its origin."""
    place = np.mgrid[: frame.shape[0], : frame.shape[1]] + field
    integer, total = np.floor(place).astype(int), np.zeros(frame.shape)
    fractions = np.linspace(0, 1, 201)
    table = np.array([interpolation_weights(f, 4, order=1) for f in fractions])
    weights = [
        [np.interp(p - n, fractions, table[:, j]) for j in range(4)] for p, n in zip(place, integer, strict=True)
    ]
    for j in range(4):
        for k in range(4):
            y, x = integer[0] + j - 1, integer[1] + k - 1
            weight = weights[0][j] * weights[1][k]
            total += weight * frame[np.clip(y, 0, frame.shape[0] - 1), np.clip(x, 0, frame.shape[1] - 1)]
    return total


@pytest.fixture(scope="module")
def bent():
    movie, fields = bent_movie()
    values, corrected = run(movie, **PATCHES)
    return movie, fields, values, corrected


def test_the_field_is_found(bent):
    _, fields, values, _ = bent
    centres = centres_px(SIDE, 64, 32)
    assert values["patch_shift_px"].shape == (160, len(centres), len(centres), 2)
    assert values["valid"].all()
    found = np.array([through_patches(p, centres, SIDE)[:, ::4, ::4] for p in values["patch_shift_px"][80:]])
    error = found - fields[80:, :, ::4, ::4]
    error -= np.median(error, axis=0)
    assert np.sqrt((error**2).sum(1).mean()) < 0.25
    middles = np.rint(centres).astype(int)
    rigid = fields[80:][:, :, middles][:, :, :, middles].mean((2, 3))
    assert rmse_px(errors_px(values["shift_px"][80:], rigid, 0)) < 0.1
    bending = (fields[80:] - fields[80:].mean(0)).var((2, 3)).sum(1).mean()
    assert np.sqrt(bending) > 0.5  # there was something to find


def test_pixels_are_interpolated_at_the_field_reported(bent):
    movie, _, values, corrected = bent
    for t in (0, 57, 159):
        field = through_patches(values["patch_shift_px"][t], centres_px(SIDE, 64, 32), SIDE)
        seen = np.isfinite(corrected[t])
        assert seen.mean() > 0.8
        assert np.allclose(corrected[t][seen], interpolated(movie[t].astype(float), field)[seen], rtol=1e-3, atol=2)


def test_the_mean_is_sharper_than_after_rigid_correction(bent):
    movie, _, _, corrected = bent
    _, rigid = run(movie, max_shift_px=10)
    sharp, blurred = (
        sum((np.diff(m[80:].mean(0)[20:-20, 20:-20], axis=a) ** 2).mean() for a in (0, 1)) for m in (corrected, rigid)
    )
    assert sharp > 1.15 * blurred


def test_shift_px_is_the_mean_of_the_patches(bent):
    values = bent[2]
    assert np.allclose(values["shift_px"], values["patch_shift_px"].mean((1, 2)))
    assert np.abs(values["patch_shift_px"] - values["shift_px"][:, None, None]).max() < 4.4  # 4, before the mean moved


def test_a_field_smaller_than_a_patch_is_rigid():
    movie = record(scene((60, 70), seed=24), RIGID[:80], 40, seed=25)
    rigid, pieces = run(movie)[0], run(movie, mode="piecewise")[0]
    assert np.array_equal(pieces["patch_shift_px"][:, 0, 0], rigid["shift_px"])


def test_shifts_applied_again_give_the_same_pixels(bent):
    movie, _, values, corrected = bent
    known = dict(PATCHES, mode="apply", max_shift_px=20)
    again, pixels = run(movie[:50], shifts_px=values["patch_shift_px"], **known)
    assert again["valid"].all()
    assert np.array_equal(pixels, corrected[:50], equal_nan=True)
    with pytest.raises(ConfigError, match=r"shifts_px are for \(3, 3\) patches, the parameters make \(2, 2\)"):
        run(movie[:1], shifts_px=values["patch_shift_px"], **dict(known, patch_stride_px=96))


def test_shifts_of_a_step_before_are_applied_to_what_it_saw(tmp_path):
    movie = record(scene((60, 70), seed=24), RIGID[:60], 40, seed=25)
    config = """
        [[step]]
        kind = "motion"
        [[step]]
        kind = "motion"
        id = "again"
        after = "source"
        params = { mode = "apply" }
    """
    path = tmp_path / "chain.toml"
    path.write_text(config)
    chain = Chain.from_toml(path, Spec((60, 70), "uint16"))
    for t in range(60):
        outputs = dict(chain.push(Block(t, np.array([t]), movie[t : t + 1])))
        assert np.array_equal(outputs["motion"].block.pixels, outputs["again"].block.pixels, equal_nan=True)
    operator = streamfluo.create("motion", Spec((60, 70), "uint16"), mode="apply")
    with pytest.raises(FrameError, match="needs shifts_px, or a step before it"):
        operator.update(Block(0, np.array([0]), movie[:1]))


def test_a_static_background_does_not_bias_the_shift_after_a_high_pass():
    """One-photon: a bright background that is of the optics, faint tissue that moves, a glow that comes and goes."""
    tissue = scene((120, 136), seed=26)
    rng, truth = np.random.default_rng(27), drift(400, seed=28)
    y, x = np.mgrid[:120, :136]
    vignette = 400 * np.exp(-((y - 60) ** 2 + (x - 68) ** 2) / 5000)
    movie = record(tissue, truth, photons=40, seed=29).astype(float)
    for t in range(400):
        glow = 150 * (1 + np.sin(t / 15)) * np.exp(-((y - 30) ** 2 + (x - 90) ** 2) / 3000)
        movie[t] += COUNTS * rng.poisson(vignette + glow)
    movie = np.clip(np.rint(movie), 0, 65535).astype(np.uint16)
    plain, filtered = run(movie)[0], run(movie, highpass_sigma_px=4)[0]
    errors = [rmse_px(errors_px(v["shift_px"], truth, 100)) for v in (plain, filtered)]
    assert errors[1] < 0.3
    assert errors[1] < 0.3 * errors[0]  # a quarter, where the glow pulls the plain one along


def test_the_high_pass_is_the_frame_less_its_gaussian_blur():
    from streamfluo.motion.kernels.highpass import box_radius_px, high_pass

    frame = np.random.default_rng(30).poisson(500, (90, 110)).astype(np.uint16)
    out, room = np.empty((90, 110), np.float32), np.empty((2, 90, 110), np.float32)
    for sigma in (3.0, 8.0):
        high_pass(frame, box_radius_px(sigma), room, out)
        expected = frame - ndi.gaussian_filter(frame.astype(float), sigma, mode="nearest", truncate=5)
        assert np.abs(out - expected)[12:-12, 12:-12].max() < 0.1 * expected.std()
