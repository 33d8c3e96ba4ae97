"""The table of speed: each job's cost in rfft2 of 512 × 512 float32, or in cold copies of its block, on one thread.

`python tools/bench.py` runs it. Unit and work alternate frame by frame, or round by round; both are measured in time of
the processor, all threads of this process together, which other programs on the machine hardly change. Of the chain's
thread alone it is the time until a frame's values are there. Movie b of tools/bench_motion.py: 512 × 512, 441
components at its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import bench_engine
import bench_latency
import numpy as np
import scipy.fft
from bench import SPEC
from bench_counting import EMITTERS, Case, traces
from bench_motion import SKIP, movie

from streamfluo import Block, Camera, Operator, Spec, create
from streamfluo.cli.run import kept_out_of_collections
from streamfluo.simulate import spots as simulated_spots

INTERVAL_S, SEED, SEED_OF_TRACES = 0.04, 7, 2701
UNIT = np.random.default_rng(0).random((512, 512), np.float32)


class Figure(NamedTuple):
    """A figure, the range of its rounds where it has several, what is accepted and the goal: '–' where none is set."""

    work: str
    value: float
    spread: tuple[float, float] | None = None
    unit: str = "rfft2"
    accepted: str = "–"
    goal: str = "–"


class Costs(NamedTuple):
    """Seconds of each frame: all threads of the process; the chain's until the frame's values; one rfft2."""

    whole: np.ndarray
    until: np.ndarray
    unit: np.ndarray

    def means(self, of: np.ndarray, last: int) -> np.ndarray:
        """Means of ten parts of the last frames, each in the median rfft2 of its own part."""
        parts = zip(np.array_split(of[-last:], 10), np.array_split(self.unit[-last:], 10), strict=True)
        return np.array([part.mean() / np.median(unit) for part, unit in parts])

    def mean(self, work: str, last: int, until: bool = False, accepted: str = "–", goal: str = "–") -> Figure:
        """The median of the means of ten parts of the last frames: a burst of another program spoils one of them."""
        means = self.means(self.until if until else self.whole, last)
        return Figure(work, float(np.median(means)), (means.min(), means.max()), accepted=accepted, goal=goal)

    def quantile(self, part: float, last: int, until: bool = False) -> float:
        """A quantile of the last frames, in the median rfft2 of them all."""
        of = self.until if until else self.whole
        return float(np.quantile(of[-last:], part) / np.median(self.unit[-last:]))

    def mean_s(self, last: int) -> float:
        """Seconds of a frame, the median of the means of ten parts."""
        return float(np.median(self.means(self.whole, last)) * np.median(self.unit[-last:]))


def frame_by_frame(feed: Callable[[Block], object], settle: Callable[[], object], blocks: Iterable[Block]) -> Costs:
    """Time each block of one frame: `feed` gives its values, `settle` waits for what is left to do; then one rfft2."""
    times = []
    with kept_out_of_collections():
        for block in blocks:
            began, thread = time.process_time(), time.thread_time()
            feed(block)
            until = time.thread_time() - thread
            settle()
            times.append((time.process_time() - began, until, _rfft2_s()))
    return Costs(*np.array(times).T)


def raw_blocks(frames: int | None = None) -> Iterator[Block]:
    """Blocks of one frame of movie b."""
    for n, pixels in enumerate(movie("b", SEED)[0][:frames]):
        yield Block(n, np.array([n]), np.array(pixels)[None])


def raw_spec() -> Spec:
    """The Spec of movie b."""
    pixels = movie("b", SEED)[0]
    return Spec(pixels.shape[1:], pixels.dtype, interval_s=INTERVAL_S)


def motion(mode: str, frames: int) -> Costs:
    """Cost of `motion` on single frames of movie b."""
    operator = create("motion", raw_spec(), mode=mode)
    return frame_by_frame(operator.update, lambda: operator.read(["valid_rectangle"]), raw_blocks(frames))


def motion_figures() -> Iterator[Figure]:
    """Rigid and piecewise motion, in blocks of one frame."""
    rigid = motion("rigid", 1400)
    yield rigid.mean("motion, blocks of 1: mean", 400, accepted="1.2", goal=".8")
    ratio = rigid.quantile(0.99, 400) / rigid.quantile(0.5, 400)
    yield Figure("the same: p99 / median", ratio, unit="×", accepted="2.2", goal="2")
    yield rigid.mean("the same until its values: mean", 400, until=True)
    yield motion("piecewise", 500).mean("piecewise motion: mean", 300, accepted="6", goal="4")


def extract_figures() -> Iterator[Figure]:
    """`motion` and `extract` on single frames, as configs/calcium_2p.toml has them, and what begins."""
    limits = {"low_rank": ("3.2", "2.2"), "ring": ("3.8", "2.5")}
    for background, (accepted, goal) in limits.items():
        first = create("motion", raw_spec(), max_shift_px=10)
        second = create("extract", first.out_spec, neuron_sigma_px=4.0, background=background)

        def feed(block: Block, first: Operator = first, second: Operator = second) -> None:
            shifted = first.update(block)
            second.update(shifted.block, {"valid": shifted.values["valid"]})

        costs = frame_by_frame(feed, lambda s=second: s.read(["next_id"]), raw_blocks())
        what = f"motion + extract, background {background}, 430 cells: mean"
        yield costs.mean(what, 1000, accepted=accepted, goal=goal)
        yield Figure("the same: p99", costs.quantile(0.99, 1000), accepted="6.5", goal="5")
        yield Figure("the same: worst", costs.quantile(1, 1000), accepted="15", goal="10")
        yield costs.mean("the same until its values: mean", 1000, until=True)
        yield Figure("the same until its values: p99", costs.quantile(0.99, 1000, until=True))
        begun = SKIP + second._delay_frames  # what the thread that learns takes, beside what frames take by themselves
        beside = np.median(costs.whole[:SKIP]) * (begun - SKIP)
        learned = costs.whole[SKIP - 1 : begun + 1].sum() - beside
        yield Figure("its initialisation, beside the frames", float(learned), unit="s", accepted="1", goal=".5")


def extract_alone_s() -> float:
    """Mean processor time [s] of `extract` alone on the last 400 frames of movie b."""
    first = create("motion", raw_spec(), max_shift_px=10)
    second, took = create("extract", first.out_spec, neuron_sigma_px=4.0), []
    for block in raw_blocks():
        shifted = first.update(block)
        first.read(["valid_rectangle"])
        began = time.process_time()
        second.update(shifted.block, {"valid": shifted.values["valid"]})
        second.read(["next_id"])
        took.append(time.process_time() - began)
    return float(np.mean(took[-400:]))


def spots_costs(size: int) -> tuple[np.ndarray, float]:
    """Processor time of a frame with 200 spots, of several rounds [rfft2], in blocks of `size`; one rfft2 [s]."""
    frames, truth = simulated_spots(frames=32, shape=(512, 512), spots=200, spot_photons=1000, seed=3)
    camera = Camera(**{name: float(truth[name]) for name in ("offset_adu", "gain_e_per_adu", "read_noise_e")})
    operator, ratios, units, at = create("spots", Spec((512, 512), "uint16", camera=camera)), [], [], 0
    for _ in range(13):
        units.append(np.median([_rfft2_s() for _ in range(9)]))
        began = time.process_time()
        for start in range(0, 32, size):
            operator.update(Block(at, np.zeros(size), frames[start : start + size]))
            at += size
        ratios.append((time.process_time() - began) / 32 / units[-1])
    return np.array(ratios[2:]), float(np.median(units))


def spots_figures() -> Iterator[Figure]:
    """200 spots found, fitted and integrated in each frame."""
    for size in (32, 1):
        ratios, _ = spots_costs(size)
        what = f"spots, 200 found and fitted, blocks of {size}"
        yield Figure(what, float(np.median(ratios)), (min(ratios), max(ratios)), accepted="2.5", goal="1.5")


def spots_s() -> float:
    """Processor time [s] of a frame with 200 spots."""
    ratios, unit = spots_costs(32)
    return float(np.median(ratios)) * unit


def sofi_figures() -> Iterator[Figure]:
    """SOFI of order 4, against cold copies of the block."""
    frames = np.random.default_rng(0).poisson(200, (12, 32, *SPEC.shape)).astype(np.uint16)
    target = np.zeros_like(frames)
    for size, accepted, goal in ((32, "2.8", "2.2"), (1, "3.5", "2.5")):
        operator, ratios, index = create("sofi", SPEC, order=4), [], 0
        for _ in range(13):
            began = time.process_time()
            for n in range(len(frames)):
                np.copyto(target[n], frames[n])
            copied = time.process_time()
            for n in range(len(frames)):
                for start in range(0, 32, size):
                    operator.update(Block(index, np.zeros(size), frames[n, start : start + size]))
                    index += size
            ratios.append((time.process_time() - copied) / (copied - began))
        spread = min(ratios[2:]), max(ratios[2:])
        yield Figure(
            f"sofi of order 4, blocks of {size}", float(np.median(ratios[2:])), spread, "copies", accepted, goal
        )


def count_figures() -> Iterator[Figure]:
    """1000 spots counted at 50 frames a second: what a frame waits while the first count is learned, and after."""
    many = np.tile(np.unique(EMITTERS), 1000 // len(np.unique(EMITTERS)))
    x, spec = traces("lognormal", SEED_OF_TRACES, Case(800, many)), Spec((8, 8), "uint16", interval_s=0.02)
    operator, waits = create("count", spec, emission="lognormal"), np.empty(x.shape[1])
    learning = []  # clock, and processor time of the process less the chain's, while it learns
    with kept_out_of_collections():
        for t in range(x.shape[1]):
            began = time.perf_counter()
            operator.update(Block(t, [t], np.zeros((1, 8, 8), np.uint16)), {"photons": x[:, t : t + 1].T})
            waits[t] = 1e3 * (time.perf_counter() - began)
            if operator._learner.frames or (learning and len(learning) < 3):
                learning = [*learning[:1], (time.perf_counter(), time.process_time() - time.thread_time())]
                if not operator._learner.frames:
                    learning.append(learning[-1])
            time.sleep(max(0.0, 0.02 - waits[t] / 1e3))
    yield Figure("first count of 1000 spots: longest a frame waits", waits.max(), unit="ms", accepted="20", goal="5")
    yield Figure("count of 1000 spots, a frame: median", float(np.median(waits)), unit="ms")
    clock, worked = np.subtract(learning[1], learning[0])
    yield Figure("its first learning: part of a core that it needs", float(worked / clock), unit="of a core")


def engine_figures() -> Iterator[Figure]:
    """Frames a second of the engine over tcp against bare ZeroMQ, and the age of frames in an operator [ms]."""
    with kept_out_of_collections():
        ratios = [bench_engine.engine_fps() / bench_engine.bare_fps() for _ in range(5)]
        ages = np.array([np.percentile(bench_latency.engine_ages_ms()[50:], (50, 99)) for _ in range(3)])
    what = "engine with `moments` / bare ZeroMQ"
    yield Figure(what, float(np.median(ratios)), (min(ratios), max(ratios)), "×", ".6", ".75")
    for (name, accepted, goal), of in zip((("p50", ".5", ".3"), ("p99", "1.5", "1")), ages.T, strict=True):
        what = f"ring → operator at 200 frames/s: {name}"
        yield Figure(what, float(np.median(of)), (of.min(), of.max()), "ms", accepted, goal)


def _rfft2_s() -> float:
    began = time.process_time()
    scipy.fft.rfft2(UNIT)
    return time.process_time() - began


JOBS = {
    "motion": motion_figures,
    "extract": extract_figures,
    "spots": spots_figures,
    "sofi": sofi_figures,
    "count": count_figures,
    "engine": engine_figures,
}

PAGE = """# Speed

