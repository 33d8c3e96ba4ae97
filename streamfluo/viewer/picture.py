"""What an image dock shows: the newest frame or the mean of the last n, its levels, what a pixel says."""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

import numpy as np

PERCENTILES = (0.5, 99.8)
SAMPLE_PX = 40_000  # percentiles of a sample: 0.5 ms instead of 6 at 512 × 512
CALM = 0.2  # how far levels move towards those of the last looks at each look, so that they do not flicker
SOON = 0.5  # likewise at the first looks: the very first may be that of a flash
GAMMAS = (1.0, 0.7, 0.5, 0.35, 1.5)  # below 1 dim things are brighter
LOOKS = 5  # whose median levels follow: a flash in one frame of four would else leave the others black
HISTORY_BYTES = 256 << 20
MOST_SHOWN = 1e300  # of a histogram, whose span is a number too


class PixelGrid(NamedTuple):
    """Where an image's pixels lie: each `bin_px` of the frame's a side, the first one's edge at `edge_px` [px].

    Less than 1 in a picture that is finer than the frames. Pixel (0, 0) of the frame reaches from −0.5 to 0.5.
    """

    bin_px: float = 1.0
    edge_px: float = -0.5

    def among(self, place_px: np.ndarray | float) -> np.ndarray | float:
        """Return where places of the frame [px] lie among the image's pixels; 0 is the centre of the first."""
        return (place_px - self.edge_px) / self.bin_px - 0.5


WHOLE = PixelGrid()


class Levels:
    """What is black and what is white, `now`; unless `locked` they follow the images, a step at each look.

    In between a value is as bright as its share of the range to the power of `gamma`.
    """

    def __init__(self) -> None:
        self.now = (0.0, 1.0)
        self.gamma = 1.0
        self.locked = False
        self.fresh = True  # no image has set them yet
        self._recent: deque[tuple[float, float]] = deque(maxlen=LOOKS)

    def adjust(self, image: np.ndarray) -> tuple[float, float]:
        """Return the levels for this image (y, x): a step towards recent percentiles, or as they are while locked."""
        if self.locked:
            return self.now
        low, high = percentile_levels(image)
        if self.fresh:
            self._recent.clear()
        self._recent.append((low, high))
        if not self.fresh:
            step = SOON if len(self._recent) < LOOKS else CALM
            middle = np.median(self._recent, axis=0).tolist()
            low, high = (was + step * (now - was) for was, now in zip(self.now, middle, strict=True))
        self.fresh = False
        self.now = (low, high)
        return self.now


