"""Samples of NI-DAQ hardware: voltages and counts, by its own sample clock. A door to nidaqmx."""

from __future__ import annotations

import re
import time
from typing import Any

from ..core.errors import ConfigError
from ..core.input import Input, Sample
from ..core.ni_uri import number_of, parse_ni

MAX_RATE_HZ = 50_000.0
BUFFER_S = 10.0
BLOCK_S = 0.02
RATE_TOLERANCE = 0.01  # a device divides its timebase: it takes the rate nearest to the one that is asked for
START_NS = 2_000_000  # within so long it is known when the clock began; a start that took longer says nothing
_ANALOG, _COUNTER = re.compile(r"[\w-]+/ai\d+(:\d+)?"), re.compile(r"[\w-]+/ctr\d+")


class NiSamples(Input):
    """`ni:Dev1/ai0:3?rate=1000&volts=10`, voltages; `ni:Dev1/ctr0?rate=1000&clock=/Dev1/ai/SampleClock`, the edges
    that a counter has counted. A sample clock of the device takes them, or that of the terminal `clock`.

    Each sample says its time by that clock, which began at 0 with the task. What the buffer lost ends the task, and the
    next one begins anew.
    """

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._channel = uri.partition(":")[2].partition("?")[0]
        self._counts = _COUNTER.fullmatch(self._channel) is not None
        if not self._counts and not _ANALOG.fullmatch(self._channel):
            raise ConfigError(f"{uri}: write ni:Dev1/ai0, ni:Dev1/ai0:3 or ni:Dev1/ctr0")
        said = parse_ni(uri, ("rate", "clock") if self._counts else ("rate", "clock", "volts"))
        self._asked_hz = number_of(uri, said, "rate", 1000.0, (1.0, MAX_RATE_HZ))
        self._volts = number_of(uri, said, "volts", 10.0, (0.01, 100.0))
        self._clock = said.get("clock", "")
        if self._counts and not self._clock:
            raise ConfigError(f"{uri}: a counter has no sample clock of its own; say clock=/Dev1/ai/SampleClock")
        try:
            import nidaqmx
            from nidaqmx import constants
        except ImportError:
            raise ConfigError(f"{uri}: needs nidaqmx and NI's driver; install it with pip install nidaqmx") from None
        self._library, self._constants = nidaqmx, constants
        self._task: Any = None
        self._taken, self._rate_hz = 0, self._asked_hz
        self._began_ns: int | None = None
        try:
            self._start()
        except OSError as error:
            raise ConfigError(f"{uri}: {error}") from None

    def read(self, wait_s: float) -> list[Sample]:
        if self._task is None:
            self._start()
        time.sleep(min(wait_s, BLOCK_S))
        try:
            read = self._task.read(number_of_samples_per_channel=self._constants.READ_ALL_AVAILABLE, timeout=wait_s)
        except Exception as error:  # the driver's own kinds: unplugged, or the buffer was not read in time
            self.close()
            raise OSError(_one_line(error)) from None
        now_ns = time.monotonic_ns()
        columns = read if read and isinstance(read[0], list) else [read]
        first, self._taken = self._taken, self._taken + len(columns[0])
        samples = [
            Sample(now_ns, tuple(map(float, row)), own_ns=round(n * 1e9 / self._rate_hz))
            for n, row in enumerate(zip(*columns, strict=True), first)
        ]
        if first == 0 and samples:
            began_ns = self._began_ns
            samples[0] = samples[0]._replace(own_ns=1) if began_ns is None else samples[0]._replace(t_ns=began_ns)
        return samples

    def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.close()

    def _start(self) -> None:
        """Raises OSError for a device that is not there, or another rate than was asked for."""
        try:
            self._task = task = self._library.Task()
            if self._counts:
                task.ci_channels.add_ci_count_edges_chan(self._channel)
            else:
                task.ai_channels.add_ai_voltage_chan(self._channel, min_val=-self._volts, max_val=self._volts)
            task.timing.cfg_samp_clk_timing(
                self._asked_hz,
                source=self._clock,
                sample_mode=self._constants.AcquisitionType.CONTINUOUS,
                samps_per_chan=max(1000, round(BUFFER_S * self._asked_hz)),
            )
            self._rate_hz = float(task.timing.samp_clk_rate)
            before_ns = time.monotonic_ns()
            task.start()
            after_ns = time.monotonic_ns()
        except Exception as error:
            self.close()
            raise OSError(_one_line(error)) from None
        if not abs(self._rate_hz / self._asked_hz - 1) <= RATE_TOLERANCE:
            self.close()
            raise OSError(f"the device samples at {self._rate_hz:g} Hz, not at rate={self._asked_hz:g}")
        self._taken = 0
        self._began_ns = (before_ns + after_ns) // 2 if after_ns - before_ns <= START_NS else None


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
