"""Motion correction on semi-real movies: errors against the Cramér–Rao bound, cost against one rfft2.

Movies are rendered once by `semireal/make.py` of the data folder ($STREAMFLUO_DATA, else ../shared/data) into a cache:
a (170², 20 photons), b (512², 20 photons), c (170², 4 photons), and others with --seeds. The bound is that of a shift
against the known scene, computed from the truth: photon noise of the mean image and read noise. --fields bends movie
b's scene by displacement fields of 2.5 px about a rigid walk and measures them in piecewise mode. --until-values
measures the processor time until a frame is handed on.
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
import scipy.ndimage as ndi
import tifffile
from scipy.interpolate import CubicSpline

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
    """Run a movie through `motion` in blocks of one frame and print its errors and cost."""
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


def measure_until_values(name: str, seed: int) -> None:
    """Run a movie and print the processor time of `motion` after its first frames, until it gives their values."""
    frames, _ = movie(name, seed)
    operator = streamfluo.create("motion", Spec(frames.shape[1:], frames.dtype))
    sample, costs = np.random.default_rng(0).random((512, 512), np.float32), np.zeros((len(frames), 3))
    for n, frame in enumerate(frames):
        block = Block(n, np.array([n]), np.array(frame)[None])
        began = time.thread_time(), time.process_time()
        operator.update(block)
        until = time.thread_time()
        operator.read(["valid_rectangle"])  # waits for the rest
        whole = time.process_time()
        scipy.fft.rfft2(sample)
        costs[n] = until - began[0], whole - began[1], time.process_time() - whole
    until, whole, one = costs[SKIP:].T
    one = np.median(one)
    print(
        f"{name}, seed {seed}, rfft2 of 512 × 512 {1e3 * one:.2f} ms: until the values mean {until.mean() / one:.2f}, "
        f"p99 {np.percentile(until, 99) / one:.2f}; in all mean {whole.mean() / one:.2f}, "
        f"p99 {np.percentile(whole, 99) / one:.2f}",
        flush=True,
    )


def bending_px(t: int, period_px: float, side: int) -> np.ndarray:
    """Return a smooth field (2, y, x) of 2.5 px that changes with time."""
    y, x = np.mgrid[:side, :side].astype(float)
    phase = 2 * np.pi * t / 70
    along = 2 * np.pi * np.array([x / period_px, (y + x) / (1.4 * period_px)])
    return 2.5 * np.array(
        [np.sin(along[0] + 1 + 1.3 * np.sin(phase)) * np.cos(np.pi * y / period_px + 0.3),
         np.cos(along[1] + 0.5 + np.cos(0.7 * phase))]
    )  # fmt: skip


def bent_movie(period_px: float, frames: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Return frames (t, y, x) of movie b's scene, its activity in it, and every 8th pixel's displacement (t, 2, …)."""
    path = CACHE / f"bent-{period_px:.0f}.npz"
    if not path.exists():
        _, truth = movie("b", 7)
        side, rng = 512, np.random.default_rng(3)
        place, walk = np.mgrid[:side, :side].astype(float), np.zeros(2)
        columns = np.repeat(np.arange(len(truth["C"])), np.diff(truth["A_indptr"]))
        pixels, fields = np.empty((frames, side, side), np.uint16), np.empty((frames, 2, 64, 64))
        for t in range(frames):
            walk = 0.95 * walk + 0.3 * rng.standard_normal(2) * (t > 0)
            field = bending_px(t, period_px, side) + walk[:, None, None]
            origin = place - field
            for _ in range(4):  # where the tissue came from: u = y + d(y), solved for y
                origin = place - [ndi.map_coordinates(d, origin, order=1, mode="nearest") for d in field]
            light = truth["A_data"] * (truth["C"][:, t] + truth["rest"])[columns]
            scene = np.bincount(truth["A_indices"], light, side**2).reshape(side, side) + truth["background"]
            photons = np.maximum(ndi.map_coordinates(scene, origin, order=3, mode="mirror"), 0)
            electrons = rng.poisson(photons) + truth["read_noise"] * rng.standard_normal(photons.shape)
            pixels[t] = np.clip(np.rint(20 * electrons + 100), 0, 65535)
            fields[t] = field[:, 4::8, 4::8]
        np.savez(path, pixels=pixels, fields=fields)
    with np.load(path) as kept:
        return kept["pixels"], kept["fields"]


def measure_fields(period_px: float, skip: int = 150) -> None:
    """Run a bent movie through piecewise mode and print the error of the field."""
    frames, truth = bent_movie(period_px)
    operator = streamfluo.create("motion", Spec(frames.shape[1:], frames.dtype), mode="piecewise")
    patches, times, reference = [], [], [rfft2_ms()]
    for index, frame in enumerate(frames):
        block = Block(index, np.array([index]), np.array(frame)[None])
        began = time.perf_counter()
        output = operator.update(block)
        times.append(1e3 * (time.perf_counter() - began))
        patches.append(output.values["patch_shift_px"][0])
    reference.append(rfft2_ms())
    centres, at = 63.5 + 96 * np.arange(5), np.arange(4, 512, 8)
    field = np.array(patches)
    for axis in (1, 2):  # the field is the natural spline through the patches' shifts, straight at the rims
        spline, near = CubicSpline(centres, field, axis, bc_type="natural"), np.clip(at, centres[0], centres[-1])
        beyond = (at - near).reshape([-1 if n == axis else 1 for n in range(4)])
        field = spline(near) + spline(near, 1) * beyond
    error = np.moveaxis(field, 3, 1)[skip:] - truth[skip:]
    error -= np.median(error, axis=0)
    squares, (p50, p99) = (error**2).sum(1), np.percentile(times[skip:], (50, 99))
    print(
        f"fields of {period_px:.0f} px: RMSE {np.sqrt(squares.mean()):.3f} px, in the inner three quarters "
        f"{np.sqrt(squares[:, 8:-8, 8:-8].mean()):.3f}; p50 {p50:.2f} ms = {p50 / np.mean(reference):.1f} rfft2, "
        f"p99 = {p99 / p50:.2f} × p50",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fields", action="store_true")
    parser.add_argument("--until-values", action="store_true")
    parser.add_argument("--movies", default="abc")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7])
    words = parser.parse_args()
    for period_px in (512, 1024) if words.fields else ():
        measure_fields(period_px)
    for seed in words.seeds:
        for name in words.movies:
            (measure_until_values if words.until_values else measure)(name, seed)


if __name__ == "__main__":
    main()
