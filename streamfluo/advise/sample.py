"""The frames of a recording that are looked at: a few runs of consecutive ones, spread over it, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ..core.block import Block
from ..core.source import Source, first_index
from ..core.spec import Spec

MAX_FRAMES, MAX_RUNS = 1600, 4
MAX_BYTES = 400 << 20  # of the frames kept, as float32 once they are registered: 1600 of 256 × 256
MAX_READ_BYTES = 4 << 30  # whole frames are read, whatever part of them is kept
MAX_SIDE_PX = 256  # of the window in the middle of the field
LEAST_KNOWN = 0.5  # of a frame's pixels; a frame with fewer finite ones is left out


@dataclass(frozen=True)
class Sample:
    """Frames of one plane and what is known of them.

    `pixels` (t, y, x) in the source's own type, `index` (t,) their places in the recording, `spec` of the window;
    `total`: frames of the recording, None without end; `whole_shape`: of its frames; `unknown`: frames left out, as
    most of their pixels are NaN; `planes`: all names of the recording.
    """

    pixels: np.ndarray
    index: np.ndarray
    spec: Spec
    total: int | None
    whole_shape: tuple[int, int]
    unknown: int
    planes: tuple[str, ...]
    plane: str

    @property
    def runs(self) -> list[slice]:
        """Where frames follow each other without a gap."""
        cuts = [0, *(np.flatnonzero(np.diff(self.index) != 1) + 1), len(self.index)]
        return [slice(int(a), int(b)) for a, b in pairwise(cuts) if b > a]

    def stating(self, spec: Spec) -> Sample:
        """Return the sample with what `spec`, of whole frames, states of interval, pixel size and camera."""
        camera = spec.camera and spec.camera.cut(*(_middle(side) for side in spec.shape))
        known = self.spec.with_(interval_s=spec.interval_s, pixel_um=spec.pixel_um, camera=camera)
        return replace(self, spec=known)

    def blocks(self, frames: int = 32) -> Iterator[Block]:
        """Yield the frames as blocks of at most so many, numbered as if there were no gaps between the runs."""
        for start in range(0, len(self.pixels), frames):
            stop = min(start + frames, len(self.pixels))
            yield Block(start, np.arange(start, stop), self.pixels[start:stop])


def take_sample(source: Source) -> Sample:
    """Return a sample of the source's first plane, of the channel green where there is one."""
    names = source.spec.plane_names
    plane = next((name for name in names if name.startswith("green")), names[0])
    spec = source.spec.plane(plane)
    rows, columns = (_middle(side) for side in spec.shape)
    window = spec.cut(rows, columns)
    frames = int(
        min(
            MAX_FRAMES,
            MAX_BYTES // (4 * window.shape[0] * window.shape[1]),
            max(MAX_READ_BYTES // spec.frame_nbytes, 100),
        )
    )
    pixels, index = [], []
    begin = first_index(source) if source.series.frames and source.seekable else 0
    for first, count in _runs(source.series.frames, begin, frames):
        if first > begin:
            source.seek(first)
        for block in _of_plane(source, plane, first, count):
            pixels.append(block.pixels[:, rows, columns].copy())
            index.append(np.arange(block.index, block.stop))
    kept = np.concatenate(pixels) if pixels else np.zeros((0, *window.shape), window.dtype)
    at = np.concatenate(index) if index else np.zeros(0, int)
    if kept.dtype.kind == "f":
        kept[~np.isfinite(kept)] = np.nan
    known = _known(kept)
    if not known.all():
        kept, at = kept[known], at[known]
    return Sample(kept, at, window, source.series.frames, spec.shape, int((~known).sum()), names, plane)


def _middle(side: int) -> slice:
    start = max(0, (side - MAX_SIDE_PX) // 2)
    return slice(start, min(side, start + MAX_SIDE_PX))


def _runs(total: int | None, begin: int, frames: int) -> list[tuple[int, int]]:
    """First frame and length of each run: the whole recording if it is short, else its beginning, middle and end."""
    if total is None or total <= frames:
        return [(begin, frames if total is None else total)]
    runs = min(MAX_RUNS, max(1, total // frames * 2))
    length = frames // runs
    return [(begin + round(n * (total - length) / max(runs - 1, 1)), length) for n in range(runs)]


def _of_plane(source: Source, plane: str, first: int, count: int) -> Iterator[Block]:
    several = bool(source.spec.planes)
    for item in source.blocks():
        if not isinstance(item, Block) or (several and item.plane != plane):
            continue
        if item.index >= first + count:
            return
        yield item.cut(max(item.index, first), min(item.stop, first + count))
        if item.stop >= first + count:
            return


def _known(pixels: np.ndarray) -> np.ndarray:
    """Which frames have enough finite pixels (t,)."""
    if pixels.dtype.kind != "f":
        return np.ones(len(pixels), bool)
    return np.array([np.isfinite(frame).mean() >= LEAST_KNOWN for frame in pixels], bool)
