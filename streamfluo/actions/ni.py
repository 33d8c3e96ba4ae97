"""Decisions as pulses of NI-DAQ hardware. A door to nidaqmx."""

from __future__ import annotations

import re
import time
from typing import Any

from ..core.action import Action, Decision, Message
from ..core.errors import ConfigError
from ..core.ni_uri import number_of, parse_ni

MAX_PULSE_S = 10.0
_DIGITAL, _ANALOG = re.compile(r"[\w-]+/port\d+/line\d+"), re.compile(r"[\w-]+/ao\d+")


class NiPulses(Action):
    """`ni:Dev1/port0/line3?pulse_ms=5`, a TTL pulse; `ni:Dev1/ao0?pulse_ms=5&volts=3.3`, one of that voltage, then 0 V.

    The line is low from the start of the run to its end, but for the pulses; a pulse lasts at least `pulse_ms`.
    """

    def __init__(self, uri: str, message: Message) -> None:
        super().__init__(uri, message)
        channel = uri.partition(":")[2].partition("?")[0]
        analog = _ANALOG.fullmatch(channel) is not None
        if not analog and not _DIGITAL.fullmatch(channel):
            raise ConfigError(f"{uri}: write ni:Dev1/port0/line0 or ni:Dev1/ao0")
        said = parse_ni(uri, ("pulse_ms", "volts") if analog else ("pulse_ms",))
        self._pulse_s = number_of(uri, said, "pulse_ms", 5.0, (0.0, 1e3 * MAX_PULSE_S)) / 1e3
        self._high: Any = number_of(uri, said, "volts", 5.0, (-10.0, 10.0)) if analog else True
        self._low: Any = 0.0 if analog else False
        try:
            import nidaqmx
        except ImportError:
            raise ConfigError(f"{uri}: needs nidaqmx and NI's driver; install it with pip install nidaqmx") from None
        self._task = None
        try:
            self._task = nidaqmx.Task()
            if analog:
                self._task.ao_channels.add_ao_voltage_chan(channel)
            else:
                self._task.do_channels.add_do_chan(channel)
            self._task.write(self._low, auto_start=True)
        except Exception as error:  # the driver's own kinds, and that of a driver which is not there
            self.close()
            raise ConfigError(f"{uri}: {str(error).splitlines()[0][:200]}") from None

    def check(self, message: Message) -> None:
        raise ConfigError(f"{self.uri}: between pulses the line is low, also when the run ends: it takes no at_end")

    def do(self, decision: Decision) -> None:
        assert self._task is not None
        self._task.write(self._high, auto_start=True)
        try:
            time.sleep(self._pulse_s)
        finally:
            self._task.write(self._low, auto_start=True)

    def close(self) -> None:
        if self._task is not None:
            self._task.close()