class Picture:
    """The newest image of a panel, its pixels where `grid` says.

    `average_frames` > 1 shows the mean of the last so many looks, within 256 MiB. Pictures may share their levels, as
    the slices of a channel do.
    """

    def __init__(self, unit: str = "", pixel_um: float | None = None, scale: Levels | None = None) -> None:
        self.unit, self.pixel_um = unit, pixel_um
        self.scale = scale or Levels()
        self.pixels: np.ndarray | None = None
        self.index, self.grid = 0, WHOLE
        self.arrived_ns: int | None = None
        self.revision = 0
        self._average_frames = 1
        self._recent: deque[np.ndarray] = deque()
        self._sum = self._count = np.empty(0)

    def take(self, pixels: np.ndarray, index: int, grid: PixelGrid = WHOLE, arrived_ns: int | None = None) -> None:
        """Take the next image (y, x), or stack (n, y, x) of which a panel shows one; complex and bool become float."""
        pixels = pixels if pixels.dtype.kind in "uif" else np.asarray(pixels.real, np.float32)
        if self._recent and self._recent[-1].shape != pixels.shape:
            self._forget()
        self.pixels, self.index, self.grid, self.arrived_ns = pixels, index, grid, arrived_ns
        self._gather(pixels)
        self.revision += 1

    @property
    def bin_px(self) -> float:
        """Pixels of the frame a side that each of its pixels stands for."""
        return self.grid.bin_px

    @property
    def planes(self) -> int:
        """Of how many planes the image is a stack."""
        return len(self.pixels) if self.pixels is not None and self.pixels.ndim == 3 else 1

    @property
    def average_frames(self) -> int:
        """Of how many images the mean is shown."""
        return self._average_frames

    @average_frames.setter
    def average_frames(self, count: int) -> None:
        if count != self._average_frames:
            self._average_frames = max(1, count)
            self._forget()
            if self.pixels is not None:
                self._gather(self.pixels)
            self.revision += 1

    @property
    def averaged(self) -> int:
        """Of how many images the mean consists by now."""
        return max(1, len(self._recent))

    def shown(self, plane: int = 0) -> np.ndarray | None:
        """Return the image to draw (y, x), of a stack its plane; None before the first."""
        if self.pixels is None:
            return None
        image = self.pixels
        if len(self._recent) > 1:
            with np.errstate(invalid="ignore"):
                image = (self._sum / self._count).astype(np.float32)
        return image if image.ndim == 2 else image[min(plane, len(image) - 1)]

    @property
    def levels(self) -> tuple[float, float]:
        """What is black and what is white."""
        return self.scale.now

    @levels.setter
    def levels(self, levels: tuple[float, float]) -> None:
        self.scale.now = levels

    @property
    def locked(self) -> bool:
        """Whether the levels stay as they are."""
        return self.scale.locked

    @locked.setter
    def locked(self, locked: bool) -> None:
        if self.scale.locked and not locked:
            self.relevel()
        self.scale.locked = locked

    def adjust_levels(self, image: np.ndarray) -> tuple[float, float]:
        """Return the levels for this image (y, x) of the picture."""
        return self.scale.adjust(image)

    def relevel(self) -> None:
        """Take the levels from the next image alone."""
        self.scale.fresh = True

    def read_out(self, image: np.ndarray, y_px: float, x_px: float) -> str:
        """Return what stands at a place [px of the frame] of an image drawn: position and value; '' outside."""
        value = self.value_at(image, y_px, x_px, self.grid)
        return f"{self.place(y_px, x_px)} · {value} {self.unit}".rstrip() if value else ""

    def place(self, y_px: float, x_px: float) -> str:
        """Return what a place [px of the frame] is called."""
        place = f"y {round(y_px)}, x {round(x_px)} px"
        return f"{place} · {y_px * self.pixel_um:.1f}, {x_px * self.pixel_um:.1f} µm" if self.pixel_um else place

    def value_at(self, image: np.ndarray, y_px: float, x_px: float, grid: PixelGrid) -> str:
        """Return the value at a place [px of the frame] of an image that is drawn so; '' outside."""
        y, x = (math.floor(grid.among(at) + 0.5) for at in (y_px, x_px))
        return f"{image[y, x]:.6g}" if 0 <= y < image.shape[0] and 0 <= x < image.shape[1] else ""

    def _gather(self, pixels: np.ndarray) -> None:
        if self._average_frames == 1:
            return
        if not self._recent:
            self._sum, self._count = np.zeros(pixels.shape), np.zeros(pixels.shape)
        self._add(pixels, 1)
        self._recent.append(pixels)
        room = max(1, HISTORY_BYTES // pixels.nbytes)
        while len(self._recent) > min(self._average_frames, room):
            self._add(self._recent.popleft(), -1)

    def _add(self, pixels: np.ndarray, sign: int) -> None:
        """A pixel that is NaN counts for nothing, so that it can leave the mean again."""
        finite = np.isfinite(pixels)
        np.add(self._sum, sign * pixels.astype(float), out=self._sum, where=finite)
        self._count += sign * finite.astype(float)

    def _forget(self) -> None:
        self._recent.clear()


def percentile_levels(image: np.ndarray) -> tuple[float, float]:
    """Return the levels that show all but the darkest 0.5 % and brightest 0.2 % of an image (y, x), NaN left out.

    Of an image whose pixels are otherwise alike, as of single photons, those few are what there is to see.
    """
    step = max(1, math.isqrt(image.size // SAMPLE_PX))
    sample = image[::step, ::step].flatten()  # a copy of its own, sorted in part below
    if sample.dtype.kind == "f":
        sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 0.0, 1.0
    low, high = _percentiles(sample)
    if low == high:
        low, high = sample.min(), sample.max()
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def _percentiles(sample: np.ndarray) -> tuple[float, float]:
    """As numpy's, interpolated between neighbours; that loads numpy.ma at its first call, 30 ms of an opening."""
    last = len(sample) - 1
    places = [last * percent / 100 for percent in PERCENTILES]
    around = [(math.floor(place), min(math.floor(place) + 1, last)) for place in places]
    sample.partition(sorted({at for pair in around for at in pair}))
    found = []
    for place, (below, above) in zip(places, around, strict=True):
        low, high = float(sample[below]), float(sample[above])
        found.append(low + (high - low) * (place - below) if high > low else low)
    return found[0], found[1]


def histogram(image: np.ndarray, bins: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Return (centres, counts) of a sample of an image's finite pixels."""
    step = max(1, math.isqrt(image.size // SAMPLE_PX))
    sample = image[::step, ::step].ravel()
    sample = sample[np.isfinite(sample)]
    if sample.dtype.kind in "ui" and sample.size:  # bins of whole steps: others would show a comb
        low, high = int(sample.min()), int(sample.max())
        width = -(-(high - low + 1) // bins)
        edges = np.arange(low, high + width + 1, width) - 0.5
        counts, _ = np.histogram(sample, edges)
    else:
        sample = sample.astype(float).clip(-MOST_SHOWN, MOST_SHOWN)
        least, most = (float(sample.min()), float(sample.max())) if sample.size else (0.0, 1.0)
        # far from zero, values that are alike leave no room for the edges between them
        span = max(most - least or 1.0, 2 * bins * float(np.spacing(max(abs(least), abs(most)))))
        edges = least + span * np.linspace(0, 1, bins + 1)
        edges[-1] = max(edges[-1], most)
        counts, _ = np.histogram(sample, edges)
    return (edges[1:] + edges[:-1]) / 2, counts


def grid_of(shape: tuple[int, ...], frame: tuple[int, int]) -> PixelGrid:
    """Return where the pixels of a picture (…, y, x) of the whole frame (y, x) lie: n × n in place of each of its, or
    points between its pixels, n to a pixel from its first to its last, as interpolated ones have."""
    sides = list(zip(shape[-2:], frame, strict=True))
    parts = {side // of if side % of == 0 else 1 for side, of in sides}
    if len(parts) == 1 and (n := parts.pop()) > 1:
        return PixelGrid(1 / n)
    steps = {(side - 1) // (of - 1) if of > 1 and (side - 1) % (of - 1) == 0 else 1 for side, of in sides}
    if len(steps) == 1 and (n := steps.pop()) > 1:
        return PixelGrid(1 / n, -0.5 / n)
    return WHOLE


def scale_bar(width_px: float, pixel_um: float | None) -> tuple[float, str]:
    """Return (length [px], label) of a bar of a round length, a quarter of `width_px` at most."""
    unit_px, unit = (1 / pixel_um, "µm") if pixel_um else (1.0, "px")
    limit = width_px / 4 / unit_px
    if not (limit > 0 and math.isfinite(limit)):
        return 0.0, ""
    power = 10.0 ** math.floor(math.log10(limit))
    length = power * max(n for n in (1, 2, 5) if n * power <= limit * (1 + 1e-9))
    if unit == "µm" and length >= 1000:
        return length * unit_px, f"{length / 1000:g} mm"
    if unit == "µm" and length < 1:
        return length * unit_px, f"{length * 1000:g} nm"
    return length * unit_px, f"{length:g} {unit}"
