"""Steps on a card beside the processor: whether they agree, time a frame, bytes against the card's bandwidth.

    python tools/bench_gpu.py                         all of it, about seven minutes
    python tools/bench_gpu.py --sides 512 --only sofi motion
    STREAMFLUO_CARD=host python tools/bench_gpu.py --sides 64 --seconds 0.2      without a card: that it runs at all

First the values of each step on frames of 96 × 96, on both devices. Then for each size: ms a frame in blocks of 32,
frames already on the card; the same on the processor; bytes that a frame must move at least (its own, read once, and
written once where the step hands frames on) as a share of what copying memory on the card reaches. Then transfers
alone, and the chain motion → sofi → spots from pinned memory to values: frames a second in blocks of 32, and the time
from one frame to its values. A figure is the median over blocks; `extract` follows 144 seeds at most.
"""

import argparse
import statistics
import time
from typing import Any

import numpy as np

from streamfluo import Block, Spec, Table, create
from streamfluo.core.card import Card, open_card
from streamfluo.core.card_block import CardBlock
from streamfluo.core.grid import GRID_FRAMES
from streamfluo.core.registry import operators
from streamfluo.engine.chain import Chain
from streamfluo.engine.config import parse_config

INTERVAL_S = 0.002
EXTRACT = {"init": "seeded", "init_frames": 32, "init_delay_frames": 32, "decay_s": 2 * INTERVAL_S}
CELL_PX, CELLS_ACROSS = 25, 12  # between the seeds of `extract`, at most so many in a row: each is a mask of the frame
WARM_UP_BLOCKS = 4  # `extract` has learned from its first frames then
COMPARED_FRAMES = {"extract": 320}  # of others 96
CASES: dict[str, dict[str, Any]] = {
    "moments": {},
    "bin": {"bin_px": 2},
    "sofi": {"order": 4},
    "sofi, cross": {"order": 4, "cross": 1},
    "summary": {},
    "gain": {},
    "motion": {},
    "motion, piecewise": {"mode": "piecewise"},
    "spots": {"sigma_px": 1.3},
    "extract": EXTRACT,
    "extract, low_rank": {**EXTRACT, "background": "low_rank"},
}
CHAIN = """
[chain]
device = "gpu"
[[step]]
kind = "motion"
[[step]]
kind = "sofi"
[[step]]
kind = "spots"
params = { sigma_px = 1.3 }
"""


