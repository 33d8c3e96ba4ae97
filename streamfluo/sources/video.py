"""Miniscope videos (AVI) as sources. The door to reading with PyAV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import SourceError
from .declared import in_one_line
from .plane_selection import Stack
from .planes import PlaneSource, Window

ASK_FOR_LIBRARY = 'needs PyAV; install it with pip install "streamfluo[formats]"'
MAX_SPREAD = 100  # frames lost for each that is there; more is a damaged clock
EXACT = {"ffv1", "rawvideo", "huffyuv", "ffvhuff", "utvideo", "lagarith", "png", "zlib"}
GREY = {"gray": "uint8", "gray16le": "uint16", "gray10le": "uint16", "gray12le": "uint16", "pal8": "uint8"}


class VideoSource(PlaneSource):
    """Frames of an AVI as grey levels. Colour videos of grey scenes (three equal channels) are read by their green.

    Lossy codecs are read too; `series.user["codec"]` names the codec and says whether it keeps the pixels. Frames are
    decoded in order: to go back is to begin again. A frame's place is its time: chunks that are empty or cut are gaps.
    """

    selections = ("frames", "roi")

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        try:
            import av
        except ImportError:
            raise SourceError(f"{path}: {ASK_FOR_LIBRARY}") from None
        self._av = av
        with in_one_line(f"{path}: not a video that can be read"):
            with av.open(str(path)) as container:
                if not container.streams.video:
                    raise SourceError(f"{path}: no video in it")
                stream = container.streams.video[0]
                if stream.codec_context is None:
                    raise SourceError(f"{path}: nobody knows its codec; convert it to FFV1, or copy it again")
                name, rate = stream.codec_context.name, stream.average_rate
                first = next(container.decode(stream), None)
            with av.open(str(path)) as container:
                there = _there(container)
        if first is None:
            raise SourceError(f"{path}: no whole frame in it")
        self._dtype = GREY.get(first.format.name, "uint8")
        self._decoding: Iterator[Any] | None = None
        self._container: Any = None
        self._at = 0
        self._order = np.cumsum(there) - 1  # of the frames that are decoded, one after the other
        interval_s = float(1 / rate) if rate else None
        user = {"codec": name, "exact": name in EXACT}
        size = (first.height, first.width)
        return Stack({"time": len(there)}, size, self._dtype, interval_s, user=user, there=there)

    def _planes(self, numbers: np.ndarray, window: Window) -> np.ndarray:
        planes = []
        for number in self._order[numbers]:
            if self._decoding is None or number < self._at:
                self._begin()
            while True:
                try:
                    frame = next(self._decoding, None)  # type: ignore[arg-type]
                except self._av.FFmpegError as error:
                    raise SourceError(f"{self.path}: frame {self._at} cannot be decoded: {error}") from None
                if frame is None:
                    raise SourceError(f"{self.path}: ends at frame {self._at}, it had more when it was opened")
                self._at += 1
                if self._at > number:
                    break
            planes.append(_grey(frame)[window])
        return np.stack(planes)

    def _begin(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container = self._av.open(str(self.path))
        self._decoding, self._at = iter(self._container.decode(self._container.streams.video[0])), 0

    def close(self) -> None:
        super().close()
        if getattr(self, "_container", None) is not None:
            self._container.close()


def _there(container: Any) -> np.ndarray:
    """Which frames have a whole chunk, by their times in steps of the stream's rate; without times, in turn."""
    stream = container.streams.video[0]
    times = [packet.dts for packet in container.demux(stream) if packet.size and not packet.is_corrupt]
    step = 1 / (stream.average_rate * stream.time_base) if stream.average_rate and stream.time_base else None
    if step is None or any(time is None for time in times):
        return np.ones(len(times), bool)
    places = [round((time - (stream.start_time or 0)) / step) for time in times]
    if not places or places[0] < 0 or any(b <= a for a, b in pairwise(places)) or places[-1] > MAX_SPREAD * len(places):
        return np.ones(len(places), bool)
    there = np.zeros(places[-1] + 1, bool)
    there[places] = True
    return there


def _grey(frame: Any) -> np.ndarray:
    name = frame.format.name
    if name == "gray":
        return frame.to_ndarray()
    if name in GREY and name != "pal8":
        return frame.to_ndarray().astype(np.uint16, copy=False)
    if name.startswith("yuv"):  # the luma plane is the grey level, without a conversion that would round it
        plane = frame.planes[0]
        return np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)[:, : frame.width].copy()
    return np.ascontiguousarray(frame.to_ndarray(format="rgb24")[:, :, 1])
