"""Cameras in sequences: the planes of a useq.MDASequence, acquired by pymmcore-plus: `mm:demo?sequence=seq.yaml`."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.block import NO_USER, Block
from ..core.errors import SourceError, did_you_mean
from ..core.plane import ONE_PLANE, Plane
from ..core.source import MAX_BLOCK_FRAMES, NO_PLANES, Gap
from ..core.spec import Spec
from .camera import CORE_ERRORS, CameraSource
from .camera_cores import core_plus, drop_callbacks, load_configuration
from .camera_params import CHANGED, MAX_TAG, Settings, one_line
from .camera_sequence import Sequence, read_sequence

WAIT_S = 0.1
MAX_CHANGED = 100
LEAVE_S = 10.0  # for the event under way, when the sequence is stopped

log = logging.getLogger("streamfluo")

Key = tuple[int, int]  # channel's number, slice's number


class SequenceSource(CameraSource):
    """Frames of a sequence of a useq file, each channel and slice a plane, time points their indices.

    pymmcore-plus' engine acquires it, hardware-sequenced where the devices can. Frames that do not come, and those that
    find `buffer_mb` of frames waiting, are gaps of their plane. Raises SourceError for a sequence that the microscope
    cannot take.
    """

    _thread: threading.Thread | None = None

    def __init__(self, uri: str) -> None:
        self.refused: Counter[str] = Counter()
        self._more = threading.Condition()
        self._waiting: deque[tuple[Key, Block]] = deque()
        self._waiting_nbytes = 0
        self._failed: str | None = None
        self._over = False
        self._came: dict[Key, int] = {}  # the next time point that may come of each plane
        self._properties: dict[Key, Mapping[str, str]] = {}
        super().__init__(uri)

    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block | Gap]:
        if self._started:
            raise SourceError(f"{self.uri}: a camera gives its series once; open it again for another")
        self._started = True
        self._began_ns = self._since_ns()
        self._thread = threading.Thread(target=self._acquire, name="sequence", daemon=True)
        self._thread.start()
        given: dict[Key, int] = dict.fromkeys(self._sequence.planes, 0)
        for key, block in self._arriving():
            yield from self._gap(key, given[key], block.index)
            given[key] = block.stop
            yield block
        if self._stopped.is_set():
            return
        self._thread.join(LEAVE_S)
        if self._failed is not None:
            self.ended = "error"
            raise SourceError(f"{self.uri}: {self._failed}; {sum(self._came.values())} of {self.series.frames} frames")
        for key, index in given.items():
            yield from self._gap(key, index, self._sequence.points)

    def seek(self, index: int) -> None:
        if index or self._started:
            raise SourceError(f"{self.uri}: a camera cannot be sought; its sequence begins at frame 0")

    def resume(self, index: int, seq: int, planes: Mapping[str, int] = NO_PLANES) -> None:
        raise SourceError(f"{self.uri}: a sequence does not go on after a break; start a new run")

    def interrupt(self) -> None:
        super().interrupt()
        self._core.mda.cancel()
        with self._more:
            self._more.notify()

    def close(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._core.mda.cancel()
            self._thread.join(LEAVE_S)
        self._drop_callbacks()
        super().close()

    def _arriving(self) -> Iterator[tuple[Key, Block]]:
        """The frames as they come, to the end of the sequence."""
        while not self._stopped.is_set():
            with self._more:
                if not self._waiting:
                    if self._over:
                        return
                    self._more.wait(WAIT_S)
                    continue
                key, block = self._waiting.popleft()
                self._waiting_nbytes -= block.pixels.nbytes
            yield key, block

    def _acquire(self) -> None:
        """The thread of the acquisition."""
        mda = self._core.mda
        mda.events.frameReady.connect(self._take)
        try:
            mda.run(self._sequence.events)
        except Exception as error:  # a device may raise what it likes
            self._failed = f"the acquisition failed: {one_line(error)[:300]}"
        finally:
            mda.events.frameReady.disconnect(self._take)
            with self._more:
                self._over = True
                self._more.notify()

    def _take(self, pixels: np.ndarray, event: Any, facts: Mapping[str, Any]) -> None:
        """Queue a frame; called by the thread of the acquisition, which never waits."""
        key, index = (event.index.get("c", 0), event.index.get("z", 0)), event.index.get("t", 0)
        plane, came = self._sequence.planes.get(key), self._came.get(key, 0)
        if plane is None or not came <= index < self._sequence.points:
            self.refused["plane" if plane is None else "index"] += 1
        elif pixels.shape != self.spec.shape or pixels.dtype.name != self.spec.dtype:
            self.refused["spec"] += 1
            if self.refused["spec"] == 1:
                log.warning("%s: frame %d of %s is %s %s, the stream %s; dropped", self.uri, index, plane.name,
                            pixels.shape, pixels.dtype, self.spec.shape)  # fmt: skip
        else:
            user = self._changed_settings(key, facts)
            t_ns = self._began_ns + max(0, int(facts.get("runner_time_ms", 0.0) * 1e6))
            tags = facts.get("camera_metadata", {})
            said = {tag: str(tags[tag])[:MAX_TAG] for tag in self.settings.tags if tag in tags}
            told = {index: {**said, **({CHANGED: user} if user else {})}} if said or user else NO_USER
            block = Block(index, np.array([t_ns]), pixels[None], plane.channel, plane.z, told)
            self._came[key] = index + 1
            with self._more:
                if self._waiting_nbytes + block.pixels.nbytes <= self.settings.buffer_mb << 20:
                    self._waiting.append((key, block))
                    self._waiting_nbytes += block.pixels.nbytes
                    self._more.notify()

    def _changed_settings(self, key: Key, facts: Mapping[str, Any]) -> dict[str, str]:
        """What a plane's device settings were changed to since its frame before, as far as a frame can carry it."""
        told = {f"{p['dev']}.{p['prop']}"[:120]: str(p["val"])[:120] for p in facts.get("property_values", ())}
        before = self._properties.get(key, told)
        self._properties[key] = told
        changed = {name: value for name, value in told.items() if before.get(name) != value}
        return dict(list(changed.items())[:MAX_CHANGED])

    def _gap(self, key: Key, first: int, stop: int) -> Iterator[Gap]:
        if stop > first:
            self.dropped += stop - first
            plane = self._sequence.planes[key].name if self.spec.planes else ONE_PLANE
            yield Gap(first, stop - first, "camera", plane)

    def _new_core(self, uri: str) -> tuple[Any, Any]:
        core = core_plus(uri)
        self._drop_callbacks = weakref.finalize(self, drop_callbacks, core)  # at the program's end, too
        return core, None

    def _load(self) -> None:
        if self.settings.device == "demo":
            demo = Path(self._core.getDeviceAdapterSearchPaths()[0]) / "MMConfig_demo.cfg"
            load_configuration(self._core, self.uri, str(demo))
            for name, value in (("PixelType", "16bit"), ("BitDepth", "16")):
                self._core.setProperty(self._core.getCameraDevice(), name, value)
        else:
            super()._load()

    def _configure(self) -> None:
        settings: Settings = self.settings
        if settings.frames is not None:
            raise SourceError(f"{self.uri}: leave frames out; the sequence's time_plan says how many there are")
        self._sequence: Sequence = read_sequence(Path(str(settings.sequence)).expanduser(), self.uri)
        self._check_devices()
        super()._configure()

    def _check_devices(self) -> None:
        """Raises SourceError for channels and stages that the microscope does not have."""
        core, events = self._core, self._sequence.events
        for channel in events.channels:
            where = f"{self.uri}: channel {channel.config!r}"
            if channel.group not in (groups := core.getAvailableConfigGroups()):
                raise SourceError(f"{where}: no group {channel.group!r}{did_you_mean(channel.group, groups)}")
            if channel.config not in (presets := core.getAvailableConfigs(channel.group)):
                raise SourceError(f"{where}: none of group {channel.group!r}{did_you_mean(channel.config, presets)}")
        if events.z_plan and not core.getFocusDevice():
            raise SourceError(f"{self.uri}: the sequence has a z_plan, the microscope no focus device")

    def _described(self) -> Spec:
        spec, planes = super()._described(), tuple(self._sequence.planes.values())
        if self._channels:
            raise SourceError(f"{self.uri}: a sequence is of one camera, found {', '.join(self._channels)}; choose one")
        exposure_s = self._core.getExposure() / 1e3
        if len(planes) == 1:
            return spec.with_(channel=planes[0].channel)
        return spec.with_(
            planes=tuple(p if p.exposure_s else Plane(p.channel, p.z, p.z_um, exposure_s=exposure_s) for p in planes)
        )

    def _interval(self) -> float | None:
        return self._sequence.interval_s

    @property
    def _frames(self) -> int:
        return self._sequence.points * len(self._sequence.planes)

    def _facts(self) -> Mapping[str, Any]:
        """What is known of the camera, and the settings of each channel."""
        channels = self._sequence.events.channels
        settings = {channel.config: self._settings_of(channel) for channel in channels}
        return {**super()._facts(), "sequence": str(self.settings.sequence), "channels": settings}

    def _settings_of(self, channel: Any) -> str:
        try:
            data = self._core.getConfigData(channel.group, channel.config)
            return ", ".join(f"{device}.{name}={value}" for device, name, value in data)[:400]
        except CORE_ERRORS as error:
            raise SourceError(f"{self.uri}: channel {channel.config!r}: {one_line(error)}") from None
