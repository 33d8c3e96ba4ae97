"""Frames of a DECTRIS detector's stream v2: `dectris+tcp://host:31001`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import numpy as np
import zmq

from ..core.block import Block
from ..core.errors import FrameError, SourceError, WireError
from ..core.plane import Plane
from ..core.source import MAX_BLOCK_FRAMES, Gap, Series, Source
from ..core.spec import Camera, Spec
from .arrivals import MAX_FRAME_BYTES, Refusals
from .counted import FrameCounter
from .dectris_messages import End, Image, Start, decoders, layout, parse, pixels
from .socket import connect, new_context, receive_frames

QUEUE_MESSAGES = 16
WAIT_MS = 100

log = logging.getLogger("streamfluo")


class DectrisSource(Source):
    """Images of a detector's series; opening it waits for the first one, which says shape and type.

    `index` is the image_id; images that other clients of the detector took, or that it could not send, are gaps of the
    transport. Each of several channels is a plane. The end does not say how many images there were: a series that ends
    before its number_of_images is `aborted`. What is not as documented is refused and counted. Raises SourceError where
    another series begins before the end of this one.
    """

    seekable = False
    refused: Refusals

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.refused = Refusals(uri)
        self._stopped = False
        self._loads, self._decompress = decoders(uri)
        self._context = new_context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        self._socket.setsockopt(zmq.RCVHWM, QUEUE_MESSAGES)
        self._last_ns = -1
        self._start: Start | None = None
        try:
            connect(self._socket, uri.removeprefix("dectris+"), foreign=True)
            self._first = self._wait_for_first()
        except BaseException:  # Ctrl-C while nobody sends
            self.close()
            raise

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block | Gap]:
        message: Start | Image | End | None = self._first
        while not self._stopped:
            try:
                if isinstance(message, Image):
                    yield from self._taken(message)
                elif isinstance(message, End) and message.series == self.series.uid:
                    self.ended = self._how_it_ended()
                    return
                elif message is not None:
                    self._of_another_series(message)
            except WireError as error:
                self.refused.add(error)
            except SourceError:
                self.ended = "error"
                raise
            message = self._receive()

    def seek(self, index: int) -> None:
        raise SourceError(f"{self.uri}: a detector cannot be sought")

    def interrupt(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._socket.close(0)
        self._context.term()

    def _receive(self) -> Start | Image | End | None:
        """The next message; None after 100 ms without one, and for one that was refused."""
        parts = receive_frames(self._socket, 1)
        if parts is None:
            self._socket.poll(WAIT_MS)
            return None
        try:
            if len(parts) != 1:
                raise WireError("parts", "a message has one part")
            try:
                fields = self._loads(parts[0].bytes)
            except Exception as error:  # CBOR has tags for much that may be malformed: dates, regular expressions
                raise WireError("cbor", f"no CBOR: {type(error).__name__}: {str(error)[:80]}") from None
            return parse(fields)
        except WireError as error:
            self.refused.add(error)
            return None

    def _wait_for_first(self) -> Image:
        while True:
            message = self._receive()
            if isinstance(message, Start):
                self._start = message
            elif isinstance(message, Image):
                try:
                    self._begin(message)
                except WireError as error:
                    self.refused.add(error)
                else:
                    return message

    def _begin(self, image: Image) -> None:
        """Settle what the series is, by its start, if that came, and its first image."""
        start = self._start if self._start and self._start.series == image.series else Start(image.series)
        names = start.channels or tuple(image.data)
        if set(names) != image.data.keys():
            raise WireError("channels", f"an image of {str(list(image.data))[:60]}, the start lists {str(names)[:60]}")
        shape, dtype, _ = layout(image.data[names[0]])
        if start.shape not in (None, shape):
            raise WireError("spec", f"an image of {shape}, the start says {start.shape}")
        planes = tuple(Plane(name, exposure_s=start.exposure_s) for name in names)
        try:
            self.spec = Spec(
                shape,
                dtype.name,
                interval_s=start.interval_s,
                pixel_um=start.pixel_um,
                channel=names[0] if len(names) == 1 else "",
                camera=Camera(saturation_adu=start.saturation),
                planes=planes if len(names) > 1 else (),
            )
        except FrameError as error:
            raise WireError("spec", str(error)) from None
        self._channels = names
        self._arrays(image)
        self._counter = FrameCounter(self.uri, self.spec.plane_names)
        self._images = start.images
        frames = start.images and start.images * len(names)
        began_ns = image.began_ns or time.time_ns() - (image.start_ns or 0)
        self.series = Series(image.series, self.uri, began_ns, frames, {"detector": dict(start.facts)})

    def _taken(self, image: Image) -> Iterator[Block | Gap]:
        """Yield what is missing before an image, and its frames. Raises WireError for one that does not fit."""
        if image.series != self.series.uid:
            raise WireError("series", f"an image of series {image.series[:64]!r}; this is {self.series.uid[:64]!r}")
        if image.data.keys() != set(self._channels):
            raise WireError("channels", f"channels {str(list(image.data))[:60]} where {self._channels} come")
        arrays = self._arrays(image)
        self._counter.check(image.number)
        yield from self._counter.missing(image.number, lost=image.number)
        times_ns = np.array([self._time_ns(image)])
        for name, array in arrays.items():
            yield Block(image.number, times_ns, array[None], name)

    def _arrays(self, image: Image) -> dict[str, np.ndarray]:
        """The pixels of each channel; shape and type are checked before anything is decompressed."""
        arrays = {}
        for name in self._channels:
            shape, dtype, held = layout(image.data[name])
            if shape != self.spec.shape or dtype.name != self.spec.dtype:
                raise WireError("spec", f"image {image.number} is {shape} {dtype}, the series {self.spec.shape}")
            arrays[name] = pixels(shape, dtype, held, self._decompress)
        return arrays

    def _time_ns(self, image: Image) -> int:
        """When an image began; by the interval where it does not say, or says one that cannot be."""
        t_ns = image.start_ns
        if t_ns is None or t_ns <= self._last_ns:
            t_ns = max(self._last_ns + 1, round(image.number * (self.spec.interval_s or 0.0) * 1e9))
        self._last_ns = t_ns
        return t_ns

    def _of_another_series(self, message: Start | End) -> None:
        if isinstance(message, Start) and message.series != self.series.uid:
            raise SourceError(f"{self.uri}: another series began ({message.series}); start a new run for it")
        if isinstance(message, End):
            raise WireError("series", f"the end of series {message.series[:64]!r}; this is {self.series.uid[:64]!r}")

    def _how_it_ended(self) -> str:
        came = self._counter.next or 0
        if self._images is None or came >= self._images:
            return "finished"
        log.warning("%s: the series ended after image %d of %d", self.uri, came, self._images)
        return "aborted"
