"""A viewer's end of the wire: it finds endpoints, asks for what is wanted, survives garbage and restarts."""

import time
from contextlib import contextmanager

import numpy as np
import pytest
import zmq

from streamfluo import Block, SourceError
from streamfluo.core import wire
from streamfluo.core.records import encode_record
from streamfluo.network import watching
from streamfluo.network.watching import ALWAYS, Watch

PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4)


def record(index=0):
    block = Block(index, np.array([0]), PIXELS[None])
    header = wire.image_of("one", block, 0, index, {"step": "source", "bin_px": 1})
    return b"".join(encode_record(wire.encode(header), [PIXELS]))


class Program:
    """A program as a viewer sees it, whose every byte the test decides."""

    def __init__(self, uri="tcp://127.0.0.1:0"):
        self.context = zmq.Context()
        self.data, self.results, self.preview = (self.context.socket(k) for k in (zmq.ROUTER, zmq.XPUB, zmq.XPUB))
        for one in (self.data, self.results, self.preview):
            one.setsockopt(zmq.LINGER, 0)
        self.data.bind(uri)
        self.results.bind("tcp://127.0.0.1:0")
        self.preview.bind("tcp://127.0.0.1:0")
        self.uri, self.results_uri, self.preview_uri = (
            s.getsockopt(zmq.LAST_ENDPOINT).decode() for s in (self.data, self.results, self.preview)
        )
        self.subscribed, self.silent = set(), False
        self.refuses = self.asked = 0  # previews: how many to refuse, how many were asked for

    def turn(self):
        while self.data.poll(0):
            identity, header = self.data.recv_multipart()
            asked = wire.decode(header)
            answers = {
                wire.Hello: wire.Hello(
                    program="toy", endpoints={"results": self.results_uri, "preview": self.preview_uri}
                ),
                wire.Status: wire.Status(program="toy", state="running"),
                wire.Preview: wire.Preview(endpoint=self.preview_uri),
            }
            if isinstance(asked, wire.Preview):
                self.asked += 1
                if self.refuses:
                    self.refuses -= 1
                    answers[wire.Preview] = wire.Error(reason="16 previews are running already")
            if not self.silent:
                self.data.send_multipart([identity, wire.encode(answers[type(asked)])])
        while self.results.poll(0):
            message = self.results.recv()
            (self.subscribed.add if message[0] else self.subscribed.discard)(message[1:].decode())
        while self.preview.poll(0):
            self.preview.recv()

    def close(self):
        for one in (self.data, self.results, self.preview):
            one.close()
        self.context.term()


@contextmanager
def program(uri="tcp://127.0.0.1:0"):
    toy = Program(uri)
    try:
        yield toy
    finally:
        toy.close()


def seen_until(watch, done, toy=None, patience_s=8):
    """Turn both sides until `done(messages)`; returns the messages."""
    messages, deadline = [], time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if toy is not None:
            toy.turn()
        messages += [message for message, _ in watch.turn()]
        if done(messages):
            return messages
        time.sleep(0.01)
    raise AssertionError(f"only {messages} came")


def of(kind):
    return lambda messages: any(isinstance(m, kind) for m in messages)


def test_topics_are_subscribed_as_they_are_wanted_and_no_longer():
    with program() as toy, Watch(toy.uri) as watch:
        watch.want(["values/a/"], [])
        seen_until(watch, lambda _: toy.subscribed >= {*ALWAYS, "values/a/"}, toy)
        assert toy.subscribed == {*ALWAYS, "values/a/"}
        watch.want(["snapshot/b/mean/"], [])
        seen_until(watch, lambda _: "snapshot/b/mean/" in toy.subscribed and "values/a/" not in toy.subscribed, toy)
        assert toy.subscribed == {*ALWAYS, "snapshot/b/mean/"}


def test_the_newest_frame_comes_and_a_preview_no_longer_wanted_does_not():
    with program() as toy, Watch(toy.uri) as watch:
        watch.want([], [("source", 1)])
        seen_until(watch, lambda _: watch._previews, toy)
        time.sleep(0.2)
        toy.turn()
        for index in range(5):
            toy.preview.send(record(index))
        time.sleep(0.1)
        seen_until(watch, lambda messages: any(isinstance(m, wire.Image) and m.index == 4 for m in messages), toy)
        watch.want([], [])
        toy.preview.send(record(9))
        time.sleep(0.1)
        assert not any(isinstance(m, wire.Image) for m, _ in watch.turn())


