"""Parameters of `extract`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from ...core.params import Params
from ...core.spec import Spec

DECAY_S, RISE_S = 0.4, 0.05  # until transients have decided
MERGE_CORR = 0.9
MAX_DELAY_FRAMES = 300


class ExtractParams(Params, frozen=True):
    neuron_sigma_px: Annotated[
        float, Meta(gt=0.5, le=40, description="half the width of a typical cell body [px]; halve it if cells merge")
    ] = 4.0
    decay_s: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="decay time (1/e) of a transient [s]; default: 0.4, for ar_order 2 estimated as cells come"),
    ] = None
    interval_s: Annotated[float | None, Meta(description="frame interval if the source does not state it [s]")] = None
    init_frames: Annotated[int, Meta(ge=10, description="frames that initialise mean, noise and background")] = 200
    init_delay_frames: Annotated[
        Annotated[int, Meta(ge=0, le=1000)] | None,
        Meta(
            description="frames after those until components are given: they are learned beside them; default: 0.6 "
            "init_frames, more above 30 Hz, at most 300"
        ),
    ] = None
    init: Annotated[
        Literal["bare", "greedy", "seeded"],
        Meta(description="bare: background only; greedy: also components from these frames; seeded: from `seeds`"),
    ] = "bare"
    seeds: Annotated[
        Any,
        Meta(
            description="masks (n, y, x), positions (n, 2) as y, x [px], a .npy of either, a session, or 'structure': "
            "the cells of the structural channel"
        ),
    ] = None
    structure: Annotated[
        Any,
        Meta(
            description="structural channel whose cells are marked: a picture (y, x) of floats, labels (y, x) or masks "
            "(n, y, x) as .npy, or a session; of another plane: inputs = { structure = 'red/moments.mean' }"
        ),
    ] = None
    structure_bleed: Annotated[
        Annotated[float, Meta(ge=0, le=10)] | None,
        Meta(description="part of the indicator's light that the structural channel shows; none: estimated, up to 0.5"),
    ] = None
    match_seeds: Annotated[
        bool,
        Meta(description="seeds are a session of another day: its field is matched, its cells accepted once active"),
    ] = False
    background: Annotated[
        Literal["ring", "low_rank"],
        Meta(description="low_rank: modes of the whole field; ring: also what surrounds each pixel, as neuropil"),
    ] = "ring"
    background_components: Annotated[
        int, Meta(ge=1, le=4, description="rank of the background; raise it if traces share slow fluctuations")
    ] = 2
    ring_radius_px: Annotated[
        float | None, Meta(description="inner radius of the ring [px]; default: three times neuron_sigma_px")
    ] = None
    ar_order: Annotated[
        Literal[1, 2], Meta(description="order of the autoregressive process; 1 if transients rise within a frame")
    ] = 2
    rise_s: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="rise time of a transient, for ar_order 2 [s]; default: estimated"),
    ] = None
    min_snr: Annotated[
        float, Meta(ge=0, description="SNR an accepted component needs, in noise σ; raise it if noise is accepted")
    ] = 2.0
    min_spatial_corr: Annotated[
        float, Meta(ge=0, le=1, description="least correlation of a footprint with its residual; lower it at low SNR")
    ] = 0.8
    shape: Annotated[
        Literal["cell", "any"],
        Meta(description="any: footprints need not be discs, pieces of one dendrite or axon are given as one"),
    ] = "cell"
    merge_corr: Annotated[
        Annotated[float, Meta(ge=0.5, le=1)] | None,
        Meta(
            description="correlation of two components' signals, their noise taken out, from which they are pieces of "
            "one; none: 0.9 for shape 'any', else they never are"
        ),
    ] = None
    min_compactness: Annotated[
        float,
        Meta(ge=0, le=1, description="least compactness of an accepted footprint; of shape 'any' none is asked for"),
    ] = 0.6
    accept: Annotated[
        Literal["rule", "learned"],
        Meta(description="rule: by evidence of `min_snr`; learned: by the probability that a network gives"),
    ] = "rule"
    max_overlap: Annotated[
        float, Meta(gt=0, le=1, description="largest fraction of a footprint's area shared with another component")
    ] = 0.5
    window_frames: Annotated[
        int, Meta(ge=20, description="frames buffered: history of new components' traces, delay of final values")
    ] = 100

    @property
    def least_compactness(self) -> float:
        """The least compactness of an accepted footprint: none is asked for where any shape will do."""
        return 0.0 if self.shape == "any" else self.min_compactness

    @property
    def least_merge_corr(self) -> float:
        """The correlation from which two components are pieces of one; above 1 where they never are."""
        return self.merge_corr or (MERGE_CORR if self.shape == "any" else 2.0)

    @property
    def merges(self) -> bool:
        """Whether components of one signal are given as one."""
        return self.least_merge_corr <= 1


def interval_s_of(params: ExtractParams, spec: Spec) -> float:
    """Return the frame interval [s], stated or the source's; a tenth of the decay time where neither is known."""
    return params.interval_s or spec.interval_s or (params.decay_s or DECAY_S) / 10


def offset_adu_of(spec: Spec) -> float:
    """Return the camera's mean offset [ADU], 0 if unknown."""
    return 0.0 if spec.camera is None or spec.camera.offset_adu is None else float(np.mean(spec.camera.offset_adu))


def box_of(params: ExtractParams, shape: tuple[int, int]) -> tuple[int, int]:
    """Return the sides of the boxes that footprints lie in."""
    side = 2 * round(3 * params.neuron_sigma_px) + 1
    return min(side, shape[0]), min(side, shape[1])


def ring_radius_px_of(params: ExtractParams) -> float:
    """Return the inner radius of the ring [px]."""
    return params.ring_radius_px or 3 * params.neuron_sigma_px


def delay_frames_of(params: ExtractParams, interval_s: float) -> int:
    """How many frames after the initial ones what was learned takes over: of 200 at 30 a second 120, which are 4 s.

    Learning takes 2.7 s at 512 × 512 with 400 cells, beside a chain that is busy, whatever the camera's rate.
    """
    if params.init_delay_frames is not None:
        return params.init_delay_frames
    return min(MAX_DELAY_FRAMES, round(0.6 * params.init_frames * max(1.0, 1 / 30 / interval_s)))
