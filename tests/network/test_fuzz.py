"""Whatever comes to any socket of a running recorder: dropped, counted, memory flat, and nobody else loses a frame.

Three thousand messages in the fast tests, a hundred thousand in the slow ones.
"""

import pickle
import random
import socket as sockets
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pytest
import zmq
from systems import needs_proc

from streamfluo import open_session, open_source
from streamfluo.core import wire
from streamfluo.network.client import ask

pack = msgspec.msgpack.encode
SIDE = 64
SERIES = {"series_uid": "fuzzed", "dtype": "<u2", "shape": [SIDE, SIDE]}
IMAGE = {"type": "image", **SERIES, "seq": 0, "index": 0, "nbytes": SIDE * SIDE * 2}
PIXELS = bytes(SIDE * SIDE * 2)


class Bomb:
    """A pickle that would run code."""

    def __reduce__(self):
        return (exec, ("raise SystemExit",))


# kind → the parts of a message that breaks one rule; r is a random.Random
HEADERS = {
    "nothing": lambda r: [b""],
    "noise": lambda r: [b"\xc1" + r.randbytes(r.randrange(80))],
    "half a JSON": lambda r: [b'{"type": "' + bytes(r.choices(b"abc", k=9))],
    "a list": lambda r: [pack([r.random()] * r.randrange(9))],
    "a pickle": lambda r: [pickle.dumps(Bomb())],
    "a torn header": lambda r: [pack(IMAGE)[: r.randrange(1, 40)]],
    "deep nesting": lambda r: [b"\x81\xa1x" + b"\x91" * r.randrange(20, 3000) + b"\xc0"],
    "many keys": lambda r: [pack({str(n): n for n in range(300)} | {"type": "ack"})],
    "no type": lambda r: [pack({"seq": 3})],
    "an unknown type": lambda r: [pack({"type": "".join(r.choices("xyz", k=r.randrange(1, 60)))})],
    "a type of another type": lambda r: [pack({"type": r.choice([None, 3, ["image"], {"image": 1}])})],
    "another version": lambda r: [pack({"type": "subscribe", "version": r.choice([0, 2, -1, "1", None])})],
    "a missing field": lambda r: [pack({"type": r.choice(["credit", "ack", "image", "end"])})],
    "a field of another type": lambda r: [pack({"type": "ack", "seq": r.choice(["1", 1.5, None, [], 2**64 - 1])})],
    "too many parts": lambda r: [pack({"type": "bye"}), *[b"x"] * r.randrange(2, 400)],
}
TO_CONSUMERS = HEADERS | {
    "what only a server says": lambda r: [pack(r.choice([{"type": "heartbeat"}, {"type": "error", "reason": "x"}]))],
    "another series": lambda r: [pack({"type": "subscribe", "series": r.randbytes(8).hex(), "credit": 2**40})],
    "a seq that is not": lambda r: [pack({"type": "subscribe", "from_seq": r.choice([-1, -(2**63), 2**63])})],
    "credit of a stranger": lambda r: [pack({"type": "credit", "n": 2**62})],
    "a preview of no step": lambda r: [pack({"type": "preview", "step": "../../etc/passwd", "bin_px": 2})],
    "a preview of a nonsense bin": lambda r: [pack({"type": "preview", "bin_px": r.choice([0, -4, 10**6])})],
}
SLAB = {**IMAGE, "type": "slab", "seq": 10**6, "memory": f"sf-{'0' * 16}.{'0' * 32}", "slab": 0}
PATHS = ["../../etc/passwd", f"sf-/../../etc/x.{'0' * 32}", "/dev/shm", "", "sf-\0", "sf-" + "0" * 500]
IMPOSSIBLE = [0, 1], [70_000, 2], [-1, 3]
TO_SENDERS = HEADERS | {
    "what no sender says": lambda r: [pack({"type": r.choice(["bye", "hello", "status", "heartbeat"])})],
    "a stranger's image": lambda r: [pack({**IMAGE, "series_uid": "another"}), PIXELS],
    "a stranger's end": lambda r: [pack({"type": "end", "series_uid": "another", "seq": 9, "frames": 9})],
    "an image without pixels": lambda r: [pack({**IMAGE, "seq": 10**6})],
    "short pixels": lambda r: [pack({**IMAGE, "seq": 10**6}), PIXELS[: r.randrange(len(PIXELS))]],
    "a wrong nbytes": lambda r: [pack({**IMAGE, "seq": 10**6, "nbytes": r.randrange(-5, 2**40)}), PIXELS[:-2]],
    "an impossible shape": lambda r: [
        pack({**IMAGE, "seq": 10**6, "shape": r.choice([[0, 1], [70000, 2], [-1, 3]])}),
        b"",
    ],
    "another shape": lambda r: [pack({**IMAGE, "seq": 10**6, "shape": [SIDE // 2, 2 * SIDE]}), PIXELS],
    "objects": lambda r: [pack({**IMAGE, "seq": 10**6, "dtype": r.choice(["|O", "O", "<U9", "<c16", "f2"])}), PIXELS],
    "numbers past 64 bits": lambda r: [pack({**IMAGE, "seq": r.choice([2**63, 2**64 - 1, -1])}), PIXELS],
    "a slab of memory that is not": lambda r: [pack({**SLAB, "memory": r.choice([SLAB["memory"], *PATHS])})],
    "a slab far out": lambda r: [pack({**SLAB, "slab": r.choice([2**61, 2**64 - 1, -1, None])})],
    "a slab with pixels": lambda r: [pack(SLAB), PIXELS],
    "an offer of no memory": lambda r: [pack({"type": "memory", "series_uid": "fuzzed", "memory": r.choice(PATHS)})],
    "a time that goes nowhere": lambda r: [pack({**IMAGE, "seq": 10**6, "t_ns": r.choice([-1, 2**63])}), PIXELS],
}
assert len(TO_CONSUMERS) >= 15
assert len(TO_SENDERS) >= 15


def free_port():
    with sockets.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def rss_mb(process):
    (line,) = [n for n in Path(f"/proc/{process.pid}/status").read_text().splitlines() if n.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def pixels_of(index):
    return np.random.default_rng(index).integers(0, 4096, (SIDE, SIDE), np.uint16)


class Sender(threading.Thread):
    """Pushes whole frames, a few hundred a second, until told to end."""

    def __init__(self, context, uri):
        super().__init__(daemon=True)
        self.socket = context.socket(zmq.PUSH)
        self.socket.connect(uri)
        self.over, self.sent = threading.Event(), 0

    def run(self):
        while not self.over.wait(0.003):
            header = {**IMAGE, "seq": self.sent, "index": self.sent}
            self.socket.send_multipart([pack(header), pixels_of(self.sent).tobytes()])
            self.sent += 1
        self.socket.send(pack({"type": "end", "series_uid": "fuzzed", "seq": self.sent, "frames": self.sent}))
        self.socket.close()


class Consumer(threading.Thread):
    """A well-behaved consumer of the recorder's data endpoint."""

    def __init__(self, uri):
        super().__init__(daemon=True)
        self.source = open_source(uri)
        self.indices, self.wrong = [], 0

    def run(self):
        with self.source:
            for block in self.source.blocks():
                self.indices.append(block.index)
                self.wrong += not np.array_equal(block.pixels[0], pixels_of(block.index))
            self.source.finished()


def attack(context, endpoint, kinds, count, chance, socket_type):
    """Send that many messages, of all kinds; returns how many were sent once they have left."""
    names = list(kinds)
    with context.socket(socket_type) as bad:
        bad.setsockopt(zmq.LINGER, 30_000)
        bad.setsockopt(zmq.SNDTIMEO, 30_000)
        bad.connect(endpoint)
        for n in range(count):
            bad.send_multipart(kinds[names[n % len(names)]](chance))
            if socket_type == zmq.DEALER:
                while bad.poll(0 if n + 1 < count else 500):  # closed with answers unread, tcp would reset the
                    bad.recv_multipart()  # connection, and what it had not delivered would be lost on the way
    return count


def ask_badly(context, endpoint, count, chance):
    """REQ sockets: each sends one message (with the empty part of REQ) and goes."""
    names = list(TO_CONSUMERS)
    for n in range(count):
        with context.socket(zmq.REQ) as bad:
            bad.setsockopt(zmq.LINGER, 5000)
            bad.connect(endpoint)
            bad.send_multipart(TO_CONSUMERS[names[n % len(names)]](chance))
            bad.poll(2)
    return count


def raw_tcp(endpoints, count, chance):
    """Bytes that are no ZMTP at all, torn handshakes, a handshake followed by rubbish."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    for n in range(count):
        parts = urlsplit(endpoints[n % len(endpoints)])
        with sockets.create_connection((parts.hostname, parts.port), 2) as raw:
            raw.settimeout(0.05)
            try:
                raw.sendall([chance.randbytes(200), greeting[: n % 64], greeting + chance.randbytes(300), b""][n % 4])
            except OSError:
                continue  # it hung up: so it should


def refused(uri):
    return sum(ask(uri, wire.Status(), 30).counters["refused"].values())


def settled(uri, at_least, within_s=60):
    deadline = time.monotonic() + within_s
    while (count := refused(uri)) < at_least and time.monotonic() < deadline:
        time.sleep(0.1)
    return count


@needs_proc
@pytest.mark.parametrize(
    "messages", [3000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])], ids=str
)
def test_fuzzed_messages_are_dropped_and_counted_and_nobody_else_loses_a_frame(tmp_path, messages):
    ingest, data = f"tcp://127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "streamfluo", "record", f"ingest+{ingest}", "--out", "S", "--publish", data]
    chance, context = random.Random(7), zmq.Context()
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    sender = Sender(context, ingest)
    try:
        sender.start()
        consumer = Consumer(data)
        consumer.start()
        results = ask(data, wire.Hello()).endpoints["results"]

        def assault(count):
            sent = attack(context, data, TO_CONSUMERS, count // 2, chance, zmq.DEALER)
            sent += attack(context, ingest, TO_SENDERS, count // 2, chance, zmq.PUSH)
            sent += ask_badly(context, data, max(20, count // 100), chance)
            raw_tcp([ingest, data, results], max(20, count // 200), chance)
            return sent

        def all_counted(sent):  # bytes of raw tcp may happen to be a message of ZMTP 1.0, and are counted then
            return sent <= settled(data, sent) <= sent + messages // 100

        sent = assault(1000)  # memory that is used once and kept
        assert all_counted(sent), (sent, ask(data, wire.Status()).counters)
        before = rss_mb(process)
        sent += assault(messages - 1000)
        assert all_counted(sent), (sent, ask(data, wire.Status()).counters)
        after = rss_mb(process)
        sender.over.set()
        sender.join(30)
        consumer.join(30)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 0, told
    finally:
        sender.over.set()
        process.kill()
        process.communicate()
        sender.join(5)
        context.destroy(0)
    print(
        f"{sent} messages, RSS {before:.1f} → {after:.1f} MB, {sender.sent} frames, log {len(told.splitlines())} lines"
    )
    assert after - before < 20
    assert consumer.indices == list(range(sender.sent))
    assert consumer.wrong == 0
    session = open_session(tmp_path / "S")
    assert (session.frames, session.lost, session.state) == (sender.sent, 0, "finished")
    assert "Traceback" not in told
