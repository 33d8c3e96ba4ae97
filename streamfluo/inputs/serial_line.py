"""Samples as lines of a serial port: a wheel's encoder, a lick detector. A door to pyserial."""

from __future__ import annotations

from ..core.errors import ConfigError
from ..core.input import Input, Sample
from ..core.serial_uri import parse_serial

MAX_LINE_BYTES = 8192


class SerialInput(Input):
    """`serial:/dev/ttyACM0?baud=115200`: a sample a line."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        port, baud = parse_serial(uri)
        try:
            import serial
        except ImportError:
            raise ConfigError(f'{uri}: needs pyserial; install it with pip install "streamfluo[devices]"') from None
        try:
            self._line = serial.Serial(port, baud)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{uri}: cannot open the serial line: {error}") from None
        self._begun = b""

    def read(self, wait_s: float) -> list[Sample]:
        self._line.timeout = wait_s
        self._begun += self._line.read(max(1, self._line.in_waiting))
        *lines, self._begun = self._begun.split(b"\n")
        if len(self._begun) > MAX_LINE_BYTES:
            self.refused["too long"] += 1
            self._begun = b""
        return [sample for line in lines for sample in self.sampled(line)]

    def close(self) -> None:
        self._line.close()
