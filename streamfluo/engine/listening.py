"""Listening: other streams beside the frames, each read and written by a thread of its own.

A stream that stops, or whose device is unplugged, ends nothing: it is said, and tried again. Its samples are written
each quarter second, with their times on the monotonic clock that frames arrive by. What a disk refuses waits in memory,
up to a bound; what is dropped beyond it is counted, and said when that begins and ends.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.block import Block
from ..core.errors import ConfigError, FrameError
from ..core.input import INPUTS, Input, Sample
from ..inputs.frame import FrameValues
from ..inputs.opening import open_input
from ..session.input_samples import FRAMES
from ..session.inputs import InputWriter
from .config import InputConfig

WAIT_S, AGAIN_S, FRESH_S = 0.1, 1.0, 1.0
RATE_NS, RATE_TOLERANCE = 20 * 10**9, 0.03  # what comes .3 s late after 20 s is no other rate
MAX_ARRIVALS = 300_000  # frames whose times wait for a disk call that does not come back, of 200 bytes each: 60 MB

Tell = Callable[[Mapping[str, Any]], None]
NewWriter = Callable[[str], InputWriter]


class InputThread:
    """Reads one input and writes its samples; `to_utc_ns` is added to the monotonic clock."""

    def __init__(self, config: InputConfig, opened: Input, writer: InputWriter, to_utc_ns: int, tell: Tell) -> None:
        self.config, self._input, self._writer, self._to_utc_ns, self._tell = config, opened, writer, to_utc_ns, tell
        self._width: int | None = None  # columns of a sample, 0 for text
        self._last_ns, self._came_s, self._silent = -(1 << 62), time.monotonic(), False
        self._newest: tuple[float, tuple[float, ...] | str] | None = None  # when it came, and what
        self._watched: tuple[int, int] | None = None  # when a clock of its own was looked at, and what it said
        self._other_rate = 0.0
        self.back = self.unlike = 0
        self.lost, self._dropping = "", False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"input {config.name}", daemon=True)
        self._thread.start()

    def newest(self) -> tuple[float, ...] | str | None:
        """Return the newest sample; a text holds until the next one, numbers for a second."""
        if (found := self._newest) is None:
            return None
        came_s, value = found
        return value if isinstance(value, str) or time.monotonic() - came_s < FRESH_S else None

    def facts(self) -> dict[str, Any]:
        """How it fares, in plain values."""
        silent_s = time.monotonic() - self._came_s
        found = {"from": self.config.uri, "samples": self._writer.samples, "silent_s": round(silent_s, 1)}
        counts = {"back in time": self.back, "of another width": self.unlike, **self._input.refused}
        counts["dropped while the disk refused"] = self._writer.dropped
        troubles = {"lost": self.lost, "disk refuses": self._writer.refused, "rate": self._other_rate}
        return {**found, **{name: said for name, said in {**counts, **troubles}.items() if said}}

    @property
    def dropped(self) -> int:
        """Samples that were neither written nor kept for later."""
        return self._writer.dropped + self._input.refused["too many wait"]

    def close(self) -> None:
        """Read no more, and write what is there."""
        self._over.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                try:
                    samples = self._input.read(WAIT_S)
                    self.lost = ""
                except Exception as error:  # a device's fault ends no recording
                    if not self.lost:
                        self._tell({"event": "input lost", "input": self.config.name, "error": str(error)[:200]})
                    self.lost = f"{type(error).__name__}: {error}"[:200]
                    self._over.wait(AGAIN_S)
                    continue
                self._take(samples)
            with contextlib.suppress(Exception):  # what came since
                self._take(self._input.read(0.0))
        finally:
            self._input.close()
            try:
                self._writer.close()
            except OSError as error:
                lost = {"samples": self._writer.waiting, "error": error.strerror or str(error)}
                self._tell({"event": "input not written", "input": self.config.name, **lost})

    def _take(self, samples: list[Sample]) -> None:
        now_s = time.monotonic()
        silent = not samples and now_s - self._came_s > self.config.silent_s
        if silent != self._silent:
            event = "input silent" if silent else "input goes on"
            self._tell({"event": event, "input": self.config.name})
            self._silent = silent
        if samples:
            self._came_s = now_s
            if fitting := [sample for sample in samples if self._fits(sample)]:
                self._newest = now_s, fitting[-1].value
                self._watch_rate(fitting[-1])
                self._write(fitting)
        else:
            self._writer.flush()

    def _watch_rate(self, sample: Sample) -> None:
        """Tell once of a clock that runs at another rate than it says: samples at another rate than was stated."""
        if sample.own_ns is None or self._other_rate:
            return
        began_ns, began_own_ns = self._watched or (sample.t_ns, sample.own_ns)
        if self._watched is None or sample.own_ns < began_own_ns:
            self._watched = sample.t_ns, sample.own_ns
        elif sample.t_ns - began_ns >= RATE_NS:
            self._watched = None
            rate = (sample.own_ns - began_own_ns) / (sample.t_ns - began_ns)
            if abs(rate - 1) > RATE_TOLERANCE:
                self._other_rate = round(rate, 4)
                self._tell({"event": "input at another rate", "input": self.config.name, "rate": self._other_rate})

    def _fits(self, sample: Sample) -> bool:
        width = 0 if isinstance(sample.value, str) else len(sample.value)
        self._width = width if self._width is None else self._width
        if width != self._width:
            self.unlike += 1
            return False
        t_ns = sample.t_ns if sample.own_ns is None else sample.own_ns
        self.back += t_ns < self._last_ns
        self._last_ns = t_ns
        return True

    def _write(self, samples: list[Sample]) -> None:
        t_ns = np.array([sample.t_ns for sample in samples], np.int64)
        values = [sample.value for sample in samples]
        arrays = {"t_ns": t_ns, "value": np.array(values, float if self._width else str)}
        if samples[0].frame >= 0:  # at the frames' own time
            arrays["frame"] = np.array([sample.frame for sample in samples], np.int64)
        else:
            arrays["t_ns"] = t_ns + self._to_utc_ns
        if samples[0].own_ns is not None:
            arrays["own_ns"] = np.array([sample.own_ns for sample in samples], np.int64)
        before = self._writer.dropped
        self._writer.add(arrays)
        dropping = self._writer.dropped > before
        if dropping != self._dropping:
            event = "input dropped" if dropping else "input kept again"
            self._tell({"event": event, "input": self.config.name, "samples": self._writer.dropped})
            self._dropping = dropping


class Arrivals(Input):
    """When frames arrived, as samples: the chain's thread, which must wait for no disk, puts them here."""

    def __init__(self) -> None:
        super().__init__("")
        self._put: deque[Sample] = deque()

    def put(self, block: Block, arrived_ns: int) -> None:
        """Note frames, the last of which arrived then by the monotonic clock."""
        if len(self._put) + len(block) > MAX_ARRIVALS:  # the oldest are kept, as of other inputs
            self.refused["too many wait"] += len(block)
            return
        for index, t_ns in enumerate(block.times_ns.tolist(), block.index):
            self._put.append(Sample(arrived_ns, (float(index), float(t_ns))))

    def read(self, wait_s: float) -> list[Sample]:
        if not self._put:
            time.sleep(wait_s)
        return [self._put.popleft() for _ in range(len(self._put))]


