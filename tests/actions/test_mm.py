"""Decisions that set Micro-Manager devices: its demo devices, and a stand-in for the core where there is none."""

import threading
import time

import numpy as np
import pytest
from toys import Movie

from streamfluo import Block, ConfigError, Spec, open_session, open_source
from streamfluo.actions.opening import open_action
from streamfluo.core.action import Decision, Message
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.sources import camera_cores

FIRED = Decision("fires", 7, 0, "u", 0, 0, 0)
FLOAT, INTEGER, TEXT = 2, 3, 1


class Core:
    """A laser and a shutter; keeps what is set. Properties: type, value, limits or allowed values."""

    def __init__(self):
        self.calls = []
        self.properties = {
            "Power": [FLOAT, "10.0", (0.0, 50.0)],
            "Steps": [INTEGER, "3", (0.0, 9.0)],
            "Free": [FLOAT, "2.0", None],
            "Line": [TEXT, "470nm", ("470nm", "550nm")],
            "Serial": [TEXT, "42", None],
        }
        self.is_open = False

    def getLoadedDevices(self):
        return ("Laser", "LED", "Core")

    def getDeviceType(self, device):
        return 3 if device == "LED" else 10

    def getDevicePropertyNames(self, device):
        return tuple(self.properties) if device == "Laser" else ("State",)

    def isPropertyReadOnly(self, device, name):
        return name == "Serial"

    def isPropertyPreInit(self, device, name):
        return False

    def getPropertyType(self, device, name):
        return self.properties[name][0]

    def getAllowedPropertyValues(self, device, name):
        return self.properties[name][2] if name == "Line" else ()

    def hasPropertyLimits(self, device, name):
        return name in ("Power", "Steps")

    def getPropertyLowerLimit(self, device, name):
        return self.properties[name][2][0]

    def getPropertyUpperLimit(self, device, name):
        return self.properties[name][2][1]

    def getProperty(self, device, name):
        return self.properties[name][1]

    def setProperty(self, device, name, value):
        self.calls.append((name, value))
        self.properties[name][1] = value

    def getShutterOpen(self, device):
        return self.is_open

    def setShutterOpen(self, device, state):
        self.calls.append((device, state))
        self.is_open = state

    def reset(self):
        self.calls.append("reset")


@pytest.fixture
def core():
    shared = camera_cores.SharedCore(Core(), "/rig.cfg")
    camera_cores.share(shared)
    yield shared.core
    camera_cores.give_back(shared)


def done(uri, message, times=1):
    action = open_action(uri, message)
    values = [action.do(FIRED) for _ in range(times)]
    action.close()
    return values


@pytest.mark.parametrize(
    ("uri", "message", "values"),
    [
        ("mm:Laser.Power", "12.5", ["12.5"] * 2),
        ("mm:Laser.Power?min=9", "*= 0.9", ["9", "9"]),
        ("mm:Laser.Power", "*= 3", ["30", "50"]),
        ("mm:Laser.Power?max=11.5", "+= 1", ["11", "11.5"]),
        ("mm:Laser.Steps", "*= 0.9", ["2", "1"]),
        ("mm:Laser.Steps", "-= 2", ["1", "0"]),
        ("mm:Laser.Free?min=1&max=4", "*= 1.5", ["3", "4"]),
        ("mm:Laser.Line", "550nm", ["550nm"] * 2),
        ("mm:Laser.Steps", "$frame", ["7", "7"]),
    ],
)
def test_a_property_is_set_or_stepped_within_its_limits(core, uri, message, values):
    assert done(uri, message, 2) == values
    assert core.calls == [(uri.partition(".")[2].partition("?")[0], value) for value in values]


def test_a_pulse_ends_where_it_began(core):
    done("mm:LED?pulse_ms=1", "open")
    done("mm:Laser.Power?pulse_ms=1", "20")
    assert core.calls == [("LED", True), ("LED", False), ("Power", "20"), ("Power", "10.0")]


