"""From expected photons to grey values: the part that every simulator shares."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta
from numpy.random import Generator
from scipy.special import gammaincc, ndtr

from ...core.params import Params
from ...core.spec import Camera, Spec

Side = Annotated[int, Meta(ge=8, le=8192)]
Length = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0, le=50_000)]
Level = float | np.ndarray

# Below this mean the expansion in `poisson_counts` can be off by more than half a count.
_EXPANSION_FROM = 4.0


class CameraParams(Params, frozen=True, kw_only=True):
    """What every simulation has: a seed, a field, a length and a camera.

    `added`: parameters that came later. At their defaults they make no other series, so its uid does not change.
    """

    added: ClassVar[tuple[str, ...]] = ()
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="same seed, same movie")] = 0
    shape: Annotated[tuple[Side, Side], Meta(description="frame height and width, 256x256 in a URI [px]")] = (256, 256)
    frames: Annotated[Length | None, Meta(description="length of the series; none: without end")] = None
    frame_rate_hz: Annotated[float, Meta(gt=0, le=1e6, description="frames per second [Hz]")] = 30.0
    pixel_um: Annotated[float, Meta(gt=0, le=1e3, description="side of a pixel in the sample [µm]")] = 1.0
    photons: Annotated[float, Meta(ge=0, le=1e6, description="mean background, detected photons [/px/frame]")] = 20.0
    read_noise_e: Annotated[float, Meta(ge=0, le=1e4, description="standard deviation of the read noise [e]")] = 1.5
    gain_e_per_adu: Annotated[float, Meta(gt=0, le=1e6, description="electrons per grey value [e/ADU]")] = 0.5
    offset_adu: Annotated[float, Meta(ge=0, le=65535, description="grey value of darkness [ADU]")] = 100.0
    bits: Annotated[int, Meta(ge=8, le=16, description="depth of the converter; 2^bits - 1 saturates")] = 16
    em: Annotated[bool, Meta(description="an EM register multiplies each electron by chance: excess noise 2")] = False


def camera_spec(params: CameraParams) -> Spec:
    """Return the spec of the frames that these parameters make: uint16, with the camera's calibration."""
    camera = Camera(
        offset_adu=params.offset_adu,
        gain_e_per_adu=params.gain_e_per_adu,
        read_noise_e=params.read_noise_e,
        qe=1.0,
        saturation_adu=float(2**params.bits - 1),
        excess_noise=2.0 if params.em else 1.0,
    )
    return Spec(params.shape, "uint16", 1 / params.frame_rate_hz, params.pixel_um, camera=camera)


def generator(seed: int, stream: int, index: int = 0) -> Generator:
    """Return the random numbers of one purpose (`stream`) and one frame or chunk (`index`) of a simulation."""
    return Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(stream, index))))


def expose(photons: np.ndarray, params: CameraParams, rng: Generator) -> np.ndarray:
    """Return one frame (y, x) uint16 of `photons` (y, x) float32, the expected detected photons of each pixel.

    ADU = offset + (Poisson(photons) + read noise) / gain, rounded, clipped to 0 … 2^bits - 1: the linear camera of
    EMVA 1288 (release 4.0, linear), with photons counted as detected, so that the quantum efficiency is 1.
    """
    electrons = shot_noise(photons, params, rng)
    return digitise(electrons, params.gain_e_per_adu, params.offset_adu, params.read_noise_e, params.bits, rng)


def shot_noise(photons: np.ndarray, params: CameraParams, rng: Generator) -> np.ndarray:
    """Return the electrons (y, x) float32 of `photons` (y, x) float32, the expected detected ones.

    Behind an EM register of gain G those of n electrons are gamma distributed with shape n and scale G (Robbins &
    Hadwen 2003, IEEE Trans. Electron Devices 50:1227); they are given over G, so that mean, gain and read noise are
    those of the electrons before it.
    """
    electrons = poisson_counts(photons, rng)
    return rng.standard_gamma(electrons, dtype=np.float32) if params.em else electrons


def digitise(
    electrons: np.ndarray, gain_e_per_adu: Level, offset_adu: Level, read_noise_e: Level, bits: int, rng: Generator
) -> np.ndarray:
    """Return grey values (y, x) uint16 of `electrons` (y, x) float32, which it uses up; levels may be maps (y, x)."""
    if np.any(read_noise_e):
        noise = rng.standard_normal(electrons.shape, dtype=np.float32)
        noise *= np.float32(read_noise_e)
        electrons += noise
    electrons *= np.float32(1 / gain_e_per_adu)
    electrons += np.float32(offset_adu + 0.5)  # the conversion below cuts off, so half a step rounds
    np.clip(electrons, 0, 2**bits - 1, out=electrons)
    frame: np.ndarray = electrons.astype(np.uint16)
    return frame


def poisson_counts(mean: np.ndarray, rng: Generator) -> np.ndarray:
    """Return Poisson counts (y, x) float32 for the means (y, x) float32, three times as fast as numpy's.

    One normal deviate w a pixel; the count is the Poisson quantile of the probability of w. A normal expansion of that
    quantile with a bound on its error settles nearly all pixels; where the bound reaches across a whole number, the
    exact distribution decides (Giles 2016, ACM Trans. Math. Softw. 42:7). Means below 4 go to numpy.
    """
    dim = np.flatnonzero(mean < _EXPANSION_FROM)
    safe = np.maximum(mean, np.float32(_EXPANSION_FROM))
    w = rng.standard_normal(mean.shape, dtype=np.float32)
    squared, root = w * w, np.sqrt(safe)
    quantile = safe + root * w + (2 + squared) / 6 - (2 + squared) * w / (72 * root)
    nearest = np.rint(quantile)
    # 1.3: the paper's bound is for the limit of large means. The last term is float32 rounding.
    bound = 1.3 * (1 / 40 + squared * (1 / 80 + squared / 160)) / safe + 5e-7 * safe
    counts: np.ndarray = np.floor(quantile)
    near = np.flatnonzero(np.abs(quantile - nearest) < bound)
    whole = np.maximum(nearest.ravel()[near].astype(float), 0)
    below = gammaincc(whole, safe.ravel()[near].astype(float))  # P(count < whole)
    counts.ravel()[near] = np.maximum(whole - (ndtr(w.ravel()[near].astype(float)) < below), 0)
    np.maximum(counts, 0, out=counts)
    counts.ravel()[dim] = rng.poisson(mean.ravel()[dim])
    return counts