def movie(side: int, frames: int, seed: int = 1) -> np.ndarray:
    """Return frames (t, y, x) uint16 with a spot in every 40th pixel's neighbourhood that blinks, moved a little."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    lit = np.zeros((frames, side, side), np.float32)
    for _ in range(max(4, side * side // 4000)):
        cy, cx = rng.uniform(8, side - 8, 2)
        near = (slice(int(cy) - 6, int(cy) + 7), slice(int(cx) - 6, int(cx) + 7))
        spot = 400 * np.exp(-((y[near] - cy) ** 2 + (x[near] - cx) ** 2) / (2 * 1.3**2))
        lit[(slice(None), *near)] += spot * (rng.random((frames, 1, 1)) < 0.3)
    return rng.poisson(100 + lit).astype(np.uint16)


def blocks(frames: np.ndarray, size: int, start: int = 0) -> list[Block]:
    """Return frames as blocks of a size, from an index on."""
    return [
        Block(start + n, np.arange(n, n + size) * 2_000_000, frames[n : n + size])
        for n in range(0, len(frames) - size + 1, size)
    ]


def worst(name: str, dtype: str) -> float:
    """Return by how much of its largest value an array that a step gives differs between card and processor, the
    worst of all."""
    kind, params = name.partition(",")[0], params_of(name, 96)
    frames = movie(96, COMPARED_FRAMES.get(kind, 96)).astype(dtype)
    found: list[dict[str, np.ndarray]] = []
    for device in ("gpu", "cpu"):
        operator = create(kind, Spec((96, 96), dtype, INTERVAL_S), device, **params)
        given: dict[str, np.ndarray] = {}
        for block in blocks(frames, 32):
            out = operator.update(block)
            for key, value in out.values.items():
                columns = {f"{key}/{c}": value[c] for c in value} if isinstance(value, Table) else {key: value}
                given |= {f"{column} from {block.index}": np.asarray(array) for column, array in columns.items()}
            if out.block is not None:
                given[f"frames from {block.index}"] = out.block.pixels
        found.append(given | dict(operator.read()))
    most = 0.0
    for key, array in found[1].items():
        if array.shape != found[0][key].shape:
            return float("inf")
        if array.size and array.dtype.kind in "fiub":
            difference = np.abs(np.nan_to_num(found[0][key].astype(float) - array, nan=0.0)).max()
            most = max(most, float(difference / (np.abs(np.nan_to_num(array)).max() or 1)))
    return most


def params_of(name: str, side: int) -> dict[str, Any]:
    """Return the parameters of a case on frames of a side, of `extract` with seeds all over."""
    if not name.startswith("extract"):
        return CASES[name]
    apart = max(CELL_PX, side // CELLS_ACROSS)
    y, x = np.mgrid[apart // 2 : side - 8 : apart, apart // 2 : side - 8 : apart]
    return {**CASES[name], "seeds": np.column_stack((y.ravel(), x.ravel())).tolist()}


def synchronised(card: Card) -> None:
    """Return once the card has done all that was asked."""
    card.get(card.xp.zeros(1))


def ms_a_frame(card: Card | None, name: str, frames: np.ndarray, seconds: float) -> tuple[float, int]:
    """Return the median time of a frame in blocks of 32, and the bytes that it reads and hands on at least."""
    kind, params = name.partition(",")[0], params_of(name, frames.shape[1])
    spec = Spec(frames.shape[1:], frames.dtype.name, INTERVAL_S)
    operator = create(kind, spec, "gpu" if card is not None else "cpu", **params)
    cells = blocks(frames, GRID_FRAMES)
    if card is not None:
        cells = [CardBlock(block, card, card.put(block.pixels), block.pixels) for block in cells]
    times, n, until, handed = list[float](), 0, 0.0, 0
    while n < WARM_UP_BLOCKS + 4 or (time.monotonic() < until and n < 400):
        if n == WARM_UP_BLOCKS:
            until = time.monotonic() + seconds
            times.clear()
        at = cells[n % len(cells)]
        if card is None:
            block = Block(n * GRID_FRAMES, at.times_ns, at.pixels)
        else:
            block = CardBlock(at, card, at.there, at.pixels)
            block.__dict__["index"] = n * GRID_FRAMES
            synchronised(card)
        began = time.perf_counter()
        out = operator.update(block)
        if card is not None:
            synchronised(card)
        times.append(time.perf_counter() - began)
        if out.block is not None:
            handed = out.block.nbytes // GRID_FRAMES
        n += 1
        if card is None and times[-1] > 1 and n > WARM_UP_BLOCKS:
            break
    return statistics.median(times[len(times) // 3 :]) * 1e3 / GRID_FRAMES, frames[0].nbytes + handed


def copied_gb_s(card: Card) -> float:
    """Return at what rate the card copies its own memory, read and written [GB/s]."""
    there, out = card.xp.ones(1 << 26, np.float32), card.xp.empty(1 << 26, np.float32)
    times = []
    for _ in range(10):
        synchronised(card)
        began = time.perf_counter()
        out[...] = there
        synchronised(card)
        times.append(time.perf_counter() - began)
    return 2 * there.nbytes / min(times) / 1e9


def transfers(card: Card, side: int) -> str:
    """Return at what rate frames go to the card, from memory that is pinned and from other, and come back."""
    host = np.ones((GRID_FRAMES, side, side), np.uint16)
    rates = []
    for pinned in (False, True):
        if pinned:
            card.pin(host)
        times = []
        for _ in range(5):
            synchronised(card)
            began = time.perf_counter()
            there = card.put(host)
            synchronised(card)
            times.append(time.perf_counter() - began)
        rates.append(host.nbytes / min(times) / 1e9)
    began = time.perf_counter()
    card.get(there)
    back = host.nbytes / (time.perf_counter() - began) / 1e9
    return f"{side}²: to the card {rates[0]:.1f} GB/s, pinned {rates[1]:.1f}, back {back:.1f}"


def chain(card: Card, side: int, seconds: float) -> str:
    """Return frames a second of the chain from pinned memory, in blocks of 32, and the time of a single frame."""
    frames = movie(side, 2 * GRID_FRAMES)
    card.pin(frames)
    made = Chain(parse_config(CHAIN), Spec(frames.shape[1:], "uint16", INTERVAL_S))
    where = ", ".join(f"{step.id} on {step.card or 'the processor'}" for step in made.steps)
    found, n = list[str](), 0
    for size in (GRID_FRAMES, 1):
        cells, times, until = blocks(frames, size), list[float](), time.monotonic() + seconds
        while len(times) < 6 or (time.monotonic() < until and len(times) < 1000):
            at = cells[len(times) % len(cells)]
            block = Block(n, np.arange(n, n + size) * 2_000_000, at.pixels)
            n += size
            began = time.perf_counter()
            made.push(block)
            times.append(time.perf_counter() - began)
        late = times[len(times) // 3 :]
        median = statistics.median(late)
        if size == 1:
            found.append(f"one frame to its values {median * 1e3:.2f} ms, p99 {np.percentile(late, 99) * 1e3:.2f}")
        else:
            found.append(f"{size / median:.0f} frames/s in blocks of {size}")
    return f"{side}²: {', '.join(found)} ({where})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--only", nargs="+", default=list(CASES), help="kinds")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure")
    options = parser.parse_args()
    card = open_card()
    bandwidth = copied_gb_s(card)
    print(f"{card.name}: copies its memory at {bandwidth:.0f} GB/s\n")
    names = [name for name in CASES if name in options.only or name.partition(",")[0] in options.only]
    twins = [name for name in names if "gpu" in operators()[name.partition(",")[0]].devices]
    print(f"no twin: {', '.join(name for name in names if name not in twins) or 'none'}\n")
    print("step                  differs by at most, of an array's largest value (uint16, float32)   stated")
    for name in twins:
        stated = operators()[name.partition(",")[0]].twin_tolerance
        print(f"{name:20}  {worst(name, 'uint16'):.1e}  {worst(name, 'float32'):.1e}   {stated:.0e}", flush=True)
    print("\nstep                  side  card [ms a frame]  processor  ratio  of the card's bandwidth")
    for side in options.sides:
        frames = movie(side, 2 * GRID_FRAMES)
        for name in twins:
            there, nbytes = ms_a_frame(card, name, frames, options.seconds)
            here, _ = ms_a_frame(None, name, frames, options.seconds)
            share = nbytes / (there * 1e-3) / (bandwidth * 1e9)
            print(f"{name:20}  {side:4}  {there:17.4f}  {here:9.3f}  {here / there:5.1f}  {share:6.1%}", flush=True)
    print()
    for side in options.sides:
        print(transfers(card, side))
    print()
    for side in options.sides:
        print(chain(card, side, options.seconds), flush=True)


if __name__ == "__main__":
    main()
