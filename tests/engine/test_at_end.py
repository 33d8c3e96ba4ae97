"""What an action does last: a laser that a trigger steers goes back to a safe value, whatever ended the steering."""

import numpy as np
import pytest
import zmq
from toys import Movie, toys  # noqa: F401 - a fixture

from streamfluo import Block, ConfigError, SourceError, Spec, open_session
from streamfluo.core.source import Gap
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

FRAMES = 12
CHAIN = """
[[step]]
kind = "toy-fragile"
id = "seen"
params = {{ at = {breaks_at} }}
[[step]]
kind = "trigger"
id = "bright"
params = {{ when = "seen.level > 3", fires = "each" }}
[[action]]
on = "bright"
to = "{to}"
{more}
deadline_ms = 20_000
"""
OFF = 'message = "on $frame"\nat_end = "off"'


class Laser:
    """A program that sets a laser to what it is told."""

    def __init__(self):
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self.uri = f"push+tcp://127.0.0.1:{self._socket.bind_to_random_port('tcp://127.0.0.1')}"

    def told(self):
        found = []
        while self._socket.poll(100):
            found.append(self._socket.recv().decode())
        return found

    def close(self):
        self._context.destroy(0)


@pytest.fixture
def laser():
    one = Laser()
    yield one
    one.close()


def frame(n):
    return Block(n, [n * 10_000_000], np.full((1, 6, 8), 5, np.uint16))


def run(tmp_path, to, more=OFF, breaks_at=99, items=range(FRAMES), **movie):
    source = Movie([item if isinstance(item, Gap) else frame(item) for item in items], **movie)
    source.spec = Spec((6, 8), "uint16", interval_s=0.01)
    config = parse_config(CHAIN.format(to=to, more=more, breaks_at=breaks_at), "c.toml")
    engine = Engine(source, config, tmp_path / "S")
    engine.start()
    assert engine.wait(60)
    return engine.error


def test_when_the_run_ends(tmp_path, laser):
    assert run(tmp_path, laser.uri) is None
    assert laser.told() == [*(f"on {n}" for n in range(FRAMES)), "off"]
    session = open_session(tmp_path / "S")
    assert [(a["became"], a["frame"]) for a in session.actions if "at_end" in a] == [("done", FRAMES - 1)]
    assert session.actions[-1]["at_end"] == "off"
    assert session.health["actions"][f"bright: {laser.uri}"]["at_end"] == "done"
    assert session.health["actions"][f"bright: {laser.uri}"]["done"] == FRAMES


def test_when_an_error_ends_it(tmp_path, laser):
    assert run(tmp_path, laser.uri, fails=SourceError("the camera is gone")) == "the camera is gone"
    assert laser.told()[-1] == "off"


def test_as_soon_as_its_trigger_is_muted(tmp_path, laser):
    items = [0, 1, Gap(2, 1), 3, Gap(4, 2), *range(6, FRAMES)]  # a block ends at a gap
    assert run(tmp_path, laser.uri, breaks_at=3, items=items) is None
    assert laser.told() == ["on 0", "on 1", "off"]
    assert [a["frame"] for a in open_session(tmp_path / "S").actions if "at_end" in a] == [3]


def test_frames_of_a_file_leave_it_as_it_is(tmp_path, laser):
    assert run(tmp_path, laser.uri, seekable=True) is None
    assert laser.told() == []


def test_a_device_that_is_gone_is_named(tmp_path):
    assert run(tmp_path, "push+tcp://127.0.0.1:1", 'at_end = "off"', breaks_at=0) is None
    last = open_session(tmp_path / "S").actions[-1]
    assert (last["became"], last["at_end"]) == ("failed", "off")
    assert "Again" in last["error"]


@pytest.mark.parametrize(
    ("to", "at_end", "says"),
    [
        (
            "python:os:getpid",
            "off",
            "at_end: python:os:getpid: a function is called with decisions; it takes no message",
        ),
        ("push+tcp://127.0.0.1:1", "$of", "at_end: message '$of': a decision has no 'of'"),
        ("control+tcp://127.0.0.1:1", "off", "at_end: "),
    ],
)
def test_what_cannot_be_done_last_is_said_before_frames_flow(tmp_path, to, at_end, says):
    with pytest.raises(ConfigError) as error:
        run(tmp_path, to, f'message = "stop"\nat_end = "{at_end}"')
    assert says in str(error.value)
    assert not (tmp_path / "S").exists()


def test_one_that_cannot_be_opened_moves_no_other(tmp_path, laser):
    with pytest.raises(ConfigError):
        run(tmp_path, laser.uri, OFF + '\n[[action]]\non = "bright"\nto = "osc:x"')
    assert laser.told() == []
