"""What pages in the browser cost: bytes and processor of `streamfluo web`, what the engine loses, what rude pages do.

Without an endpoint the frames are noise, 512 × 512, which no JPEG makes small; with one it is looked at, as it runs.
Pages here draw nothing: they read what comes and say that they have drawn it.
"""

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from bench import served, show
from websockets.asyncio.client import connect

from streamfluo import open_source
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

FRAMES, ROUNDS, LOOK_S = 12032, 5, 15.0
CONFIG = parse_config('[publish]\nuri = "tcp://127.0.0.1:0"\n[[step]]\nkind = "moments"')
SECONDS_A_TICK = 1 / os.sysconf("SC_CLK_TCK")
SIDES_PX = (1100, 1100, 780, 780, 540)  # of pages: two screens, two phones, a small window


@contextmanager
def web(endpoint: str) -> Iterator[tuple[str, int]]:
    """Start the program that serves pages; yields the address to open and its process id."""
    words = [sys.executable, "-m", "streamfluo", "web", endpoint, "--bind", "127.0.0.1:0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        yield re.search(r"http://\S+", process.stdout.readline())[0], process.pid
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def others(*words: object) -> Iterator[subprocess.Popen[str]]:
    """Run this script in another process."""
    process = subprocess.Popen([sys.executable, __file__, *map(str, words)], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def used(pid: int) -> tuple[float, float]:
    """Return (processor [s], memory [MB]) of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    memory = Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]
    return (int(fields[11]) + int(fields[12])) * SECONDS_A_TICK, int(memory) / 1024


def address(url: str) -> tuple[str, str]:
    """Return the WebSocket of a page, and where it comes from."""
    return url.replace("http", "ws", 1).replace("/?", "/ws?"), url.partition("/?")[0]


async def page(url: str, side_px: int, until: float) -> dict:
    """Be a page until then; returns how many bytes and pictures came, how old those were, and the longest wait."""
    sized, ages, came = 0, [], []
    uri, origin = address(url)
    async with connect(uri, origin=origin, compression=None, max_size=None) as socket:
        await socket.send(json.dumps({"want": {"side_px": side_px, "curves": 12}}))
        while (left := until - time.monotonic()) > 0:
            with suppress(TimeoutError):
                message = await asyncio.wait_for(socket.recv(), left)
                sized += len(message)
                header = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
                if header["kind"] == "picture":
                    came.append(time.monotonic())
                    ages += [header["age_s"]] if header["age_s"] is not None else []
                elif header["kind"] == "turn":
                    await socket.send(json.dumps({"seen": header["number"]}))
    seconds, waits = came[-1] - came[0], np.diff(came)
    return {
        "bytes_s": sized / seconds, "pictures_s": len(waits) / seconds, "longest_s": waits.max(), "ages_s": ages,
    }  # fmt: skip


async def pages(url: str, count: int, seconds: float) -> list[dict]:
    """Be so many pages at once."""
    until = time.monotonic() + seconds
    return await asyncio.gather(*(page(url, SIDES_PX[n % len(SIDES_PX)], until) for n in range(count)))


async def narrowed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, place: list[str], rate: float) -> None:
    """Hand on a connection to a place, what comes from there at `rate` bytes a second."""
    from_there, to_there = await asyncio.open_connection(*place)

    async def up() -> None:
        while data := await reader.read(4096):
            to_there.write(data)

    async def down() -> None:
        while data := await from_there.read(4096):
            writer.write(data)
            await asyncio.sleep(len(data) / rate)

    with suppress(OSError):
        await asyncio.gather(up(), down())


async def through_a_slow_line(url: str, rate: float) -> None:
    """Print how far a page behind a line of `rate` bytes a second is behind one beside it."""
    until, newest, behind = time.monotonic() + LOOK_S, [0], []
    uri, origin = address(url)
    place = origin.removeprefix("http://").split(":")

    async def look(uri: str, slow: bool) -> None:
        async with connect(uri, origin="http://" + uri.split("/")[2], compression=None, max_size=None) as socket:
            while time.monotonic() < until:
                message = await socket.recv()
                header = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
                if header["kind"] == "picture" and slow:
                    behind.append(newest[0] - header["index"])
                elif header["kind"] == "picture":
                    newest[0] = header["index"]
                elif header["kind"] == "turn":
                    await socket.send(json.dumps({"seen": header["number"]}))

    async with await asyncio.start_server(lambda r, w: narrowed(r, w, place, rate), "127.0.0.1", 0) as line:
        port = line.sockets[0].getsockname()[1]
        await asyncio.gather(look(uri, False), look(uri.replace(place[1], str(port), 1), True))
    half = behind[len(behind) // 2 :]
    print(
        f"a line of {rate / 1e3:.0f} kB/s: {len(behind) / LOOK_S:.1f} pictures/s, frames behind a page beside it: "
        f"median {np.median(behind):.0f}, of the second half {np.median(half):.0f}, most {max(behind)}",
        flush=True,
    )


async def rude(url: str, seconds: float) -> None:
    """Connect without end: say nothing, garbage, too much, never read; with the token and without."""
    uri, origin = address(url)
    place = origin.removeprefix("http://").split(":")
    until, rng = time.monotonic() + seconds, random.Random(4304)
    did = {"strangers": 0, "garbage": 0, "huge": 0, "flood": 0, "deaf": 0}

    async def strangers() -> None:
        kept = []
        while time.monotonic() < until:
            with suppress(OSError):
                kept.append((await asyncio.open_connection(*place))[1])
                kept[-1].write(
                    rng.choice([b"", b"GET / HTTP/1.1\r\n", rng.randbytes(4000), b"GET /ws?token=no HTTP/1.1\r\n\r\n"])
                )
                did["strangers"] += 1
            if len(kept) > 400:
                kept.pop(0).close()
            await asyncio.sleep(0.002)

    async def inside(name: str, *messages: object) -> None:
        while time.monotonic() < until:
            with suppress(Exception):
                async with connect(uri, origin=origin, compression=None, max_queue=1, close_timeout=0.1) as socket:
                    for message in messages:
                        await socket.send(message)
                        did[name] += 1
                    await asyncio.sleep(2 if name == "deaf" else 0.05)
            await asyncio.sleep(0.02)

    wishes = [
        json.dumps({"want": {"picture": "x" * rng.randrange(900), "side_px": rng.randrange(9999)}}) for _ in range(30)
    ]
    await asyncio.gather(
        strangers(),
        inside("garbage", rng.randbytes(500)),
        inside("huge", "x" * 2_000_000),
        inside("flood", *wishes * 20),
        *(inside("deaf", '{"seen": 0}') for _ in range(8)),
    )
    print(json.dumps(did))


def costs(endpoint: str, count: int) -> None:
    """Print what so many pages cost for LOOK_S."""
    with web(endpoint) as (url, pid), others("--pages", count, "--url", url, "--seconds", LOOK_S + 3) as looking:
        time.sleep(3)
        began, (cpu_s, _) = time.monotonic(), used(pid)
        time.sleep(LOOK_S - 2)
        spent_s, memory_mb = used(pid)
        core = (spent_s - cpu_s) / (time.monotonic() - began)
        found = json.loads(looking.stdout.readline())
    tell(f"{count} page{'s' if count > 1 else ''}", found, f"; {100 * core:.0f} % of a core, {memory_mb:.0f} MB")


def tell(name: str, found: list[dict], more: str) -> None:
    """Print what pages saw."""
    ages = [age for one in found for age in one["ages_s"]] or [np.nan]
    print(
        f"{name}: {np.mean([one['pictures_s'] for one in found]):.1f} pictures/s each, longest wait "
        f"{max(one['longest_s'] for one in found):.2f} s, {sum(one['bytes_s'] for one in found) / 1e3:.0f} kB/s "
        f"together, age p50 {1e3 * np.median(ages):.0f}, p99 {1e3 * np.percentile(ages, 99):.0f} ms{more}",
        flush=True,
    )


def beside_rude_pages(endpoint: str) -> None:
    """Print what two pages see while others are rude, and what the program holds then."""
    with web(endpoint) as (url, pid), others("--pages", 2, "--url", url, "--seconds", LOOK_S + 3) as looking:
        with others("--rude", "--url", url, "--seconds", LOOK_S) as enemies:
            most_mb, until = 0.0, time.monotonic() + LOOK_S
            while time.monotonic() < until:
                most_mb = max(most_mb, used(pid)[1])
                time.sleep(0.2)
            did = enemies.stdout.readline().strip()
        found = json.loads(looking.stdout.readline())
    tell(f"two pages beside {did}", found, f"; most {most_mb:.0f} MB")


def engine_rate(count: int, fps: float | None) -> tuple[float, float]:
    """Return frames a second through the engine with so many pages open on it, and its processor time a frame [ms]."""
    frames = FRAMES if fps is None else int(fps * 10)
    with served(frames, 32 if fps is None else 1, fps) as endpoint, open_source(endpoint) as source:
        engine = Engine(source, CONFIG, None)
        engine.publisher.start()
        engine.publisher.start = lambda: None  # it serves already, so that pages are there from the first frame
        if not count:
            return _run(engine, frames)
        with web(engine.publisher.endpoint) as (url, _), others("--pages", count, "--url", url, "--seconds", 1e6):
            while not engine.publisher._watched:
                time.sleep(0.05)
            time.sleep(1)
            return _run(engine, frames)


def _run(engine: Engine, frames: int) -> tuple[float, float]:
    cpu_s = time.process_time()
    engine.start()
    while engine.health().frames < frames:
        time.sleep(0.002)
    elapsed, cpu_s = engine.health().elapsed_s, time.process_time() - cpu_s
    engine.wait()
    assert engine.health().lost == 0
    return frames / elapsed, 1e3 * cpu_s / frames


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("endpoint", nargs="?", help="a running program to look at")
    parser.add_argument("--pages", type=int)
    parser.add_argument("--rude", action="store_true")
    parser.add_argument("--url")
    parser.add_argument("--seconds", type=float)
    words = parser.parse_args()
    if words.pages:
        print(json.dumps(asyncio.run(pages(words.url, words.pages, words.seconds))), flush=True)
    elif words.rude:
        asyncio.run(rude(words.url, words.seconds))
    elif words.endpoint:
        costs(words.endpoint, 1)
        costs(words.endpoint, 5)
        with web(words.endpoint) as (url, _):
            for rate in (200e3, 60e3, 20e3):
                asyncio.run(through_a_slow_line(url, rate))
        beside_rude_pages(words.endpoint)
    else:
        for fps, count in ((500, 1), (500, 5), (None, 1), (None, 5)):
            rates, costs_ms = [], []
            for _ in range(ROUNDS if fps is None else 3):
                (alone, alone_ms), (watched, watched_ms) = engine_rate(0, fps), engine_rate(count, fps)
                print(f"frames/s: without {alone:.0f}, with {count} open {watched:.0f}", flush=True)
                rates.append(watched / alone)
                costs_ms.append(watched_ms / alone_ms)
            show(f"engine at {fps or 'full speed, not 500'} frames/s, {count} pages", rates, "≥ 0.97", "–")
            show("its processor time a frame", costs_ms, "–", "–")


if __name__ == "__main__":
    main()
