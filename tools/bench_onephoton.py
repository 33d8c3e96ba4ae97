"""Source extraction where background lies over everything: ring model against low rank, on a simulated movie.

    python tools/bench_onephoton.py --clouds 25 50 100 --seeds 1 2      found cells and their traces, side by side

A field of 160 × 160 with 30 cells on haze: 8 clouds 16 to 40 px wide come and go on their own, and `--clouds` says how
much each varies, in % of a typical transient. Scores are those of semireal/score.py.
"""

import argparse
import itertools
import tempfile

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from bench_extract import INTERVAL_S, Gathered, scorer

import streamfluo
from streamfluo import Block, Spec
from streamfluo.pipeline.components import ExtractedComponents

SIDE, FRAMES, CELLS, CLOUDS, SIGMA_PX = 160, 1500, 30, 8, 2.5
CELL_E, HAZE_E, COUNTS = 100.0, 1500.0, 5.0  # light of a transient and of what stays, ADU per e


def render(seed: int, cloud_e: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return a movie (t, y, x) uint16 and its truth as semireal/score.py reads it."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:SIDE, :SIDE]
    places: list[np.ndarray] = []
    while len(places) < CELLS:
        place = rng.uniform(10, SIDE - 10, 2)
        if all(np.hypot(*(place - other)) > 3 * SIGMA_PX for other in places):
            places.append(place)
    cells = np.array([np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * SIGMA_PX**2)) for y, x in places])
    cells[cells < 0.05] = 0
    g = np.exp(-INTERVAL_S / 0.4)
    spikes = (rng.random((CELLS, FRAMES)) < 0.01) * rng.uniform(0.5, 1.5, (CELLS, FRAMES)) * CELL_E
    activity = spikes.copy()
    for t in range(1, FRAMES):
        activity[:, t] += g * activity[:, t - 1]
    clouds = np.array([
        np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * width**2))
        for y, x, width in zip(*rng.uniform(0, SIDE, (2, CLOUDS)), rng.uniform(16, 40, CLOUDS), strict=True)
    ])  # fmt: skip
    waves = ndi.gaussian_filter1d(rng.standard_normal((CLOUDS, FRAMES)), 6, axis=1)
    waves *= cloud_e / waves.std()
    movie = np.empty((FRAMES, SIDE, SIDE), np.uint16)
    for t in range(FRAMES):
        light = HAZE_E + np.tensordot(waves[:, t], clouds, 1) + np.tensordot(activity[:, t], cells, 1)
        movie[t] = rng.poisson(np.maximum(light, 0)) * COUNTS + 100
    footprints = sp.csc_matrix(cells.reshape(CELLS, -1).T)
    snr = activity.max(1) * np.sqrt((cells**2).sum((1, 2)) / HAZE_E)
    return movie, dict(
        A_data=footprints.data, A_indices=footprints.indices, A_indptr=footprints.indptr, A_shape=footprints.shape,
        C=activity, spikes=spikes, snr=snr, shift_px=np.zeros((FRAMES, 2)),
    )  # fmt: skip


def extract(movie: np.ndarray, background: str) -> ExtractedComponents | None:
    """Run a movie, which holds still, through `extract` frame by frame; what was found, None if nothing."""
    spec = Spec(movie.shape[1:], movie.dtype, interval_s=INTERVAL_S)
    operator = streamfluo.create("extract", spec, neuron_sigma_px=2 * SIGMA_PX, background=background)
    got = Gathered()
    for n in range(len(movie)):
        got.add([("extract", operator.update(Block(n, np.array([n]), movie[n : n + 1])))])
    got.add([("extract", operator.finish())])
    if not got.settled:
        return None
    snapshot = operator.read(["footprints", "quality_now"])
    return ExtractedComponents({"settled": got.table()}, snapshot, movie.shape[1:], np.arange(len(movie)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clouds", type=float, nargs="+", default=[25, 50, 100])
    words = parser.parse_args()
    for percent, seed in itertools.product(words.clouds, words.seeds):
        movie, truth = render(seed, percent / 100 * CELL_E)
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            np.savez(file.name, **truth)
            for background in ("ring", "low_rank"):
                print(
                    f"clouds {percent:.0f} %, seed {seed}, {background}: {told(file.name, movie, background)}",
                    flush=True,
                )


def told(truth: str, movie: np.ndarray, background: str) -> str:
    """What came of a movie, in words."""
    cells = extract(movie, background)
    if cells is None or not cells.accepted.any():
        return "nothing found"
    kept = cells.accepted
    result = scorer()(
        truth, cells.footprints[:, kept], cells.traces[kept], cells.spikes[kept], None, cells.birth_frame[kept]
    )
    return (
        "F1 {f1:.2f}, precision {precision:.2f}, found {found} of {true}; traces: median "
        "{trace_corr_median_visible:.3f}, 10th percentile {trace_corr_p10_visible:.3f}, spikes "
        "{spike_corr_3_frames_visible:.3f}".format(**result)
    )


if __name__ == "__main__":
    main()