class Listening:
    """The inputs of a run, and when its frames arrived. Raises ConfigError for an input that cannot be opened."""

    def __init__(self, configs: Iterable[InputConfig], new_writer: NewWriter, tell: Tell) -> None:
        self._threads: list[InputThread] = []
        self.left_out = 0  # frames that could not carry the newest samples
        self._to_utc_ns = time.time_ns() - time.monotonic_ns()
        opened: list[tuple[InputConfig, Input]] = []
        try:
            for config in configs:
                try:
                    opened.append((config, open_input(config.uri)))
                except ConfigError as error:
                    raise ConfigError(f"input {config.name!r}: {error}") from None
        except ConfigError:
            for _, one in opened:
                one.close()
            raise
        self._of_frames = {config.name: one for config, one in opened if isinstance(one, FrameValues)}
        for config, one in opened:
            self._threads.append(InputThread(config, one, new_writer(config.name), self._to_utc_ns, tell))
        self._arrivals = Arrivals()
        never = InputConfig(FRAMES, "", silent_s=float("inf"))
        self._frames = InputThread(never, self._arrivals, new_writer(FRAMES), self._to_utc_ns, tell)

    def beside(self, block: Block) -> Block:
        """Return frames that just came, each with the newest sample of every input in its `user`."""
        newest = {thread.config.name: value for thread in self._threads if (value := thread.newest()) is not None}
        newest = {name: value for name, value in newest.items() if name not in self._of_frames}
        if not newest and not self._of_frames:
            return block
        user = {n: self._with_inputs(block.user.get(n, {}), newest) for n in range(block.index, block.stop)}
        try:
            return replace(block, user=user)
        except FrameError:  # more than a frame can carry beside what its sender says: the samples are recorded anyhow
            self.left_out += len(block)
            return block

    def _with_inputs(self, user: Mapping[str, Any], newest: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is said of a frame, and the newest samples beside it; of its own metadata always its own."""
        own = {name: value for name, one in self._of_frames.items() if (value := one.value(user)) is not None}
        return {**user, INPUTS: {**newest, **own}} if newest or own else user

    def arrived(self, block: Block, arrived_ns: int) -> None:
        """Note frames, and when the last of them arrived by the monotonic clock."""
        self._arrivals.put(block, arrived_ns)
        for one in self._of_frames.values():
            one.put(block)

    def facts(self) -> dict[str, Any]:
        """How each input fares, by name."""
        of_frames = {"without the newest samples": self.left_out, "times dropped": self._frames.dropped}
        troubles = {name: count for name, count in of_frames.items() if count}
        return {thread.config.name: thread.facts() for thread in self._threads} | (
            {FRAMES: troubles} if troubles else {}
        )

    def close(self) -> None:
        """Write what is there."""
        for thread in self._threads:
            thread.close()
        self._frames.close()