def test_a_preview_that_was_refused_is_asked_for_again(monkeypatch):
    monkeypatch.setattr(watching, "ASK_S", 0.05)
    with program() as toy, Watch(toy.uri) as watch:
        toy.refuses = 3
        watch.want([], [("source", 1)])
        seen = seen_until(watch, lambda _: watch._previews, toy)
        assert toy.refuses == 0
        assert sum(isinstance(message, wire.Error) for message in seen) == 3
        toy.asked = 0
        seen_until(watch, lambda m: sum(isinstance(one, wire.Hello) for one in m) > 3, toy)
        assert toy.asked == 0


GARBAGE = [b"", b"\xc1", b"{", b"x" * 5000, b"SFLUORC1" + b"\xff" * 100, wire.encode(wire.Bye())[:-1]]


def test_garbage_on_every_socket_is_counted_and_what_is_sound_still_comes():
    with program() as toy, Watch(toy.uri) as watch:
        watch.want(["values/a/"], [("source", 1)])
        seen_until(watch, lambda _: watch._previews and "values/a/" in toy.subscribed, toy)
        time.sleep(0.2)
        toy.turn()
        for garbage in GARBAGE:
            toy.results.send_multipart([b"values/a/", garbage])
            toy.results.send(b"values/a/")
            toy.results.send_multipart([b"values/a/"] + [garbage] * 100)
            toy.preview.send(garbage)
            seen_until(watch, lambda _, n=watch.refused.total(): watch.refused.total() >= n + 4, toy)
        toy.preview.send_multipart([record(), b"more"])
        seen_until(watch, lambda _: watch.refused["parts"] > len(GARBAGE), toy)
        toy.results.send_multipart([b"values/a/", wire.encode(wire.Event(event="sound"))])
        toy.preview.send(record(7))
        seen = seen_until(watch, lambda m: of(wire.Event)(m) and of(wire.Image)(m), toy)
        assert watch.connected
        assert seen


def test_garbage_in_answers_is_counted(monkeypatch):
    monkeypatch.setattr(watching, "ASK_S", 0.05)
    with program() as toy, Watch(toy.uri) as watch:
        seen_until(watch, lambda _: watch.connected, toy)
        toy.data.setsockopt(zmq.ROUTER_MANDATORY, 1)
        seen_until(watch, lambda _: toy.data.poll(0))
        identity, _ = toy.data.recv_multipart()
        before = watch.refused.total()
        for garbage in GARBAGE:
            toy.data.send_multipart([identity, garbage])
            toy.data.send_multipart([identity, garbage, garbage])
        wrong = {"results": "nonsense://", "preview": "x" * 100}
        toy.data.send_multipart([identity, wire.encode(wire.Hello(program="toy", endpoints=wrong))])
        seen_until(watch, lambda _: watch.refused.total() >= before + 2 * len(GARBAGE) + 1)
        assert watch.refused["endpoint"] == 1


def test_a_program_started_again_elsewhere_is_found_by_itself():
    with program() as toy:
        watch = Watch(toy.uri)
        watch.want(["values/a/"], [])
        seen_until(watch, lambda _: "values/a/" in toy.subscribed, toy)
    with watch:
        seen_until(watch, lambda _: not watch.connected)
        with program(toy.uri) as again:
            seen_until(watch, lambda _: watch.connected and "values/a/" in again.subscribed, again)
            assert again.results_uri != toy.results_uri


def test_a_program_that_no_longer_answers_is_told_as_lost(monkeypatch):
    monkeypatch.setattr(watching, "SILENT_S", 0.6)
    with program() as toy, Watch(toy.uri) as watch:
        seen_until(watch, lambda _: watch.connected, toy)
        toy.silent, began = True, time.monotonic()
        seen_until(watch, lambda _: not watch.connected, toy)
        assert time.monotonic() - began > 0.4, "told as lost though it was not silent for .6 s"


def test_a_malformed_endpoint_is_one_line():
    with pytest.raises(SourceError, match="not an endpoint"):
        Watch("nonsense")


def test_who_reaches_the_data_endpoint_alone_is_told_what_is_missing(monkeypatch):
    monkeypatch.setattr(watching, "UNREACHED_S", 0.3)
    with program() as toy, Watch(toy.uri) as watch:
        toy.results_uri = "tcp://127.0.0.1:9"  # as through a tunnel of one port
        seen_until(watch, lambda _: "?ssh=HOST" in watch.denied, toy)
        assert watch.connected
