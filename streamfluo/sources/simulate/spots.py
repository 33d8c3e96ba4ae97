"""Diffraction-limited spots, fixed, diffusing or new in each frame, with their truth: detection and photon counts.

Expected photons of frame t at pixel p:

    photons(p, t) = background(p) + Σ_k N_k · PSF(p - r_k(t))

- PSF: an isotropic Gaussian of `sigma_px` integrated over each pixel, the model of Smith et al. 2010, Nat. Methods
  7:373 (`psf.spot_pixels`). r = (y, x) in px, whole numbers at the centres of pixels.
- Spots: `fixed`, spread over the field; `diffusing`, Brownian motion with `step_px` rms per frame and axis, mirrored
  at the field's border (step = √(2 D T) for a diffusion coefficient D and a frame interval T); `random`, in each frame
  a new set, Poisson in number with mean `spots` and anywhere in the field, as in localisation microscopy.
- Drift: the sample moves by (`drift_y_px`, `drift_x_px`) each frame; what leaves the view by more than 5 sigma comes in
  on the other side, as the sample goes on. Of random spots drift is no matter.
- Photons N_k [detected per frame]: log-normal with mean `spot_photons` and relative sd `spot_photons_sd`, or, with
  `photon_distribution=exponential`, exponential. Fixed and diffusing spots keep theirs. The camera adds shot noise.
- Background: mean `photons`, linear along x from (1 - g) to (1 + g) of it between the outermost pixels, g =
  `background_gradient`.
- Camera: `camera.expose`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from msgspec import Meta

from .camera import CameraParams, Count, camera_spec, expose, generator
from .psf import draw_spots, spread_points
from .timeline import CHUNK_FRAMES, Timeline

_SCENE, _STEPS, _SPOTS, _NOISE = range(4)
_PX2_PER_SPOT = 512  # 512 in 512 × 512: 23 px between neighbours, crops of 13 px rarely overlap
_MARGIN_SIGMA = 5
_MAX_TRUTH = 2**23  # rows of the table, 268 MB

Drift = Annotated[float, Meta(ge=-1e3, le=1e3)]


class SpotsParams(CameraParams, frozen=True, kw_only=True):
    """Parameters of `sim:spots`."""

    pixel_um: Annotated[float, Meta(gt=0, le=1e3, description="side of a pixel in the sample [µm]")] = 0.1
    photons: Annotated[float, Meta(ge=0, le=1e6, description="mean background, detected photons [/px/frame]")] = 10.0
    spots: Annotated[Count | None, Meta(description="how many a frame; none: one per 512 px²")] = None
    motion: Annotated[Literal["fixed", "diffusing", "random"], Meta(description="from frame to frame")] = "fixed"
    step_px: Annotated[float, Meta(ge=0, le=100, description="rms step of diffusion per frame and axis [px]")] = 0.3
    drift_y_px: Annotated[Drift, Meta(description="drift along y [px/frame]")] = 0.0
    drift_x_px: Annotated[Drift, Meta(description="drift along x [px/frame]")] = 0.0
    spot_photons: Annotated[float, Meta(ge=0, le=1e7, description="mean detected photons of a spot [/frame]")] = 1000.0
    photon_distribution: Annotated[
        Literal["lognormal", "exponential"], Meta(description="of photons between spots")
    ] = "lognormal"
    spot_photons_sd: Annotated[float, Meta(ge=0, le=2, description="relative sd of log-normal photons")] = 0.3
    sigma_px: Annotated[float, Meta(ge=0.3, le=20, description="sd of the point spread function [px]")] = 1.3
    background_gradient: Annotated[
        float, Meta(ge=-1, le=1, description="background at the right border over its mean, less 1")
    ] = 0.0


class Spots(NamedTuple):
    """The spots of one frame: which (n,), position_px (n, 2), photons (n,)."""

    spot: np.ndarray
    position_px: np.ndarray
    photons: np.ndarray


class SpotsSimulator:
    """Spots of known photons and places; see the module for the equations."""

    Params: ClassVar[type[CameraParams]] = SpotsParams
    version: ClassVar[int] = 1

    def __init__(self, params: SpotsParams) -> None:
        self.params = p = params
        self.spec = camera_spec(p)
        height, width = p.shape
        self._count = max(1, round(height * width / _PX2_PER_SPOT)) if p.spots is None else p.spots
        self._background = np.linspace(1 - p.background_gradient, 1 + p.background_gradient, width) * p.photons
        rng = generator(p.seed, _SCENE)
        kept = 0 if p.motion == "random" else self._count
        self._start_px = spread_points(kept, p.shape, 0, rng)
        self._photons = _draw_photons(kept, p, rng)
        self._timeline = self._new_timeline()

    def render(self, start: int, stop: int) -> np.ndarray:
        """Return the frames with start ≤ index < stop, (n, y, x) uint16; each depends on its index alone."""
        p = self.params
        frames = np.empty((stop - start, *p.shape), np.uint16)
        for i in range(start, stop):
            spots = self._spots(i, self._timeline)
            photons = draw_spots(spots.position_px, spots.photons, p.shape, p.sigma_px)
            photons += self._background.astype(np.float32)
            frames[i - start] = expose(photons, p, generator(p.seed, _NOISE, i))
        return frames

    def _spots(self, index: int, timeline: Timeline[np.ndarray]) -> Spots:
        p, sides = self.params, np.array(self.params.shape)
        if p.motion == "random":
            rng = generator(p.seed, _SPOTS, index)
            count = int(rng.poisson(self._count))
            return Spots(np.arange(count), rng.random((count, 2)) * sides - 0.5, _draw_photons(count, p, rng))
        position = self._start_px
        if p.motion == "diffusing":
            position = _mirror(timeline.chunk(index // CHUNK_FRAMES)[index % CHUNK_FRAMES], sides)
        if p.drift_y_px or p.drift_x_px:
            margin = _MARGIN_SIGMA * p.sigma_px + 0.5
            moved = position + index * np.array([p.drift_y_px, p.drift_x_px])
            position = (moved + margin) % (sides - 1 + 2 * margin) - margin
        return Spots(np.arange(self._count), position, self._photons)

    def _new_timeline(self) -> Timeline[np.ndarray]:
        return Timeline(self._advance, self._start_px)

    def _advance(self, k: int, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unmirrored positions (t, K, 2) of diffusing spots: mirroring a free walk mirrors it exactly."""
        steps = generator(self.params.seed, _STEPS, k).standard_normal((CHUNK_FRAMES + 1, *state.shape))
        steps *= self.params.step_px
        steps[0] = state
        walk = np.cumsum(steps, axis=0, out=steps)
        return walk[:-1], walk[-1].copy()

    def truth(self, frames: int) -> Mapping[str, np.ndarray]:
        """Return what the first `frames` frames were made of, by name; T frames, K lasting spots, R rows.

        The table of all spots with their centre in view, by frame, left out above 2^23 rows: `frame`, `spot`, `y_px`,
        `x_px`, `photons_spot` (R,) · `position_px` (K, 2) at frame 0 and `spot_photons` (K,), K = 0 for random spots ·
        `background` (y, x) photons · `drift_px` (2,) per frame · `sigma_px`, `photons`, `read_noise_e`,
        `gain_e_per_adu`, `offset_adu`, `seed`.
        """
        p = self.params
        truth = {
            "position_px": self._start_px.copy(),
            "spot_photons": self._photons.copy(),
            "background": np.broadcast_to(self._background, p.shape).copy(),
            "drift_px": np.array([p.drift_y_px, p.drift_x_px]),
        }
        if frames * self._count <= _MAX_TRUTH:
            truth |= self._table(frames)
        names = ("sigma_px", "photons", "read_noise_e", "gain_e_per_adu", "offset_adu", "seed")
        return truth | {name: np.array(getattr(p, name)) for name in names}

    def _table(self, frames: int) -> dict[str, np.ndarray]:
        timeline, sides = self._new_timeline(), np.array(self.params.shape)
        rows = []
        for i in range(frames):
            spot, position, photons = self._spots(i, timeline)
            seen = ((position >= -0.5) & (position < sides - 0.5)).all(1)
            rows.append((np.full(seen.sum(), i), spot[seen], *position[seen].T, photons[seen]))
        columns = [np.concatenate(column) for column in zip(*rows, strict=True)] if rows else [np.empty(0)] * 5
        return dict(zip(("frame", "spot", "y_px", "x_px", "photons_spot"), columns, strict=True))


def _draw_photons(count: int, params: SpotsParams, rng: np.random.Generator) -> np.ndarray:
    if params.photon_distribution == "exponential":
        return params.spot_photons * rng.standard_exponential(count)
    spread = np.sqrt(np.log1p(params.spot_photons_sd**2))
    return params.spot_photons * rng.lognormal(-(spread**2) / 2, spread, count)


def _mirror(position_px: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Positions folded back into the field, which ends half a pixel outside the outermost centres."""
    folded = (position_px + 0.5) % (2 * sides)
    return np.minimum(folded, 2 * sides - folded) - 0.5
