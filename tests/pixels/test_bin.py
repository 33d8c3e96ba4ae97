"""`bin` against plain sums over reshaped arrays, with a hole in the frames."""

import numpy as np
import pytest

from streamfluo import Block, Camera, ConfigError, Spec, StateError, create
from streamfluo.engine.chain import Chain
from streamfluo.engine.config import parse_config

MOVIE = np.random.default_rng(2).integers(0, 65535, (60, 14, 23), np.uint16)


def binned(operator, frames, size, times=None):
    """Push the frames with these indices in blocks of at most `size`; return {index out: (frame, time)}."""
    out = {}
    runs = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    for run in runs:
        for start in range(0, len(run), size):
            part = run[start : start + size]
            output = operator.update(Block(part[0], part * 1000, MOVIE[part].astype(operator.spec.dtype)))
            if output.block is not None:
                pairs = zip(output.block.pixels, output.block.times_ns, strict=True)
                out |= {output.block.index + n: pair for n, pair in enumerate(pairs)}
            else:
                assert output.held
    assert operator.finish() is None
    return out


def textbook(frames, bin_px, bin_frames, mode):
    """The same from the whole movie: every bin in time all of whose frames came."""
    y, x = (side - side % bin_px for side in MOVIE.shape[1:])
    out = {}
    for j in range(len(MOVIE) // bin_frames):
        members = range(j * bin_frames, (j + 1) * bin_frames)
        if set(members) <= set(frames.tolist()):
            cube = MOVIE[members, :y, :x].astype(float)
            cube = cube.reshape(bin_frames, y // bin_px, bin_px, x // bin_px, bin_px)
            out[j] = (cube.mean if mode == "mean" else cube.sum)((0, 2, 4))
    return out


STREAMS = {
    "unbroken": np.arange(60),
    "with a hole": np.delete(np.arange(60), slice(13, 27)),
    "with one frame missing": np.delete(np.arange(60), 31),
    "beginning in the middle of a bin": np.arange(7, 60),
}


@pytest.mark.parametrize("frames", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("size", [1, 4, 32])
@pytest.mark.parametrize(("bin_px", "bin_frames"), [(1, 1), (2, 1), (1, 5), (3, 4)])
@pytest.mark.parametrize("mode", ["mean", "sum"])
def test_each_bin_is_the_mean_or_sum_of_its_pixels_and_frames(frames, size, bin_px, bin_frames, mode):
    operator = create("bin", Spec((14, 23), "uint16"), bin_px=bin_px, bin_frames=bin_frames, mode=mode)
    found, expected = binned(operator, frames, size), textbook(frames, bin_px, bin_frames, mode)
    assert found.keys() == expected.keys()
    for j, frame in expected.items():
        np.testing.assert_allclose(found[j][0], frame, rtol=1e-7)
        assert found[j][1] == j * bin_frames * 1000


def test_floats_are_summed_as_floats():
    operator = create("bin", Spec((14, 23), "float32"), bin_px=2, mode="sum")
    found = binned(operator, STREAMS["unbroken"], 32)
    np.testing.assert_allclose(found[3][0], textbook(STREAMS["unbroken"], 2, 1, "sum")[3], rtol=1e-7)


def test_the_next_step_learns_the_new_shape_rate_and_pixel_size():
    config = parse_config('[[step]]\nkind = "bin"\nparams = { bin_px = 3, bin_frames = 4 }\n[[step]]\nkind = "moments"')
    chain = Chain(config, Spec((14, 23), "uint16", interval_s=0.01, pixel_um=0.5))
    seen = chain.step("moments").operator.spec
    assert (seen.shape, seen.dtype, seen.interval_s, seen.pixel_um) == ((4, 7), "float32", 0.04, 1.5)


@pytest.mark.parametrize("mode", ["mean", "sum"])
def test_the_calibration_is_handed_on_for_the_binned_pixel(mode):
    camera = Camera(offset_adu=100.0, gain_e_per_adu=0.5, read_noise_e=2.0, saturation_adu=4000.0)
    operator = create("bin", Spec((8, 8), "uint16", camera=camera), bin_px=2, bin_frames=3, mode=mode)
    pixels = np.full((3, 8, 8), 180, np.uint16)
    block = operator.update(Block(0, np.zeros(3), pixels)).block
    after = operator.out_spec.camera
    electrons = (block.pixels[0, 0, 0] - after.offset_adu) * after.gain_e_per_adu
    assert electrons == pytest.approx(12 * (180 - 100) * 0.5)
    assert after.read_noise_e == pytest.approx(2 * 12**0.5)
    assert after.saturation_adu == (4000.0 if mode == "mean" else 48_000.0)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"bin_px": 0}, "bin_px: expected a whole number >= 1, found 0"),
        ({"bin_px": 15}, "bin_px = 15 is larger than the frame"),
        ({"bin_frames": -1}, "bin_frames: expected a whole number >= 1, found -1"),
        ({"mode": "median"}, "mode: Invalid enum value 'median'"),
        ({"bin_px": 14, "bin_frames": 200, "mode": "sum"}, "can overflow; use mode = 'mean'"),
    ],
)
def test_what_cannot_be_is_refused(params, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        create("bin", Spec((14, 23), "uint16"), **params)


@pytest.mark.parametrize("missing", ["total", "count", "next_index", "time_ns"])
def test_a_state_with_something_missing_is_refused(missing):
    operator = create("bin", Spec((14, 23), "uint16"))
    state = {name: value for name, value in operator.state().items() if name != missing}
    with pytest.raises(StateError, match=missing):
        operator.restore(state)


def test_sums_of_signed_pixels_are_refused_where_the_lowest_value_would_overflow():
    with pytest.raises(ConfigError, match="can overflow"):
        create("bin", Spec((14, 23), "int16"), bin_px=3, bin_frames=7282, mode="sum")
