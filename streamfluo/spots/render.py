"""The operator `render`: the super-resolved picture, growing as localisations come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Self

import numpy as np
from msgspec import Meta

from ..core.block import Block
from ..core.errors import ConfigError, FrameError
from ..core.operator import NO_VALUES, Gives, Mergeable, Output, Presents, Table, Values
from ..core.params import Params
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State, require_array, require_int
from .kernels.rendering import ONE, draw
from .recent import RecentSpots

UNSOUND = 1 | 2 | 8 | 16 | 128  # flags of fits that are not drawn: border, saturated, not converged, outside, offset
ZOOMS, SIDE_PX = (8, 4, 2), 2048  # the first that makes a picture of such sides at most
MAX_PIXELS = 1 << 24  # 64 MiB
BINS, WIDEST_PX, COARSEST_PX = 200, 4.0, 0.5  # of the histograms; what lies beyond is in none of them
HAS_NEIGHBOURS = 4  # flag
NARROWEST = 0.5  # pixels of the picture: a narrower Gaussian is one bright pixel


_COLUMNS = ("y_px", "x_px", "y_error_px", "x_error_px", "sigma_px")


class RenderParams(Params, frozen=True):
    pixel_nm: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="side of a pixel of the picture, the nearest whole part of the camera's [nm]; none: zoom"),
    ] = None
    zoom: Annotated[
        Annotated[int, Meta(ge=1, le=100)] | None,
        Meta(description="pixels of the picture along one of the camera's; none: 8, or what fits into 2048 pixels"),
    ] = None
    precision_px: Annotated[
        float, Meta(gt=0, le=5, description="σ of localisations whose standard error is not known [px of the camera]")
    ] = 0.2
    worst_px: Annotated[
        float, Meta(gt=0, le=5, description="localisations with a larger standard error are left out [px]")
    ] = 1.0

    def __post_init__(self) -> None:
        if self.pixel_nm is not None and self.zoom is not None:
            raise ValueError("pixel_nm and zoom say the same thing; give one of them")


def _gives(in_nm: bool) -> tuple[Gives, ...]:
    """Return what an operator gives, lengths in nm or in px of the camera."""
    unit = "nm" if in_nm else "px"
    return (
        Gives("rendered", "snapshot", ("fine_y", "fine_x"), "localisations", "in each pixel of the picture so far"),
        Gives("localisations", "snapshot", (), "", "that the picture is made of"),
        Gives("left_out", "snapshot", (), "", "localisations with a fault, or too uncertain"),
        Gives("picture_pixel", "snapshot", (), unit, "side of a pixel of the picture"),
        Gives("width_bins", "snapshot", ("width_bins",), unit, "centres of the histogram's bins"),
        Gives("width_histogram", "snapshot", ("width_bins",), "", "localisations by the fitted σ of their PSF"),
        Gives("precision_bins", "snapshot", ("precision_bins",), unit, "centres of the histogram's bins"),
        Gives("precision_histogram", "snapshot", ("precision_bins",), "", "localisations by their standard error"),
        Gives("spots_per_frame", "snapshot", (), "", "in the newest 256 frames"),
        Gives("overlapping", "snapshot", (), "", "share of spots that have neighbours, in the newest 256 frames"),
    )


@register("render")
class Render(Mergeable):
    """The picture of all localisations so far, each a Gaussian whose σ is its own standard error.

    A picture's pixel holds how many localisations lie in it, in parts of 1/65,536 and up to 65,535, so that the sum is
    the same in any order. Left out are fits with flags 1, 2, 8, 16, 128, standard errors above `worst_px`, and places
    outside the frame. A Gaussian is never narrower than half a pixel of the picture. Cost: 1 µs a localisation; state:
    4 bytes a pixel of the picture, 64 MiB at most.
    """

    version = 1
    Params = RenderParams
    needs = ("spots",)
    gives = _gives(False)
    presents = Presents(
        ("rendered", "looked_at"),
        (
            "frames", "overlapping", "photons_histogram", "width_histogram", "precision_histogram", "count", "shift_px",
            "spots", "numbers",
        ),
        colours={"rendered": "inferno"},
        gauges={"overlapping": (0.1, 0.25)},
    )  # fmt: skip
    examples = ({"zoom": 3, "precision_px": 0.4, "worst_px": 0.3},)

    def __init__(self, params: RenderParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        self._zoom = _zoom_of(params, spec)
        height, width = (side * self._zoom for side in spec.shape)
        if height * width > MAX_PIXELS:
            raise ConfigError(
                f"render: a picture of {height} × {width} pixels is more than the {MAX_PIXELS:,} that are kept; "
                "choose larger ones with pixel_nm or a smaller zoom, or crop the frames"
            )
        self._picture = np.zeros((height, width), np.uint32)
        self._drawn = self._left_out = 0
        self._widths, self._precisions = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
        self._recent = RecentSpots()
        self.gives = _gives(spec.pixel_um is not None)
        draw(self._picture, *np.empty((4, 0)))

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        table = inputs.get("spots")
        if not isinstance(table, Table) or not {"y_px", "x_px"} <= set(table):
            raise FrameError("render: needs a table with y_px and x_px of an earlier step, such as spots")
        unknown = np.full(table.rows, np.nan)
        y, x, y_error, x_error, width = (np.asarray(table.get(name, unknown), float) for name in _COLUMNS)
        flags = np.asarray(table.get("flags", np.zeros(table.rows)), np.int64)
        errors = [np.where(np.isfinite(error), error, self.params.precision_px) for error in (y_error, x_error)]
        sound = self._sound(y, x, errors, flags)
        sigma = [np.maximum(error[sound] * self._zoom, NARROWEST) for error in errors]
        draw(self._picture, *(self._zoom * (each[sound] + 0.5) for each in (y, x)), *sigma)
        self._drawn += int(sound.sum())
        self._left_out += int((~sound).sum())
        _count(self._widths, width[sound], WIDEST_PX)
        _count(self._precisions, np.sqrt((y_error[sound] ** 2 + x_error[sound] ** 2) / 2), COARSEST_PX)
        self._add_recent(block, np.asarray(table["frame"], np.int64), flags)
        return Output(block.index)

    def _add_recent(self, block: Block, frames: np.ndarray, flags: np.ndarray) -> None:
        at = frames - block.index
        here = (at >= 0) & (at < len(block))  # late rows speak of earlier frames
        beside = here & ((flags & HAS_NEIGHBOURS) != 0)
        self._recent.add(block.index, *(np.bincount(at[which], minlength=len(block)) for which in (here, beside)))

    def _sound(self, y: np.ndarray, x: np.ndarray, errors: list[np.ndarray], flags: np.ndarray) -> np.ndarray:
        """Return which localisations are drawn."""
        height, width = self.spec.shape
        inside = (y >= -0.5) & (x >= -0.5) & (y < height - 0.5) & (x < width - 0.5)  # NaN is nowhere
        worst = max(self.params.worst_px, self.params.precision_px)
        return np.asarray(inside & ((flags & UNSOUND) == 0) & (np.maximum(*errors) <= worst))

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        return {name: self._snapshot(name) for name in self.snapshot_names(names)}

    def reader(
        self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES
    ) -> Callable[[], Mapping[str, np.ndarray]]:
        """The picture is copied here, .8 ms for 2048 × 2048, and made float32 on the caller's thread, 2 ms."""
        wanted = self.snapshot_names(names)
        found = {name: self._snapshot(name) for name in wanted if name != "rendered"}
        picture = self._picture.copy() if "rendered" in wanted else self._picture

        def read() -> Mapping[str, np.ndarray]:
            return {name: found[name] if name in found else _as_shares(picture) for name in wanted}

        return read

    def _snapshot(self, name: str) -> np.ndarray:
        if name == "rendered":
            return _as_shares(self._picture)
        side = 1000 * self.spec.pixel_um if self.spec.pixel_um else 1.0  # of the camera's pixel, in nm where known
        centres = (np.arange(BINS) + 0.5) / BINS
        numbers = {
            "picture_pixel": side / self._zoom, "localisations": self._drawn, "left_out": self._left_out,
            "width_bins": centres * WIDEST_PX * side, "width_histogram": self._widths.astype(float),
            "precision_bins": centres * COARSEST_PX * side, "precision_histogram": self._precisions.astype(float),
            "spots_per_frame": self._recent.per_frame(), "overlapping": self._recent.overlapping(),
        }  # fmt: skip
        return np.array(numbers[name])

    def merge(self, other: Self) -> None:
        total = self._picture.astype(np.uint64) + other._picture
        self._picture[:] = np.minimum(total, np.iinfo(np.uint32).max)
        self._widths += other._widths
        self._precisions += other._precisions
        self._recent.absorb(other._recent)
        self._drawn += other._drawn
        self._left_out += other._left_out

    def state(self) -> State:
        counted = {"drawn": self._drawn, "left_out": self._left_out, **self._recent.state()}
        histograms = {"widths": self._widths.copy(), "precisions": self._precisions.copy()}
        return {"picture": self._picture.copy(), **histograms, **counted}

    def restore(self, state: State) -> None:
        picture = require_array(state, "picture", self._picture, self.kind)
        self._drawn, self._left_out = (require_int(state, name, self.kind) for name in ("drawn", "left_out"))
        self._widths = require_array(state, "widths", self._widths, self.kind)
        self._precisions = require_array(state, "precisions", self._precisions, self.kind)
        self._recent.restore(state, self.kind)
        self._picture = picture


def _as_shares(picture: np.ndarray) -> np.ndarray:
    shown = np.empty(picture.shape, np.float32)
    return np.multiply(picture, np.float32(1 / ONE), out=shown, casting="unsafe", dtype=np.float32)


def _zoom_of(params: RenderParams, spec: Spec) -> int:
    """Return how many pixels of the picture stand along one of the camera's. Raises ConfigError."""
    if params.zoom is not None:
        return params.zoom
    if params.pixel_nm is None:
        return next((zoom for zoom in ZOOMS if zoom * max(spec.shape) <= SIDE_PX), 1)
    if spec.pixel_um is None:
        raise ConfigError("render: pixel_nm needs the camera's pixel size, which the source does not state; give zoom")
    return max(1, round(1000 * spec.pixel_um / params.pixel_nm))


def _count(bins: np.ndarray, values: np.ndarray, end: float) -> None:
    """Count values (n,) from 0 to `end`; NaN and what lies beyond in none."""
    inside = values[(values >= 0) & (values < end)]
    bins += np.bincount((inside * (len(bins) / end)).astype(np.int64), minlength=len(bins))[: len(bins)]
