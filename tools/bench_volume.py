"""Cells of a volume, on simulations with their truth: how many are found once, what is joined wrongly, what is gained.

    python tools/bench_volume.py [--seeds 1 2 3] [--steps 5 8 12 25] [--frames 1500] [--more neuropil_follows=0.5 …]

For each distance of the slices [µm] one line, over the seeds: F1 of cells; pairs of sections of one cell that were
joined, and that were not (split); pairs joined that are of two cells (wrong); median correlation of a cell's trace with
its calcium, of that slice's which the truth says is best, and of the one with the largest share, for cells on several
slices. Cells are 16 µm wide, the PSF's axial σ is
3 µm, slices are taken one after the other at 10 volumes a second. A cell is there if a slice shows it at a fifth of its
brightest; it is found if a component overlaps with its section by .5 (cosine), and once if those are of one cell.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from streamfluo import Chain, open_source
from streamfluo.engine.config import parse_config

CHAIN = """
[[step]]
kind = "extract"
params = { init_frames = 150 }
[[step]]
kind = "volume"
"""
SIM = {
    "z": 4, "shape": "96x96", "z_psf_um": 3, "interleaved": "true", "frame_rate_hz": 10, "motion_px": 0,
    "neuropil": 0.1, "neuropil_follows": 0.5, "decay_s": 0.6,
}  # fmt: skip
MATCH, SHOWN = 0.5, 0.2


class Found(NamedTuple):
    """Of one simulation: cells there, cells found, right ones; pairs of sections joined right, missed, joined wrongly;
    correlations (n, 3) with the calcium, of the cell's trace, of its best slice's, of its largest share's."""

    there: int
    found: int
    hits: int
    right: int
    split: int
    wrong: int
    correlations: np.ndarray


def measured(seed: int, step_um: float, frames: int, more: Mapping[str, str]) -> Found:
    """Run a simulation through the chain and compare the cells of `volume` with the truth."""
    query = "&".join(
        f"{k}={v}" for k, v in {**SIM, "seed": seed, "z_step_um": step_um, "frames": frames, **more}.items()
    )
    with open_source(f"sim:calcium?{query}") as source:
        chain, spec = Chain(parse_config(CHAIN, "bench"), source.spec), source.spec
        given: dict[str, list[Any]] = {}
        for block in source.blocks(32):
            for result in chain.run(block):
                given.setdefault(result.step, []).append(result.values)
        truth = source.truth
        muted = [s.id for s in chain.steps if s.muted]
        if muted:
            raise SystemExit(f"muted: {muted} {[s.muted for s in chain.steps if s.muted]}")
    first = spec.plane_names[0]
    volume = chain.step(f"{first}/volume").operator.read()
    component_of: dict[tuple[str, int], int] = {}  # cell of the truth, by slice and component
    for plane in spec.plane_names:
        component_of |= {(plane, i): k for i, k in _matched(chain, plane, truth).items()}
    cell_of = {
        (f"green/{int(z)}", int(name)): int(cell) for cell, z, name, *_ in volume["sections_now"]
    }  # our cell, by slice and component
    there = {
        int(k) for p in spec.plane_names
        for k, light in zip(truth[f"{p}/cell"], truth[f"{p}/section"], strict=True) if light >= SHOWN
    }  # fmt: skip
    found = set(cell_of.values())
    hits = {component_of[key] for key in cell_of if key in component_of} & there
    sections = sorted(cell_of)
    right = split = wrong = 0
    for n, a in enumerate(sections):
        for b in sections[n + 1 :]:
            if a in component_of and b in component_of and a[0] != b[0]:
                same, ours = component_of[a] == component_of[b], cell_of[a] == cell_of[b]
                right, split, wrong = right + (same and ours), split + (same and not ours), wrong + (ours and not same)
    return Found(
        len(there), len(found), len(hits), right, split, wrong,
        _correlations(given, first, cell_of, component_of, truth, volume),
    )  # fmt: skip


