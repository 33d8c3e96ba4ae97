"""Ring model against low-rank background on simulated one-photon movies.

    python tools/bench_onephoton.py --clouds 25 50 100 --seeds 1 2      F1 and traces of both models
    python tools/bench_onephoton.py --clouds 50 --shake 4               with motion: configs/calcium_1p.toml

A field of 160 × 160 with 30 cells and 8 out-of-focus sources (clouds) of σ 16 to 40 px that fluctuate independently;
`--clouds` is the standard deviation of each in % of a typical transient. With `--shake` the field has dark vessels and
moves by up to so many px. Scores: semireal/score.py.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from bench_extract import INTERVAL_S, Collected, scorer

from streamfluo import Block, Chain, Spec
from streamfluo.calcium.extracted_components import ExtractedComponents
from streamfluo.engine.config import parse_config

CONFIG = Path(__file__).parents[1] / "configs" / "calcium_1p.toml"
STILL = """
[[step]]
kind = "extract"
params = {{ neuron_sigma_px = {neuron_sigma_px}, background = "{background}" }}
"""
SIDE, FRAMES, CELLS, CLOUDS, SIGMA_PX = 160, 1500, 30, 8, 2.5
CELL_E, HAZE_E, COUNTS = 100.0, 1500.0, 5.0  # photoelectrons of a transient and of the static background; ADU per e


def render(
    seed: int, cloud_e: float, shake_px: float, frames: int = FRAMES, count: int = CELLS
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return a movie (t, y, x) uint16 of so many cells and its truth in the format of semireal/score.py."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:SIDE, :SIDE]
    places: list[np.ndarray] = []
    while len(places) < count:
        place = rng.uniform(10, SIDE - 10, 2)
        if all(np.hypot(*(place - other)) > 3 * SIGMA_PX for other in places):
            places.append(place)
    cells = np.array([np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * SIGMA_PX**2)) for y, x in places])
    cells = cells.reshape(count, SIDE, SIDE)
    cells[cells < 0.05] = 0
    g = np.exp(-INTERVAL_S / 0.4)
    spikes = (rng.random((count, frames)) < 0.01) * rng.uniform(0.5, 1.5, (count, frames)) * CELL_E
    activity = spikes.copy()
    for t in range(1, frames):
        activity[:, t] += g * activity[:, t - 1]
    clouds = np.array([
        np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * width**2))
        for y, x, width in zip(*rng.uniform(0, SIDE, (2, CLOUDS)), rng.uniform(16, 40, CLOUDS), strict=True)
    ])  # fmt: skip
    waves = ndi.gaussian_filter1d(rng.standard_normal((CLOUDS, frames)), 6, axis=1)
    waves *= cloud_e / waves.std()
    movie = np.empty((frames, SIDE, SIDE), np.uint16)
    haze = HAZE_E * (vessels(rng) if shake_px else 1.0)
    walk = ndi.gaussian_filter1d(rng.standard_normal((frames, 2)), 3, axis=0)
    walk *= shake_px / np.abs(walk).max()
    for t in range(frames):
        light = haze + np.tensordot(waves[:, t], clouds, 1) + np.tensordot(activity[:, t], cells, 1)
        if shake_px:
            light = ndi.shift(light, walk[t], mode="nearest")
        movie[t] = rng.poisson(np.maximum(light, 0)) * COUNTS + 100
    footprints = sp.csc_matrix(cells.reshape(count, SIDE**2).T)
    snr = activity.max(1) * np.sqrt((cells**2).sum((1, 2)) / HAZE_E)
    return movie, dict(
        A_data=footprints.data, A_indices=footprints.indices, A_indptr=footprints.indptr, A_shape=footprints.shape,
        C=activity, spikes=spikes, snr=snr, shift_px=walk,
    )  # fmt: skip


def vessels(rng: np.random.Generator) -> np.ndarray:
    """Transmission (y, x) of vessels: lines of σ 2 px that absorb a quarter."""
    field = ndi.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 10)
    return 1 - 0.25 * np.exp(-((field / np.hypot(*np.gradient(field)).mean() / 2) ** 2))


def extract(movie: np.ndarray, background: str, shaken: bool) -> tuple[ExtractedComponents | None, np.ndarray]:
    """Run a movie frame by frame; return its components (None without any) and, if shaken, the shifts (t, 2)."""
    spec = Spec(movie.shape[1:], movie.dtype, interval_s=INTERVAL_S)
    cells = {"neuron_sigma_px": 2 * SIGMA_PX, "background": background}
    if shaken:
        chain = Chain.from_toml(CONFIG, spec, [f"extract.{name}={value}" for name, value in cells.items()])
    else:
        chain = Chain(parse_config(STILL.format(**cells)), spec)
    got = Collected()
    for n in range(len(movie)):
        got.add(chain.push(Block(n, np.array([n]), movie[n : n + 1])))
    got.add(chain.finish())
    shifts = np.array(got.shifts)
    if not got.settled:
        return None, shifts
    snapshot = chain.read("extract", ["footprints", "quality_now"])
    return ExtractedComponents({"settled": got.table()}, snapshot, movie.shape[1:], np.arange(len(movie))), shifts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clouds", type=float, nargs="+", default=[25, 50, 100])
    parser.add_argument("--shake", type=float, default=0.0)
    args = parser.parse_args()
    for percent, seed in itertools.product(args.clouds, args.seeds):
        movie, truth = render(seed, percent / 100 * CELL_E, args.shake)
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            np.savez(file.name, **truth)
            for background in ("ring", "low_rank"):
                found = scores(file.name, movie, background, args.shake > 0)
                print(f"clouds {percent:.0f} %, seed {seed}, {background}: {found}", flush=True)


def scores(truth: str, movie: np.ndarray, background: str, shaken: bool) -> str:
    """Scores of a movie as text."""
    cells, shifts = extract(movie, background, shaken)
    if cells is None or not cells.accepted.any():
        return "nothing found"
    kept = cells.accepted
    result = scorer()(
        truth, cells.footprints[:, kept], cells.traces[kept], cells.spikes[kept], shifts if shaken else None,
        cells.birth_frame[kept],
    )  # fmt: skip
    motion = f"; motion RMSE {result['motion_rmse_px']:.3f} px" if shaken else ""
    return (
        "F1 {f1:.2f}, precision {precision:.2f}, found {found} of {true}; traces: median "
        "{trace_corr_median_visible:.3f}, 10th percentile {trace_corr_p10_visible:.3f}, spikes "
        "{spike_corr_3_frames_visible:.3f}".format(**result)
    ) + motion


if __name__ == "__main__":
    main()
