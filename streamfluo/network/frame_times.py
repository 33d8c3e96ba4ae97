"""Another camera's frames as an input, a behaviour video's: which one came, and when; its pixels are not kept."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import zmq

from ..core import wire
from ..core.errors import ConfigError, SourceError, WireError
from ..core.header import decode_map
from ..core.input import Input, Sample
from .socket import bind, connect, new_context, receive_frames

MAX_AT_ONCE, QUEUE, MAX_BYTES, MAX_PARTS = 1000, 64, 64 << 20, 3
STRAYS = 10
MAX_FRAME, MAX_NS = 1 << 53, 1 << 61
MAX_MISSING = 1 << 20  # a counter that is further ahead is another one


class _Frame(NamedTuple):
    """Which frame, of which series, and when by its sender's clock [ns], if it says."""

    series: str
    number: int
    t_ns: int | None


class FrameTimes(Input):
    """`frames+tcp://127.0.0.1:5557`, bound: what a camera's program pushes; `frames+sub+tcp://…`, connected: what it
    publishes. A sample is a frame's number, at the time that its sender gave it, else when it came.

    A message is a header of the protocol (start, image), or a JSON map with `frame` and, if known, `t_s`; pixels behind
    it, or a topic before it, are passed over. Numbers that were there already are refused, unless they begin at 0 again
    or rise ten times, missing ones counted.
    """

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        scheme, _, rest = uri.partition(":")
        published, transport = "+sub+" in scheme, scheme.rpartition("+")[2]
        self._context = new_context()
        self._socket = self._context.socket(zmq.SUB if published else zmq.PULL)
        self._socket.setsockopt(zmq.RCVHWM, QUEUE)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_BYTES)
        try:
            if published:
                self._socket.subscribe(b"")
                connect(self._socket, f"{transport}:{rest}")
                self.endpoint = f"{transport}:{rest}"
            else:
                self.endpoint = bind(self._socket, f"{transport}:{rest}", "send")
        except SourceError as error:
            self.close()
            raise ConfigError(str(error)) from None
        self._starts: dict[str, int] = {}  # of the series that goes on: when it began by its sender's clock
        self._newest: _Frame | None = None
        self._timed: bool | None = None
        self._lower: list[int] = []  # numbers that rise, but are below one that was there

    def read(self, wait_s: float) -> list[Sample]:
        found: list[Sample] = []
        self._socket.poll(round(wait_s * 1e3))
        while len(found) < MAX_AT_ONCE and (parts := receive_frames(self._socket, MAX_PARTS)) is not None:
            try:
                frame = self._frame([part.buffer for part in parts])
            except WireError as error:
                self.refused[error.kind] += 1
            else:
                found += [] if frame is None else self._sample(frame)
        return found

    def _frame(self, parts: Sequence[memoryview]) -> _Frame | None:
        """Which frame a message is of, None for one that begins or ends a series. Raises WireError."""
        fields = _header(parts)
        if "type" not in fields:
            return _of_map(fields)
        message = wire.decode(msgspec.msgpack.encode(fields))
        if isinstance(message, wire.Start):
            self._starts = {message.series_uid: message.t0_ns}
        elif isinstance(message, wire.Image):
            began_ns = self._starts.get(message.series_uid, 0)
            return _Frame(message.series_uid, message.index, None if message.t_ns is None else began_ns + message.t_ns)
        elif not isinstance(message, wire.End | wire.Gap):
            raise WireError("type", f"a camera does not send {type(message).__name__.lower()}")
        return None

    def _sample(self, frame: _Frame) -> list[Sample]:
        if frame.number >= MAX_FRAME or (frame.t_ns is not None and abs(frame.t_ns) > MAX_NS):
            self.refused["out of range"] += 1
            return []
        before = self._newest if self._newest is not None and self._newest.series == frame.series else None
        if before is not None and frame.number <= before.number and not self._begins_again(frame, before):
            self.refused["number not higher"] += 1
            return []
        self._lower.clear()
        self._timed = frame.t_ns is not None if self._timed is None else self._timed
        if self._timed != (frame.t_ns is not None):
            self.refused["with a time" if frame.t_ns is not None else "without a time"] += 1
            return []
        if before is not None and 1 < frame.number - before.number < MAX_MISSING:
            self.refused["missing"] += frame.number - before.number - 1
        self._newest = frame
        own_ns = None if frame.t_ns is None else frame.t_ns or 1  # 0 is a clock that began with us
        return [Sample(time.monotonic_ns(), (float(frame.number),), own_ns=own_ns)]

    def _begins_again(self, frame: _Frame, before: _Frame) -> bool:
        """Whether a lower number is of a program that was started again, and not one that came twice."""
        self._lower = [number for number in self._lower if number < frame.number] + [frame.number]
        return frame.number == 0 < before.number or len(self._lower) >= STRAYS

    def close(self) -> None:
        self._socket.close(0)
        self._context.term()


def _header(parts: Sequence[memoryview]) -> dict[str, Any]:
    """The map of a message, which may stand behind a topic. Raises WireError."""
    try:
        return decode_map(parts[0])
    except WireError:
        if len(parts) == 1:
            raise
        return decode_map(parts[1])


def _of_map(fields: dict[str, Any]) -> _Frame:
    """The frame of `{"frame": 12, "t_s": 0.4}`. Raises WireError."""
    number, t_s = fields.get("frame"), fields.get("t_s")
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise WireError("fields", f"frame is a number from 0 on, found {str(number)[:40]!r}")
    if t_s is None:
        return _Frame("", number, None)
    if isinstance(t_s, bool) or not isinstance(t_s, int | float) or not math.isfinite(t_s) or abs(t_s) > MAX_NS / 1e9:
        raise WireError("fields", f"t_s is a number of seconds, found {str(t_s)[:40]!r}")
    return _Frame("", number, round(t_s * 1e9))
