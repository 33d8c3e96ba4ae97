"""Decisions as lines on a serial port, for microcontrollers and pulse generators. A door to pyserial."""

from __future__ import annotations

from ..core.action import Action, Decision, Message
from ..core.errors import ConfigError
from ..core.serial_uri import parse_serial

WAIT_S = 1.0


class SerialDecisions(Action):
    """`serial:/dev/ttyUSB0?baud=115200`: the message, and a line end unless it has one; without one the JSON."""

    def __init__(self, uri: str, message: Message) -> None:
        super().__init__(uri, message)
        try:
            import serial
        except ImportError:
            raise ConfigError(f'{uri}: needs pyserial; install it with pip install "streamfluo[devices]"') from None
        port, baud = parse_serial(uri)
        try:
            self._line = serial.Serial(port, baud, write_timeout=WAIT_S)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{uri}: cannot open the serial line: {error}") from None

    def do(self, decision: Decision) -> None:
        line = self.message.of(decision)
        self._line.write(line.encode() if line.endswith("\n") else f"{line}\n".encode())

    def close(self) -> None:
        self._line.close()
