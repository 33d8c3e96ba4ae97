"""What arrives of a series: images in order of seq, what is missing told as gaps, what breaks a rule counted."""

from __future__ import annotations

import logging
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import zmq

from ..core import wire
from ..core.block import NO_USER, Block
from ..core.errors import WireError
from ..core.header import user_nbytes
from ..core.plane import plane_in, plane_name
from ..core.source import NO_PLANES, Gap
from ..core.spec import Spec
from .compressed import unpacked
from .slabs import Slabs, check_parts

MAX_FRAME_BYTES = 512 << 20  # the largest part of a message that is taken
MAX_JUMP = 1 << 20  # frames that may be missing without a word: 100 s at 10 kHz

log = logging.getLogger("streamfluo")


class Refusals(Counter[str]):
    """Messages dropped, counted by the rule they broke and logged once a second."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where, self._logged = where, 0.0

    def add(self, error: WireError) -> None:
        """Count a message that was dropped."""
        self[error.kind] += 1
        if time.monotonic() - self._logged >= 1:
            self._logged = time.monotonic()
            log.warning("%s: message dropped: %s", self._where, error)


class Arrivals:
    """Where a series stands with its receiver. `next_seq` None: the first image says where it begins.

    Each plane has an index of its own. Which planes lost the frames that a jump of seq leaves out shows when their next
    ones come: of those that are missing then, so many are the transport's and the others the camera's. Times that are
    none are counted in `refused`.
    """

    def __init__(
        self,
        spec: Spec,
        series_uid: str,
        next_seq: int | None = 0,
        refused: Counter[str] | None = None,
        slabs: Slabs | None = None,
    ) -> None:
        self.spec, self.series_uid = spec, series_uid
        self._refused = Counter[str]() if refused is None else refused
        self._slabs = slabs or Slabs()
        self.next_seq = next_seq
        self._planes, self._dtype = spec.plane_names, np.dtype(spec.dtype)
        self._began: int | None = None  # the first index, of whatever plane
        self._next: dict[str, int] = {}  # the next index of each plane that has come
        self._last: dict[str, tuple[int, int]] = {}  # index and time of the last frame of each plane
        self._lost = 0  # frames that the transport lost, of planes that have not come since
        self._announced = 0  # what comes before this seq is gone, the sender says
        self._turns: list[tuple[int, int]] = []  # (index, seq) of a first frame that came at another seq than expected

    @property
    def next_index(self) -> int | None:
        """The next frame's index, of the plane that is furthest ahead; None before the first."""
        return max(self._next.values(), default=None)

    def resume(self, index: int, seq: int, planes: Mapping[str, int] = NO_PLANES) -> None:
        """Go on after a break: `index` is the next frame, of several `planes` the lowest of theirs; `seq` how many were
        emitted before it."""
        self._next = dict(planes) or dict.fromkeys(self._planes, index)
        self._began, self.next_seq = index, seq
        furthest = max(self._next.values())
        self._turns.append((furthest, seq + sum(furthest - at for at in self._next.values())))

    def seq_before(self, index: int) -> int | None:
        """Return the seq up to which there are no frames but those before `index`, None if none has come."""
        at = bisect_right(self._turns, (index, 1 << 62)) - 1
        if at < 0:
            return None
        first, seq = self._turns[at]
        return seq + (index - first) * len(self._planes) - 1

    def image(self, image: wire.Image, parts: list[zmq.Frame]) -> Iterator[Block | Gap]:
        """Yield what is missing before an image, and its frame. Raises WireError for one that does not fit."""
        self.check_series(image.series_uid)
        try:
            plane, pixels = self._checked(image, parts)
        finally:
            self._slabs.taken(image)
        as_expected = image.seq == self.next_seq and image.index == self._next.get(plane)
        if len(self._planes) > 1 or not as_expected:
            yield from self._missing(image, plane)
        self.next_seq, self._next[plane] = image.seq + 1, image.index + 1
        self._last[plane] = (image.index, self._time_ns(image, plane))
        user = {image.index: image.user} if image.user and self._carries(image) else NO_USER
        yield Block(image.index, np.array([self._last[plane][1]]), pixels[None], image.channel, image.z, user)

    def gone(self, gap: wire.Gap) -> None:
        """Take in what the sender no longer has; the next image, or the end, shows that it is so."""
        if gap.first <= (self.next_seq or 0) <= gap.last:
            self._announced = gap.last + 1

    def end(self, end: wire.End) -> Iterator[Gap]:
        """Yield what is missing at the end. Raises WireError for an end of another series, or out of reach."""
        self.check_series(end.series_uid)
        if self.next_seq is not None:
            self._check_jump(end.seq, "the end")
        lost, furthest = self._lost + end.seq - (self.next_seq or 0), self.next_index or 0
        for plane in self._planes:  # the last time point may be whole of some planes alone
            first = self._next.get(plane, self._began or 0)
            yield from _told(plane, first, furthest - first, min(lost, furthest - first))
            lost -= min(lost, furthest - first)
        for n, plane in enumerate(self._planes):
            each = lost // len(self._planes) + (n < lost % len(self._planes))
            yield from _told(plane, furthest, each, each)

    def check_series(self, uid: str) -> None:
        """Raises WireError for a message of another series."""
        if uid != self.series_uid:
            raise WireError("series", f"a message of series {uid[:64]!r}; this is {self.series_uid[:64]!r}")

    def _checked(self, image: wire.Image, parts: list[zmq.Frame]) -> tuple[str, np.ndarray]:
        """Return the plane and pixels of an image. Raises WireError for one that does not fit."""
        check_parts(image, parts)
        if self.next_seq is None:
            self.next_seq = image.seq
        plane = self._plane(image)
        self._check_counters(image, plane)
        part = self._slabs.pixels(image) if isinstance(image, wire.Slab) else parts[1].buffer
        pixels = wire.frame_pixels(image, unpacked(image, part, self.spec.frame_nbytes))
        if pixels.shape != self.spec.shape or pixels.dtype != self._dtype:
            raise WireError("spec", f"frame {image.index} is {pixels.shape} {pixels.dtype}, the series {self.spec}")
        return plane, pixels

    def _time_ns(self, image: wire.Image, plane: str) -> int:
        """The time of an image; by the interval, where that is known, of a sender without a clock, or one that stands
        still or goes back."""
        interval_ns = (self.spec.interval_s or 0) * 1e9
        if image.t_ns is None:
            return round(image.index * interval_ns)
        index, t_ns = self._last.get(plane, (image.index, -1))
        if image.t_ns > t_ns:
            return image.t_ns
        if not self._refused["time"]:
            log.warning(
                "frame %d: its time, %d ns, is not behind that of the frame before; times go on by the interval",
                image.index, image.t_ns,
            )  # fmt: skip
        self._refused["time"] += 1
        return t_ns + round((image.index - index) * interval_ns)

    def _carries(self, image: wire.Image) -> bool:
        """Whether what a sender says of a frame can be kept; else the frame is, without it."""
        try:
            user_nbytes(image.user)
        except WireError as error:
            if not self._refused["user"]:
                log.warning("frame %d: kept without its user: %s", image.index, error)
            self._refused["user"] += 1
            return False
        return True

    def _plane(self, image: wire.Image) -> str:
        """The plane of an image. Raises WireError for one that the start did not announce."""
        if len(self._planes) == 1:
            return self._planes[0]
        plane = plane_in(self._planes, plane_name(image.channel, image.z))
        if plane is None:
            found = plane_name(image.channel[:40], image.z)
            raise WireError("plane", f"frame {image.index} is of plane {found!r}; there is {', '.join(self._planes)}")
        return plane

    def _check_counters(self, image: wire.Image, plane: str) -> None:
        """Raises WireError where seq or index go back, or further ahead than frames go missing."""
        seq = self.next_seq or 0
        if image.seq < seq:
            raise WireError("seq", f"a frame of seq {image.seq} where {seq} follows; a new series has a uid of its own")
        self._check_jump(image.seq, "a frame")
        expected = self._next.get(plane, self._began)
        if expected is None:
            return
        if image.index < expected:
            if len(self._planes) == 1 and image.seq == seq and image.index == expected - 1:
                self.next_seq = seq + 1  # the frame before once more: nothing is missing
            raise WireError("index", f"frame {image.index} after frame {expected - 1}")
        dropped = image.index - expected - (image.seq - seq)
        if dropped > MAX_JUMP:
            raise WireError("index", f"frame {image.index} after frame {expected - 1}; at most {MAX_JUMP} drop")

    def _check_jump(self, seq: int, what: str) -> None:
        furthest = max(self.next_seq or 0, self._announced) + MAX_JUMP
        if seq > furthest:
            raise WireError("jump", f"{what} of seq {seq} where {self.next_seq} follows; at most {furthest} may come")

    def _missing(self, image: wire.Image, plane: str) -> Iterator[Gap]:
        """Yield gaps before a frame of a plane: what the transport lost, then what the camera dropped."""
        planes = len(self._planes)
        self._lost += image.seq - (self.next_seq or 0)
        if self._began is None:
            self._began = max(0, image.index - -(-self._lost // planes))
        first = self._next.get(plane, self._began)
        missing = image.index - first if planes > 1 else max(self._lost, image.index - first)
        lost = min(self._lost, missing)
        self._lost -= lost
        yield from _told(plane, first, missing, lost)
        if self.next_index is None or image.index >= self.next_index:
            index, seq = self._turns[-1] if self._turns else (-1, -1)
            if index < 0 or image.seq - seq != (image.index - index) * planes:
                self._turns.append((image.index, image.seq))


def _told(plane: str, first: int, missing: int, lost: int) -> Iterator[Gap]:
    """Yield the gaps that `missing` frames are, of which the transport lost the first ones."""
    if lost > 0:
        yield Gap(first, lost, "transport", plane)
    if missing > lost:
        yield Gap(first + lost, missing - lost, "camera", plane)
