"""A behaviour camera as an input: which of its frames came, at its own times."""

import json
import time

import msgspec
import numpy as np
import pytest
import zmq
from live_inputs import run

from streamfluo import ConfigError
from streamfluo.inputs.opening import open_input
from streamfluo.session.inputs import inputs_folder

PIXELS = bytes(range(24))
SERIES = {"series_uid": "video-1", "dtype": "|u1", "shape": [4, 6]}


def image(index, **more):
    return {"type": "image", **SERIES, "seq": index, "index": index, "nbytes": 24, **more}


@pytest.fixture
def pushed():
    """Push messages to an input; what it makes of them, and what it refused."""
    one = open_input("frames+tcp://127.0.0.1:0")
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.connect(one.endpoint)

    def push(*messages, first=None):
        if first is not None:
            socket.send(first)
        for message in messages:
            socket.send_multipart(message if isinstance(message, list) else [message])
        found, until = [], time.monotonic() + 10
        while len(found) + one.refused.total() - one.refused["missing"] < len(messages) and time.monotonic() < until:
            found += one.read(0.05)
        return found, {kind: count for kind, count in one.refused.items() if count}

    yield push
    context.destroy(0)
    one.close()


def text(fields):
    return json.dumps(fields).encode()


def test_numbers_and_times_of_json(pushed):
    found, refused = pushed(*(text({"frame": n, "t_s": 0.04 * n}) for n in (5, 6, 9)))
    assert [s.value for s in found] == [(5.0,), (6.0,), (9.0,)]
    assert [s.own_ns for s in found] == [200_000_000, 240_000_000, 360_000_000]
    assert refused == {"missing": 2}


def test_the_protocols_own_messages_with_pixels_without_and_behind_a_topic(pushed):
    start = text({"type": "start", **SERIES, "t0_ns": 1000})
    messages = [[text(image(0, t_ns=0)), PIXELS], text(image(1, t_ns=50)), [b"eye", text(image(2, t_ns=90)), PIXELS]]
    packed = msgspec.msgpack.encode(image(3, t_ns=130))
    found, refused = pushed(*messages, packed, first=start)
    assert refused == {}
    assert [(s.value, s.own_ns) for s in found] == [((0.0,), 1000), ((1.0,), 1050), ((2.0,), 1090), ((3.0,), 1130)]


def test_a_series_that_begins_anew_counts_anew(pushed):
    second = {**image(0), "series_uid": "video-2"}
    found, refused = pushed(text(image(7)), text(second), text(image(8)))
    assert [s.value[0] for s in found] == [7, 0, 8]
    assert [s.own_ns for s in found] == [None] * 3
    assert refused == {}


def test_a_program_that_is_started_again_counts_anew(pushed):
    numbers = [50, 51, 49, 0, 1, 1, *range(52, 55), *range(20, 32)]
    found, refused = pushed(*(text({"frame": n}) for n in numbers))
    assert [s.value[0] for s in found] == [50, 51, 0, 1, 52, 53, 54, 29, 30, 31]
    assert refused == {"number not higher": 2 + 9, "missing": 50}


BAD = {
    "no map": (b"12", "header_syntax"),
    "no number": (text({"number": 3}), "fields"),
    "text where a number is due": (text({"frame": "3", "t_s": 1}), "fields"),
    "yes": (text({"frame": True}), "fields"),
    "below zero": (text({"frame": -1}), "fields"),
    "a time that is text": (text({"frame": 9, "t_s": "now"}), "fields"),
    "a time beyond all": (text({"frame": 9, "t_s": 1e300}), "fields"),
    "no time": (text({"frame": 9}), "without a time"),
    "a repeated number": (text({"frame": 3, "t_s": 2}), "number not higher"),
    "back": (text({"frame": 1, "t_s": 2}), "number not higher"),
    "a number beyond all": (text({"frame": 1 << 60, "t_s": 2}), "out of range"),
    "another message": (text({"type": "bye"}), "type"),
    "an image without its fields": (text({"type": "image"}), "fields"),
    "nothing": (b"", "header_syntax"),
    "two parts of nothing": ([b"\xff", b"\xff"], "header_syntax"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_frame_is_refused_and_the_next_one_is_taken(pushed, what):
    message, kind = BAD[what]
    found, refused = pushed(text({"frame": 3, "t_s": 1}), message, text({"frame": 4, "t_s": 1.04}))
    assert [s.value[0] for s in found] == [3, 4]
    assert refused == {kind: 1}


def test_published_by_a_camera(tmp_path):
    context = zmq.Context()
    publisher = context.socket(zmq.PUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")

    def each(n):
        publisher.send_multipart([b"eye", text({"frame": 2 * n, "t_s": 1e6 + n * 0.02}), PIXELS])

    entry = f'[[input]]\nname = "video"\nuri = "frames+sub+tcp://127.0.0.1:{port}"\n'
    session = run(tmp_path, entry, 120, each)
    context.destroy(0)
    video = session.recorded_inputs.by_name["video"]
    assert np.diff(video.value[:, 0]).tolist() == [2] * (len(video.value) - 1)
    assert np.ptp(np.diff(video.t_ns)) < 1e6  # by its own even times, however it came
    error = session.aligned("video")[30:, 0] - 2 * np.arange(30, 120)
    assert np.abs(np.nanmedian(error)) <= 2
    assert (inputs_folder(session.path) / "video.sfv").stat().st_size < 20_000  # and none of its pixels


def test_an_endpoint_that_cannot_be_is_refused():
    for uri, says in (
        ("frames+tcp://0.0.0.0:5557", "refused to bind beyond this machine without encryption"),
        ("frames+tcp://127.0.0.1", "not an endpoint"),
        ("frames+sub+tcp://127.0.0.1:0", "nobody can be found at port 0"),
    ):
        with pytest.raises(ConfigError, match=says):
            open_input(uri)
