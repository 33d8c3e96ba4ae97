"""Parameters of the operator `count`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from ...core.params import Params

Probability = Annotated[float, Meta(gt=0, lt=1)]


class CountParams(Params, frozen=True):
    """Raises ValueError if max_emitters is below min_emitters, or if nothing determines the model parameters."""

    former_names: ClassVar[Mapping[str, str]] = {"max_y": "max_emitters", "min_y": "min_emitters"}

    max_emitters: Annotated[int, Meta(ge=1, le=50, description="largest number of fluorophores in a spot")] = 10
    min_emitters: Annotated[int, Meta(ge=0, le=50, description="smallest number of fluorophores in a spot")] = 0
    emission: Annotated[
        Literal["camera", "lognormal"],
        Meta(description="camera: shot noise and constant noise, for photons; lognormal: noise of the logarithm"),
    ] = "camera"
    bleaching: Annotated[bool, Meta(description="fluorophores that are on may bleach")] = False
    update_every: Annotated[
        int,
        Meta(ge=0, description="frames between estimates of the parameters; grows with the record; 0: never"),
    ] = 200
    learn_frames: Annotated[
        int, Meta(ge=1, description="frames of the record that parameters are estimated from; then they are fixed")
    ] = 4000
    learn_delay_frames: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="frames after which estimates take over; none: half of update_every, or as many as come while "
            "they are made, whichever is more"
        ),
    ] = None
    pooled: Annotated[
        bool | None, Meta(description="spots share brightness and kinetics; none: if there are several")
    ] = None
    brightness_scatter: Annotated[
        Annotated[float, Meta(ge=0, le=2)] | None,
        Meta(description="relative sd of the spots' brightness; none: estimated, 10 ms a spot an update; 0: none"),
    ] = None
    parameters: Annotated[
        tuple[float, float, float, Probability, Probability, Annotated[float, Meta(ge=0, lt=1)]] | None,
        Meta(description="initial mu, mu_bg, sigma, p_on, p_off, p_bleach; none: estimated"),
    ] = None
    max_x: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="largest intensity, the range of outliers; none: that of the record"),
    ] = None
    traces: Annotated[
        Any,
        Meta(description="a .csv (one column per trace), .npy or array (n, t), by index; none: photons of a step"),
    ] = None
    read_noise_e: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="camera emission: noise of a trace besides shot noise [e]; none: estimated"),
    ] = None
    p_outlier: Annotated[float, Meta(ge=0, lt=1, description="probability of an outlier")] = 0.01

    def __post_init__(self) -> None:
        if self.max_emitters < self.min_emitters:
            raise ValueError(f"max_emitters = {self.max_emitters} is below min_emitters = {self.min_emitters}")
        if self.update_every == 0 and self.parameters is None:
            raise ValueError("update_every = 0 needs parameters: nothing else determines them")
        if self.parameters is not None and min(self.parameters[0], self.parameters[2]) <= 0:
            raise ValueError(f"parameters: mu and sigma are above 0, found {self.parameters}")
        if self.emission == "lognormal" and self.parameters is not None and self.parameters[1] < 0:
            raise ValueError(f"parameters: mu_bg is 0 or more where emission = 'lognormal', found {self.parameters}")
        if self.bleaching and self.parameters is not None and self.parameters[5] == 0:
            raise ValueError("parameters: bleaching needs p_bleach above 0")
