"""Decisions that set a property of a Micro-Manager device, or open a shutter: on the running camera's own core."""

from __future__ import annotations

import re
import time
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from ..core.action import Action, Decision, Message
from ..core.errors import ConfigError, SourceError, did_you_mean
from .camera_cores import SharedCore, give_back, take_core
from .camera_params import INTEGER, check_property, check_value, is_number, one_line

MAX_PULSE_S = 10.0
SHUTTER = 3  # MMCore's type of device
_STEP = re.compile(r"([*+-])=\s*(\S+)")
_STATES = {"open": True, "close": False}


class _Asked(NamedTuple):
    """What a URI asks for; the limits are those that it states, infinite where it states none."""

    target: str
    configuration: str | None
    low: float
    high: float
    pulse_s: float

    @property
    def bounded(self) -> bool:
        return self.low > -float("inf") or self.high < float("inf")


class SetProperty(Action):
    """`mm:Laser.Power?min=0&max=20`, a property of a device: its message is the value, or a step from what it is,
    `*= 0.9`, `+= 1`, `-= 1`, which stays within the limits. `mm:LED`, a shutter: `open` or `close`.

    With `pulse_ms` it is set back after that. The device is one of the `mm:` camera that runs in this program, else of
    `config=/path/to/rig.cfg`. Raises ConfigError for what the device has not or does not take.
    """

    def __init__(self, uri: str, message: Message) -> None:
        super().__init__(uri, message)
        self._asked = _asked(uri)
        if message.is_json:
            raise ConfigError(f"{uri}: say in message what it is set to: a value, *= 0.9, or open for a shutter")
        self._shared: SharedCore | None = None
        try:
            self._shared = take_core(uri, self._asked.target.partition(".")[0], self._asked.configuration)
            with self._shared.turn("") as core:
                self._device, self._property = self._found(core)
            self._try(message)
        except SourceError as error:
            self.close()
            raise ConfigError(str(error)) from None
        except RuntimeError as error:  # MMCore's own
            self.close()
            raise ConfigError(f"{uri}: {one_line(error)}") from None

    def check(self, message: Message) -> None:
        if self._asked.pulse_s:
            raise ConfigError(f"{self.uri}: with pulse_ms it is set back each time: it takes no at_end")
        try:
            self._try(message)
        except SourceError as error:
            raise ConfigError(str(error)) from None

    def _try(self, message: Message) -> None:
        """Raises SourceError for a message that the device does not take; sets nothing."""
        assert self._shared is not None
        with self._shared.turn("") as core:
            self._value(core, message.of(Decision("step", 0, 0, "uid", 0, 0, 0)), self._now(core))

    def do(self, decision: Decision) -> str:
        assert self._shared is not None
        with self._shared.turn(self._asked.target) as core:
            before = self._now(core)
            value = self._value(core, self.message.of(decision), before)
            self._set(core, value)
            if self._asked.pulse_s:
                try:
                    time.sleep(self._asked.pulse_s)
                finally:
                    self._set(core, before)
        return value

    def close(self) -> None:
        if self._shared is not None:
            shared, self._shared = self._shared, None
            give_back(shared)

    def _found(self, core: Any) -> tuple[str, str]:
        """The device and its property, "" for a shutter as a whole."""
        devices, target, uri = core.getLoadedDevices(), self._asked.target, self.uri
        if target in devices:
            if core.getDeviceType(target) != SHUTTER:
                known = ", ".join(core.getDevicePropertyNames(target))
                raise SourceError(f"{uri}: {target} is no shutter; write mm:{target}.PROPERTY, of which it has {known}")
            return target, ""
        device = next((name for name in devices if target.startswith(f"{name}.")), None)
        if device is None:
            asked = target.partition(".")[0]
            raise SourceError(f"{uri}: no device {asked!r}{did_you_mean(asked, devices)}")
        name = target[len(device) + 1 :]
        check_property(core, uri, device, name)
        return device, name

    def _now(self, core: Any) -> str:
        if not self._property:
            return "open" if core.getShutterOpen(self._device) else "close"
        return str(core.getProperty(self._device, self._property))

    def _set(self, core: Any, value: str) -> None:
        if self._property:
            core.setProperty(self._device, self._property, value)
        else:
            core.setShutterOpen(self._device, _STATES[value])

    def _value(self, core: Any, text: str, now: str) -> str:
        """What the message makes of what it is now. Raises SourceError for what cannot be."""
        text, where = text.strip(), f"{self.uri}: {self._device}"
        if not self._property:
            if text not in _STATES:
                raise SourceError(f"{where}: a shutter is told open or close, found {text[:40]!r}")
            return text
        step = _STEP.fullmatch(text)
        if step is None:
            if self._asked.bounded and not (is_number(text) and self._asked.low <= float(text) <= self._asked.high):
                low, high = self._asked.low, self._asked.high
                raise SourceError(f"{where}: {self._property} is a number from {low:g} to {high:g}, found {text!r}")
            value = text
        else:
            value = self._stepped(core, where, step, now)
        check_value(core, self.uri, self._device, self._property, value)
        return value

    def _stepped(self, core: Any, where: str, step: re.Match[str], now: str) -> str:
        device, name, low, high = self._device, self._property, self._asked.low, self._asked.high
        sign, by = step[1], step[2]
        if not is_number(by) or (sign == "*" and float(by) <= 0):
            raise SourceError(f"{where}: a step is *= 0.9, += 1 or -= 1, found {step[0][:40]!r}")
        if not is_number(now) or core.getAllowedPropertyValues(device, name):
            raise SourceError(f"{where}: {name} is not a number that can be stepped, it is {now!r}; write its value")
        if core.hasPropertyLimits(device, name):
            low = max(low, core.getPropertyLowerLimit(device, name))
            high = min(high, core.getPropertyUpperLimit(device, name))
        if not (is_number(f"{low}") and is_number(f"{high}") and low <= high):
            raise SourceError(f"{where}: {name} has no limits within which it can be stepped; say ?min=0&max=20")
        was = float(now)
        value = was * float(by) if sign == "*" else was + float(by) * (1 if sign == "+" else -1)
        if core.getPropertyType(device, name) == INTEGER:
            whole = round(value)  # *= 0.9 of 3 would stay 3 for ever
            value = whole if whole != was or value == was else was + (1 if value > was else -1)
            return str(int(min(max(value, low), high)))
        return f"{min(max(value, low), high):.9g}"


def _asked(uri: str) -> _Asked:
    target, _, query = uri.partition(":")[2].partition("?")
    said = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := said.keys() - {"config", "min", "max", "pulse_ms"}:
        raise ConfigError(f"{uri}: a device says config, min, max and pulse_ms, not {min(unknown)[:40]!r}")
    if not target:
        raise ConfigError(f"{uri}: write mm:DEVICE.PROPERTY, or mm:DEVICE for a shutter")
    for name in ("min", "max", "pulse_ms"):
        if name in said and not is_number(said[name]):
            raise ConfigError(f"{uri}: {name} is a number, found {said[name][:40]!r}")
    low, high = float(said.get("min", "-inf")), float(said.get("max", "inf"))
    pulse_s = float(said.get("pulse_ms", 0)) / 1e3
    if low > high:
        raise ConfigError(f"{uri}: min is {low:g}, above max, {high:g}")
    if not 0 <= pulse_s <= MAX_PULSE_S:
        raise ConfigError(f"{uri}: pulse_ms is a number from 0 to {1e3 * MAX_PULSE_S:g}, found {said['pulse_ms']!r}")
    return _Asked(unquote(target), said.get("config"), low, high, pulse_s)
