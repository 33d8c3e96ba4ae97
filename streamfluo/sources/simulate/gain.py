"""A camera under an even lamp at several light levels, with its truth: photon transfer.

Electrons of frame t at pixel p, and the grey value they become:

    e(p, t) = min( Poisson(level(t) · lamp(t) · illumination(p)), full well ),
    ADU(p, t) = offset(p) + (e(p, t) + N(0, read(p))) / gain(p), rounded, clipped to 0 … 2^bits - 1

so that at one level Var [ADU²] = (mean - offset) / gain + (read / gain)² + 1/12 (Janesick 2007, Photon Transfer;
EMVA 1288, release 4.0), gain in e/ADU, with 1/12 for the rounding.

- Levels: after `dark_frames` frames without light come `levels` stretches of `level_frames` frames each, from
  `min_photons` to `photons` in equal ratios, and then from the dimmest again without end. By default the stretches
  share the frames there are, or are 100 frames long in a series without end.
- Illumination: mean 1 over the field; `flat`, a linear `gradient` along x, or `gaussian` about the centre; the dimmest
  pixel (of the Gaussian, the farthest corner) gets `dim_fraction` of the light of the brightest place.
- Lamp: lamp(t) = max(1 + flicker · N(0, 1), 0), independent between frames, the same for all pixels.
- sCMOS: each pixel has its own gain, offset and read noise (Huang et al. 2013, Nat. Methods 10:653): gain normal with
  relative sd `gain_sd`, cut at 3 sd; offset normal with sd `offset_sd_adu`, not below 0; read noise log-normal with
  median `read_noise_e` and sd `read_noise_sd` of its logarithm. With all three at 0 the pixels are alike, as in a CCD.
- The spec of the stream tells nothing of the camera but where it saturates, as it is to be found out, unless
  `calibration` says `nominal` (the scalar parameters) or `maps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from msgspec import Meta

from ...core.spec import Camera, Spec
from .camera import CameraParams, Length, camera_spec, digitise, generator, shot_noise

_MAPS, _LAMP, _NOISE = range(3)
_LEVEL_FRAMES = 100
_CUT_SD = 3.0
_DARK = -1


class GainParams(CameraParams, frozen=True, kw_only=True):
    """Parameters of `sim:gain`. Raises ValueError if min_photons is above photons."""

    photons: Annotated[
        float, Meta(gt=0, le=1e6, description="brightest level, mean over the field, detected photons [/px/frame]")
    ] = 2000.0
    min_photons: Annotated[
        float, Meta(gt=0, le=1e6, description="dimmest level, mean over the field, detected photons [/px/frame]")
    ] = 20.0
    levels: Annotated[int, Meta(ge=1, le=1000, description="light levels; 1: photons alone")] = 8
    level_frames: Annotated[
        Length | None, Meta(description="frames of each level; none: what there is in equal parts, or 100")
    ] = None
    dark_frames: Annotated[int, Meta(ge=0, le=10**9, description="frames without light at the start")] = 0
    illumination: Annotated[Literal["flat", "gradient", "gaussian"], Meta(description="how the light lies")] = (
        "gradient"
    )
    dim_fraction: Annotated[float, Meta(gt=0, le=1, description="light of the dimmest pixel over the brightest")] = 0.1
    flicker: Annotated[float, Meta(ge=0, le=1, description="relative sd of the lamp between frames")] = 0.0
    gain_sd: Annotated[float, Meta(ge=0, le=0.3, description="relative sd of the gain between pixels")] = 0.0
    offset_sd_adu: Annotated[float, Meta(ge=0, le=1e4, description="sd of the offset between pixels [ADU]")] = 0.0
    read_noise_sd: Annotated[
        float, Meta(ge=0, le=2, description="sd of the logarithm of the read noise between pixels")
    ] = 0.0
    full_well_e: Annotated[
        Annotated[float, Meta(gt=0, le=1e7)] | None, Meta(description="electrons a pixel holds; none: any number [e]")
    ] = None
    calibration: Annotated[
        Literal["none", "nominal", "maps"], Meta(description="what the stream's spec tells of the camera")
    ] = "none"

    def __post_init__(self) -> None:
        if self.levels > 1 and self.min_photons > self.photons:
            raise ValueError(f"min_photons must not exceed photons, found {self.min_photons} and {self.photons}")


class GainSimulator:
    """A camera lit at several levels; see the module for the equations."""

    Params: ClassVar[type[CameraParams]] = GainParams
    version: ClassVar[int] = 1

    def __init__(self, params: GainParams) -> None:
        self.params = p = params
        self._draw_maps(generator(p.seed, _MAPS))
        self._illumination = _illuminate(p)
        self._level_photons = (
            np.geomspace(p.min_photons, p.photons, p.levels) if p.levels > 1 else np.array([p.photons])
        )
        lit = _LEVEL_FRAMES * p.levels if p.frames is None else max(p.frames - p.dark_frames, 1)
        self._level_frames = p.level_frames or -(-lit // p.levels)
        self.spec = self._tell_spec()

    def _draw_maps(self, rng: np.random.Generator) -> None:
        p = self.params
        scatter = np.clip(rng.standard_normal(p.shape), -_CUT_SD, _CUT_SD)
        self._gain = p.gain_e_per_adu * (1 + p.gain_sd * scatter)
        self._offset = np.maximum(p.offset_adu + p.offset_sd_adu * rng.standard_normal(p.shape), 0)
        self._read_noise = p.read_noise_e * np.exp(p.read_noise_sd * rng.standard_normal(p.shape))

    def _tell_spec(self) -> Spec:
        p, saturation = self.params, float(2**self.params.bits - 1)
        if p.full_well_e is not None:
            saturation = min(saturation, p.offset_adu + p.full_well_e / p.gain_e_per_adu)
        excess = 2.0 if p.em else 1.0
        told = {
            "none": Camera(saturation_adu=saturation, excess_noise=excess),
            "nominal": Camera(p.offset_adu, p.gain_e_per_adu, p.read_noise_e, 1.0, saturation, excess),
            "maps": Camera(self._offset, self._gain, self._read_noise, 1.0, saturation, excess),
        }
        return camera_spec(p).with_(camera=told[p.calibration])

    def _level(self, index: np.ndarray) -> np.ndarray:
        """The level of each frame, -1 for dark ones."""
        lit = index - self.params.dark_frames
        return np.where(lit < 0, _DARK, lit // self._level_frames % self.params.levels)

    def _lamp(self, index: int) -> float:
        p = self.params
        return max(1 + p.flicker * float(generator(p.seed, _LAMP, index).standard_normal()), 0) if p.flicker else 1.0

    def render(self, start: int, stop: int) -> np.ndarray:
        """Return the frames with start ≤ index < stop, (n, y, x) uint16; each depends on its index alone."""
        p = self.params
        frames = np.empty((stop - start, *p.shape), np.uint16)
        for i, level in zip(range(start, stop), self._level(np.arange(start, stop)), strict=True):
            rng = generator(p.seed, _NOISE, i)
            electrons = np.zeros(p.shape, np.float32)
            if level != _DARK:
                light = np.float32(self._level_photons[level] * self._lamp(i))
                electrons = shot_noise(self._illumination * light, p, rng)
            if p.full_well_e is not None:
                np.minimum(electrons, np.float32(p.full_well_e), out=electrons)
            frames[i - start] = digitise(electrons, self._gain, self._offset, self._read_noise, p.bits, rng)
        return frames

    def truth(self, frames: int) -> Mapping[str, np.ndarray]:
        """Return what the first `frames` frames were made of, by name; T frames, L levels.

        `gain_map`, `offset_map`, `read_noise_map` (y, x) in e/ADU, ADU, e · `illumination` (y, x), mean 1 ·
        `level_photons` (L,) mean over the field · `level` (T,) of each frame, -1 in the dark · `lamp` (T,) factor on
        the light · `saturation_adu` · `flicker`, `photons`, `gain_e_per_adu`, `offset_adu`, `read_noise_e`, `seed`.
        """
        truth = {
            "gain_map": self._gain.copy(),
            "offset_map": self._offset.copy(),
            "read_noise_map": self._read_noise.copy(),
            "illumination": self._illumination.copy(),
            "level_photons": self._level_photons.copy(),
            "level": self._level(np.arange(frames)),
            "lamp": np.array([self._lamp(i) for i in range(frames)]),
            "saturation_adu": np.array(self.spec.camera.saturation_adu if self.spec.camera else np.nan),
        }
        names = ("flicker", "photons", "gain_e_per_adu", "offset_adu", "read_noise_e", "seed")
        return truth | {name: np.array(getattr(self.params, name)) for name in names}


def _illuminate(params: GainParams) -> np.ndarray:
    """Relative light (y, x) float32, mean 1."""
    height, width = params.shape
    dim = params.dim_fraction
    light = np.ones(params.shape)
    if params.illumination == "gradient":
        light *= np.linspace(dim, 1, width)
    if params.illumination == "gaussian":
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        light *= dim ** ((y**2 + x**2) / 2)  # 1 in the centre, dim in the corners
    return (light / light.mean()).astype(np.float32)
