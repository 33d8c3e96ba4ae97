"""How the cost of a frame grows with its pixels, cells and spots, and what several cores make of it.

    python tools/bench_growth.py                        the table, in two minutes on a quiet machine
    python tools/bench_growth.py --picture growth.png   and its picture

Time of the processor in rfft2 of 512 × 512 float32, which alternates with it; cores: by the clock, over one thread.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as all commands do: threads that wait would count as work

import numpy as np
from bench import SPEC
from bench_cores import SOFI, Runner, built, wandering
from bench_speed import frame_by_frame

from streamfluo import Block, Camera, Spec, create
from streamfluo.core.grid import GRID_FRAMES
from streamfluo.simulate import calcium
from streamfluo.simulate import spots as simulated_spots

SIDES, CELLS, SPOTS = (128, 256, 512, 1024, 2048), (25, 50, 100, 200, 400), (10, 30, 100, 300, 1000)
FRAMES, INTERVAL_S, SEED = 24, 0.04, 31
WHOLE_FIELD = (("moments", {}), ("sofi", {"order": 4}), ("gain", {}), ("motion", {}))


class Growth(NamedTuple):
    """What grows with what: the figures at each size, in `unit`."""

    what: str
    along: str
    sizes: tuple[int, ...]
    figures: tuple[float, ...]
    unit: str = "rfft2"

    @property
    def exponent(self) -> float:
        """The slope of ln(figure) over ln(size) between the last two sizes: 1 grows in proportion."""
        return float(np.log(self.figures[-1] / self.figures[-2]) / np.log(self.sizes[-1] / self.sizes[-2]))


def with_pixels() -> Iterator[Growth]:
    """Operators of whole fields on a scene that wanders, in frames of each size."""
    for kind, params in WHOLE_FIELD:
        figures = []
        for side in SIDES:
            movie = wandering(side, 2 * FRAMES, SEED)
            operator = create(kind, SPEC.with_(shape=(side, side)), **params)
            done = partial(operator.read, ["hot_pixels"]) if kind == "motion" else lambda: None  # what it leaves behind
            figures.append(cost(operator.update, done, movie))
        yield Growth(kind, "pixels", tuple(side**2 for side in SIDES), tuple(figures))


def with_cells() -> Growth:
    """`extract` alone on 512 × 512 pixels, by how many cells there are."""
    figures = []
    for cells in CELLS:
        movie, _ = calcium(260, shape=(512, 512), neurons=cells, motion_px=0, seed=SEED)
        spec = Spec((512, 512), "uint16", INTERVAL_S)
        operator = create("extract", spec, neuron_sigma_px=4.0, init_frames=100, init_delay_frames=60)
        figures.append(cost(operator.update, lambda made=operator: made.read(["next_id"]), movie))
    return Growth("extract, 512 × 512", "cells", CELLS, tuple(figures))


def with_spots() -> Growth:
    """`spots` on 512 × 512 pixels, by how many are in a frame."""
    figures = []
    for spots in SPOTS:
        movie, truth = simulated_spots(frames=2 * FRAMES, shape=(512, 512), spots=spots, spot_photons=1000, seed=SEED)
        camera = Camera(**{name: float(truth[name]) for name in ("offset_adu", "gain_e_per_adu", "read_noise_e")})
        operator = create("spots", Spec((512, 512), "uint16", camera=camera))
        figures.append(cost(operator.update, lambda: None, movie))
    return Growth("spots, 512 × 512", "spots", SPOTS, tuple(figures))


def with_cores() -> Growth:
    """`motion` and `sofi` of order 4 on 2048 × 2048: the clock of one thread over that of several."""
    threads = tuple(sorted({1, 2, os.cpu_count() or 1}))
    movie = wandering(2048, 4 * GRID_FRAMES, SEED)
    runners = [Runner(built(SOFI, movie, count), movie) for count in threads]
    took = [
        [runner.take(first, first + GRID_FRAMES, GRID_FRAMES)[0] for runner in runners]
        for first in range(0, len(movie), GRID_FRAMES)
    ]
    ratios = np.median([[each[0] / one for one in each] for each in took[1:]], axis=0)
    return Growth("motion, sofi, 2048 × 2048", "threads", threads, tuple(ratios.tolist()), "×")


def cost(feed: Callable[[Block], object], settle: Callable[[], object], movie: np.ndarray) -> float:
    """Return the mean cost [rfft2] of the last frames of a movie (t, y, x), one a block, all that they leave done."""
    blocks = (Block(n, np.array([n * 10**9]), frame[None]) for n, frame in enumerate(movie))
    costs = frame_by_frame(feed, settle, blocks)
    return float(costs.whole[-FRAMES:].mean() / np.median(costs.unit))


def grown() -> Iterator[Growth]:
    """All of it."""
    yield from with_pixels()
    yield with_cells()
    yield with_spots()
    yield with_cores()


def table(found: list[Growth]) -> str:
    """Return a row for each of what grows."""
    lines = ["| what | grows with | figures | exponent at the end |", "|---|---|---|---|"]
    for growth in found:
        pairs = zip(growth.sizes, growth.figures, strict=True)
        figures = "; ".join(f"{_size(growth, size)}: {figure:.3g}" for size, figure in pairs)
        end = f"{growth.exponent:.2f}" if len(growth.sizes) > 1 else "–"
        lines.append(f"| {growth.what} | {growth.along} | {figures} {growth.unit} | {end} |")
    return "\n".join(lines)


def draw(found: list[Growth], path: Path) -> None:
    """Draw a panel for each of what costs grow with."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    along = list(dict.fromkeys(growth.along for growth in found))
    figure, panels = plt.subplots(1, len(along), figsize=(2.9 * len(along), 2.9), layout="constrained", dpi=130)
    for axes, name in zip(panels, along, strict=True):
        for growth in (one for one in found if one.along == name):
            axes.loglog(growth.sizes, growth.figures, "o-", ms=4, lw=1.2, label=growth.what)
        axes.set(xlabel=name, ylabel="times one thread" if name == "threads" else "rfft2 of 512 × 512 a frame")
        if name == "threads":
            axes.set_xscale("linear")
            axes.set_yscale("linear")
            axes.set(xlim=(0.8, growth.sizes[-1] + 0.2), xticks=growth.sizes)
            axes.set_ylim(0, 1.05 * max(growth.sizes[-1], *growth.figures))
        else:
            axes.set_xticks(growth.sizes, [_size(growth, size) for size in growth.sizes])
            axes.xaxis.set_minor_formatter("")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.set_ylim(10 ** np.floor(np.log10(axes.dataLim.ymin)), 10 ** np.ceil(np.log10(axes.dataLim.ymax)))
        axes.grid(alpha=0.25, which="both", lw=0.5)
        axes.legend(fontsize=7, frameon=False)
    figure.savefig(path)


def _size(growth: Growth, size: int) -> str:
    return f"{round(size**0.5)}²" if growth.along == "pixels" else str(size)


def main() -> None:
    """Print the table; draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path)
    words = parser.parse_args()
    found = list(grown())
    print(table(found))
    if words.picture:
        draw(found, words.picture)


if __name__ == "__main__":
    main()
