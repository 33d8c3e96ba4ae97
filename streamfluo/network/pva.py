"""Frames of an EPICS areaDetector: NTNDArray over pvAccess, `pva://PV:NAME`. The only door to p4p.

NTNDArray is laid down in the EPICS Normative Types Specification
(https://docs.epics-controls.org/en/latest/pv-access/Normative-Types-Specification.html).
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..core.block import Block
from ..core.errors import FrameError, SourceError, WireError
from ..core.source import MAX_BLOCK_FRAMES, Gap, Series, Source
from ..core.spec import FRAME_DTYPES, MAX_SIDE_PX, Spec
from .arrivals import Refusals
from .counted import FrameCounter

FOUND_S = 10.0  # a PV that no server has told by then is not there
WAIT_S = 0.1
QUEUE_BYTES = 256 << 20
QUEUE_FRAMES = 64  # of the monitor: what the server keeps for us before frames fall together
NTNDARRAY = "epics:nt/NTNDArray:1."

log = logging.getLogger("streamfluo")


class _Frame(NamedTuple):
    """A frame, its id, its time stamp (ns since 1970, 0: none), when it came, and the frames dropped before it."""

    pixels: np.ndarray
    number: int
    stamp_ns: int
    came_ns: int
    dropped: int


class PvaSource(Source):
    """Frames of a PV, `pva://13SIM1:Pva1:Image`; opening it waits for the first one posted from then on.

    `index` is the uniqueId, and a jump of it a gap: of the camera, or of the transport where this program's own queue
    was full. The time is the timeStamp. Arrays that are no grey image of the first one's size and type are refused and
    counted, compressed ones as well. p4p finds servers as EPICS_PVA_ADDR_LIST says. Raises SourceError for a PV that is
    not there or is no NTNDArray, and once the counter has begun anew.
    """

    seekable = False
    refused: Refusals

    def __init__(self, uri: str) -> None:
        self.uri, self.name = uri, uri.removeprefix("pva://")
        if not self.name or not uri.startswith("pva://") or any(c in self.name for c in "?# \t"):
            raise SourceError(f"{uri}: names no PV; write pva://PV:NAME")
        self.refused = Refusals(uri)
        self._counter = FrameCounter(uri)
        self._more = threading.Condition()
        self._waiting: deque[_Frame] = deque()
        self._nbytes = self._dropped = 0
        self._found = self._stopped = False
        self._problem: str | None = None
        self._stale = True  # what a monitor tells first is what the PV held before
        self._context = _context(uri)
        try:
            request = f"record[queueSize={QUEUE_FRAMES}]field()"
            self._monitor = self._context.monitor(self.name, self._told, request=request, notify_disconnect=True)
            first = self._wait_for_first()
        except BaseException:  # Ctrl-C while nobody sends
            self.close()
            raise
        self._came0_ns = first.came_ns
        self._last_ns = -1
        self.series = Series(uuid.uuid4().hex, uri, first.stamp_ns or time.time_ns(), user={"pv": self.name})

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block | Gap]:
        while not self._stopped:
            if (frame := self._next()) is None:
                continue
            try:
                self._counter.check(frame.number)
            except WireError as error:
                self.refused.add(error)
                continue
            except SourceError:
                self.ended = "error"
                raise
            yield from self._counter.missing(frame.number, frame.dropped)
            yield Block(frame.number, np.array([self._time_ns(frame)]), frame.pixels[None], self.spec.channel)

    def seek(self, index: int) -> None:
        raise SourceError(f"{self.uri}: a camera cannot be sought")

    def interrupt(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._stopped = True
        if (monitor := getattr(self, "_monitor", None)) is not None:
            monitor.close()
        self._context.close()

    def _wait_for_first(self) -> _Frame:
        began = time.monotonic()
        while True:
            with self._more:
                if not self._waiting and self._problem is None:
                    self._more.wait(WAIT_S)
                if self._problem is not None:
                    raise SourceError(f"{self.uri}: {self._problem}")
                if self._waiting:
                    return self._waiting[0]
            if not self._found and time.monotonic() - began > FOUND_S:
                listed = os.environ.get("EPICS_PVA_ADDR_LIST", "")
                raise SourceError(
                    f"{self.uri}: no server told of this PV for {FOUND_S:.0f} s; check its name and "
                    f"EPICS_PVA_ADDR_LIST, which is {listed!r}"
                )

    def _next(self) -> _Frame | None:
        """The next frame; None after a while without one."""
        with self._more:
            if not self._waiting:
                if self._problem is not None:
                    self.ended = "error"
                    raise SourceError(f"{self.uri}: {self._problem}")
                self._more.wait(WAIT_S)
            if not self._waiting:
                return None
            frame = self._waiting.popleft()
            self._nbytes -= frame.pixels.nbytes
            return frame

    def _told(self, value: Any) -> None:
        """Take what the monitor tells; called by a thread of p4p."""
        if isinstance(value, Exception):
            self._connection(value)
            return
        stale, self._stale, self._found = self._stale, False, True
        try:
            if not str(value.getID()).startswith(NTNDARRAY):
                self._problem = f"is of type {str(value.getID())[:60]!r}, no NTNDArray; name the PV of an NDPva plugin"
                return
            index = int(value["uniqueId"])
            if stale and (not hasattr(self, "spec") or index < (self._counter.next or 0)):
                return  # it was there before we asked, or we have it
            self._keep(_image(value), index, _stamp_ns(value))
        except WireError as error:
            self.refused.add(error)
        except Exception as error:  # whatever a strange structure makes p4p raise
            self.refused.add(WireError("type", f"a value that cannot be read: {type(error).__name__}: {error}"))

    def _connection(self, problem: Exception) -> None:
        """A connection lost is waited for; who is refused hears it."""
        kind = type(problem).__name__
        self._stale = True
        if kind == "RemoteError":
            with self._more:
                self._problem = f"the server refused: {' '.join(str(problem).split())[:200]}"
                self._more.notify()
        elif self._found:
            log.warning("%s: %s; waiting for it to come back", self.uri, kind.lower())

    def _keep(self, pixels: np.ndarray, index: int, stamp_ns: int) -> None:
        if index < 0:
            raise WireError("index", f"a frame of uniqueId {index}")
        if not hasattr(self, "spec"):
            try:
                self.spec = Spec(pixels.shape, pixels.dtype)  # type: ignore[arg-type]
            except FrameError as error:
                raise WireError("spec", str(error)) from None
        if pixels.shape != self.spec.shape or pixels.dtype.name != self.spec.dtype:
            raise WireError("spec", f"frame {index} is {pixels.shape} {pixels.dtype}, the series {self.spec}")
        with self._more:
            if self._waiting and self._nbytes + pixels.nbytes > QUEUE_BYTES:
                self._dropped += 1
                return
            self._waiting.append(_Frame(pixels, index, stamp_ns, time.monotonic_ns(), self._dropped))
            self._nbytes, self._dropped = self._nbytes + pixels.nbytes, 0
            self._more.notify()

    def _time_ns(self, frame: _Frame) -> int:
        """The frame's time since the series start; where its stamp goes back, or is none, that at which it came."""
        t_ns = frame.stamp_ns - self.series.t0_ns
        if frame.stamp_ns == 0 or t_ns <= self._last_ns:
            t_ns = max(self._last_ns + 1, frame.came_ns - self._came0_ns)
        self._last_ns = t_ns
        return t_ns


