"""The settings of counting, live."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from ...core.params import Params

Probability = Annotated[float, Meta(gt=0, lt=1)]


class CountParams(Params, frozen=True):
    """Raises ValueError if max_y is below min_y, or if nothing tells the parameters."""

    max_y: Annotated[int, Meta(ge=1, le=50, description="most fluorophores of a spot")] = 10
    min_y: Annotated[int, Meta(ge=1, le=50, description="fewest fluorophores of a spot")] = 1
    emission: Annotated[
        Literal["camera", "lognormal"],
        Meta(description="camera: shot noise and a constant one, for photons; lognormal: a spread of the logarithm"),
    ] = "camera"
    bleaching: Annotated[bool, Meta(description="whether fluorophores that are on may bleach")] = False
    update_every: Annotated[
        int,
        Meta(ge=0, description="frames between estimates of the parameters, more as the record grows; 0: never"),
    ] = 200
    learn_frames: Annotated[
        int, Meta(ge=1, description="frames that are recorded and learned from; then parameters stay")
    ] = 4000
    pooled: Annotated[
        bool | None, Meta(description="brightness and kinetics are those of all spots; none: where there are several")
    ] = None
    brightness_scatter: Annotated[
        Annotated[float, Meta(ge=0, le=2)] | None,
        Meta(description="of spots' brightness, relative (1 sd); none: estimated, at 10 ms a spot an update; 0: none"),
    ] = None
    parameters: Annotated[
        tuple[float, float, float, Probability, Probability, Annotated[float, Meta(ge=0, lt=1)]] | None,
        Meta(description="mu, mu_bg, sigma, p_on, p_off, p_bleach to begin with; none: estimated"),
    ] = None
    max_x: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="largest intensity, for the weight of outliers; none: of the record"),
    ] = None
    traces: Annotated[
        Any,
        Meta(description="a .csv (a column a trace), a .npy or an array (n, t), by index; none: a step's photons"),
    ] = None
    read_noise_e: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="camera: noise of a trace beside its shot noise [e]; none: estimated"),
    ] = None
    p_outlier: Annotated[float, Meta(ge=0, lt=1, description="weight of outliers")] = 0.1

    def __post_init__(self) -> None:
        if self.max_y < self.min_y:
            raise ValueError(f"max_y = {self.max_y} is below min_y = {self.min_y}")
        if self.update_every == 0 and self.parameters is None:
            raise ValueError("update_every = 0 needs parameters, as nothing else tells them")
        if self.parameters is not None and min(self.parameters[0], self.parameters[2]) <= 0:
            raise ValueError(f"parameters: mu and sigma are above 0, found {self.parameters}")
        if self.bleaching and self.parameters is not None and self.parameters[5] == 0:
            raise ValueError("parameters: bleaching needs p_bleach above 0")
