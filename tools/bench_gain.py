"""`gain`: its cost in blocks of 32 frames of 512×512×u16 against one cold memory copy of the block, what a first read
takes, and its error on simulated series beside the statistical floor.

    python tools/bench_gain.py            # --cost or --errors: one of them alone
"""

import sys
import time

import numpy as np
from bench import ROUNDS, SPEC, cost_in_copies, show

from streamfluo import Block, create, simulate
from streamfluo.core.operator import Operator

SEEDS = 5
CASES = {
    "standard": {},
    "standard, darks": {"dark": True},
    "gaussian light": {"illumination": "gaussian"},
    "10 photons": {"photons": 10.0},
    "5 e/ADU": {"gain_e_per_adu": 5.0, "photons": 200.0},
    "50 frames": {"frames": 50},
    "1 % flicker": {"flicker": 0.01},
    "5 % flicker": {"flicker": 0.05},
    "even light, darks": {"illumination": "flat", "dark": True},
    "pixels scatter by 5 %": {"gain_sd": 0.05, "offset_sd_adu": 2.0, "read_noise_sd": 0.35},
    "pixels scatter by 15 %": {"gain_sd": 0.15, "offset_sd_adu": 2.0, "read_noise_sd": 0.35},
    "pixels scatter by 15 %, darks": {"gain_sd": 0.15, "offset_sd_adu": 2.0, "read_noise_sd": 0.35, "dark": True},
}


def cost() -> None:
    operator = create("gain", SPEC)
    ratios = cost_in_copies(operator)
    show("gain, blocks of 32, in copies of the block", ratios[32], "≤ 4", "≤ 2.5")
    show("gain, blocks of 1, in copies of the block", ratios[1], "–", "–")
    maps = [a for n, a in operator.state().items() if isinstance(a, np.ndarray) and n != "waiting"]
    print(f"state: {len(maps)} maps, {sum(a.nbytes for a in maps) / 2**20:.1f} MiB beside the waiting frames")
    reads = []
    for _ in range(ROUNDS):
        light = np.random.default_rng(1).poisson(np.linspace(100, 4000, 512), (32, 512, 512)).astype(np.uint16)
        operator = run(np.concatenate([light, light[::-1]]))
        began = time.perf_counter()
        operator.read()
        reads.append((time.perf_counter() - began) * 1e3)
    print(f"a read of all {len(operator.gives)} snapshots: {np.median(reads):.0f} ms")


def errors() -> None:
    print(f"{'':32} median |error| %   floor (1 sd) %   interval's sd %   of {SEEDS} series of 128×128×500")
    for name, case in CASES.items():
        asked = {"shape": (128, 128), "levels": 1, "frames": 500, **{k: v for k, v in case.items() if k != "dark"}}
        off, stated = [], []
        for seed in range(SEEDS):
            movie, truth = simulate.gain(**asked, seed=seed)
            maps = {"dark": simulate.gain(**{**asked, "frames": 500, "dark_frames": 500}, seed=seed)[0]}
            operator = run(movie, **(maps if case.get("dark") else {}))
            found, gain = operator.read(["gain_e_per_adu", "gain_interval"]), np.median(truth["gain_map"])
            off.append(found["gain_e_per_adu"] / gain - 1)
            stated.append(np.diff(found["gain_interval"])[0] / 2 / 1.96 / gain)
        bound = floor(truth, len(movie), bool(case.get("dark")))
        print(f"{name:32} {100 * np.median(np.abs(off)):10.3f} {100 * bound:18.3f} {100 * np.median(stated):16.3f}")


def floor(truth: dict[str, np.ndarray], frames: int, dark: bool) -> float:
    """Relative standard error of the best estimate from these pixels' variances, each known to √(2/N).

    Of a weighted line, through the known dark point or not; and of the mean over pixels that scatter.
    """
    electrons = truth["illumination"].astype(float) * float(truth["photons"])
    variance = electrons + truth["read_noise_map"] ** 2 + truth["gain_map"] ** 2 / 12
    weight = frames / 2 / variance**2
    about = 0.0 if dark else np.average(electrons, weights=weight)
    line = 1 / np.sum(weight * (electrons - about) ** 2)
    scatter = np.std(truth["gain_map"]) / np.mean(truth["gain_map"])
    return float(np.sqrt(line + scatter**2 / electrons.size))


def run(movie: np.ndarray, **params: object) -> Operator:
    operator = create("gain", SPEC.with_(shape=movie.shape[1:]), **params)
    for start in range(0, len(movie), 32):
        part = movie[start : start + 32]
        operator.update(Block(start, np.zeros(len(part)), part))
    return operator


if __name__ == "__main__":
    if "--errors" not in sys.argv:
        cost()
    if "--cost" not in sys.argv:
        errors()
