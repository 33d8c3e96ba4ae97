"""Engine throughput with `moments`, 512×512×u16, against a bare ZeroMQ PUSH/PULL of the same frames over tcp.

The engine and the loop have their frames through shared memory, the engine over tcp as well. The bare receiver lets
each frame go unread. How much of the distance is the work itself shows a plain loop that receives, copies each frame
once into a block and calls `moments`, with no threads, ring or counters.
"""

import time
from multiprocessing.connection import Connection

import numpy as np
import zmq
from bench import SPEC, another_process, served, show

from streamfluo import Block, create, open_source
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

FRAMES, ROUNDS = 6016, 5


def bare_push(connection: Connection) -> None:
    """Push frames as fast as they go."""
    socket = zmq.Context().socket(zmq.PUSH)
    socket.bind("tcp://127.0.0.1:0")
    connection.send(socket.getsockopt(zmq.LAST_ENDPOINT).decode())
    pixels = np.random.default_rng(0).integers(0, 4096, (64, *SPEC.shape), np.uint16)
    for n in range(FRAMES):
        socket.send_multipart([b"header", pixels[n % 64]], copy=False)
    socket.close()


def bare_fps() -> float:
    """Return frames a second through PUSH/PULL, received and let go."""
    with another_process(bare_push) as endpoint:
        socket = zmq.Context().socket(zmq.PULL)
        socket.connect(endpoint)
        socket.recv_multipart(copy=False)
        began = time.perf_counter()
        for _ in range(FRAMES - 1):
            socket.recv_multipart(copy=False)
        elapsed = time.perf_counter() - began
        socket.close()
        return (FRAMES - 1) / elapsed


def plain_loop_fps() -> float:
    """Return frames a second of a loop that receives, copies and calls `moments`."""
    operator = create("moments", SPEC)
    frames = np.zeros((32, *SPEC.shape), SPEC.dtype)
    with served(FRAMES, 32, None) as endpoint, open_source(endpoint) as source:
        began = time.perf_counter()
        for block in source.blocks():
            frames[block.index % 32] = block.pixels[0]
            if block.stop % 32 == 0:
                operator.update(Block(block.stop - 32, np.zeros(32), frames))
        elapsed = time.perf_counter() - began
        source.finished()
    return FRAMES / elapsed


def engine_fps(options: str = "") -> float:
    """Return frames a second through the data endpoint, the ring and `moments`."""
    with served(FRAMES, 32, None) as endpoint, open_source(endpoint + options) as source:
        engine = Engine(source, parse_config('[[step]]\nkind = "moments"'), None)
        engine.start()
        engine.wait()
        health = engine.health()
        assert health.frames == FRAMES
        assert health.lost == 0
        return FRAMES / health.elapsed_s


def main() -> None:
    rounds = [(bare_fps(), plain_loop_fps(), engine_fps(), engine_fps("?memory=none")) for _ in range(ROUNDS)]
    bare, loop, ours, tcp = np.median(rounds, axis=0)
    print(f"frames/s: bare PUSH/PULL {bare:.0f}, plain loop with moments {loop:.0f}, engine with moments {ours:.0f}, "
          f"over tcp {tcp:.0f}")  # fmt: skip
    show("engine relative to bare", [e / b for b, _, e, _ in rounds], "≥ 0.70", "≥ 0.85")
    show("engine relative to the plain loop", [e / p for _, p, e, _ in rounds], "–", "–")
    show("engine through shared memory relative to tcp", [e / t for _, _, e, t in rounds], "–", "–")


if __name__ == "__main__":
    main()
