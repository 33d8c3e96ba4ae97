"""Parameters of `sim:calcium`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from .camera import CameraParams, Count

Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class CalciumParams(CameraParams, frozen=True, kw_only=True):
    """Parameters of `sim:calcium`. Raises ValueError if rise_s does not stay below decay_s, and for
    focus drift or an animal in a volume."""

    neurons: Annotated[Count | None, Meta(description="how many; none: one per 40 neuron_sigma_px²")] = None
    neuron_sigma_px: Annotated[float, Meta(ge=0.5, le=100, description="size of a neuron [px]")] = 4.0
    spike_rate_hz: Annotated[float, Meta(ge=0, le=1e3, description="mean spikes per neuron and second [Hz]")] = 0.3
    decay_s: Annotated[float, Meta(gt=0, le=1e3, description="calcium decay time constant [s]")] = 0.4
    rise_s: Annotated[float, Meta(ge=0, le=1e3, description="calcium rise time constant; 0: at once [s]")] = 0.0
    signal: Annotated[float, Meta(ge=0, le=1e3, description="peak of one spike relative to photons")] = 0.5
    rest: Annotated[float, Meta(ge=0, le=1e3, description="a neuron at rest relative to the tissue")] = 0.6
    neuropil: Annotated[float, Meta(ge=0, le=1, description="relative sd of the slow neuropil signal")] = 0.1
    motion_px: Annotated[float, Meta(ge=0, le=50, description="rms of the tissue's motion along each axis [px]")] = 1.0
    bleach_fraction: Annotated[float, Meta(ge=0, le=1, description="part of the light lost in the end")] = 0.1
    bleach_s: Annotated[float, Meta(gt=0, le=1e6, description="bleaching time constant [s]")] = 120.0
    neuropil_follows: Annotated[
        float, Meta(ge=0, le=10, description="sd of neuropil that follows the cells around it, relative to a cell's")
    ] = 0.0
    processes: Annotated[Count, Meta(description="thin processes that cross the field, active like cells")] = 0
    spines: Annotated[Count, Meta(description="small bodies beside processes, each with an activity of its own")] = 0
    saturation: Annotated[
        float, Meta(ge=0, le=10, description="of the indicator: response to n spikes n / (1 + saturation n)")
    ] = 0.0
    bursts: Annotated[float, Meta(ge=0, le=1, description="fraction of spikes that come in bursts of 4")] = 0.0
    z_drift: Annotated[float, Meta(ge=0, le=5, description="rms of focus drift, in depths of focus")] = 0.0
    line_motion_px: Annotated[float, Meta(ge=0, le=10, description="rms motion of lines within a frame [px]")] = 0.0
    size_spread: Annotated[float, Meta(ge=0, le=1, description="sd of the logarithm of the neurons' size")] = 0.0
    rings: Annotated[float, Meta(ge=0, le=1, description="fraction of neurons whose nucleus is dark")] = 0.0

    channels: Annotated[
        int, Meta(ge=1, le=2, description="2: red, a label of the cells that stays, beside green, the indicator")
    ] = 1
    labelled: Annotated[float, Meta(ge=0, le=1, description="fraction of the cells that the red channel labels")] = 1.0
    label: Annotated[float, Meta(ge=0, le=100, description="mean light of a label, in units of its tissue's mean")] = (
        2.0
    )
    green_in_red: Annotated[
        float, Meta(ge=0, le=2, description="part of the indicator's light that the red channel shows")
    ] = 0.0
    red_in_green: Annotated[
        float, Meta(ge=0, le=2, description="part of the label's light that the green channel shows")
    ] = 0.0
    z: Annotated[int, Meta(ge=1, le=32, description="slices of a volume")] = 1
    z_step_um: Annotated[float, Meta(gt=0, le=1e3, description="depth between slices [µm]")] = 12.0
    z_psf_um: Annotated[
        float, Meta(ge=0, le=100, description="axial σ of the PSF: slices show what lies near [µm]")
    ] = 0.0
    interleaved: Annotated[bool, Meta(description="slices are taken one after the other, not at once")] = False

    animal: Annotated[
        Seed | None, Meta(description="whose cells they are, of which each seed is a day; none: seed's own")
    ] = None
    day_common: Annotated[float, Meta(ge=0.02, le=1, description="fraction of the animal's cells seen on a day")] = 0.7
    day_turn_deg: Annotated[float, Meta(ge=0, le=30, description="sd of the field's rotation between days [°]")] = 1.0
    day_shift_px: Annotated[float, Meta(ge=0, le=500, description="sd of its shift along each axis [px]")] = 4.0
    day_warp_px: Annotated[float, Meta(ge=0, le=20, description="sd of its smooth deformation [px]")] = 0.5
    day_brightness: Annotated[float, Meta(ge=0, le=2, description="sd of the logarithm of a cell's change")] = 0.3

    added: ClassVar[tuple[str, ...]] = (
        "spines", "channels", "labelled", "label", "green_in_red", "red_in_green", "z", "z_step_um", "z_psf_um",
        "interleaved", "animal", "day_common", "day_turn_deg", "day_shift_px", "day_warp_px", "day_brightness",
    )  # fmt: skip

    @property
    def lines(self) -> int:
        """Processes and spines of a slice: what has its own activity beside the cells."""
        return self.processes + self.spines

    def __post_init__(self) -> None:
        if self.z > 1 and self.z_drift:
            raise ValueError(f"z_drift is of one slice, found z {self.z}; leave one of them out")
        if self.animal is not None and (self.z > 1 or self.channels > 1 or self.processes):
            raise ValueError("animal is of one slice and one channel without processes; leave animal out")
        if self.spines and not self.processes:
            raise ValueError(f"spines are beside processes, found {self.spines} of them and none; set processes")
        if self.rise_s >= self.decay_s:
            raise ValueError(f"rise_s must be shorter than decay_s, found {self.rise_s} and {self.decay_s}")
