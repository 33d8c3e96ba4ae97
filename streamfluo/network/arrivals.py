"""What arrives of a series: images in order of seq, what is missing told as gaps, what breaks a rule counted."""

from __future__ import annotations

import logging
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator

import numpy as np
import zmq

from ..core import wire
from ..core.block import Block
from ..core.errors import WireError
from ..core.source import Gap
from ..core.spec import Spec

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
    """Where a series stands with its receiver. `next_seq` None: the first image says where it begins."""

    def __init__(self, spec: Spec, series_uid: str, next_seq: int | None = 0) -> None:
        self.spec, self.series_uid = spec, series_uid
        self.next_seq = next_seq
        self.next_index: int | None = None
        self._announced = 0  # what comes before this seq is gone, the sender says
        self._turns: list[tuple[int, int]] = []  # (index, seq) where index − seq changed

    def resume(self, index: int, seq: int) -> None:
        """Go on after a break: `index` is the next frame, `seq` how many were emitted before it."""
        self.next_index, self.next_seq = index, seq
        self._turns.append((index, seq))

    def seq_before(self, index: int) -> int | None:
        """Return the seq of the last frame before `index`, None if none has come."""
        at = bisect_right(self._turns, (index, 1 << 62)) - 1
        return self._turns[at][1] + index - 1 - self._turns[at][0] if at >= 0 else None

    def image(self, image: wire.Image, parts: list[zmq.Frame]) -> Iterator[Block | Gap]:
        """Yield what is missing before an image, and its frame. Raises WireError for one that does not fit."""
        if len(parts) != 2:
            raise WireError("parts", f"an image has 2 parts, found {len(parts)}")
        self.check_series(image.series_uid)
        if self.next_seq is None:
            self.next_seq = image.seq
        self._check_counters(image)
        pixels = wire.frame_pixels(image, parts[1].buffer)
        if pixels.shape != self.spec.shape or pixels.dtype.name != self.spec.dtype:
            raise WireError("spec", f"frame {image.index} is {pixels.shape} {pixels.dtype}, the series {self.spec}")
        yield from self._missing(image.seq, image.index)
        self.next_seq, self.next_index = image.seq + 1, image.index + 1
        t_ns = image.t_ns
        if t_ns is None:  # the sender has no clock: frames come at the interval, where that is known
            t_ns = round(image.index * self.spec.interval_s * 1e9) if self.spec.interval_s else 0
        yield Block(image.index, np.array([t_ns]), pixels[None], image.channel)

    def gone(self, gap: wire.Gap) -> None:
        """Take in what the sender no longer has; the next image, or the end, shows that it is so."""
        if gap.first <= (self.next_seq or 0) <= gap.last:
            self._announced = gap.last + 1

    def end(self, end: wire.End) -> Iterator[Gap]:
        """Yield what is missing at the end. Raises WireError for an end of another series, or out of reach."""
        self.check_series(end.series_uid)
        if self.next_seq is not None:
            self._check_jump(end.seq, "the end")
        yield from self._missing(end.seq, None)

    def check_series(self, uid: str) -> None:
        """Raises WireError for a message of another series."""
        if uid != self.series_uid:
            raise WireError("series", f"a message of series {uid[:64]!r}; this is {self.series_uid[:64]!r}")

    def _check_counters(self, image: wire.Image) -> None:
        """Raises WireError where seq or index go back, or further ahead than frames go missing."""
        seq = self.next_seq or 0
        if image.seq < seq:
            raise WireError("seq", f"a frame of seq {image.seq} where {seq} follows; a new series has a uid of its own")
        self._check_jump(image.seq, "a frame")
        if self.next_index is None:
            return
        if image.index < self.next_index:
            raise WireError("index", f"frame {image.index} after frame {self.next_index - 1}")
        dropped = image.index - self.next_index - (image.seq - seq)
        if dropped > MAX_JUMP:
            raise WireError("index", f"frame {image.index} after frame {self.next_index - 1}; at most {MAX_JUMP} drop")

    def _check_jump(self, seq: int, what: str) -> None:
        furthest = max(self.next_seq or 0, self._announced) + MAX_JUMP
        if seq > furthest:
            raise WireError("jump", f"{what} of seq {seq} where {self.next_seq} follows; at most {furthest} may come")

    def _missing(self, seq: int, index: int | None) -> Iterator[Gap]:
        """Yield gaps before the frame with this seq and index (None: the end): what the transport lost, then what the
        camera dropped."""
        lost = seq - (self.next_seq or 0)
        expected = self.next_index if self.next_index is not None else (index or 0) - lost
        if lost > 0:
            yield Gap(max(0, expected), lost, "transport")
        if index is not None:
            dropped = index - expected - lost
            if dropped > 0:
                yield Gap(expected + lost, dropped, "camera")
            if lost or dropped or not self._turns:
                self._turns.append((index, seq))
