"""What hostile clients cost a recording: frames lost, memory, and how long status takes, beside ten kinds of them.

    python tools/bench_hostile.py --minutes 15

A sender pushes frames at a camera's rate into `streamfluo run`, whose frames a consumer checks to the bit; meanwhile
two processes do the recorder all the harm they can, each kind at up to a few thousand messages a second. Linux only.
"""

import argparse
import multiprocessing
import os
import queue
import random
import socket as sockets
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import numpy as np
import zmq

from streamfluo import open_session, open_source
from streamfluo.core import wire
from streamfluo.network.client import ask
from streamfluo.network.ingest import SILENT_S

pack = msgspec.msgpack.encode
UID, STOP_S = "hostile", 20
CHAIN = '[[step]]\nkind = "moments"\n'
HEADER = {"type": "image", "series_uid": UID, "dtype": "<u2"}


def pixels_of(index, side):
    return np.random.default_rng(index % 1000).integers(0, 4096, (side, side), np.uint16)


def send(endpoint, side, fps, count, told):
    """The camera: `count` frames by the clock; tells how late the latest one was."""
    frames, late_s = [pixels_of(n, side).tobytes() for n in range(1000)], 0.0
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.setsockopt(zmq.SNDHWM, 10 * fps)
        socket.setsockopt(zmq.LINGER, 60_000)
        socket.connect(endpoint)
        began = time.monotonic()
        for n in range(count):
            late_s = max(late_s, time.monotonic() - began - n / fps)
            time.sleep(max(0.0, began + n / fps - time.monotonic()))
            header = {**HEADER, "seq": n, "index": n, "shape": [side, side], "nbytes": 2 * side * side}
            socket.send_multipart([pack(header), frames[n % 1000]])
        socket.send(pack({"type": "end", "series_uid": UID, "seq": count, "frames": count}))
        told.put(late_s)


def consume(endpoint, side, told):
    """The honest consumer: how many frames came, and how many of them were wrong."""
    came = wrong = 0
    frames = [pixels_of(n, side) for n in range(1000)]
    with open_source(endpoint) as source:
        for block in source.blocks():
            if hasattr(block, "pixels"):
                wrong += block.index != came or not np.array_equal(block.pixels[0], frames[block.index % 1000])
                came += len(block)
        source.finished()
    told.put((came, wrong))


class Victim:
    """The endpoints of the recorder, and how large its frames are."""

    def __init__(self, ingest, endpoints, side):
        self.ingest, self.side, self.data = ingest, side, endpoints["data"]
        self.results, self.preview = endpoints["results"], endpoints["preview"]
        self.all = (ingest, self.data, self.results, self.preview)

    def image(self, seq, uid=UID):
        shape = {"shape": [self.side, self.side], "nbytes": 2 * self.side**2}
        return [pack({**HEADER, **shape, "series_uid": uid, "seq": seq, "index": seq}), bytes(2 * self.side**2)]


def raw(uri):
    parts = urlsplit(uri)
    return sockets.create_connection((parts.hostname, parts.port), 5)


def zmtp(uri, kind):
    """A connection that has shaken hands, and whose every byte is ours from then on."""
    connection = raw(uri)
    connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
    ready = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
    connection.sendall(b"\x04" + bytes([len(ready)]) + ready)
    connection.recv(4096)
    return connection


def talker(stack, uri, kind=zmq.DEALER):
    context = stack.enter_context(zmq.Context())
    socket = stack.enter_context(context.socket(kind))
    for option in (zmq.LINGER, zmq.SNDTIMEO):
        socket.setsockopt(option, 0 if option == zmq.LINGER else 1000)
    socket.connect(uri)
    return socket


# Kinds: each goes on for a while, then begins anew; r is a random.Random.


def idle_consumers(victim, stack, r):
    idle = [stack.enter_context(zmtp(victim.data, b"DEALER")) for _ in range(20)]
    words = pack({"type": "subscribe", "credit": 10**6})
    for connection in idle:
        connection.sendall(b"\0" + bytes([len(words)]) + words)
    time.sleep(40)


def forged_frames(victim, stack, r):
    socket = talker(stack, victim.ingest, zmq.PUSH)
    for _ in range(3000):
        socket.send_multipart(victim.image(r.choice([0, 7, 2**40, 2**61]), r.choice([UID, "another"])))
        time.sleep(0.004)


def endless_messages(victim, stack, r):
    kinds = {victim.data: b"DEALER", victim.ingest: b"PUSH", victim.results: b"SUB", victim.preview: b"SUB"}
    for uri, kind in kinds.items():
        connection, part = stack.enter_context(zmtp(uri, kind)), b"\x03" + (900).to_bytes(8, "big") + bytes(900)
        with suppress(OSError):
            for _ in range(2000):
                connection.sendall(100 * part)
                time.sleep(0.005)


