"""What an image dock shows of its planes: one of them, all side by side, or the channels of a slice merged. No Qt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..core.wire import SOURCE
from .held import STALE_FRAMES
from .model import Model
from .painting import WHITE, Colour, at_binning, channel_colours, gap_px, has_red_and_green, merged, side_by_side
from .panels import Panel
from .picture import Picture, PixelGrid
from .planes import GRID_PLANES

Mode = Literal["one", "grid", "composite"]
MODES: dict[Mode, str] = {"one": "one plane", "grid": "side by side", "composite": "composite"}
SHOWN_SIDE_PX = 1024  # larger frames are asked for binned; so are several that have more pixels together


@dataclass(frozen=True)
class Tile:
    """One plane's image as it is shown; `corner_px` (y, x): where the frame's first pixel stands in the dock."""

    plane: str
    panel: Panel
    picture: Picture
    image: np.ndarray
    grid: PixelGrid
    corner_px: tuple[float, float]
    colour: Colour  # of its channel
    stopped: bool = False  # others have gone on without it

    @property
    def bin_px(self) -> float:
        """Pixels of the frame a side that each of its pixels stands for."""
        return self.grid.bin_px

    @property
    def shape_px(self) -> tuple[float, float]:
        """Its height and width in pixels of the frame."""
        return self.image.shape[0] * self.bin_px, self.image.shape[1] * self.bin_px

    def holds(self, y_px: float, x_px: float) -> bool:
        """Whether a place of the dock lies in it."""
        (y, x), (height, width) = self.corner_px, self.shape_px
        edge = self.grid.edge_px
        return y + edge <= y_px < y + edge + height and x + edge <= x_px < x + edge + width


@dataclass(frozen=True)
class Label:
    """What a plane is called, lines in their colours, for the upper left corner of its place; framed if `chosen`."""

    corner_px: tuple[float, float]
    shape_px: tuple[float, float]
    lines: tuple[tuple[str, Colour], ...]
    chosen: bool = False


class PlaneView:
    """Chooses the planes of a panel that are shown in a mode, and where. `stack` is the place in a stack of images."""

    def __init__(self, panel: Panel, model: Model) -> None:
        self._panel, self._model = panel, model
        self.mode: Mode = "one"
        self.room = GRID_PLANES  # for so many planes
        self.average_frames = 1
        self.safe_colours = has_red_and_green(model.planes.planes)  # then not the colours that the planes have
        self.stack = 0
        self._averaged: list[Picture] = []
        self._shape = (1, 1)  # of all tiles together, binned

    @property
    def modes(self) -> list[Mode]:
        """What there is to choose from."""
        members, planes = self._model.members(self._panel), self._model.planes.planes
        channels = {planes[name].channel for name in members if name in planes}
        several: list[Mode] = ["one", "grid"] if len(members) > 1 else ["one"]
        return [*several, "composite"] if len(channels) > 1 else several

    def panels(self) -> list[Panel]:
        """What is shown, the chosen plane among it: a panel of each plane."""
        return list(self._places())

    def binning(self, asked_px: int) -> int:
        """Return the binning to ask for: as the user asks, or so that all planes together have 1024² pixels at most."""
        facts = self._model.facts_of(self._panel)
        if asked_px or facts is None:
            return asked_px or 1
        height, width = facts[0]
        side = max(height, width, math.isqrt(max(0, len(self.panels()) * height * width - 1)) + 1)
        return min(64, -(-side // SHOWN_SIDE_PX))

    def state(self) -> tuple[object, ...]:
        """What changes whenever there is something else to draw."""
        pictures = [self._model.pictures[panel.id] for panel in self._places()]
        how = (self.mode, self.stack, self.safe_colours, self._model.planes.chosen)
        return *how, *((id(picture), picture.revision) for picture in pictures)

    def tiles(self) -> list[Tile]:
        """Return the images there are, the chosen plane's first; none before the first came."""
        model = self._model
        places = self._places()
        pictures = {p: picture for p in places if (picture := model.pictures[p.id]).pixels is not None}
        self._average(list(pictures.values()))
        if not pictures:
            return []
        colours = channel_colours(model.planes.planes, self.safe_colours)
        newest = max(picture.index for picture in pictures.values())
        grid = max(picture.grid for picture in pictures.values())
        bin_px = grid.bin_px
        images = {p: at_binning(_shown(picture, self.stack), picture.bin_px, bin_px) for p, picture in pictures.items()}
        height, width = (max(image.shape[axis] for image in images.values()) for axis in (0, 1))
        gap = gap_px((height, width))
        rows, columns = (1 + max(at[axis] for at in places.values()) for axis in (0, 1))
        self._shape = rows * (height + gap) - gap, columns * (width + gap) - gap
        tiles = []
        for panel, picture in pictures.items():
            plane, (row, column) = model.planes.split(panel.step)[0], places[panel]
            corner = (row * (height + gap) * bin_px, column * (width + gap) * bin_px)
            stopped = newest - picture.index > STALE_FRAMES
            colour = colours.get(plane.rpartition("/")[0], WHITE)
            tiles.append(Tile(plane, panel, picture, images[panel], grid, corner, colour, stopped))
        chosen = model.here(self._panel)
        return sorted(tiles, key=lambda tile: tile.panel is not chosen)

    def paint(self, tiles: Sequence[Tile], table: np.ndarray) -> np.ndarray:
        """Return several tiles as one image (y, x, 3 or 4), uint8; `table` (256, 3) colours those side by side."""
        for tile in tiles:
            tile.picture.adjust_levels(tile.image)
        images, levels = [tile.image for tile in tiles], [tile.picture.levels for tile in tiles]
        if self.mode == "composite":
            gammas = [tile.picture.scale.gamma for tile in tiles]
            return merged(images, levels, [tile.colour for tile in tiles], gammas)
        corners = [(round(tile.corner_px[0] / tile.bin_px), round(tile.corner_px[1] / tile.bin_px)) for tile in tiles]
        return side_by_side(images, levels, corners, self._shape, table)

    def labels(self, tiles: Sequence[Tile]) -> list[Label]:
        """Return what planes are called, where the stream has several."""
        planes = self._model.planes
        if len(planes) < 2:
            return []
        names = [planes.title(t.plane) + (f", none since {t.picture.index}" if t.stopped else "") for t in tiles]
        if self.mode == "composite":
            lines = tuple((name, tile.colour) for name, tile in zip(names, tiles, strict=True))
            return [Label(tiles[0].corner_px, tiles[0].shape_px, lines)]
        chosen = tiles[0] if self.mode == "grid" else None
        return [
            Label(tile.corner_px, tile.shape_px, ((name, WHITE),), tile is chosen)
            for name, tile in zip(names, tiles, strict=True)
        ]

    def read_out(self, tiles: Sequence[Tile], y_px: float, x_px: float) -> str:
        """Return what stands at a place of the dock: position and value, of merged channels the value of each."""
        here = [tile for tile in tiles if tile.holds(y_px, x_px)]
        if not here:
            return ""
        first = here[0]
        at = y_px - first.corner_px[0], x_px - first.corner_px[1]
        if len(tiles) == 1:
            return first.picture.read_out(first.image, *at)
        values = [f"{t.plane.rpartition('/')[0]} {t.picture.value_at(t.image, *at, t.grid)}" for t in here]
        return f"{first.picture.place(*at)} · {' · '.join(values)} {first.picture.unit}".rstrip()

    def in_order(self, tiles: Sequence[Tile]) -> list[Tile]:
        """Return tiles as they stand in the dock."""
        order = [panel.id for panel in self.panels()]
        return sorted(tiles, key=lambda tile: order.index(tile.panel.id) if tile.panel.id in order else 0)

    def facts(self, tiles: Sequence[Tile]) -> list[str]:
        """Return what is to be said of what is shown: which frame, of how many planes, binned."""
        picture, looks_back = tiles[0].picture, self._model.looking_at is not None
        facts = [f"frame {picture.index}"]
        if looks_back and self._panel.frames:
            step = self._model.planes.split(self._panel.step)[1]
            before = f", before {step}" if step != SOURCE else ""
            facts = [f"frame {picture.index} as it was recorded{before}"]
        elif looks_back:
            facts = ["as of now"]
        pointed = [name for o in self._model.overlays_over(self._panel) for name in self._model.pointed.get(o.step, [])]
        if pointed:
            facts.insert(0, f"component {', '.join(map(str, pointed))}")
        if (of := len(self._model.members(self._panel))) > len(tiles) and self.mode == "grid":
            facts.insert(0, f"{len(tiles)} of {of} planes")
        if picture.averaged > 1:
            facts.append(f"mean of {picture.averaged}")
        bent = {
            tile.plane.rpartition("/")[0]: tile.picture.scale.gamma for tile in tiles if tile.picture.scale.gamma != 1
        }
        facts += [f"γ {gamma:g} {channel}".rstrip() for channel, gamma in bent.items()]
        if tiles[0].bin_px < 1:
            facts.append(f"{1 / tiles[0].bin_px:g} × finer")
        if tiles[0].bin_px > 1:
            facts.append(f"binned {tiles[0].bin_px:g} × {tiles[0].bin_px:g}")
        return facts

    def _places(self) -> dict[Panel, tuple[int, int]]:
        """What is shown, and in which row and column."""
        members, planes, here = self._model.members(self._panel), self._model.planes, self._model.here(self._panel)
        if self.mode == "grid":
            rows = enumerate(planes.grid(members, self.room))
            return {members[name]: (r, c) for r, row in rows for c, name in enumerate(row) if name is not None}
        if self.mode == "composite":
            return {members[name]: (0, 0) for name in planes.merged(members, self.room)}
        return {here: (0, 0)} if here is not None else {}

    def _average(self, pictures: list[Picture]) -> None:
        """What is not shown any more forgets its mean: it would go on with images from before."""
        for picture in self._averaged:
            if all(picture is not other for other in pictures):
                picture.average_frames = 1
        for picture in pictures:
            picture.average_frames = self.average_frames
        self._averaged = pictures


def _shown(picture: Picture, stack: int) -> np.ndarray:
    image = picture.shown(stack)
    assert image is not None
    return image
