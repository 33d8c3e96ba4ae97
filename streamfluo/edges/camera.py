"""Cameras through Micro-Manager (pymmcore-plus): `mm:demo` and `mm:/path/to/config.cfg` as sources.

The only door to pymmcore-plus.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.block import Block
from ..core.errors import SourceError, did_you_mean
from ..core.spec import Camera, Spec
from .camera_settings import is_number, parse_camera_uri
from .source import MAX_BLOCK_FRAMES, Gap, Series, Source

POLL_S = 0.0005  # MMCore has no call that waits for an image
SILENT_S = 10.0
MEASURED_FRAMES = 10
TRIGGER_PROPERTIES = ("TriggerMode", "Trigger Mode", "Trigger", "TriggerSource", "TRIGGER SOURCE", "Triggermode")


class CameraSource(Source):
    """Frames of a Micro-Manager camera: `mm:demo?exposure_ms=2&roi=0:256,0:256&binning=2&Gain=3`, `mm:/path/x.cfg`.

    `index` is the camera's own counter: what its buffer lost is a gap of the camera, and the acquisition goes on. It
    begins with `blocks`. `frames` is how many the camera takes; `trigger` the value of its trigger property; any other
    key a property. Raises SourceError for a camera that is not there or a setting it does not take.
    """

    seekable = False

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.settings = parse_camera_uri(uri)
        self.dropped = 0
        self._position = 0
        self._stopped = threading.Event()
        self._core, self._facts_type = _core(uri)
        try:
            self._load()
            self._configure()
            self.spec = self._described()
        except (RuntimeError, OSError) as error:  # what MMCore raises
            self.close()
            raise SourceError(f"{uri}: {_one_line(error)}") from None
        except BaseException:
            self.close()
            raise
        facts = {"camera": self._facts()}
        self.series = Series(uuid.uuid4().hex, uri, time.time_ns(), self.settings.frames, facts)

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block | Gap]:
        frames, core = self.settings.frames, self._core
        try:
            core.startSequenceAcquisition(frames or 2**31 - 1, 0, False)
            began_ns = max(0, time.time_ns() - self.series.t0_ns)
            heard = time.monotonic()
            while not self._stopped.is_set() and (frames is None or self._position < frames):
                running = core.isSequenceRunning()  # asked first: what came before it stopped is still there
                waiting = self._pop(max_frames, began_ns)
                if waiting:
                    yield from self._pieces(waiting)
                    heard = time.monotonic()
                elif not running:
                    break
                elif time.monotonic() - heard > self._patience_s:
                    raise SourceError(f"{self.uri}: no frame for {self._patience_s:.0f} s; is the camera still there?")
                else:
                    time.sleep(POLL_S)
            if not self._stopped.is_set() and self._position != frames:
                raise SourceError(f"{self.uri}: the camera stopped after {self._position} of {frames or '…'} frames")
        except RuntimeError as error:
            self.ended = "error"
            raise SourceError(f"{self.uri}: {_one_line(error)}; {self._position} frames came") from None
        finally:
            if core.isSequenceRunning():
                core.stopSequenceAcquisition()

    def seek(self, index: int) -> None:
        if index != self._position:
            raise SourceError(f"{self.uri}: a camera cannot be sought; it stands at frame {self._position}")

    def interrupt(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        self._stopped.set()
        self._core.reset()

    @property
    def _patience_s(self) -> float:
        """How long a frame may take; with a trigger for ever."""
        return np.inf if self.settings.trigger else max(SILENT_S, 5e-3 * self._core.getExposure())

    def _pop(self, max_frames: int, began_ns: int) -> list[tuple[int, int, np.ndarray]]:
        """The (index, t_ns, pixels) that wait in the camera's buffer."""
        core = self._core
        popped: list[tuple[int, int, np.ndarray]] = []
        while len(popped) < max_frames and core.getRemainingImageCount():
            try:
                pixels, number, elapsed_ms = self._pop_one()
            except (RuntimeError, IndexError):  # an overflow emptied the buffer between asking and taking
                break
            now_ns = time.time_ns() - self.series.t0_ns if elapsed_ms is None else began_ns + int(elapsed_ms * 1e6)
            popped.append((number, max(0, now_ns), pixels))
        return popped

    def _pop_one(self) -> tuple[np.ndarray, int, float | None]:
        """The next image of the buffer, the camera's count of it, and when it came [ms since the start], if it says."""
        facts = self._facts_type()
        pixels = self._core.popNextImageMD(facts)
        elapsed = facts.GetSingleTag("ElapsedTime-ms").GetValue() if facts.HasTag("ElapsedTime-ms") else None
        number = int(facts.GetSingleTag("ImageNumber").GetValue())
        return pixels, number, None if elapsed is None else float(elapsed)

    def _pieces(self, frames: list[tuple[int, int, np.ndarray]]) -> Iterator[Block | Gap]:
        """Blocks of consecutive frames, and the gaps before them."""
        start = 0
        for n in range(1, len(frames) + 1):
            if n == len(frames) or frames[n][0] != frames[n - 1][0] + 1:
                piece = frames[start:n]
                yield from self._dropped_before(piece[0][0])
                pixels = piece[0][2][None] if len(piece) == 1 else np.stack([p for *_, p in piece])
                self._position = piece[-1][0] + 1
                yield Block(piece[0][0], np.array([t for _, t, _ in piece]), pixels, self.spec.channel)
                start = n

    def _dropped_before(self, index: int) -> Iterator[Gap]:
        if index > self._position:
            self.dropped += index - self._position
            yield Gap(self._position, index - self._position, "camera")
            self._position = index

    def _load(self) -> None:
        device, core = self.settings.device, self._core
        if device != "demo":
            if not Path(device).is_file():
                raise SourceError(f"{self.uri}: no such configuration file {device}; check the path, or use mm:demo")
            core.loadSystemConfiguration(device)
        else:
            core.loadDevice("Camera", "DemoCamera", "DCam")
            core.initializeDevice("Camera")
            core.setCameraDevice("Camera")
            core.setProperty("Camera", "PixelType", "16bit")
            core.setProperty("Camera", "BitDepth", "16")
        if not core.getCameraDevice():
            raise SourceError(f"{self.uri}: the configuration names no camera; add Property,Core,Camera,NAME to it")

    def _configure(self) -> None:
        settings, core = self.settings, self._core
        for name, value in settings.properties.items():
            device, dot, known = name.partition(".")
            of_another = dot and device in core.getLoadedDevices()
            self._set(device if of_another else core.getCameraDevice(), known if of_another else name, value)
        for name, setting in (("Binning", settings.binning), ("BitDepth", settings.bit_depth)):
            if setting is not None:
                self._set(core.getCameraDevice(), name, str(setting))
        if settings.trigger is not None:
            known = core.getDevicePropertyNames(core.getCameraDevice())
            found = next((p for p in TRIGGER_PROPERTIES if p in known), None)
            if found is None:
                raise SourceError(f"{self.uri}: this camera has no trigger property; its are {', '.join(known)}")
            self._set(core.getCameraDevice(), found, settings.trigger)
        if settings.exposure_ms is not None:
            core.setExposure(settings.exposure_ms)
        core.clearROI()
        if settings.roi is not None:
            y0, y1, x0, x1 = settings.roi
            height, width = core.getImageHeight(), core.getImageWidth()
            if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
                raise SourceError(f"{self.uri}: roi={y0}:{y1},{x0}:{x1} is not inside the image of {height} × {width}")
            core.setROI(x0, y0, x1 - x0, y1 - y0)
        core.setCircularBufferMemoryFootprint(settings.buffer_mb)

    def _set(self, device: str, name: str, value: str) -> None:
        """Set a property, or say why not."""
        core, where = self._core, f"{self.uri}: {device}"
        known = core.getDevicePropertyNames(device)
        if name not in known:
            raise SourceError(f"{where} has no property {name!r}{did_you_mean(name, known)}")
        if core.isPropertyReadOnly(device, name):
            raise SourceError(f"{where}: property {name!r} can only be read; it is {core.getProperty(device, name)!r}")
        allowed = core.getAllowedPropertyValues(device, name)
        if allowed and value not in allowed:
            raise SourceError(
                f"{where}: {name} must be one of {', '.join(sorted(allowed, key=_natural))}, found {value!r}"
            )
        if core.hasPropertyLimits(device, name):
            low, high = core.getPropertyLowerLimit(device, name), core.getPropertyUpperLimit(device, name)
            if not is_number(value) or not low <= float(value) <= high:
                raise SourceError(f"{where}: {name} must be a number from {low:g} to {high:g}, found {value!r}")
        try:
            core.setProperty(device, name, value)
        except RuntimeError as error:
            raise SourceError(f"{where}: {name}={value} was refused: {_one_line(error)}") from None

    def _described(self) -> Spec:
        core = self._core
        nbytes, bits = core.getBytesPerPixel(), core.getImageBitDepth()
        dtype = {1: "u1", 2: "u2", 4: "u4"}.get(nbytes)
        if dtype is None or core.getNumberOfComponents() != 1:
            raise SourceError(
                f"{self.uri}: pixels of {core.getNumberOfComponents()} components, {nbytes} bytes; "
                "choose a grey pixel type of 8, 16 or 32 bit"
            )
        return Spec(
            shape=(core.getImageHeight(), core.getImageWidth()),
            dtype=dtype,
            interval_s=self._measured_interval_s(),
            pixel_um=core.getPixelSizeUm() or None,
            camera=Camera(saturation_adu=float(2**bits - 1)),
        )

    def _measured_interval_s(self) -> float | None:
        """The frame interval, taken from a short sequence: the exposure is only its lower bound (2 ms of exposure are
        3.2 ms a frame of the demo camera). None with a trigger: nobody knows when it comes."""
        core = self._core
        if self.settings.trigger:
            return None
        if core.getExposure() > 250:
            return float(core.getExposure()) / 1e3
        core.startSequenceAcquisition(MEASURED_FRAMES, 0, True)
        times_ms: list[float] = []
        deadline = time.monotonic() + SILENT_S
        while (core.isSequenceRunning() or core.getRemainingImageCount()) and time.monotonic() < deadline:
            if core.getRemainingImageCount():
                *_, elapsed_ms = self._pop_one()
                times_ms.append(time.monotonic() * 1e3 if elapsed_ms is None else elapsed_ms)
            else:
                time.sleep(POLL_S)
        if core.isSequenceRunning():
            core.stopSequenceAcquisition()
        if len(times_ms) < 2:
            raise SourceError(
                f"{self.uri}: the camera gave no frames within {SILENT_S:.0f} s; is it waiting for a trigger?"
            )
        return max(1e-6, float(np.median(np.diff(times_ms))) / 1e3)

    def _facts(self) -> Mapping[str, Any]:
        core, camera = self._core, self._core.getCameraDevice()
        return {
            "vendor": core.getDeviceLibrary(camera),
            "model": core.getDeviceName(camera),
            "roi": list(core.getROI()),
            "binning": core.getProperty(camera, "Binning") if core.hasProperty(camera, "Binning") else "1",
            "exposure_ms": core.getExposure(),
            "bit_depth": core.getImageBitDepth(),
        }


def _core(uri: str) -> tuple[Any, Any]:
    """Micro-Manager's core with the adapters pymmcore-plus finds, and the type of an image's metadata.

    The plain core: that of pymmcore-plus adds a thread for callbacks, which aborted the program now and then when it
    outlived Python.
    """
    os.environ.setdefault("PYMM_LOG_LEVEL", "CRITICAL")
    try:
        import pymmcore
        import pymmcore_plus
    except ImportError:
        raise SourceError(f'{uri}: needs pymmcore-plus; install it with pip install "streamfluo[camera]"') from None
    logging.getLogger("pymmcore-plus").propagate = False  # it logs every search for adapters
    adapters = pymmcore_plus.find_micromanager()
    if adapters is None:
        raise SourceError(f'{uri}: no device adapters found; install them with pip install "streamfluo[camera]"')
    core = pymmcore.CMMCore()
    core.setDeviceAdapterSearchPaths([str(adapters)])
    return core, pymmcore.Metadata


def _natural(text: str) -> tuple[bool, float, str]:
    return (True, float(text), "") if is_number(text) else (False, 0.0, text)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
