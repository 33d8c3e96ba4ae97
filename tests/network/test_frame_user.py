"""What a sender says of single frames, `user`: it goes with them from the socket into the session, and out again."""

import threading

import numpy as np
import pytest
from pushing import END, START, image, pushed

from streamfluo import Block, FrameError, Plane, Spec, open_session, open_source
from streamfluo.core.header import MAX_USER_BYTES
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.engine.ring_buffer import RingBuffer
from streamfluo.network.frames import ReplayedFrames
from streamfluo.network.server import DataServer

SAID = {3: {"trigger": 7}, 4: {"laser_mw": 1.5, "stage_um": [1.0, -2.5]}, 19: {"note": "last"}}
MOMENTS = parse_config('[[step]]\nkind = "moments"\n[record]\nraw = true\n', "c.toml")


def recorded(source, folder):
    engine = Engine(source, MOMENTS, folder)
    engine.start()
    assert engine.wait(60)
    assert engine.error is None, engine.error
    return open_session(folder)


def block(start, stop, user):
    return Block(start, np.arange(start, stop), np.zeros((stop - start, 4, 5), np.uint16), user=user)


def test_it_stays_with_its_frame_when_blocks_are_cut_and_renumbered():
    whole = block(10, 20, {12: {"a": 1}, 17: {"b": 2}})
    assert whole.cut(10, 15).user == {12: {"a": 1}}
    assert whole.cut(13, 16).user == {}
    assert whole.of(np.zeros((10, 2, 2), np.float32)).user == whole.user
    assert whole.at(110, whole.times_ns).user == {112: {"a": 1}, 117: {"b": 2}}
    assert whole.nbytes > block(10, 20, {}).nbytes == whole.pixels.nbytes


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({20: {"a": 1}}, "user of frame 20, which is not in it"),
        ({12: 5}, "user of frame 12"),
        ({12: {"a": object()}}, "frame 12: .*a map of plain values"),
        ({12: {"a": 1 << 70}}, "frame 12: .*a map of plain values"),
        ({12: {"a": "x" * (MAX_USER_BYTES + 1)}}, f"at most {MAX_USER_BYTES} bytes"),
        ({12: {str(n): n for n in range(200)}}, "128 keys"),
        ({12: {3: 1}}, "which are text"),
    ],
)
def test_what_no_header_can_carry_is_refused_in_one_line(user, message):
    with pytest.raises(FrameError, match=message) as caught:
        block(10, 20, user)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [1, 3, 16])
def test_every_reader_of_the_ring_gets_it_with_its_frame(size):
    ring = RingBuffer(Spec((4, 5), "uint16", 0.1), 1 << 20, ["one", "two"])
    for start in range(0, 64, size):
        stop = min(start + size, 64)
        ring.put(block(start, stop, {n: {"n": n} for n in range(start, stop) if n % 5 == 2}))
    held = ring.backlog
    ring.close()
    for reader in ("one", "two"):
        found = {}
        while (taken := ring.take(reader, 7)) is not None:
            found |= taken.user
        assert found == {n: {"n": n} for n in range(64) if n % 5 == 2}
    assert held > 64 * 40  # what is said is counted in
    assert ring.backlog == 0


def test_what_was_pushed_with_frames_is_in_the_session_and_in_its_replay(tmp_path):
    images = [image(n, user=SAID.get(n, {})) for n in range(20)]
    with pushed(START, *images, END) as source:
        session = recorded(source, tmp_path / "S")
    assert session.frames == 20
    assert session.read_user(0, 20) == SAID
    assert session.read_user(4, 10) == {4: SAID[4]}
    frames = ReplayedFrames(open_source(tmp_path / "S"), None)
    server = DataServer(frames, "tcp://127.0.0.1:0", wait=True)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    with open_source(server.endpoint) as source:
        again = recorded(source, tmp_path / "T")
    thread.join(10)
    server.close()
    assert again.read_user(0, 20) == SAID
    np.testing.assert_array_equal(again.read_frames(0, 20), session.read_frames(0, 20))


@pytest.mark.parametrize(
    "user", [{"a": "x" * 5000}, {str(n): n for n in range(150)}, {"a": [[[[[[[1]]]]]]]}], ids=["long", "many", "deep"]
)
def test_a_frame_whose_user_is_too_much_is_kept_without_it_and_counted(tmp_path, user):
    with pushed(START, *[image(n, user=user if n == 5 else {}) for n in range(20)], END) as source:
        session = recorded(source, tmp_path / "S")
        refused = dict(source.refused)
    assert session.frames + session.lost == 20
    assert session.read_user(0, 20) == {}
    assert sum(refused.values()) == 1
    assert not session.damaged


def test_of_several_planes_each_frame_has_its_own(tmp_path):
    planes = [Plane("red"), Plane("green")]
    start = [{**START[0], "planes": [plane.to_header() for plane in planes]}]
    images = [
        image(n, n // 2, channel=planes[n % 2].channel, z=0, user={"seq": n} if n % 3 == 0 else {}) for n in range(20)
    ]
    with pushed(start, *images, END) as source:
        session = recorded(source, tmp_path / "S")
    assert session.read_user(0, 10, plane="red/0") == {n // 2: {"seq": n} for n in range(0, 20, 6)}
    assert session.plane("green/0").read_user(0, 10) == {n // 2: {"seq": n} for n in range(3, 20, 6)}