def test_two_actions_on_one_property_take_turns_and_a_device_that_hangs_holds_up_no_other(core):
    hangs, set_property = threading.Event(), core.setProperty

    def slow(device, name, value):
        if name == "Free":
            hangs.wait(10)
        time.sleep(1e-3)  # long enough for another to read what is about to change
        set_property(device, name, value)

    core.setProperty = slow
    stuck = threading.Thread(target=done, args=("mm:Laser.Free", "1"))
    stuck.start()
    calls = [("mm:Laser.Power", step, 2) for step in ("+= 1", "-= 1")] * 4
    threads = [threading.Thread(target=done, args=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len([value for name, value in core.calls if name == "Power"]) == 16
    assert float(core.properties["Power"][1]) == 10.0  # as many up as down, none lost
    assert "reset" not in core.calls
    hangs.set()
    stuck.join()


def test_devices_are_not_unloaded_under_one_that_hangs(caplog):
    shared = camera_cores.SharedCore(Core(), "/rig.cfg")
    camera_cores.share(shared)
    with shared.turn("Laser.Power"):
        camera_cores.give_back(shared)
    assert shared.core.calls == []
    assert "still busy with an action" in caplog.text


def test_a_laser_goes_down_as_density_rises_and_up_again_as_it_falls(core, tmp_path):
    """What a frame shows doubles, stays and falls to a quarter: the laser follows within its limits."""
    level = np.concatenate([np.full(20, 20), np.full(40, 40), np.full(40, 10)])
    frames = [Block(n, [n * 10**8], np.full((1, 4, 5), one, np.uint16)) for n, one in enumerate(level)]
    text = """
[[step]]
kind = "moments"
[[step]]
kind = "trigger"
id = "dense"
params = { when = "total_signal > 600 ADU for 3 frames", fires = "each", refractory_s = 0.5 }
[[step]]
kind = "trigger"
id = "sparse"
params = { when = "total_signal < 300 ADU for 3 frames", fires = "each", refractory_s = 0.5 }
"""
    for on, step in (("dense", "*= 0.9"), ("sparse", "*= 1.5")):
        text += f'[[action]]\non = "{on}"\nto = "mm:Laser.Power?min=2&max=12"\nmessage = "{step}"\ndeadline_ms = 9000\n'
    source = Movie(frames, seekable=False, wait=0.01)  # so that each decision is done before the next frame
    source.spec = Spec((4, 5), "uint16", interval_s=0.1)
    engine = Engine(source, parse_config(text, "c.toml"), tmp_path / "S")
    engine.start()
    assert engine.wait(60)
    powers = [float(action["value"]) for action in open_session(tmp_path / "S").actions]
    lowest = powers.index(min(powers))
    assert powers[:3] == pytest.approx([9, 8.1, 7.29])
    assert lowest >= 6
    assert powers[lowest] == pytest.approx(10 * 0.9 ** (lowest + 1))
    assert powers[-1] == 12  # its limit


BAD = {
    ("mm:", "1"): "write mm:DEVICE.PROPERTY, or mm:DEVICE for a shutter",
    ("mm:Lasr.Power", "1"): "no device 'Lasr'; did you mean 'Laser'?",
    ("mm:Laser.Powr", "1"): "Laser has no property 'Powr'; did you mean 'Power'?",
    ("mm:Laser.Serial", "1"): "property 'Serial' can only be read; it is '42'",
    ("mm:Laser.Power", "51"): "Power must be a number from 0 to 50, found '51'",
    ("mm:Laser.Power?max=20", "21"): "Power is a number from -inf to 20, found '21'",
    ("mm:Laser.Power", "bright"): "Power must be a number from 0 to 50, found 'bright'",
    ("mm:Laser.Power", "nan"): "Power must be a number from 0 to 50, found 'nan'",
    ("mm:Laser.Steps", "1.5"): "Steps must be a whole number, found '1.5'",
    ("mm:Laser.Power", "*= -1"): "a step is *= 0.9, += 1 or -= 1, found '*= -1'",
    ("mm:Laser.Power", "*= much"): "a step is *= 0.9, += 1 or -= 1, found '*= much'",
    ("mm:Laser.Free", "*= 1.1"): "Free has no limits within which it can be stepped; say ?min=0&max=20",
    ("mm:Laser.Line", "+= 1"): "Line is not a number that can be stepped, it is '470nm'; write its value",
    ("mm:Laser.Line", "blue"): "Line must be one of 470nm, 550nm, found 'blue'",
    ("mm:Laser", "1"): "Laser is no shutter; write mm:Laser.PROPERTY, of which it has Power",
    ("mm:LED", "1"): "a shutter is told open or close, found '1'",
    ("mm:LED", None): "say in message what it is set to: a value, *= 0.9, or open for a shutter",
    ("mm:LED?pulse_ms=long", "open"): "pulse_ms is a number, found 'long'",
    ("mm:LED?pulse_ms=1e6", "open"): "pulse_ms is a number from 0 to 10000, found '1e6'",
    ("mm:LED?puls_ms=1", "open"): "a device says config, min, max and pulse_ms, not 'puls_ms'",
    ("mm:Laser.Power?min=3&max=2", "1"): "min is 3, above max, 2",
}


@pytest.mark.parametrize(("uri", "message"), BAD)
def test_what_cannot_be_is_refused_in_one_line_and_nothing_is_set(core, uri, message):
    with pytest.raises(ConfigError) as error:
        open_action(uri, message)
    assert BAD[uri, message] in str(error.value)
    assert "\n" not in str(error.value)
    assert core.calls == []


@pytest.mark.parametrize(
    ("uri", "message", "last", "says"),
    [
        ("mm:Laser.Power", "12.5", "51", "Power must be a number from 0 to 50, found '51'"),
        ("mm:LED?pulse_ms=5", "open", "close", "with pulse_ms it is set back each time: it takes no at_end"),
    ],
)
def test_what_it_cannot_do_last_is_refused(core, uri, message, last, says):
    action = open_action(uri, message)
    with pytest.raises(ConfigError, match=says):
        action.check(Message(last))
    assert core.calls == []
    action.close()


def test_without_a_camera_it_asks_for_a_configuration():
    with pytest.raises(ConfigError, match=r"no camera of mm: runs in this program; say which configuration, \?config="):
        open_action("mm:Laser.Power", "1")


def test_of_two_cores_with_such_a_device_one_is_to_be_named(core):
    other = camera_cores.SharedCore(Core(), "/other.cfg")
    camera_cores.share(other)
    with pytest.raises(ConfigError, match="several cores have it; say which configuration"):
        open_action("mm:Laser.Power", "1")
    assert done("mm:Laser.Power?config=/other.cfg", "2") == ["2"]
    assert (core.calls, other.core.calls) == ([], [("Power", "2")])
    camera_cores.give_back(other)
    assert other.core.calls[-1] == "reset"


RIG = """Property,Core,Initialize,0
Device,Cam,DemoCamera,DCam
Device,LED,DemoCamera,DShutter
Property,Core,Initialize,1
Property,Cam,PixelType,16bit
Property,Core,Camera,Cam
Property,Core,AutoShutter,0
"""


def test_a_run_sets_a_property_of_its_own_camera_while_it_acquires(tmp_path):
    pytest.importorskip("pymmcore_plus", reason="needs pymmcore-plus and mm-test-adapters: the extra [camera]")
    (tmp_path / "rig.cfg").write_text(RIG)
    text = """
[[step]]
kind = "trigger"
params = { when = "frame > 20", fires = "each", refractory_s = 0.02 }
[[action]]
on = "trigger"
to = "mm:Cam.Gain"
message = "+= 1"
deadline_ms = 5000
[[action]]
on = "trigger"
to = "mm:LED"
message = "open"
deadline_ms = 5000
"""
    with open_source(f"mm:{tmp_path}/rig.cfg?exposure_ms=5&roi=0:8,0:8&frames=150&Gain=-5") as source:
        core = source._core
        engine = Engine(source, parse_config(text, "c.toml"), tmp_path / "S")
        engine.start()
        assert engine.wait(60)
        assert engine.error is None
        assert core.getProperty("Cam", "Gain") == "8"
        assert core.getShutterOpen("LED")
    session = open_session(tmp_path / "S")
    assert session.frames + session.lost == 150
    gains = [int(a["value"]) for a in session.actions if a["action"] == "mm:Cam.Gain"]
    assert gains[:14] == [*range(-4, 9), 8]
    assert set(gains[13:]) == {8}  # it stays at its limit
    assert not session.damaged


def test_an_action_opens_a_configuration_of_its_own_and_two_share_it(tmp_path):
    pytest.importorskip("pymmcore_plus", reason="needs pymmcore-plus and mm-test-adapters: the extra [camera]")
    (tmp_path / "rig.cfg").write_text(RIG)
    where = f"config={tmp_path}/rig.cfg"
    gain, led = open_action(f"mm:Cam.Gain?{where}", "3"), open_action(f"mm:LED?{where}", "open")
    core = gain._shared.core
    assert led._shared is gain._shared
    assert (gain.do(FIRED), led.do(FIRED)) == ("3", "open")
    assert (core.getProperty("Cam", "Gain"), core.getShutterOpen("LED")) == ("3", True)
    gain.close()
    assert "LED" in core.getLoadedDevices()
    led.close()
    assert core.getLoadedDevices() == ("Core",)
    with pytest.raises(ConfigError, match=r"no such configuration file .*none\.cfg"):
        open_action(f"mm:LED?config={tmp_path}/none.cfg", "open")
    (tmp_path / "bad.cfg").write_text("Device,Cam,NoSuchLibrary,X\n")
    with pytest.raises(ConfigError, match="NoSuchLibrary") as error:
        open_action(f"mm:LED?config={tmp_path}/bad.cfg", "open")
    assert "\n" not in str(error.value)
