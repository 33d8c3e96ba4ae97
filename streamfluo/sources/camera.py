"""Cameras through Micro-Manager (pymmcore-plus): `mm:demo` and `mm:/path/to/config.cfg` as sources.

The only door to pymmcore-plus.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..core.block import Block
from ..core.errors import SourceError, did_you_mean
from ..core.plane import Plane, as_channel, plane_in
from ..core.source import MAX_BLOCK_FRAMES, Gap, Series, Source
from ..core.spec import Camera, Spec
from .camera_cores import SharedCore, give_back, load_configuration, plain_core, share
from .camera_images import Image, as_block, runs
from .camera_params import MAX_TAG, load_demo, one_line, parse_camera_uri, set_property

POLL_S = 0.0005  # MMCore has no call that waits for an image
ASK_S = 0.1
SILENT_S = 10.0
LEAVE_S = 0.1  # an adapter's thread may still be on its way out: unloaded under it, it takes the program with it
MEASURED_FRAMES = 10
CORE_ERRORS = (RuntimeError, OSError, ValueError, IndexError, MemoryError)  # what MMCore raises
CAMERA_TAG = "Camera"
TRIGGER_PROPERTIES = ("TriggerMode", "Trigger Mode", "Trigger", "TriggerSource", "TRIGGER SOURCE", "Triggermode")


class CameraSource(Source):
    """Frames of a Micro-Manager camera: `mm:demo?exposure_ms=2&roi=0:256,0:256&binning=2&Gain=3`, `mm:/path/x.cfg`.

    `index` is the camera's own counter: what its buffer lost is a gap of the camera, and the acquisition goes on. It
    begins with `blocks`. `frames` is how many the camera takes; `trigger` is that of its trigger property; `tags` what
    of an image's metadata stands with its frame; any other key a property. Several cameras of one core (a Multi Camera
    device, `mm:demo?cameras=2`) are planes, each with its own counter. With `sequence`, a useq file, it is a
    SequenceSource. Raises SourceError for a camera that is not there or a setting it does not take.
    """

    seekable = False

    def __new__(cls, uri: str) -> CameraSource:
        if cls is CameraSource and parse_camera_uri(uri).sequence is not None:
            from .camera_planes import SequenceSource

            return super().__new__(SequenceSource)
        return super().__new__(cls)

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.settings = parse_camera_uri(uri)
        self.dropped = 0
        self._started = False
        self._stopped = threading.Event()
        self._core, self._facts_type = self._new_core(uri)
        self._shared = SharedCore(self._core, self.settings.device)
        try:
            self._load()
            self._configure()
            self.spec = self._described()
        except CORE_ERRORS as error:
            self.close()
            raise SourceError(f"{uri}: {one_line(error)}") from None
        except BaseException:
            self.close()
            raise
        self._reached = dict.fromkeys(self.spec.plane_names, 0)
        facts = {"camera": self._facts()}
        self.series = Series(uuid.uuid4().hex, uri, time.time_ns(), self._frames, facts)
        self._opened_ns = time.monotonic_ns()  # the clock of the wall may be set while frames come
        share(self._shared)

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block | Gap]:
        frames, core = self.settings.frames, self._core
        if self._started:  # a second acquisition would count from 0 again
            raise SourceError(f"{self.uri}: a camera gives its series once; open it again for another")
        self._started = True
        try:
            patience_s = self._patience_s
            began_ns = self._since_ns()  # before: a frame is never stamped in the future
            core.startSequenceAcquisition(frames or 2**31 - 1, 0, False)
            heard = asked = time.monotonic()
            while not self._stopped.is_set() and (frames is None or min(self._reached.values()) < frames):
                # The camera itself is asked seldom: adapters are not made for calls beside a running sequence.
                running = time.monotonic() - asked < ASK_S or core.isSequenceRunning()
                waiting = self._pop(max_frames, began_ns)  # after that: what came before it stopped is still there
                if waiting:
                    yield from self._pieces(waiting)
                    heard = asked = time.monotonic()
                elif not running:
                    break
                elif time.monotonic() - heard > patience_s:
                    raise SourceError(f"{self.uri}: no frame for {patience_s:.0f} s; is the camera still there?")
                else:
                    asked = time.monotonic() if time.monotonic() - asked >= ASK_S else asked
                    time.sleep(POLL_S)
            short = [name for name, at in self._reached.items() if at != frames]
            if not self._stopped.is_set() and short:
                which, came = f"the camera {short[0].rpartition('/')[0]}".rstrip(), self._reached[short[0]]
                raise SourceError(f"{self.uri}: {which} stopped after {came} of {frames or '…'} frames")
        except SourceError:
            self.ended = "error"
            raise
        except CORE_ERRORS as error:
            self.ended = "error"
            raise SourceError(f"{self.uri}: {one_line(error)}; {sum(self._reached.values())} frames came") from None
        finally:
            if core.isSequenceRunning():
                core.stopSequenceAcquisition()

    def seek(self, index: int) -> None:
        if index != (stands := min(self._reached.values())):
            raise SourceError(f"{self.uri}: a camera cannot be sought; it stands at frame {stands}")

    def interrupt(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        self._stopped.set()
        time.sleep(LEAVE_S)
        give_back(self._shared)

    def _new_core(self, uri: str) -> tuple[Any, Any]:
        """Micro-Manager's core, and the type of an image's metadata."""
        core = plain_core(uri)  # says so where the library is not there
        import pymmcore

        return core, pymmcore.Metadata

    @property
    def _frames(self) -> int | None:
        frames = self.settings.frames
        return None if frames is None else frames * len(self.spec.plane_names)

    @property
    def _triggered(self) -> bool:
        return self.settings.trigger is not None or any(p in TRIGGER_PROPERTIES for p in self.settings.properties)

    @property
    def _patience_s(self) -> float:
        """How long a frame may take; with a trigger for ever."""
        return np.inf if self._triggered else max(SILENT_S, 5e-3 * self._core.getExposure())

    def _since_ns(self) -> int:
        """Nanoseconds since the series' t0."""
        return time.monotonic_ns() - self._opened_ns

    def _pop(self, max_frames: int, began_ns: int) -> list[Image]:
        """The images that wait in the camera's buffer."""
        core = self._core
        popped: list[Image] = []
        while len(popped) < max_frames and core.getRemainingImageCount():
            try:
                camera, number, elapsed_ms, pixels, said = self._pop_one()
            except (RuntimeError, IndexError):  # an overflow emptied the buffer between asking and taking
                break
            now_ns = self._since_ns() if elapsed_ms is None else began_ns + int(elapsed_ms * 1e6)
            popped.append(Image(camera if self.spec.planes else "", number, max(0, now_ns), pixels, said))
        return popped

    def _pop_one(self) -> tuple[str, int, float | None, np.ndarray, dict[str, str]]:
        """The next image of the buffer: which camera took it, its own count, when it came [ms since the start], if it
        says, the pixels, and the tags that were asked for."""
        facts = self._facts_type()
        pixels = self._core.popNextImageMD(facts)
        elapsed, camera = (
            facts.GetSingleTag(tag).GetValue() if facts.HasTag(tag) else None for tag in ("ElapsedTime-ms", CAMERA_TAG)
        )
        number = int(facts.GetSingleTag("ImageNumber").GetValue())
        tags = self.settings.tags
        said = {tag: facts.GetSingleTag(tag).GetValue()[:MAX_TAG] for tag in tags if facts.HasTag(tag)}
        return camera or "", number, None if elapsed is None else float(elapsed), pixels, said

    def _pieces(self, images: list[Image]) -> Iterator[Block | Gap]:
        """Blocks of consecutive frames, and the gaps before them."""
        for run in runs(images):
            block = as_block(run, self._channels.get(run[0].camera, self.spec.channel))
            if block.pixels.shape[1:] != self.spec.shape:  # of several cameras one may have another size
                found = " × ".join(map(str, block.pixels.shape[1:]))
                height, width = self.spec.shape
                raise SourceError(
                    f"{self.uri}: images of camera {run[0].camera!r} are {found}, the stream's {height} × {width}; "
                    "give all cameras one size, by roi= or in the configuration"
                )
            plane = plane_in(self.spec.plane_names, block.plane)
            if plane is None:
                raise SourceError(f"{self.uri}: an image of {run[0].camera!r}, which is none of the cameras")
            yield from self._dropped_before(plane, block.index)
            self._reached[plane] = block.stop
            yield block

    def _dropped_before(self, plane: str, index: int) -> Iterator[Gap]:
        reached = self._reached[plane]
        if index < reached:
            raise SourceError(f"{self.uri}: frame {index} after frame {reached - 1}; the counter went back")
        if index > reached:
            self.dropped += index - reached
            yield Gap(reached, index - reached, "camera", plane)
            self._reached[plane] = index

    def _load(self) -> None:
        device, core = self.settings.device, self._core
        if device != "demo":
            load_configuration(core, self.uri, device)
        else:
            load_demo(core, self.settings.cameras)
        if not core.getCameraDevice():
            raise SourceError(f"{self.uri}: the configuration names no camera; add Property,Core,Camera,NAME to it")

    def _configure(self) -> None:
        settings, core = self.settings, self._core
        for name, value in settings.properties.items():
            camera, (device, dot, known) = core.getCameraDevice(), name.partition(".")
            of_another = dot and name not in core.getDevicePropertyNames(camera)
            if of_another and device not in core.getLoadedDevices():
                raise SourceError(f"{self.uri}: no device {device!r}{did_you_mean(device, core.getLoadedDevices())}")
            set_property(core, self.uri, device if of_another else camera, known if of_another else name, value)
        for name, setting in (("Binning", settings.binning), ("BitDepth", settings.bit_depth)):
            if setting is not None:
                set_property(core, self.uri, core.getCameraDevice(), name, str(setting))
        if settings.trigger is not None:
            known = core.getDevicePropertyNames(core.getCameraDevice())
            found = next((p for p in TRIGGER_PROPERTIES if p in known), None)
            if found is None:
                raise SourceError(f"{self.uri}: this camera has no trigger property; its are {', '.join(known)}")
            set_property(core, self.uri, core.getCameraDevice(), found, settings.trigger)
        if settings.exposure_ms is not None:
            core.setExposure(settings.exposure_ms)
            if not np.isclose(taken := core.getExposure(), settings.exposure_ms, rtol=0.05, atol=0.1):
                asked = settings.exposure_ms  # cameras round to their line time; the demo ignores what it cannot
                raise SourceError(f"{self.uri}: exposure_ms={asked:g} was not taken; the camera stands at {taken:g} ms")
        core.clearROI()
        if settings.roi is not None:
            y0, y1, x0, x1 = settings.roi
            height, width = core.getImageHeight(), core.getImageWidth()
            if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
                raise SourceError(f"{self.uri}: roi={y0}:{y1},{x0}:{x1} is not inside the image of {height} × {width}")
            core.setROI(x0, y0, x1 - x0, y1 - y0)
        core.setCircularBufferMemoryFootprint(settings.buffer_mb)

    def _described(self) -> Spec:
        core = self._core
        nbytes, bits = core.getBytesPerPixel(), core.getImageBitDepth()
        dtype = {1: "u1", 2: "u2"}.get(nbytes)  # of 4 bytes nobody says whether they are floats; the demo's are
        if dtype is None or core.getNumberOfComponents() != 1:
            raise SourceError(
                f"{self.uri}: {core.getNumberOfComponents()} components and {nbytes} bytes a pixel; "
                "choose a grey pixel type of 8 or 16 bit"
            )
        cameras = [core.getCameraChannelName(n) for n in range(core.getNumberOfCameraChannels())]
        self._channels = {name: as_channel(name, n) for n, name in enumerate(cameras)} if len(cameras) > 1 else {}
        left, top, *_ = core.getROI()
        return Spec(
            planes=tuple(Plane(channel) for channel in self._channels.values()),
            origin_px=(top, left),
            shape=(core.getImageHeight(), core.getImageWidth()),
            dtype=dtype,
            interval_s=self._interval(),
            pixel_um=core.getPixelSizeUm() or None,
            camera=Camera(saturation_adu=float(2 ** min(bits, 8 * nbytes) - 1)),
        )

    def _interval(self) -> float | None:
        """The frame interval, taken from a short sequence: the exposure is only its lower bound (2 ms of exposure are
        3.2 ms a frame of the demo camera). None with a trigger: nobody knows when it comes."""
        core = self._core
        if self._triggered:
            return None
        if core.getExposure() > 250:
            return float(core.getExposure()) / 1e3
        shutter = core.getAutoShutter()
        core.setAutoShutter(False)  # no light on the sample for frames nobody keeps
        core.startSequenceAcquisition(MEASURED_FRAMES, 0, True)
        times_ms: dict[str, list[float]] = {}
        deadline = time.monotonic() + SILENT_S
        while (core.isSequenceRunning() or core.getRemainingImageCount()) and time.monotonic() < deadline:
            if core.getRemainingImageCount():
                name, _, elapsed_ms, _, _ = self._pop_one()
                times_ms.setdefault(name, []).append(time.monotonic() * 1e3 if elapsed_ms is None else elapsed_ms)
            else:
                time.sleep(POLL_S)
        if core.isSequenceRunning():
            core.stopSequenceAcquisition()
        core.setAutoShutter(shutter)
        measured_ms = [np.diff(times) for times in times_ms.values() if len(times) > 1]
        if not measured_ms:
            raise SourceError(
                f"{self.uri}: no frames within {SILENT_S:.0f} s; if it waits for a trigger, say trigger=…"
            )
        return max(1e-6, float(np.median(np.concatenate(measured_ms))) / 1e3)

    def _facts(self) -> Mapping[str, Any]:
        core, camera = self._core, self._core.getCameraDevice()
        return {
            "vendor": core.getDeviceLibrary(camera),
            "model": core.getDeviceName(camera),
            "roi": list(core.getROI()),
            "binning": core.getProperty(camera, "Binning") if core.hasProperty(camera, "Binning") else "1",
            "exposure_ms": core.getExposure(),
            "bit_depth": core.getImageBitDepth(),
            **({"cameras": {name: core.getDeviceName(name) for name in self._channels}} if self._channels else {}),
        }
