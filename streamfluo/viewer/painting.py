"""Images of several planes as one: channels merged in their colours, planes side by side. Plain arithmetic, no Qt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from ..core.plane import Plane

Colour = tuple[int, int, int]
# Two of them add up to white or near it, and the colour blind tell them apart, which red and green they do not.
DEFAULT_COLOURS: tuple[Colour, ...] = ((255, 0, 255), (0, 255, 0), (0, 255, 255), (255, 176, 0))
_SAFE = ((255, 0, 255), (0, 255, 0), (0, 255, 255))  # for reddish, greenish and bluish channels
WHITE: Colour = (255, 255, 255)
GAP = 64  # planes side by side stand a 64th of their side apart


def brightness(image: np.ndarray, levels: tuple[float, float]) -> np.ndarray:
    """Return an image (y, x) between its levels as float32, 0 to 1; NaN is dark."""
    low, high = levels
    scaled = np.subtract(image, np.float32(low), dtype=np.float32)
    scaled *= np.float32(1.0 / (high - low if high > low else 1.0))
    np.clip(scaled, 0.0, 1.0, out=scaled)
    return scaled if image.dtype.kind in "ui" else np.nan_to_num(scaled, copy=False, nan=0.0)


def merged(
    images: Sequence[np.ndarray],
    levels: Sequence[tuple[float, float]],
    colours: Sequence[Colour],
    gammas: Sequence[float] = (),
) -> np.ndarray:
    """Return images (y, x), each between levels of its own, to the power of its gamma, added up in their colours:
    (y, x, 3), uint8.

    They lie on each other's first pixel; what one is smaller than the largest counts for nothing.
    """
    shape = tuple(max(sides) for sides in zip(*(image.shape for image in images), strict=True))
    light = np.zeros((3, *shape), np.float32)
    for image, between, colour, gamma in zip(images, levels, colours, gammas or [1.0] * len(images), strict=True):
        bright = brightness(image, between)
        if gamma != 1:
            np.power(bright, np.float32(gamma), out=bright)
        for n in (n for n in range(3) if colour[n]):
            light[n, : image.shape[0], : image.shape[1]] += bright * np.float32(colour[n])
    light += np.float32(0.5)
    painted = np.empty((*shape, 3), np.uint8)
    for n in range(3):
        painted[..., n] = np.minimum(light[n], 255.0)
    return painted


def side_by_side(
    images: Sequence[np.ndarray],
    levels: Sequence[tuple[float, float]],
    corners: Sequence[tuple[int, int]],
    shape: tuple[int, int],
    table: np.ndarray,
) -> np.ndarray:
    """Return images (y, x) at their corners in the colours of a table (256, 3): (*shape, 4), uint8, clear elsewhere."""
    opaque = np.full((256, 4), 255, np.uint8)
    opaque[:, :3] = table
    colours = opaque.view(np.uint32)[:, 0]
    whole = np.zeros(shape, np.uint32)
    for image, between, (y, x) in zip(images, levels, corners, strict=True):
        shade = (brightness(image, between) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
        whole[y : y + image.shape[0], x : x + image.shape[1]] = colours[shade]
    return whole.view(np.uint8).reshape(*shape, 4)


def at_binning(image: np.ndarray, bin_px: float, wanted_px: float) -> np.ndarray:
    """Return an image (y, x) whose pixels are `bin_px` of the frame a side as one of `wanted_px`, by nearest pixel."""
    if bin_px == wanted_px:
        return image
    sides = (np.arange(max(1, int(side * bin_px / wanted_px))) * wanted_px // bin_px for side in image.shape)
    rows, columns = (side.astype(int) for side in sides)
    return np.asarray(image[np.ix_(rows, columns)])


def gap_px(shape: tuple[int, int]) -> int:
    """Return how far apart images of this shape stand side by side."""
    return max(1, max(shape) // GAP)


def channel_colours(planes: Mapping[str, Plane], safe: bool = False) -> dict[str, Colour]:
    """Return the colour of each channel: that of its planes where they say one, else one that no other has yet.

    `safe`: colours that the colour blind tell apart, for each channel the one nearest to its own where that is free.
    """
    told: dict[str, Colour | None] = {}
    for plane in planes.values():
        told[plane.channel] = told.get(plane.channel) or _colour(plane.colour)
    if safe:
        told = _once({name: _SAFE[int(np.argmax(colour))] if colour else None for name, colour in told.items()})
    used = set(told.values())
    free = [colour for colour in DEFAULT_COLOURS if colour not in used]
    found: dict[str, Colour] = {}
    for channel, colour in told.items():
        # Further ones repeat: more than four colours added up are told apart by nobody.
        found[channel] = colour or (free.pop(0) if free else DEFAULT_COLOURS[len(found) % len(DEFAULT_COLOURS)])
    return found


def has_red_and_green(planes: Mapping[str, Plane]) -> bool:
    """Whether some planes are to be red and some green, which the colour blind do not tell apart."""
    told = [_colour(plane.colour) for plane in planes.values()]
    pure = [colour for colour in told if colour is not None and 2 * sorted(colour)[1] < max(colour)]
    return {0, 1} <= {int(np.argmax(colour)) for colour in pure}


def _once(colours: Mapping[str, Colour | None]) -> dict[str, Colour | None]:
    """Each colour for the first that has it only."""
    seen: set[Colour | None] = set()
    found: dict[str, Colour | None] = {}
    for name, colour in colours.items():
        found[name] = None if colour in seen else colour
        seen.add(colour)
    return found


def _colour(text: str) -> Colour | None:
    """A colour like #00ff00, None for other words; black would show nothing."""
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text) or text == "#000000":
        return None
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