What each job costs a frame of 512×512, on one thread, and how far that is from what the machine allows. Written by
`python tools/bench.py --page docs/speed.md`, on {date}:
{machine}.

Units: `rfft2` is one `scipy.fft.rfft2` of 512×512 float32, here {unit:.2f} ms by itself; `copies` are cold copies
of the same block in memory. Both alternate with the work they measure. All in time of the processor, what threads
do behind the values included; other programs slow the work more than its unit. Lines in ms and that of the engine
are by the clock: beside other programs they say how long those held the cores. In brackets: the lowest and the
highest of several rounds, or of ten parts of the frames.

| work | measured | accepted | goal |
|---|---|---|---|
{rows}

## Roofline

{operators}

![Operations a second over operations a byte, with the roof of memory and of arithmetic](images/roofline.png)

Bytes and operations are counted by hand, as `tools/roofline.py` says in its first lines. The distance is
processor time over what memory and arithmetic need at least. Sums of pixels are near the roof of memory. Motion,
extraction and spots go through a frame many times, and through lists of components and spots, whose arithmetic is
short, branches, and waits for itself.

## How it grows

{growth}

![Cost of a frame over its pixels, cells, spots; speed over threads](images/growth.png)

Processor time of a frame in rfft2 of 512×512, all threads together; what several threads make of it by the clock. An
exponent of 1 is in proportion. `python tools/bench_growth.py`.

## Bytes a frame

{configs}

Of a stream that is recorded: from the socket into the ring, the journal, and what operators read and write of arrays
as large as a frame. What a snapshot reads comes on top of that when somebody looks.
"""


def line(figure: Figure) -> str:
    """Return a row of the table."""
    spread = "" if figure.spread is None else f" ({_short(figure.spread[0])} to {_short(figure.spread[1])})"
    return f"| {figure.work} | {_short(figure.value)} {figure.unit}{spread} | {figure.accepted} | {figure.goal} |"


def page(figures: Iterable[Figure], machine: str, tables: tuple[str, str, str]) -> str:
    """Return the page."""
    rows, unit = "\n".join(map(line, figures)), 1e3 * float(np.median([_rfft2_s() for _ in range(200)]))
    date = time.strftime("%Y-%m-%d", time.gmtime())
    said = dict(zip(("operators", "configs", "growth"), tables, strict=True))
    return PAGE.format(date=date, machine=machine, unit=unit, rows=rows, **said)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
