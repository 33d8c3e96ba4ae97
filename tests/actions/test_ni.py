"""Pulses of NI-DAQ hardware, against a stand-in for nidaqmx that keeps every call: the driver runs on few machines."""

import sys
import time
from types import ModuleType

import pytest

from streamfluo import ConfigError
from streamfluo.actions.opening import open_action
from streamfluo.core.action import Decision, Message

FIRED = Decision("fires", 1, 0, "u", 0, 0, 0)


class Channels:
    def __init__(self, calls):
        self._calls = calls

    def add_do_chan(self, name):
        if name.startswith("Gone"):
            raise RuntimeError("Device identifier is invalid.\nDevice Specified: Gone\nStatus Code: -200220")
        self._calls.append(("digital", name))

    def add_ao_voltage_chan(self, name):
        self._calls.append(("analog", name))


@pytest.fixture
def calls(monkeypatch):
    calls = []

    class Task:
        def __init__(self):
            self.do_channels = self.ao_channels = Channels(calls)

        def write(self, value, auto_start):
            assert auto_start is True
            calls.append((value, time.monotonic()))

        def close(self):
            calls.append("closed")

    module = ModuleType("nidaqmx")
    module.Task = Task
    monkeypatch.setitem(sys.modules, "nidaqmx", module)
    return calls


def test_a_line_is_low_but_for_its_pulses(calls):
    action = open_action("ni:Dev1/port0/line3?pulse_ms=20")
    action.do(FIRED)
    action.do(FIRED)
    action.close()
    channel, *writes, closed = calls
    assert (channel, closed) == (("digital", "Dev1/port0/line3"), "closed")
    assert [value for value, _ in writes] == [False, True, False, True, False]
    assert writes[2][1] - writes[1][1] >= 0.02


def test_an_analog_output_has_a_voltage(calls):
    action = open_action("ni:Dev1/ao0?pulse_ms=1&volts=3.3")
    action.do(FIRED)
    with pytest.raises(ConfigError, match="between pulses the line is low, also when the run ends"):
        action.check(Message("0"))
    action.close()
    assert calls[0] == ("analog", "Dev1/ao0")
    assert [value for value, _ in calls[1:-1]] == [0.0, 3.3, 0.0]


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("ni:Dev1", "write ni:Dev1/port0/line0 or ni:Dev1/ao0"),
        ("ni:Dev1/ao0?volts=40", "volts is a number from -10 to 10, found '40'"),
        ("ni:Dev1/port0/line1?volts=5", "such a channel says pulse_ms, not 'volts'"),
        ("ni:Dev1/port0/line1?pulse_ms=long", "pulse_ms is a number from 0 to 10000, found 'long'"),
        ("ni:Gone/port0/line1", "ni:Gone/port0/line1: Device identifier is invalid."),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(calls, uri, says):
    with pytest.raises(ConfigError) as error:
        open_action(uri)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nidaqmx", None)
    with pytest.raises(ConfigError, match="needs nidaqmx and NI's driver; install it with pip install nidaqmx"):
        open_action("ni:Dev1/port0/line0")