def forged_unsubscriptions(victim, stack, r):
    for uri in (victim.results, victim.preview):
        connection = stack.enter_context(zmtp(uri, b"SUB"))
        for _ in range(200):
            message = r.choice([b"\0", b"\0values/moments/", b"\1" + r.randbytes(20), b"\0series/", b"\7"])
            connection.sendall((b"\0" + bytes([len(message)]) + message) * 5)
            time.sleep(0.01)


def many_previews(victim, stack, r):
    socket = talker(stack, victim.data)
    for n in range(2000):
        socket.send(pack({"type": "preview", "step": r.choice(["source", "moments", "../x"]), "bin_px": n % 70}))
        time.sleep(0.02)
        while socket.poll(0):
            socket.recv()


def come_and_go(victim, stack, r):
    for n in range(2000):
        with raw(victim.all[n % 4]) as connection:
            connection.sendall(r.randbytes(n % 3))
        time.sleep(0.01)


def half_open(victim, stack, r):
    for n in range(80):
        stack.enter_context(raw(victim.all[n % 4]))
    time.sleep(12)


def garbage(victim, stack, r):
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    for n in range(500):
        with raw(victim.all[n % 4]) as connection, suppress(OSError):
            connection.sendall([r.randbytes(3000), greeting + r.randbytes(3000), greeting[: n % 64]][n % 3])
        socket = talker(own := ExitStack(), (victim.data, victim.ingest)[n % 2], (zmq.DEALER, zmq.PUSH)[n % 2])
        with own:
            for _ in range(20):
                socket.send_multipart([r.randbytes(r.randrange(300))] * r.randrange(1, 9))
            time.sleep(0.02)


def forged_ends(victim, stack, r):
    socket = talker(stack, victim.ingest, zmq.PUSH)
    for n in range(2000):
        end = {"type": "end", "series_uid": UID, "seq": n, "frames": n, "reason": r.choice(["aborted", "finished"])}
        start = {"type": "start", "series_uid": r.choice([UID, "new"]), "dtype": "<u2", "shape": [4, 4]}
        socket.send(pack(r.choice([end, start])))
        time.sleep(0.01)


def floods_of_questions(victim, stack, r):
    polite, rude = talker(stack, victim.data), zmtp(victim.data, b"DEALER")
    words = pack({"type": "status"})
    with rude:
        rude.settimeout(1)
        for _ in range(5000):
            polite.send(words)
            rude.sendall((b"\0" + bytes([len(words)]) + words) * 3)
            while polite.poll(0):
                polite.recv()
            time.sleep(0.002)


def huge_headers(victim, stack, r):
    data, ingest = talker(stack, victim.data), talker(stack, victim.ingest, zmq.PUSH)
    user = {f"key {n}": "x" * 250 for n in range(240)}
    for n in range(1000):
        data.send(pack([{"type": "hello", "program": "x" * 60_000}, {"type": "hello", "series": user}][n % 2]))
        start = {"type": "start", "series_uid": UID, "dtype": "<u2", "shape": [victim.side] * 2, "user": user}
        ingest.send(pack(start))
        if n % 50 == 0:
            talker(stack, victim.data).send(bytes(200_000))
        while data.poll(0):
            data.recv()
        time.sleep(0.01)


KINDS = [
    idle_consumers, forged_frames, endless_messages, forged_unsubscriptions, many_previews, come_and_go, half_open,
    garbage, forged_ends, floods_of_questions, huge_headers,
]  # fmt: skip


def harm(kinds, ingest, endpoints, side, over, done):
    """Each of these kinds in a thread, again and again until it is over; counts how often each began."""

    def again(number):
        victim, chance = Victim(ingest, endpoints, side), random.Random(number)
        while not over.is_set():
            done[number] += 1
            with suppress(OSError, zmq.ZMQError), ExitStack() as stack:
                KINDS[number](victim, stack, chance)
            time.sleep(0.1)

    threads = [threading.Thread(target=again, args=(number,), daemon=True) for number in kinds]
    for thread in threads:
        thread.start()
    over.wait()
    os._exit(0)  # what it still had to say is said no more


