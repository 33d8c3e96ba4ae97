"""Parameters of `voltage`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from ..core.params import Params

_Positive = Annotated[float, Meta(gt=0)]


class VoltageParams(Params, frozen=True):
    """Parameters of `voltage`."""

    masks: Annotated[
        Any,
        Meta(
            description="masks (n, y, x) or a labelled image (y, x) as .npy, or polygons [[y, x], …] [px]; none: "
            "proposed from the first frames"
        ),
    ] = None
    polarity: Annotated[
        Literal["positive", "negative"], Meta(description="whether a spike brings light or takes it")
    ] = "positive"
    gap_px: Annotated[float, Meta(ge=0, description="distance of the background from the cell [px]")] = 3.0
    context_px: Annotated[float, Meta(ge=2, le=200, description="how far the background reaches around it [px]")] = 12.0
    radius_px: Annotated[float, Meta(ge=1, le=100, description="of cells that are proposed [px]")] = 5.0
    contrast: Annotated[
        float, Meta(gt=0, le=100, description="how much brighter than what surrounds them cells are that are proposed")
    ] = 0.2
    propose_s: Annotated[float, Meta(gt=0, le=600, description="frames that cells are proposed from [s]")] = 1.0
    interval_s: Annotated[_Positive | None, Meta(description="frame interval if the source does not state it [s]")] = (
        None
    )
