"""Motion correction of a real recording whose frames were shifted by known amounts."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

import streamfluo
from streamfluo import Block, Spec

DATA = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[3] / "shared" / "data"))
MOUSE = DATA / "mesoscope" / "mouse_160x160x1000.tif"
pytestmark = pytest.mark.skipif(
    not MOUSE.exists(), reason=f"needs the mesoscope recording in {DATA} or $STREAMFLUO_DATA"
)
FRAMES = 600


def moved(image, shift_px):
    """An image whose tissue is moved by (dy, dx), in Fourier space."""
    fy, fx = np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])
    return np.fft.irfft2(np.fft.rfft2(image) * np.exp(-2j * np.pi * (fy * shift_px[0] + fx * shift_px[1])), image.shape)


def crispness(image):
    """Gradient energy, off the rims that wrapped around."""
    return sum((g[18:-18, 18:-18] ** 2).sum() for g in np.gradient(image))


def correct(movie):
    operator = streamfluo.create("motion", Spec(movie.shape[1:], movie.dtype))
    outputs = [operator.update(Block(t, np.array([t]), movie[t : t + 1])) for t in range(len(movie))]
    values = {name: np.concatenate([o.values[name] for o in outputs]) for name in ("shift_px", "valid")}
    return values, np.concatenate([o.block.pixels for o in outputs])


def walk(rng):
    shifts = np.zeros((FRAMES, 2))
    for t in range(1, FRAMES):
        shifts[t] = 0.95 * shifts[t - 1] + 0.8 * rng.standard_normal(2)
    return np.clip(shifts, -5, 5)


@pytest.mark.parametrize(
    "jitter",
    [lambda rng: rng.uniform(-5, 5, (FRAMES, 2)), pytest.param(walk, marks=pytest.mark.slow)],
    ids=["white", "walk"],
)
def test_frames_shifted_by_known_amounts_are_put_back(jitter):
    movie = tifffile.imread(MOUSE, key=range(FRAMES)).astype(np.float32)
    shifts = jitter(np.random.default_rng(5))
    shaken = np.array([moved(f, s) for f, s in zip(movie, shifts, strict=True)], np.float32)
    own, found = correct(movie)[0], correct(shaken)
    assert found[0]["valid"].all()
    error = (found[0]["shift_px"] - shifts)[100:]
    error -= np.median(error, axis=0)
    beyond_own = error - own["shift_px"][100:]
    beyond_own -= np.median(beyond_own, axis=0)
    assert np.sqrt((error**2).sum(1).mean()) < 0.12  # the recording moves by 0.10 px itself
    assert np.sqrt((beyond_own**2).sum(1).mean()) < 0.03
    # The template lies where the first frame was, so that the same part of the tissue is compared.
    offset = np.median(found[0]["shift_px"] - shifts, axis=0)
    assert crispness(found[1].mean(0)) > 0.98 * crispness(moved(movie.mean(0), -offset))