def rss_mb(pid):
    (line,) = [n for n in Path(f"/proc/{pid}/status").read_text().splitlines() if n.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


class Asking:
    """Status by one connection that stays; how long each answer took, and whether who comes anew is answered."""

    def __init__(self, uri):
        self.uri, self.took_s, self.missed, self.anew = uri, [], 0, []
        self._stack = ExitStack()
        self._socket = talker(self._stack, uri)

    def once(self, patience_s=10):
        began = time.monotonic()
        self._socket.send(wire.encode(wire.Status()))
        if not self._socket.poll(1000 * patience_s):
            self.missed += 1
            return None
        answer = wire.decode(self._socket.recv())
        self.took_s.append(time.monotonic() - began)
        return answer

    def as_a_newcomer(self):
        began = time.monotonic()
        with suppress(Exception):
            ask(self.uri, wire.Status(), 5)
            self.anew.append(time.monotonic() - began)
            return
        self.anew.append(float("nan"))


class Attack:
    """Two processes of hostile clients; one that dies, as libzmq itself aborts under what they do, is started again."""

    def __init__(self, make, halves):
        self._make, self.deaths = make, 0
        self._processes = {tuple(kinds): self._started(kinds) for kinds in halves if kinds}

    def _started(self, kinds):
        process = self._make(kinds)
        process.start()
        return process

    def go_on(self):
        for kinds, process in self._processes.items():
            if not process.is_alive():
                self.deaths += 1
                self._processes[kinds] = self._started(kinds)


def watch(process, asking, attack, over_s):
    """Ask four times a second; returns (time [s], RSS [MB]) every ten seconds and the last answer."""
    began, sizes, answer = time.monotonic(), [], None
    while (now := time.monotonic() - began) < over_s and process.poll() is None:
        attack.go_on()
        answer = asking.once() or answer
        if not sizes or now - sizes[-1][0] >= 10:
            sizes.append((now, rss_mb(process.pid)))
            asking.as_a_newcomer()
            if len(sizes) % 6 == 1:
                print(f"{now / 60:5.1f} min  {sizes[-1][1]:6.0f} MB  load {os.getloadavg()[0]:.1f}", flush=True)
        time.sleep(0.25)
    return sizes, answer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--fps", type=int, default=200)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--kinds", help="numbers of the kinds, by commas, to look for what does the harm")
    parser.add_argument("--peaceful", action="store_true", help="without the hostile clients, to compare")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report(args, Path(folder))


def report(args, folder):
    context, count = multiprocessing.get_context("spawn"), round(60 * args.minutes * args.fps)
    ports = [sockets.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ingest, data = (f"tcp://127.0.0.1:{port.getsockname()[1]}" for port in ports)
    for port in ports:
        port.close()
    (folder / "chain.toml").write_text(CHAIN)
    command = [sys.executable, "-m", "streamfluo", "run", "chain.toml", "--source", f"ingest+{ingest}", "--out", "S"]
    log = (folder / "log").open("w")
    process = subprocess.Popen([*command, "--publish", data], cwd=folder, stdout=log, stderr=log)
    late, came, over, done = context.Queue(), context.Queue(), context.Event(), context.Array("i", len(KINDS))
    sender = context.Process(target=send, args=(ingest, args.side, args.fps, count, late), daemon=True)
    sender.start()
    endpoints = ask(data, wire.Hello(), 300).endpoints | {"data": data}
    context.Process(target=consume, args=(data, args.side, came), daemon=True).start()
    chosen = [int(n) for n in args.kinds.split(",")] if args.kinds else range(0 if args.peaceful else len(KINDS))

    def attacker(kinds):
        return context.Process(target=harm, args=(kinds, ingest, endpoints, args.side, over, done), daemon=True)

    attack, asking = Attack(attacker, (chosen[::2], chosen[1::2])), Asking(data)
    sizes, answer = watch(process, asking, attack, 60 * args.minutes - SILENT_S)
    over.set()
    code = process.wait(60 * args.minutes + 600)
    print(f"exit code {code}")
    tell(folder, sizes, asking, answer, (attack, done))
    with suppress(queue.Empty):
        got = came.get(timeout=STOP_S)
        late_s = late.get(timeout=STOP_S)
        print(f"consumer: {got[0]} of {count} frames, {got[1]} wrong; sender {late_s:.2f} s late at most")


def tell(folder, sizes, asking, answer, attacked):
    attack, done = attacked
    session = open_session(folder / "S")
    print(f"\nframes: {session.frames}, lost {session.lost}, state {session.state}, damaged {len(session.damaged)}")
    size = [mb for _, mb in sizes]
    thirds = [np.median(part) for part in np.array_split(size, 3)]
    print(f"RSS [MB]: start {size[0]:.0f}; medians of the thirds {thirds[0]:.0f} {thirds[1]:.0f} {thirds[2]:.0f}; "
          f"most {max(size):.0f}")  # fmt: skip
    took_ms = 1000 * np.array(asking.took_s)
    print(f"status [ms]: median {np.median(took_ms):.1f}, 99 % {np.percentile(took_ms, 99):.1f}, most "
          f"{took_ms.max():.1f}; {(took_ms > 100).mean():.2%} above 100; {asking.missed} unanswered")  # fmt: skip
    anew = np.array(asking.anew)
    print(f"newcomers: {np.isfinite(anew).sum()} of {len(anew)} answered, median {1000 * np.nanmedian(anew):.0f} ms")
    print(
        "refused:", answer.counters["refused"], "publisher:", {k: v for k, v in answer.counters.items() if "refus" in k}
    )
    print("attackers that died:", attack.deaths)
    print("kinds began:", {kind.__name__: n for kind, n in zip(KINDS, done, strict=True)})
    lines = (folder / "log").read_text().splitlines()
    print(f"log: {len(lines)} lines, the last of them:", *lines[-3:], sep="\n  ")


if __name__ == "__main__":
    main()
