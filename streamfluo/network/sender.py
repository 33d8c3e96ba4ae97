"""Frames pushed to an ingest endpoint from a program in Python."""

from __future__ import annotations

import logging
import time
import uuid
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import zmq

from ..core import wire
from ..core.block import Block
from ..core.errors import SourceError
from ..core.spec import Spec
from .slabs import LEAST_FRAME_BYTES, SlabWriter
from .socket import connect, new_context, parse_endpoint

QUEUE_FRAMES = 16  # in messages, and as many in shared memory: they are lost with the receiver
RING_BYTES = 32 << 20
_PATIENCE_S, _POLL_S = 0.02, 5e-5  # once for a slab, if the receiver takes none; then frames travel in messages
_LINGER_S = 30.0

log = logging.getLogger("streamfluo")


class FrameSender:
    """Sends one series to `tcp://HOST:PORT` or `ipc://PATH`, where `run` or `record` has `ingest+` before it.

    A context manager: `send` each block, in order of its frames' indices; the end is told when it is left. A receiver
    on this machine, of this account, has the frames through shared memory, unless `?memory=none`. `send` waits where
    the receiver does not follow. What is under way when the receiver dies is lost; what is not goes to the next one.
    Raises SourceError for an endpoint that cannot be, and frames that the wire does not carry.
    """

    def __init__(self, uri: str, spec: Spec, *, source: str = "", uid: str = "", user: dict[str, Any] | None = None):
        if np.dtype(spec.dtype).str not in wire.FRAME_DTYPES:
            raise SourceError(f"{uri}: {spec.dtype} frames; the wire carries u1 u2 u4 i2 f4")
        self.uri, self.spec, self.uid = uri, spec, uid or uuid.uuid4().hex
        self.seq = 0  # of the next frame
        facts = spec.to_header()
        start = wire.Start(series_uid=self.uid, source=source or uri, t0_ns=time.time_ns(), user=user or {}, **facts)
        self._start = wire.encode(wire.fitting(start))
        self._context = new_context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, QUEUE_FRAMES)
        self._socket.setsockopt(zmq.LINGER, int(_LINGER_S * 1e3))
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED)
        self._slabs: SlabWriter | None = None
        self._lost = False  # the receiver that there was
        self._patient = True
        try:
            connect(self._socket, uri)
            endpoint = parse_endpoint(uri)
            if endpoint.memory and not endpoint.elsewhere and spec.frame_nbytes >= LEAST_FRAME_BYTES:
                self._slabs = SlabWriter(spec.frame_nbytes, RING_BYTES, QUEUE_FRAMES)
        except OSError as error:
            log.warning("shared memory: %s; frames travel in messages", error.strerror or error)
        except BaseException:
            self.close("error")
            raise
        self._introduce()

    def send(self, block: Block) -> None:
        """Send a block's frames; of another shape or dtype than those of the series: SourceError."""
        if block.pixels.shape[1:] != self.spec.shape or block.pixels.dtype != self.spec.dtype:
            raise SourceError(f"{self.uri}: frames {block.pixels.shape[1:]} {block.pixels.dtype}, not {self.spec}")
        for n in range(len(block)):
            self._follow_receiver()
            image = wire.image_of(self.uid, block, n, self.seq)
            slab = self._in_slab(image, block.pixels[n])
            parts = [wire.encode(slab)] if slab is not None else [wire.encode(image), block.pixels[n].tobytes()]
            self._socket.send_multipart(parts, copy=False)
            self.seq += 1

    def close(self, reason: Literal["finished", "aborted", "error"] = "finished") -> None:
        """Tell the end, and wait until all has been taken, 30 s at most."""
        if self._socket.closed:
            return
        end = wire.End(series_uid=self.uid, seq=self.seq, frames=self.seq, reason=reason)
        try:
            if self.seq or reason == "finished":
                self._socket.setsockopt(zmq.SNDTIMEO, int(_LINGER_S * 1e3))
                self._socket.send(wire.encode(end))
            deadline = time.monotonic() + _LINGER_S
            while self._slabs is not None and self._slabs.under_way and time.monotonic() < deadline:
                self._follow_receiver()
                time.sleep(1e-3)
        except zmq.Again:
            log.warning("%s: nobody took the end of the series", self.uri)
        finally:
            self._socket.disable_monitor()
            self._monitor.close(0)
            self._socket.close()
            self._context.term()
            if self._slabs is not None:
                self._slabs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self.close("finished" if kind is None else "aborted")

    def _in_slab(self, image: wire.Image, pixels: np.ndarray) -> wire.Slab | None:
        """Put a frame into shared memory, waiting for a slab; None where it has to travel in its message."""
        if self._slabs is None or not self._slabs.attached:
            return None
        until, pause_s = time.monotonic() + (_PATIENCE_S if self._patient else 0), _POLL_S
        while (slab := self._slabs.put(image, pixels)) is None and time.monotonic() < until:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 1e-3)
        self._patient = slab is not None
        return slab

    def _introduce(self) -> None:
        self._socket.send(self._start)
        if self._slabs is not None:
            self._socket.send(wire.encode(wire.Memory(series_uid=self.uid, memory=self._slabs.ring)))

    def _follow_receiver(self) -> None:
        """To a receiver that comes in place of one that is gone the series is told again."""
        while int(self._monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            event = int.from_bytes(self._monitor.recv_multipart()[0][:2], "little")
            if event == zmq.EVENT_DISCONNECTED:
                self._lost = True
                if self._slabs is not None:
                    self._slabs.detach()
            elif self._lost:
                self._lost = False
                self._introduce()
