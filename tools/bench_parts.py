"""How near a recording taken in parts comes to its single run: motion and extract on simulated movies, by seed.

    python tools/bench_parts.py --seeds 101,102 --frames 6000 --side 96 --cells 12 --parts 3 --sample 1536

Prints for each seed the measures of `streamfluo.reprocess.agreement`, which of them lie beyond the tolerances that the
session states, the errors of both runs' shifts against the truth, and CPU seconds of single run, sample and parts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

from streamfluo import Block, open_session
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.reprocess.agreement import agreement, beyond
from streamfluo.reprocess.in_parts import learn_first, merged, parts_of, process_part
from streamfluo.reprocess.one_recording import Task
from streamfluo.reprocess.recordings import recordings
from streamfluo.sources.opening import open_source

CONFIG = """
[source]
interval_s = 0.0333
[[step]]
kind = "motion"
params = { MOTION }
[[step]]
kind = "extract"
params = { neuron_sigma_px = 3.0 }
"""


def simulated(path: Path, frames: int, params: dict[str, object]) -> np.ndarray:
    """Write a movie as it is made, block by block; return the shifts (frames, 2) [px] that are true."""
    with open_source("sim:calcium?" + "&".join(f"{k}={v}" for k, v in {"frames": frames, **params}.items())) as source:
        with tifffile.TiffWriter(path, bigtiff=True) as writer:
            for block in source.blocks():
                for frame in block.pixels if isinstance(block, Block) else ():
                    writer.write(frame, contiguous=True)
        return np.asarray(source.truth["shift_px"])


def errors(found: np.ndarray, true: np.ndarray) -> str:
    """The rms and the largest error of shifts, whatever their origin."""
    apart = found - true[: len(found)]
    apart = apart - np.median(apart, axis=0)
    return f"rms {np.sqrt(np.mean(apart**2)):.3f} px, worst {np.abs(apart).max():.2f} px"


def one(seed: int, args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for sub in ("out", "work"):
            (folder / sub).mkdir()
        movie = folder / "movie.tif"
        extra = dict(pair.split("=") for pair in args.sim.split(",") if pair)
        true = simulated(
            movie,
            args.frames,
            {"shape": f"{args.side}x{args.side}", "neurons": args.cells, "motion_px": 2, "seed": seed, **extra},
        )
        text = CONFIG.replace("MOTION", args.motion)
        began = time.process_time()
        with open_source(movie) as source:
            engine = Engine(source, parse_config(text), folder / "single")
            engine.start()
            engine.wait()
        single_s, began = time.process_time() - began, time.process_time()
        task = Task(("parts.toml", text, ()), recordings([str(movie)])[0], str(folder / "out"))
        parts = parts_of(task, args.parts, str(folder / "work"), args.sample)
        learned = learn_first(parts[0])
        sample_s, began = time.process_time() - began, time.process_time()
        done = [(part, process_part(part)) for part in parts]
        parts_s, began = time.process_time() - began, time.process_time()
        merged(done, learned)
        merge_s = time.process_time() - began
        whole, taken = open_session(folder / "single"), open_session(folder / "out" / "movie")
        cpu = f"single {single_s:.1f} s, sample {sample_s:.1f}, parts {parts_s:.1f}, merge {merge_s:.1f}"
        print(f"seed {seed}: CPU {cpu}")
        for step, bounds in taken.facts["divided"]["tolerances"].items():
            found = agreement(whole, taken, step)
            print(f"  {step}: " + ", ".join(f"{key} {value:.4g}" for key, value in found.items()))
            if outside := beyond(found, bounds):
                print(f"  {step}: BEYOND its tolerance: {outside}")
        for who, session in (("single", whole), ("parts", taken)):
            said = errors(session.values("motion")["shift_px"], true)
            print(f"  shifts of {who} against the truth: {said}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="1")
    for name, default in (("frames", 6000), ("side", 96), ("cells", 12), ("parts", 3), ("sample", 1536)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--sim", default="", help="further parameters of the simulator: bleach_s=60,photons=30")
    parser.add_argument("--motion", default="", help='parameters of motion: mode = "piecewise"')
    args = parser.parse_args()
    for seed in map(int, args.seeds.split(",")):
        one(seed, args)


if __name__ == "__main__":
    main()
