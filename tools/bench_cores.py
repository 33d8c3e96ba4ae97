"""Chains of large frames on one thread and on several, in turn in one process: frames a second, and time of processors.

    python tools/bench_cores.py                       both chains, 1 and 2 threads
    python tools/bench_cores.py --chains sofi --threads 1 2 4 --rounds 7
    python tools/bench_cores.py --small               frames of 512 × 512 and less, which must not become slower

sofi: motion → sofi of order 4 → reconstruct (whose image is made at the end, outside of the time: in a run that is
watched another thread makes it) on 2048 × 2048; calcium: motion →
extract with 1000 simulated neurons on 1024 × 1024. Each round takes the same blocks through each chain; a figure is the
median of the rounds, the ratio that of the ratios within each round. The results are compared to the bit.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.ndimage as ndi

from streamfluo import Block, Spec
from streamfluo.core.grid import GRID_FRAMES
from streamfluo.engine.chain import Chain
from streamfluo.engine.config import parse_config
from streamfluo.simulate import calcium

INTERVAL_S = 0.05
SOFI = """
[[step]]
kind = "motion"
[[step]]
kind = "sofi"
params = { order = 4 }
[[step]]
kind = "reconstruct"
params = { psf = 1.3, factor = 1, iterations = 3 }
"""
CALCIUM = """
[[step]]
kind = "motion"
[[step]]
kind = "extract"
params = { init_frames = 60, init_delay_frames = 36 }
"""
SMALL = """
[[step]]
kind = "motion"
[[step]]
kind = "moments"
[[step]]
id = "raw"
kind = "moments"
after = "source"
"""


def wandering(side: int, frames: int, seed: int) -> np.ndarray:
    """Return a movie (t, y, x) uint16 of a scene that wanders over whole pixels, in noise that does not repeat itself
    where the scene does."""
    rng = np.random.default_rng(seed)
    scene = ndi.gaussian_filter(rng.random((side, side), np.float32), 2)
    scene = (scene - scene.min()) * np.float32(200 / (scene.mean() - scene.min()))
    noise = rng.poisson(200, (side, side)).astype(np.float32) - 200
    walk = np.rint(np.cumsum(rng.normal(0, 0.3, (frames, 2)), 0)).astype(int)
    movie = np.empty((frames, side, side), np.uint16)
    for t in range(frames):
        movie[t] = np.clip(np.roll(scene, walk[t], (0, 1)) + np.roll(noise, (37 * t, 101 * t), (0, 1)), 0, 65535)
    return movie


def built(text: str, movie: np.ndarray, threads: int) -> Chain:
    """Return a chain of so many threads."""
    return Chain(
        parse_config(f"[chain]\nthreads = {threads}\n{text}"), Spec(movie.shape[1:], movie.dtype.name, INTERVAL_S)
    )


class Runner:
    """One chain, and what it made so far, as a digest."""

    def __init__(self, chain: Chain, movie: np.ndarray) -> None:
        self.chain, self._movie, self._told = chain, movie, dict[str, Any]()
        self.reads = [step.id for step in self.chain.steps if not step.lives_on_frames]

    def take(self, first: int, stop: int, size: int) -> tuple[float, float]:
        """Run frames in blocks, several at once as the engine does; return seconds, and seconds of processors."""
        began, cpu = time.perf_counter(), time.process_time()
        streamed = self.chain.streams() if size == GRID_FRAMES else 0
        size = streamed or size
        stops, results = iter(range(first + size, stop + 1, size)), []

        def pull() -> Block | None:
            at = next(stops, None)
            return None if at is None else Block(at - size, np.arange(at - size, at), self._movie[at - size : at])

        while (at := len(results)) * size < stop - first:  # a stream has an end
            if streamed:
                self.chain.run_stream(pull, lambda block, found: results.append([r.values for r in found]))
            else:
                results.append([r.values for r in self.chain.run(pull())])
            assert len(results) > at
        took = time.perf_counter() - began, time.process_time() - cpu
        for values in (one for made in results for one in made):
            self._add(values.arrays if values is not None else {})
        return took

    def _add(self, arrays: Mapping[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            self._told.setdefault(name, hashlib.sha256()).update(np.ascontiguousarray(array).tobytes())

    @property
    def digest(self) -> str:
        """Of all values so far, and the images as of now."""
        for step in self.reads:
            self._add(self.chain.read(step, ["linearised"]))
        return hashlib.sha256(
            "".join(self._told[name].hexdigest() for name in sorted(self._told)).encode()
        ).hexdigest()[:16]


def measure(name: str, text: str, movie: np.ndarray, counts: list[int], cut: tuple[int, int, int]) -> None:
    """Print what a chain takes; cut: frames before the first round, frames a round, frames a block."""
    settle, frames, size = cut
    runners = [Runner(built(text, movie, threads), movie) for threads in counts]
    for runner in runners:
        runner.take(0, settle, min(GRID_FRAMES, settle))
    rounds = (len(movie) - settle) // frames
    took = np.zeros((rounds, len(counts), 2))
    for n in range(rounds):
        order = range(len(counts)) if n % 2 else reversed(range(len(counts)))
        for k in order:
            took[n, k] = runners[k].take(settle + n * frames, settle + (n + 1) * frames, size)
    ms = 1e3 * np.median(took, 0) / frames
    for k, threads in enumerate(counts):
        ratios = took[:, 0, 0] / took[:, k, 0]
        cores = np.median(took[:, k, 1] / took[:, k, 0])
        print(
            f"{name}, {movie.shape[1]}², blocks of {size}, {threads} threads: {1e3 / ms[k, 0]:.1f} fps, {ms[k, 0]:.2f} "
            f"ms, {ms[k, 1]:.2f} ms of processors a frame ({cores:.2f} cores busy); {np.median(ratios):.2f} × "
            f"({ratios.min():.2f} to {ratios.max():.2f}, {rounds} rounds)"
        )
    same = len({runner.digest for runner in runners}) == 1
    print(f"{name}: results are the same to the bit: {same}")
    if not same:
        raise SystemExit("results differ")


def main() -> None:
    """Measure the chains asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", nargs="+", default=["sofi", "calcium"], choices=["sofi", "calcium"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=4001)
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    sys.setswitchinterval(0.0005)  # as all commands do
    if asked.small:
        for side in (64, 128, 256, 512):
            movie = wandering(side, 64 + 64 * asked.rounds, asked.seed)
            for size in (1, GRID_FRAMES):
                measure("small", SMALL, movie, asked.threads, (64, 64, size))
        return
    if "sofi" in asked.chains:
        movie = wandering(2048, 32 + 32 * asked.rounds, asked.seed)
        measure("sofi", SOFI, movie, asked.threads, (32, 32, GRID_FRAMES))
        del movie
    if "calcium" in asked.chains:
        movie, _ = calcium(128 + 128 * asked.rounds, shape=(1024, 1024), neurons=1000, seed=asked.seed)
        measure("calcium", CALCIUM, movie, asked.threads, (128, 128, GRID_FRAMES))


if __name__ == "__main__":
    main()