def _matched(chain: Chain, plane: str, truth: Mapping[str, np.ndarray]) -> dict[int, int]:
    """Accepted components of a slice that show a cell of the truth: id → cell, each in one pair, the best first."""
    snapshot = chain.read(f"{plane}/extract")
    quality, boxes = snapshot["quality_now"], snapshot["footprints"]
    shape = snapshot["background"].shape
    size = tuple(truth[f"{plane}/A_shape"])
    parts = [truth[f"{plane}/A_{name}"] for name in ("data", "indices", "indptr")]
    true = scipy.sparse.csc_matrix(tuple(parts), shape=size)
    shown = truth[f"{plane}/section"] >= SHOWN
    flat = np.zeros((len(quality), size[0]))
    for k, row in enumerate(quality):
        top, left = int(row[7]), int(row[8])
        y, x = np.nonzero(boxes[k])
        flat[k, (y + top) * shape[1] + x + left] = boxes[k][y, x]
    norms = np.linalg.norm(flat, axis=1)
    true_norms = np.sqrt(np.asarray(true.multiply(true).sum(0)).ravel())
    cosine = np.asarray(flat @ true) / np.maximum(norms[:, None] * true_norms[None], 1e-12)
    cosine[quality[:, 2] == 0] = 0
    cosine[:, ~shown] = 0
    found = {}
    while cosine.size and cosine.max() > MATCH:
        i, k = np.unravel_index(cosine.argmax(), cosine.shape)
        found[int(quality[i, 0])] = int(truth[f"{plane}/cell"][k])
        cosine[i], cosine[:, k] = 0, 0
    return found


def _correlations(
    given: Mapping[str, list[Any]], first: str, cell_of: Mapping[tuple[str, int], int],
    component_of: Mapping[tuple[str, int], int], truth: Mapping[str, np.ndarray], volume: Mapping[str, np.ndarray],
) -> np.ndarray:  # fmt: skip
    """Correlations with the calcium in the last half of the frames, of the cell's raw trace and its best slice's.

    Each at its time: that of the slice, and of the slice that is nearest to the mean time of the cell's sections.
    """
    moments, _, frames = truth["C_of_slices"].shape
    start, late = frames // 2, {int(row[0]): round(row[8] * moments) for row in volume["cells_now"]}
    share = {(f"green/{int(row[1])}", int(row[2])): float(row[3]) for row in volume["sections_now"]}
    slices = {key: _course(given[f"{key[0]}/extract"], key[1], "raw", frames)[start:] for key in cell_of}
    rows = []
    for cell in sorted(set(cell_of.values())):
        keys = [key for key in cell_of if cell_of[key] == cell and key in component_of]
        true = {component_of[key] for key in keys}
        if len(keys) < 2 or len(true) > 1:
            continue
        calcium = truth["C_of_slices"][:, true.pop(), start:frames].astype(float)
        ours = _course(given[f"{first}/volume"], cell, "raw", frames)[start:]
        if np.isnan(ours).any() or any(np.isnan(slices[key]).any() for key in keys):
            continue
        at = [int(key[0].rpartition("/")[2]) for key in keys]
        best = max(float(np.corrcoef(slices[key], calcium[z])[0, 1]) for key, z in zip(keys, at, strict=True))
        chosen = max(keys, key=lambda key: share[key])
        of_chosen = float(np.corrcoef(slices[chosen], calcium[int(chosen[0].rpartition("/")[2])])[0, 1])
        rows.append((float(np.corrcoef(ours, calcium[late[cell]])[0, 1]), best, of_chosen))
    return np.array(rows).reshape(-1, 3)


def _course(parts: Iterable[Any], name: int, value: str, frames: int) -> np.ndarray:
    """One column of values by id over all frames, NaN where it was not there."""
    course = np.full(frames, np.nan)
    for part in parts:
        if part is None or value not in part.arrays or name not in part.arrays["ids"]:
            continue
        column = int(np.flatnonzero(part.arrays["ids"] == name)[0])
        there = part.arrays["present"][:, column]
        course[part.index : part.index + part.frames] = np.where(there, part.arrays[value][:, column], np.nan)
    return course


def main() -> None:
    """Measure, and print a line for each distance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=float, nargs="+", default=[5, 8, 12, 25])
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--more", nargs="*", default=[])
    asked = parser.parse_args()
    more = dict(one.split("=", 1) for one in asked.more)
    for step_um in asked.steps:
        began = time.process_time()
        all_found = [measured(seed, step_um, asked.frames, more) for seed in asked.seeds]
        there, found, hits, right, split, wrong = (sum(f[n] for f in all_found) for n in range(6))
        pairs = np.concatenate([f.correlations for f in all_found])
        ours, best, chosen = np.median(pairs, 0) if len(pairs) else (np.nan, np.nan, np.nan)
        print(
            f"step {step_um:4g} µm: {there} cells, F1 {2 * hits / max(there + found, 1):.3f}; pairs joined {right}, "
            f"split {split}, wrong {wrong}; r with calcium {ours:.3f}, best slice {best:.3f}, "
            f"largest share {chosen:.3f} ({len(pairs)} cells); "
            f"{time.process_time() - began:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
