"""What a user can set of `extract`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from ...core.params import Params


class ExtractParams(Params, frozen=True):
    neuron_sigma_px: Annotated[
        float, Meta(gt=0.5, le=40, description="half the width of a typical cell body [px]; halve it if cells merge")
    ] = 4.0
    decay_s: Annotated[
        float, Meta(gt=0, description="time in which a transient falls to 1/e [s]; where traces lag, lower it")
    ] = 0.4
    interval_s: Annotated[
        float | None, Meta(description="time between frames where the source does not say it [s]")
    ] = None
    init_frames: Annotated[
        int, Meta(ge=10, description="frames from which mean, noise and background are taken first")
    ] = 200
    init: Annotated[
        Literal["bare", "greedy", "seeded"],
        Meta(description="begin with background alone, also find cells in the first frames, or take `seeds`"),
    ] = "bare"
    seeds: Annotated[
        Any, Meta(description="masks (n, y, x), positions (n, 2) as y, x [px], a .npy of either, or a session")
    ] = None
    background: Annotated[Literal["low_rank", "ring"], Meta(description="low_rank for two photons, ring for one")] = (
        "low_rank"
    )
    background_components: Annotated[
        int, Meta(ge=1, le=4, description="patterns of the low-rank background; more if traces share slow waves")
    ] = 2
    ring_radius_px: Annotated[
        float | None, Meta(description="radius of the ring [px]; None: three times neuron_sigma_px")
    ] = None
    ar_order: Annotated[Literal[1, 2], Meta(description="2 where transients rise over several frames")] = 1
    rise_s: Annotated[float, Meta(gt=0, description="time in which a transient rises, for ar_order 2 [s]")] = 0.05
    min_snr: Annotated[
        float, Meta(ge=0, description="evidence a cell needs, in noise widths; raise it if noise is found")
    ] = 2.0
    min_spatial_corr: Annotated[
        float, Meta(ge=0, le=1, description="of a footprint with the residual it was found in; lower it on poor data")
    ] = 0.8
    max_overlap: Annotated[
        float, Meta(gt=0, le=1, description="part of a cell that may be another's before they count as one")
    ] = 0.5
    window_frames: Annotated[
        int, Meta(ge=20, description="frames kept: how far back new cells' traces reach, and when traces settle")
    ] = 100