def _context(uri: str) -> Any:
    try:
        from p4p.client.thread import Context
    except ImportError:
        raise SourceError(f'{uri}: needs p4p; install it with pip install "streamfluo[epics]"') from None
    return Context("pva", nt=False)


def _stamp_ns(value: Any) -> int:
    stamp = value["timeStamp"]
    return max(0, int(stamp["secondsPastEpoch"]) * 10**9 + int(stamp["nanoseconds"]))


def _image(value: Any) -> np.ndarray:
    """Return the pixels (y, x) of an NTNDArray. Raises WireError for one that is no plain grey image."""
    codec, array, sides = value["codec"]["name"], value["value"], [int(d["size"]) for d in value["dimension"]]
    if codec:
        raise WireError("codec", f"pixels compressed by {str(codec)[:40]!r}; switch the compression off")
    if not isinstance(array, np.ndarray) or array.dtype.name not in FRAME_DTYPES:
        found = array.dtype.name if isinstance(array, np.ndarray) else type(array).__name__
        raise WireError("dtype", f"pixels of type {found}; use one of {', '.join(FRAME_DTYPES)}")
    if len(sides) != 2 or not all(1 <= side <= MAX_SIDE_PX for side in sides):
        raise WireError("shape", f"an array of sides {sides[:10]}; a grey image has two")
    if array.ndim != 1 or array.size != sides[0] * sides[1]:
        raise WireError("nbytes", f"{array.size} pixels for an image of {sides[1]} × {sides[0]}")
    return array.reshape(sides[1], sides[0])
