"""Pieces of dendrites that are given as one: recall and precision of pairs on simulated dendrites, with spines or not.

`python tools/bench_pieces.py --seeds 201 202 203`: eight dendrites and three cells in 160 × 160 pixels; each spine has
an activity of its own. A pair are two accepted components of one dendrite; recall is the part of these that is one,
wrong are pairs of two things that were made one. Early pairs were there after half of the frames.
"""

import argparse

import numpy as np
import scipy.sparse

import streamfluo
from streamfluo import Block, Spec
from streamfluo.calcium.extracted_components import MEASURES
from streamfluo.simulate import calcium

SHAPE = (160, 160)


def pairs(seed: int, frames: int, spines: int) -> np.ndarray:
    """Pairs of one thing, those merged, early pairs, those merged, wrong pairs; dendrites found, and all (7,)."""
    movie, truth = calcium(
        frames, shape=SHAPE, seed=seed, motion_px=0.0, neurons=3, processes=8, spines=spines, signal=1.0
    )
    true = []
    for name in "AP":
        parts = tuple(truth[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
        true.append(scipy.sparse.csc_matrix(parts, shape=tuple(truth[f"{name}_shape"])).toarray().T)
    things = np.concatenate(true).reshape(-1, *SHAPE)
    operator = streamfluo.create("extract", Spec(SHAPE, "uint16", interval_s=1 / 30), neuron_sigma_px=4.0, shape="any")
    for at in range(0, frames, 50):
        part = movie[at : at + 50]
        operator.update(Block(at, np.arange(len(part)), part))
    snapshot = operator.read(["footprints", "quality_now"])
    quality = dict(zip(MEASURES, snapshot["quality_now"].T, strict=True))
    on = []
    for box, top, left in zip(snapshot["footprints"], quality["top_px"], quality["left_px"], strict=True):
        here = things[:, int(top) : int(top) + box.shape[0], int(left) : int(left) + box.shape[1]]
        under = np.sqrt((here[:, box > 0] ** 2).sum(1)) * np.sqrt((box**2).sum())
        cosine = (here * box).sum((1, 2)) / np.maximum(under, 1e-9)
        on.append(int(cosine.argmax()) if cosine.max() > 0.6 else -1)
    there = ((quality["accepted"] > 0) | (quality["whole"] >= 0)) & (np.array(on) >= 0)
    thing, whole = np.array(on)[there], np.where(quality["whole"] >= 0, quality["whole"], quality["id"])[there]
    once = np.triu(np.ones((len(thing), len(thing)), bool), 1)
    same, merged = (thing[:, None] == thing) & once, (whole[:, None] == whole) & once
    early = quality["birth_frame"][there] < frames / 2
    early = early[:, None] & early
    found = len({n for n in thing.tolist() if 3 <= n < 11})
    counts = [same, same & merged, same & early, same & merged & early, merged & ~same]
    return np.array([*(int(count.sum()) for count in counts), found, 8])


def main() -> None:
    """Print a line for each length and kind of movie, over all seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--frames", type=int, nargs="+", default=[1800, 5400])
    asked = parser.parse_args()
    for frames in asked.frames:
        for spines in (0, 12):
            same, merged, early, of_early, wrong, found, lines = np.sum(
                [pairs(seed, frames, spines) for seed in asked.seeds], 0
            ).tolist()
            print(
                f"{frames} frames, {spines:2} spines: dendrites found {found}/{lines}; pairs one {merged}/{same}, "
                f"recall {merged / same:.2f}, early {of_early}/{early} {of_early / early:.2f}; wrong {wrong}, "
                f"precision {merged / max(1, merged + wrong):.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
