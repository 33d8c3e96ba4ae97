"""One-way latency over tcp at 512×512×u16 and 200 frames a second: sent by one process, pixels ready in an operator.

The reference, in the same run, is a bare ZeroMQ PUSH/PULL of the same frames at the same rate.
"""

import time
from multiprocessing.connection import Connection

import numpy as np
import zmq
from bench import SPEC, another_process, served

from streamfluo import Operator, Output, open_source, register
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

FRAMES, FPS, ROUNDS = 1000, 200.0, 3


@register("latency-probe")
class LatencyProbe(Operator):
    """Notes how old each frame is when it arrives."""

    ages_ms: list[float] = []

    def update(self, block, inputs={}):
        block.pixels[-1, -1, -1]
        self.ages_ms += list((time.monotonic_ns() - block.times_ns) / 1e6)
        return Output(block.index)

    def state(self):
        return {}

    def restore(self, state):
        pass


def bare_push(connection: Connection) -> None:
    """Push frames at the camera's rate, stamped when sent."""
    socket = zmq.Context().socket(zmq.PUSH)
    socket.bind("tcp://127.0.0.1:0")
    connection.send(socket.getsockopt(zmq.LAST_ENDPOINT).decode())
    pixels = np.random.default_rng(0).integers(0, 4096, (64, *SPEC.shape), np.uint16)
    began = time.monotonic()
    for n in range(FRAMES):
        time.sleep(max(0, began + n / FPS - time.monotonic()))
        socket.send_multipart([time.monotonic_ns().to_bytes(8, "little"), pixels[n % 64]], copy=False)
    socket.close()


def bare_ages_ms() -> list[float]:
    """Return the ages of frames that came through a bare PUSH/PULL."""
    with another_process(bare_push) as endpoint:
        socket = zmq.Context().socket(zmq.PULL)
        socket.connect(endpoint)
        ages = []
        for _ in range(FRAMES):
            stamp, pixels = socket.recv_multipart(copy=False)
            np.frombuffer(pixels.buffer, np.uint16)[-1]
            ages.append((time.monotonic_ns() - int.from_bytes(stamp.bytes, "little")) / 1e6)
        socket.close()
        return ages


def engine_ages_ms() -> list[float]:
    """Return the ages of frames when the operator has them."""
    LatencyProbe.ages_ms.clear()
    with served(FRAMES, 1, FPS) as endpoint, open_source(endpoint) as source:
        engine = Engine(source, parse_config('[[step]]\nkind = "latency-probe"'), None)
        engine.start()
        engine.wait()
    return list(LatencyProbe.ages_ms)


def main() -> None:
    figures = []
    for _ in range(ROUNDS):
        bare, ours = bare_ages_ms()[50:], engine_ages_ms()[50:]
        figures.append([*np.percentile(ours, (50, 99)), *np.percentile(bare, (50, 99))])
    p50, p99, bare50, bare99 = np.median(figures, axis=0)
    print(f"bare PUSH/PULL: p50 {bare50:.2f} ms, p99 {bare99:.2f} ms")
    print(f"in the operator: p50 {p50:.2f} ms (accepted 3, goal 1.5), p99 {p99:.2f} ms (accepted 10, goal 6)")
    print(f"ratio to bare: p50 {p50 / bare50:.2f}, p99 {p99 / bare99:.2f} (median of {ROUNDS} runs)")


if __name__ == "__main__":
    main()
