"""The conformance check finds what a server does wrong, and nothing wrong with ours."""

import pytest
from toy_server import Movie, serving

from streamfluo.core import wire
from streamfluo.network import conformance
from streamfluo.network.conformance import check_server
from streamfluo.network.server import DataServer


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(conformance, "PATIENCE_S", 1.5)


def broken(uri, frames=20):
    return [rule for rule, problem in check_server(uri, frames) if problem]


def test_our_server_keeps_every_rule():
    with serving(wait=True) as served:
        assert broken(served.uri) == []


def test_a_short_series_is_no_fault():
    with serving(Movie(3)) as served:
        assert broken(served.uri) == []


def test_where_nobody_is_only_the_first_rule_is_tried():
    assert broken("tcp://127.0.0.1:9") == ["hello is answered"]


def every_second(self, frames, identity, consumer, count):
    block = frames.block(consumer.cursor)
    for n in range(count):
        header = wire.image_of("movie", block, 0, 7 - n)
        self._send(identity, [wire.encode(header), block.pixels[0]])
    consumer.credit = 0
    return count


ANSWER = DataServer._answer


def without_errors(self, identity, message, arrays=()):
    if not isinstance(message, wire.Error):
        ANSWER(self, identity, message, arrays)


def silent(self):
    self._receive()
    self._emit(self._frames, self._frames.frontier())
    return 0.01


FAULTS = {
    "frames come with credit, whole and in order of seq": ("_send_frames", every_second),
    "heartbeats come": ("turn", silent),
    "an unknown version is refused with those supported": ("_answer", without_errors),
    "hello is answered": ("_introduction", lambda self: wire.Bye()),
}


@pytest.mark.parametrize("rule", FAULTS)
def test_a_server_that_breaks_a_rule_is_found_out(monkeypatch, rule):
    monkeypatch.setattr(DataServer, *FAULTS[rule])
    with serving(wait=True) as served:
        assert broken(served.uri)[0] == rule
