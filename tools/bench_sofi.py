"""`sofi` on 512×512×u16 against one cold memory copy of the block, its snapshots, and a full-rate sCMOS camera.

python tools/bench_sofi.py            figures of the operator
python tools/bench_sofi.py --snapshots  those of its snapshots alone
python tools/bench_sofi.py --camera   10 s of 2048×2048 at 100 frames a second over tcp through the engine
"""

import sys
import time

import numpy as np
from bench import SPEC, served, show

from streamfluo import Block, Spec, create, open_source
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

ROUNDS, BLOCKS = 11, 12
PEER_MS, PEER_PX = 23.7, 256 * 256
SCMOS = Spec((2048, 2048), "uint16")


def copies(order: int, size: int) -> list[float]:
    """Time of `sofi` in cold copies of the block, of several rounds."""
    frames = np.random.default_rng(0).poisson(200, (BLOCKS, 32, *SPEC.shape)).astype(np.uint16)
    target, operator, found, index = np.zeros_like(frames), create("sofi", SPEC, order=order), [], 0
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for n in range(BLOCKS):
            np.copyto(target[n], frames[n])
        copying = time.perf_counter() - began
        began = time.perf_counter()
        for n in range(BLOCKS):
            for start in range(0, 32, size):
                operator.update(Block(index, np.zeros(size), frames[n, start : start + size]))
                index += size
        found.append((time.perf_counter() - began) / copying)
    return found


def limit(order: int) -> float:
    """Copies of the block that the state's traffic and the frames' alone would take, all of it at a copy's speed."""
    frame_bytes, state_bytes = 32 * 2, 8 * (1 + 4 * order)
    return (frame_bytes + state_bytes) / (2 * frame_bytes)


def snapshots() -> None:
    """Milliseconds of the chain's thread and of the worker's for each snapshot, with 20 frames waiting for their cell.

    The chain's are those of taking the reader, and what the next cell takes longer as the reader shares the sums; in
    time of the thread itself, as other programs would else drown a difference of 1 ms in 100.
    """
    rng = np.random.default_rng(0)
    cells = rng.poisson(200, (4, 32, *SPEC.shape)).astype(np.uint16)
    for params, names in (
        ({}, ("mean", "m4", "k2", "k3", "k4", "snr2", "snr4", "change")),
        ({"cross": 1}, ("psf_sigma_px", "cross_grid_k4")),
    ):
        operator, index = create("sofi", SPEC, order=4, **params), 0
        for name in names:
            took: dict[str, list[float]] = {"taking": [], "cell": [], "cell after": [], "worker": []}
            for k in range(31):
                operator.update(Block(index, np.zeros(20), cells[k % 4, :20]))
                reader, began = None, time.thread_time()
                if k % 2:
                    reader = operator.reader([name])
                    took["taking"].append((time.thread_time() - began) * 1e3)
                    began = time.thread_time()
                operator.update(Block(index + 20, np.zeros(12), cells[k % 4, 20:]))
                took["cell after" if reader else "cell"].append((time.thread_time() - began) * 1e3)
                index += 32
                began = time.thread_time()
                if reader is not None:
                    reader()
                    took["worker"].append((time.thread_time() - began) * 1e3)
            taking, cell, after, worker = (float(np.median(t)) for t in took.values())
            chain = taking + after - cell
            shown = f"chain {chain:.1f} ms ({taking:.2f} + {after - cell:.1f} on the {cell:.0f} of a cell)"
            print(f"snapshot {name}: {shown}, goal < 5; worker {worker:.0f} ms")


def large() -> None:
    """Frames a second of one thread at 2048 × 2048, order 4."""
    frames = np.random.default_rng(0).poisson(200, (32, *SCMOS.shape)).astype(np.uint16)
    operator, took = create("sofi", SCMOS, order=4), []
    for k in range(40):
        began = time.perf_counter()
        operator.update(Block(32 * k, np.zeros(32), frames))
        took.append((time.perf_counter() - began) / 32)
    rate = 1 / np.median(took[16:])  # memory is touched for the first time before
    print(f"2048×2048, order 4, one thread: {rate:.0f} frames/s ({1e3 / rate:.2f} ms a frame)")
    ours = 1e3 / rate * PEER_PX / (2048 * 2048)
    print(f"scaled to 256×256: {ours:.4f} ms a frame; the peer took {PEER_MS} ms, {PEER_MS / ours:.0f} ×")


def camera() -> None:
    """A camera of 100 frames a second and 840 MB/s on this machine's cores too, for 10 s."""
    config = parse_config('[[step]]\nkind = "sofi"\nparams = { order = 4 }')
    with served(1000, 1, 100.0, SCMOS) as endpoint, open_source(endpoint) as source:
        engine = Engine(source, config, None)
        engine.start()
        engine.wait()
        health = engine.health()
    lost, waiting = health.lost_camera + health.lost_transport, health.edges["ingest"].peak_backlog
    print(
        f"engine, order 4, 2048×2048 at 100 frames/s: {health.frames} frames in {health.elapsed_s:.1f} s, {lost} lost"
    )
    print(f"    at most {waiting / SCMOS.frame_nbytes:.0f} frames waiting; {engine.error or 'no error'}")


def main() -> None:
    if "--camera" in sys.argv:
        camera()
        return
    if "--snapshots" in sys.argv:
        snapshots()
        return
    for order, size, accepted, goal in (
        (2, 32, "≤ 4", "≤ 2"),
        (4, 32, "≤ 6", "≤ 3"),
        (4, 1, "≤ 8", "–"),
        (6, 32, "–", "–"),
    ):
        show(f"sofi order {order}, blocks of {size}, in copies of the block", copies(order, size), accepted, goal)
        print(f"    memory traffic alone: {limit(order):.1f} copies")
    large()
    snapshots()


if __name__ == "__main__":
    main()
