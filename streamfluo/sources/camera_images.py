"""Images as a camera's buffer gives them, and the blocks of consecutive ones, by camera."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ..core.block import NO_USER, Block


class Image(NamedTuple):
    """One image: which camera took it ("" where there is one), its own count of it, when it came, and what is said of
    it."""

    camera: str
    number: int
    t_ns: int
    pixels: np.ndarray
    user: Mapping[str, str] = MappingProxyType({})


def runs(images: Iterable[Image]) -> Iterator[list[Image]]:
    """Yield the images of each camera in runs of consecutive ones."""
    by_camera: dict[str, list[Image]] = {}
    for image in images:
        by_camera.setdefault(image.camera, []).append(image)
    for taken in by_camera.values():
        edges = [n for n in range(1, len(taken)) if taken[n].number != taken[n - 1].number + 1]
        for start, stop in zip([0, *edges], [*edges, len(taken)], strict=True):
            yield taken[start:stop]


def as_block(run: Sequence[Image], channel: str) -> Block:
    """Return consecutive images as a block of a channel; a single one is not copied."""
    pixels = run[0].pixels[None] if len(run) == 1 else np.stack([image.pixels for image in run])
    user = {image.number: image.user for image in run if image.user}
    return Block(run[0].number, np.array([image.t_ns for image in run]), pixels, channel, user=user or NO_USER)
