"""How far each operator is from what this machine's memory and arithmetic allow, by bytes and operations a frame.

    python tools/roofline.py                         the table, and bytes a frame of each shipped config
    python tools/roofline.py --picture roofline.png  the picture beside it

The roof is measured in the run: bytes a second of a copy that no cache holds (read and written), and multiply–adds a
second of one core in float32, with and without fusing them (kernels do not fuse, so that every machine has the same
bits). An operator needs at least the longer of bytes / rate and operations / rate; its distance is its processor time
over that.

What is counted, for a pixel of a frame of 512 × 512 × u16 unless it says otherwise. Bytes: what is read and written of
arrays as large as a frame, once for each pass; rows that are worked on stay in the nearest cache and cost nothing, nor
does memory that a write reads first. Operations: additions, multiplications, comparisons, conversions.

- accumulators (`moments`, `sofi`, `gain`): the frame (2 B), and their state read and written once in 32 frames, as
  `state()` tells its size, less the frames that wait; in blocks of 1 a frame is kept until then (2 B read, 2 written).
  `moments`: 7 operations (difference, its sum, square and sum, extremes, total); `sofi`: 1 + 2 for each product that
  is summed; `gain`: 14.
- `motion`: interpolation 2 + 4 B, 22 operations; levels, every fourth row, 1.5 B, 1; projection of residuals
  2 + 4 + 3 B and 20, 1.2 steps a frame; misfit and correlation, every eighth row, 2.8 B, 4; template and mean 20 B,
  17; a row of blocks renewed .2 B, 1. Piecewise: conversion 6 B, 1, and interpolation 8 B, 97 in place of the first.
- `highpass_sigma_px`: four running means, 4 × 16 B and 4 × 4.
- `extract`, K components of p pixels, M background modes: the corrected frame is whitened, 14 + M B, 9 + M / 2; binned
  for the ring 8 B, 2; kept in a window and, in bins of 5, summed, stored, searched, 9 + M B, 30; a footprint's pixel is
  read twice, 10 B and 2, as a frame comes and as it leaves, and its box once in 5 frames, 12 B and 2; a component takes
  2 × 40 × 40 operations of deconvolution and two of each weight of the networks of its rate.
- `spots`, N found: conversion 6 B, matched filter, its bands of rows in the nearest caches, 17 B (electrons, q, the
  background, marks) and 38, its maxima 1 B and 1; each spot three evaluations of 121
  pixels with 45 operations. On the mean: a sum of float64, 18 B and 1, and each spot's pixels twice.
- the engine: from the socket's memory into the ring (2 B read, 2 written); the journal writes 2 B of a stream.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import bench_speed
import numba
import numpy as np
from bench import SPEC

from streamfluo import Block, Operator, create
from streamfluo.calcium.expected_rate import _networks

PIXELS, CELL = SPEC.shape[0] * SPEC.shape[1], 32
COPIED, ROUNDS = 1 << 26, 9


class Roof(NamedTuple):
    """Rates of one core: bytes a second of a cold copy; multiplications and additions a second, fused and not."""

    copy: float
    fused: float
    separate: float


class Work(NamedTuple):
    """Bytes and operations of a frame by count, and the processor time of a frame [s], NaN where it is not measured."""

    name: str
    bytes: float
    operations: float
    seconds: float = float("nan")

    def least_s(self, roof: Roof) -> float:
        """The time that memory and arithmetic need at least."""
        return max(self.bytes / roof.copy, self.operations / roof.separate)


def measure_roof() -> Roof:
    """Measure this machine's rates, the medians of several rounds that alternate."""
    source, target = np.ones(COPIED // 4, np.float32), np.zeros(COPIED // 4, np.float32)
    values = np.full(2048, 0.5, np.float32)
    fused, separate = (numba.njit(fastmath=fast)(_multiply_add) for fast in ({"contract"}, False))
    fused(values, 1), separate(values, 1)
    found = []
    for _ in range(ROUNDS):
        copying = _processor_s(lambda: np.copyto(target, source))
        rates = [len(values) * 2000 * 32 / _processor_s(lambda f=f: f(values, 2000)) for f in (fused, separate)]
        found.append((2 * COPIED / copying, *rates))
    return Roof(*np.median(found, axis=0).tolist())


def _multiply_add(values, times):  # type: ignore[no-untyped-def]
    a, b = np.float32(0.5), np.float32(0.25)
    for _ in range(times):
        for i in range(len(values)):
            x = values[i]
            x = ((((((((x * a + b) * a + b) * a + b) * a + b) * a + b) * a + b) * a + b) * a + b)  # fmt: skip
            x = ((((((((x * a + b) * a + b) * a + b) * a + b) * a + b) * a + b) * a + b) * a + b)  # fmt: skip
            values[i] = x


def _processor_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def accumulator(kind: str, size: int, **params: object) -> Work:
    """Count and measure an operator that adds up cells of 32 frames, in blocks of `size`."""
    operator = create(kind, SPEC, **params)
    frames, took = np.random.default_rng(0).poisson(200, (CELL, *SPEC.shape)).astype(np.uint16), []
    for round_ in range(ROUNDS + 2):
        began = time.process_time()
        for start in range(0, CELL, size):
            index = round_ * CELL + start
            operator.update(Block(index, np.zeros(size), frames[start : start + size]))
        took.append((time.process_time() - began) / CELL)
    state = state_bytes(operator)
    bytes_ = PIXELS * (2 + 4 * (size == 1)) + 2 * state / CELL
    products = sum(array.size for name, array in sums_of(operator).items() if name.endswith("sums")) / 2 / PIXELS
    operations = {"moments": 7, "gain": 14}.get(kind, 1 + 2 * products)
    named = ", ".join([kind, *(f"{key} {value}" for key, value in params.items()), f"blocks of {size}"])
    return Work(named, bytes_, PIXELS * operations, float(np.median(took[2:])))


def state_bytes(operator: Operator) -> int:
    """Bytes of an operator's sums."""
    return sum(array.nbytes for array in sums_of(operator).values())


def sums_of(operator: Operator) -> dict[str, np.ndarray]:
    """The arrays as large as a frame that each cell of 32 frames changes or reads; those of the past are left out."""
    arrays = {name: array for name, array in operator.state().items() if isinstance(array, np.ndarray)}
    rests = ("marks", "closed")  # written where frames double, or a segment ends
    return {
        name: array
        for name, array in arrays.items()
        if array.size >= PIXELS and not any(rest in name for rest in rests) and array.shape[:1] != (CELL,)
    }


def motion_work(steps: float = 1.2, piecewise: bool = False, highpass: bool = False) -> tuple[float, float]:
    """Bytes and operations of `motion` on a frame."""
    resampled = (14, 98) if piecewise else (6, 22)
    bytes_ = resampled[0] + 1.5 + 9 * steps + 2.8 + 20 + 0.2 + 64 * highpass
    return PIXELS * bytes_, PIXELS * (resampled[1] + 1 + 20 * steps + 4 + 17 + 1 + 16 * highpass)


def extract_work(components: int = 441, pixels: int = 42, box: int = 625, modes: int = 2) -> tuple[float, float]:
    """Bytes and operations of `extract` on a frame."""
    weights = sum(array.size for layers in _networks() for array, _ in layers)
    sparse, boxes = components * pixels, components * box / 5
    bytes_ = PIXELS * ((14 + modes) + 8 + (9 + modes)) + 2 * 10 * sparse + 12 * boxes
    each = 2 * 40 * 40 + 2 * weights
    return bytes_, PIXELS * ((9 + modes / 2) + 2 + 30) + 2 * 2 * sparse + 2 * boxes + components * each


def spots_work(spots: int = 200, mean: bool = False) -> tuple[float, float]:
    """Bytes and operations of `spots` on a frame."""
    if mean:
        return PIXELS * 24 + spots * 2 * 121 * 4, PIXELS * 2 + spots * 2 * 121 * 10
    return PIXELS * 24, PIXELS * 40 + spots * 3 * 121 * 45


def works() -> list[Work]:
    """All operators, counted and measured."""
    rigid, piecewise = bench_speed.motion("rigid", 1000), bench_speed.motion("piecewise", 400)
    found = [
        accumulator("moments", 32), accumulator("moments", 1), accumulator("sofi", 32, order=2),
        accumulator("sofi", 32, order=4), accumulator("sofi", 1, order=4), accumulator("gain", 32),
    ]  # fmt: skip
    found.append(Work("motion", *motion_work(), rigid.mean_s(200)))
    found.append(Work("motion, piecewise", *motion_work(piecewise=True), piecewise.mean_s(200)))
    found.append(Work("extract, 441 components", *extract_work(), bench_speed.extract_alone_s()))
    found.append(Work("spots, 200 in a frame", *spots_work(), bench_speed.spots_s()))
    return found


def config_bytes() -> dict[str, float]:
    """Bytes a frame of each shipped config that moves pixels, of a stream that is recorded; blocks of 32 of sums."""
    wire = PIXELS * 6.0
    cell = Block(0, np.zeros(CELL), np.random.default_rng(0).poisson(200, (CELL, *SPEC.shape)).astype(np.uint16))

    def summed(kind: str, **params: object) -> float:
        operator = create(kind, SPEC, **params)
        operator.update(cell)
        return wire + PIXELS * 2 + 2 * state_bytes(operator) / CELL

    calcium, one_photon = motion_work()[0], motion_work(highpass=True)[0]
    return {
        "moments": summed("moments"), "calibrate": summed("gain"),
        "sofi": summed("sofi", order=4, cross=1, bleach_fraction=0.1),
        "stop_when_converged": summed("sofi", order=2), "spots, density_control": wire + spots_work()[0],
        "counting": wire + spots_work(mean=True)[0], "calcium_2p, closed_loop": wire + calcium + extract_work()[0],
        "calcium_1p": wire + one_photon + extract_work()[0],
    }  # fmt: skip


def table(roof: Roof, found: list[Work]) -> str:
    """Return the table of operators and roof."""
    lines = [
        f"Copy {roof.copy / 1e9:.1f} GB/s, read and written; {roof.fused / 1e9:.0f} · 10⁹ operations/s fused, "
        f"{roof.separate / 1e9:.0f} · 10⁹ not.", "",
        "| operator, a frame of 512×512 | MB | 10⁶ operations | least ms, by | ms | distance |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for work in found:
        by = "memory" if work.bytes / roof.copy >= work.operations / roof.separate else "arithmetic"
        least, ms = 1e3 * work.least_s(roof), 1e3 * work.seconds
        lines.append(
            f"| {work.name} | {work.bytes / 1e6:.2f} | {work.operations / 1e6:.1f} | {least:.3f}, {by} | {ms:.2f} | "
            f"{ms / least:.1f} × |"
        )
    return "\n".join(lines)


def config_table() -> str:
    """Return bytes a frame of each shipped config."""
    lines = ["| shipped config | MB moved a frame of 512×512×u16 |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {moved / 1e6:.1f} |" for name, moved in config_bytes().items())])


def draw(roof: Roof, found: list[Work], path: Path) -> None:
    """Draw operations a second over operations a byte, with the roof."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 4.4), layout="constrained", dpi=130)
    at = np.geomspace(0.2, 64, 200)
    for rate, style, name in ((roof.separate, "-", "not fused"), (roof.fused, "--", "fused")):
        axes.loglog(at, np.minimum(at * roof.copy, rate) / 1e9, "k" + style, lw=1.2, label=f"roof, {name}")
    for n, work in enumerate(found):
        x, y = work.operations / work.bytes, work.operations / work.seconds / 1e9
        axes.loglog(x, y, "o", color=f"C{n}", ms=7, label=f"{work.name}: {work.seconds / work.least_s(roof):.1f} ×")
    axes.set(xlabel="operations a byte", ylabel="10⁹ operations/s of a core")
    axes.grid(alpha=0.25, which="both", lw=0.5)
    figure.legend(loc="outside right upper", fontsize=7.5, frameon=False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", type=Path)
    words = parser.parse_args()
    roof, found = measure_roof(), works()
    print(table(roof, found), config_table(), sep="\n\n")
    if words.picture:
        draw(roof, found, words.picture)


if __name__ == "__main__":
    main()
