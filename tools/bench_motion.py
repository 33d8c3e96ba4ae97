"""Motion correction on semi-real movies: errors against the Cramér–Rao bound, cost against one rfft2.

Movies are rendered once by `semireal/make.py` of the data folder ($STREAMFLUO_DATA, else ../shared/data) into a cache:
a (170², 20 photons), b (512², 20 photons), c (170², 4 photons), and others with --seeds. The bound is that of a shift
against the known scene, computed from the truth: photon noise of the mean image and read noise.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.fft
import tifffile

import streamfluo
from streamfluo import Block, Spec

DATA = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[2] / "shared" / "data"))
CACHE = Path(tempfile.gettempdir()) / "streamfluo-semireal"
MOVIES = {"a": (170, 3000, 20), "b": (512, 2000, 20), "c": (170, 3000, 4)}
SKIP = 200


def movie(name: str, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return a movie (t, y, x) and its truth, rendered on first use."""
    field, frames, photons = MOVIES[name]
    stem = CACHE / f"{name}-{seed}"
    if not stem.with_name(f"{stem.name}_truth.npz").exists():
        CACHE.mkdir(exist_ok=True)
        words = ["--field", field, "--frames", frames, "--photons", photons, "--seed", seed, "--out", stem]
        subprocess.run([sys.executable, DATA / "semireal" / "make.py", *map(str, words)], check=True)
    with np.load(f"{stem}_truth.npz") as truth:
        return tifffile.memmap(f"{stem}.tif", mode="r"), {key: truth[key] for key in truth.files}


def bound_px(truth: dict[str, np.ndarray]) -> float:
    """Return the Cramér–Rao bound of a rigid shift, 2-D RMSE, from the mean image of the truth."""
    side = truth["background"].shape[0]
    weights = truth["C"].mean(1) + truth["rest"]
    columns = np.repeat(np.arange(len(weights)), np.diff(truth["A_indptr"]))
    image = np.zeros(side * side)
    np.add.at(image, truth["A_indices"], truth["A_data"] * weights[columns])
    image = image.reshape(side, side) + truth["background"]
    slopes = np.gradient(image)
    variance = image + float(truth["read_noise"]) ** 2
    information = [[np.sum(a * b / variance) for a in slopes] for b in slopes]
    return float(np.sqrt(np.trace(np.linalg.inv(information))))


def rfft2_ms() -> float:
    """Return the median time of one rfft2 of a 512 × 512 float32 frame."""
    frame, times = np.random.default_rng(0).random((512, 512), np.float32), []
    for _ in range(100):
        began = time.perf_counter()
        scipy.fft.rfft2(frame)
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times))


def measure(name: str, seed: int) -> None:
    """Run a movie through `motion` in blocks of one frame and print what came of it."""
    frames, truth = movie(name, seed)
    operator = streamfluo.create("motion", Spec(frames.shape[1:], frames.dtype))
    shifts, valid, times, reference = [], [], [], [rfft2_ms()]
    for index, frame in enumerate(frames):
        block = Block(index, np.array([index]), np.array(frame)[None])
        began = time.perf_counter()
        output = operator.update(block)
        times.append(1e3 * (time.perf_counter() - began))
        shifts.append(output.values["shift_px"][0])
        valid.append(bool(output.values["valid"][0]))
    reference.append(rfft2_ms())
    error = np.array(shifts)[SKIP:] - truth["shift_px"][SKIP:]
    error -= np.median(error, axis=0)
    rmse, bound = float(np.sqrt((error**2).sum(1).mean())), bound_px(truth)
    p50, p99 = np.percentile(times[SKIP:], (50, 99))
    print(
        f"{name}, seed {seed}: RMSE {rmse:.4f} px = {rmse / bound:.2f} × the bound of {bound:.4f}, largest error "
        f"{np.abs(error).max():.2f} px, {valid.count(False)} frames flagged; p50 {p50:.3f} ms = "
        f"{p50 / np.mean(reference):.2f} rfft2 of 512 × 512, p99 = {p99 / p50:.2f} × p50",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--movies", default="abc")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7])
    words = parser.parse_args()
    for seed in words.seeds:
        for name in words.movies:
            measure(name, seed)


if __name__ == "__main__":
    main()
