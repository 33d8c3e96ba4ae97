"""A night of a daemon in little: three sources, series after series, while it is killed, cut off and its disk filled.

`python tests/engine/soak.py` is an hour, 100 series of each source; the slow test takes less.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket as sockets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import zmq
from soaked_sources import FPS, SHAPE, Cable, Movie, movie

from streamfluo import Block, open_session
from streamfluo.core import wire
from streamfluo.core.errors import StreamfluoError
from streamfluo.network import server as server_module
from streamfluo.network.client import ask
from streamfluo.network.frames import ReplayedFrames
from streamfluo.network.server import DataServer

ROOM_BYTES = 256 << 20  # of the disk, beyond what the frames take
SOURCES = ("taken", "cut", "pushed")


@dataclass
class Soak:
    """What is to happen, and what did."""

    folder: Path
    series: int
    frames: int
    kills: int
    cuts: int = 2
    fills: int = 1
    done: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in SOURCES})
    left: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in SOURCES})  # without the end's ack
    given_up: list[str] = field(default_factory=list)  # of these, who is not recorded to the end
    samples: list[tuple[float, str, int, int, int, int]] = field(default_factory=list)
    p99_ms: dict[tuple[str, int], tuple[float, float]] = field(default_factory=dict)  # of each series, last seen when
    said: list[str] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    found: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        """Let it happen."""
        ports = _free_ports(5)
        cable = Cable(ports[1])
        uris = (f"tcp://127.0.0.1:{ports[0]}", f"tcp://127.0.0.1:{cable.here}", f"ingest+tcp://127.0.0.1:{ports[2]}")
        self._status, self._metrics = f"tcp://127.0.0.1:{ports[3]}", f"127.0.0.1:{ports[4]}"
        self._configure(uris)
        self._halt = threading.Event()
        work = [
            threading.Thread(target=self._guarded, args=[self._serve, name, f"tcp://127.0.0.1:{port}"])
            for name, port in zip(SOURCES[:2], ports[:2], strict=True)
        ]
        work.append(threading.Thread(target=self._guarded, args=[self._push, f"tcp://127.0.0.1:{ports[2]}"]))
        with self._daemon():
            self._until_it_answers()
            for thread in work:
                thread.start()
            self._disturb(work, cable)
            for thread in work:
                thread.join()
            self._settle()

    def _guarded(self, call, *args) -> None:
        try:
            call(*args)
        except BaseException as error:
            self.failures.append(error)

    def _configure(self, uris: tuple[str, ...]) -> None:
        (self.folder / "moments.toml").write_text('[[step]]\nkind = "moments"\n')
        tables = [
            f'[[source]]\nname = "{name}"\nuri = "{uri}"\nchain = "moments.toml"'
            for name, uri in zip(SOURCES, uris, strict=True)
        ]
        head = f'[daemon]\nfolder = "disk/sessions"\nname = "{{source}}/{{uid}}"\nstatus = "{self._status}"\n'
        head += f'metrics = "{self._metrics}"\n'
        (self.folder / "rig.toml").write_text(head + "\n".join(tables) + "\n")

    def _uids(self, name: str) -> Iterator[str]:
        count = self.series // len(SOURCES) + (SOURCES.index(name) < self.series % len(SOURCES))
        return (f"{name}-{n}" for n in range(count))

    def _serve(self, name: str, uri: str) -> None:
        """Series from a data endpoint, each until all of it is acknowledged."""
        for uid in self._uids(name):
            server = DataServer(ReplayedFrames(Movie(uid, self.frames), FPS), uri, wait=True)
            try:
                server.run()
                whole = any(consumer.end_acknowledged for consumer in server._consumers.values())
            finally:
                server.close()
            (self.done if whole else self.left)[name].append(uid)

    def _push(self, uri: str) -> None:
        """Series that are pushed: what nobody takes is lost."""
        context = zmq.Context()
        socket = context.socket(zmq.PUSH)
        socket.setsockopt(zmq.SNDHWM, 100)
        socket.setsockopt(zmq.LINGER, 1000)
        socket.connect(uri)

        def send(header: dict, *parts: bytes) -> None:
            socket.setsockopt(zmq.SNDTIMEO, 0 if parts else 5000)  # frames do not wait, start and end do
            with suppress(zmq.Again):
                socket.send_multipart([json.dumps(header).encode(), *parts])

        for uid in self._uids("pushed"):
            about = {"series_uid": uid, "dtype": "<u2", "shape": list(SHAPE)}
            send({"type": "start", **about, "interval_s": 1 / FPS})
            began = time.monotonic()
            for n, frame in enumerate(movie(uid, self.frames)):
                time.sleep(max(0.0, began + n / FPS - time.monotonic()))
                send({"type": "image", **about, "seq": n, "index": n, "nbytes": frame.nbytes}, frame.tobytes())
            send({"type": "end", "series_uid": uid, "seq": self.frames, "frames": self.frames})
            self.done["pushed"].append(uid)
            time.sleep(0.3)
        socket.close()
        context.term()

    # What goes wrong meanwhile

    @contextmanager
    def _daemon(self) -> Iterator[None]:
        self._start()
        try:
            yield
        finally:
            self._process.terminate()
            self._process.wait(60)

    def _until_it_answers(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with suppress(StreamfluoError):
                told = ask(self._status, wire.Status(), 2.0).counters["sources"]
                if all("frames" in source for source in told.values()):
                    return
            time.sleep(0.5)
        raise TimeoutError("no daemon")

    def _start(self) -> None:
        call = [sys.executable, "-m", "streamfluo", "daemon", "rig.toml"]
        log = (self.folder / "daemon.log").open("a")
        self._process = subprocess.Popen(call, cwd=self.folder, stdout=log, stderr=log)
        log.close()
        self._began = time.monotonic()

    def _disturb(self, work: list[threading.Thread], cable: Cable) -> None:
        """Kill, cut and fill at random moments of the time that the series take; look at it each second."""
        rng, lasts_s = random.Random(5), 1.2 * self.series / len(SOURCES) * self.frames / FPS
        events = ["kill"] * self.kills + ["cut"] * self.cuts + ["fill"] * self.fills
        due = sorted((rng.uniform(0.03, 0.7) * lasts_s, event) for event in events)
        began = time.monotonic()
        while any(thread.is_alive() for thread in work):
            time.sleep(1)
            self._look()
            while due and time.monotonic() - began >= due[0][0]:
                at, event = due.pop(0)
                self.said.append(f"{at:.0f} s: {event}")
                self._do(event, rng, cable)
        assert not due, f"not all of it happened: {due}"

    def _do(self, event: str, rng: random.Random, cable: Cable) -> None:
        if event == "cut":
            cable.cut(rng.uniform(1, 5))
        elif event == "fill":
            self._fill(4.0)
        elif rng.random() < 0.5:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            time.sleep(rng.uniform(0, 2))
            self._start()
        elif stations := self._stations():
            os.kill(rng.choice(stations), signal.SIGKILL)

    def _fill(self, for_s: float) -> None:
        blob = self.folder / "disk" / "blob"
        with suppress(OSError), blob.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        time.sleep(for_s)
        blob.unlink()

    def _stations(self) -> list[int]:
        found = []
        for task in Path(f"/proc/{self._process.pid}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, task.read_text().split())
        return found

    def _look(self) -> None:
        for pid in [self._process.pid, *self._stations()]:
            with suppress(OSError, StopIteration, IndexError):
                told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
                open_files = len(os.listdir(f"/proc/{pid}/fd"))
                rss_kb, threads = int(told["VmRSS"].split()[0]), int(told["Threads"])
                self.samples.append((time.monotonic(), f"{pid}", rss_kb, open_files, threads, int(self._began)))
        with suppress(StreamfluoError, OSError):
            told = ask(self._status, wire.Status(), 2.0).counters["sources"]
            with urlopen(f"http://{self._metrics}/metrics", timeout=2) as answer:
                found = re.findall(r'step_p99_seconds{source="(\w+)",step="moments"} (\S+)', answer.read().decode())
            for name, p99_s in found:
                source = told[name]
                if source.get("state") == "running":
                    self.p99_ms[source["session"], source["starts"]] = (time.monotonic(), 1e3 * float(p99_s))

    def _settle(self) -> None:
        """Until everything that came is in its session."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            time.sleep(1)
            self._look()
            with suppress(StreamfluoError):
                told = ask(self._status, wire.Status(), 2.0).counters["sources"]
                if all(source.get("state") == "waiting" for source in told.values()):
                    return

    # What became of it

    def verify(self) -> dict[str, int]:
        """Return how many frames each source recorded, lost, gave twice or wrong, and how many series are missing."""
        found: dict[str, int] = {}
        for name in SOURCES:
            counts = np.zeros(4, int)
            for uid in self.left[name]:  # the acknowledgement itself was cut off, or nobody came back for the rest
                kept, *_ = self._compare(name, uid)
                (self.done[name] if kept == self.frames else self.given_up).append(uid)
            for uid in self.done[name]:
                counts += self._compare(name, uid)
            for what, n in zip(("kept", "lost", "wrong", "missing"), counts, strict=True):
                found[f"{name} {what}"] = int(n)
        return found

    def _compare(self, name: str, uid: str) -> tuple[int, int, int, int]:
        sent, folder = movie(uid, self.frames), self.folder / "disk/sessions" / name / uid
        if not (folder / "session.json").exists():  # killed before it was written, and nothing of the series came later
            return 0, self.frames, 0, 1
        session, kept, wrong, last = open_session(folder), 0, 0, -1
        for block in session.blocks():
            if isinstance(block, Block):
                wrong += sum(not np.array_equal(sent[i], frame) for i, frame in enumerate(block.pixels, block.index))
                wrong += block.index <= last
                last, kept = block.stop - 1, kept + len(block)
        return kept, self.frames - kept, wrong, 0

    def growth(self) -> list[str]:
        """How memory, files, threads and p99 went in each process that lived for long."""
        lines, slopes = [], []
        for pid in dict.fromkeys(sample[1] for sample in self.samples):
            mine = np.array([(s[0], s[2], s[3], s[4]) for s in self.samples if s[1] == pid])
            if len(mine) < 30:
                continue
            mine = mine[len(mine) // 4 :]  # what is loaded at first is no growth
            t = mine[:, 0] - mine[0, 0]
            # memory goes in steps: seconds in a row tell the same, twelfths of the time hardly
            means = np.array([part[:, :2].mean(0) for part in np.array_split(np.column_stack((t, mine[:, 1])), 12)])
            (slope_kb, _), covariance = np.polyfit(*means.T, 1, cov=True)
            slopes.append((slope_kb, t[-1]))
            lines.append(
                f"process {pid}, {t[-1]:.0f} s: RSS {slope_kb:+.2f} ± {covariance[0, 0] ** 0.5:.2f} KiB/s, at the end "
                f"{mine[-1, 1] / 1024:.0f} MiB, files {mine[0, 2]:.0f} to {mine[-1, 2]:.0f}, "
                f"threads {mine[0, 3]:.0f} to {mine[-1, 3]:.0f}"
            )
        if len(slopes) > 2:
            slope_kb, lasted_s = np.array(slopes).T
            mean = np.average(slope_kb, weights=lasted_s)
            error = np.sqrt(np.average((slope_kb - mean) ** 2, weights=lasted_s) / (len(slopes) - 1))
            lines.append(f"RSS of {len(slopes)} processes: {mean:+.2f} ± {error:.2f} KiB/s")
        if len(self.p99_ms) > 8:
            at_s, p99 = np.array(list(self.p99_ms.values())).T
            (slope, _), covariance = np.polyfit((at_s - at_s[0]) / 3600, np.log(np.maximum(p99, 1e-3)), 1, cov=True)
            third = len(p99) // 3
            lines.append(
                f"p99 of a step, by series: median {np.median(p99[:third]):.3f} ms of the first third, "
                f"{np.median(p99[-third:]):.3f} ms of the last; {slope:+.1%} ± {covariance[0, 0] ** 0.5:.1%} an hour"
            )
        return lines


@contextmanager
def small_disk(folder: Path, nbytes: int) -> Iterator[bool]:
    """A disk of its own at `folder`/disk, where this account may mount one; else a folder, which is never full."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") is not None and not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", f"size={nbytes}", "tmpfs", str(disk)], stderr=subprocess.DEVNULL
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.call(["umount", "-l", str(disk)])


def soaked(folder: Path, series: int, frames: int, kills: int) -> Soak:
    """Let it happen in `folder`, and return what did."""
    server_module.GRACE_S = 40.0  # for a consumer that was killed: it comes back within seconds, or not at all
    nbytes = series * frames * (int(np.prod(SHAPE)) * 2 + 256)
    with small_disk(folder, nbytes + ROOM_BYTES) as own:
        soak = Soak(folder, series, frames, kills, fills=int(own))
        soak.run()
        soak.found = soak.verify()
    return soak


def _free_ports(count: int) -> list[int]:
    taken = [sockets.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=36.0)
    parser.add_argument("--kills", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = soaked(Path(folder), asked.series, int(asked.seconds * FPS), asked.kills)
        print(
            "\n".join(soak.said),
            soak.found,
            f"given up by their server: {soak.given_up}",
            *soak.growth(),
            *soak.failures,
            sep="\n",
        )
        print((Path(folder) / "daemon.log").read_text()[-3000:])


if __name__ == "__main__":
    main()
