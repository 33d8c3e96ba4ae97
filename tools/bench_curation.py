"""What curation gives, on simulated fields whose truth is known: python tools/bench_curation.py --seeds 70301 70302

A cell begins as two halves, and a place without a cell as one. The halves are merged, the false cell is rejected; in
another run the merge is undone. Correlations are of the final demixed activity, from the decision on.
"""

import argparse

import numpy as np
import scipy.sparse as sp

from streamfluo import Block, Operator, Spec, create
from streamfluo.core.decision import Decision
from streamfluo.simulate import calcium

SHAPE, FRAMES, MERGED_AT, UNDONE_AT = (64, 64), 700, 300, 450
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
Run = tuple[Operator, dict[int, np.ndarray]]


def field(seed: int, signal: float) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    """A movie (t, y, x), the masks of its cells, the number of one that fires, a mask where no cell is."""
    movie, truth = calcium(
        frames=FRAMES, shape=SHAPE, seed=seed, neurons=6, neuron_sigma_px=3.0, motion_px=0.0, signal=signal
    )
    parts = (truth["A_data"], truth["A_indices"], truth["A_indptr"])
    cells = sp.csc_matrix(parts, shape=truth["A_shape"]).toarray().T.reshape(-1, *SHAPE)
    centres = truth["position_px"]
    late = truth["spikes"][:, UNDONE_AT:].sum(1)  # without a transient there is nothing to correlate but noise
    inner = int(np.where((np.abs(centres - 32) < 22).all(1), late, -1).argmax())
    far = np.min([np.hypot(Y - y, X - x) for y, x in centres], 0)[10:-10, 10:-10]
    y, x = np.array(np.unravel_index(far.argmax(), far.shape)) + 10
    false = (np.hypot(Y - y, X - x) < 4).astype(float)
    return movie, cells * (cells > 0.2 * cells.max((1, 2), keepdims=True)), inner, false


def run(movie: np.ndarray, seeds: list[np.ndarray], decisions: tuple[tuple[int, str, tuple[int, ...]], ...]) -> Run:
    """The operator after the movie, and the final activity of each id (t,), NaN where it has none."""
    given = {"neuron_sigma_px": 3.0, "init": "seeded", "seeds": np.array(seeds), "init_frames": 100}
    operator = create("extract", Spec(SHAPE, "uint16", interval_s=1 / 30), **given)
    tables, at = [], 0
    for frame, verb, ids in [*decisions, (FRAMES, "", ())]:
        for start in range(at, frame, 25):
            block = movie[start : min(start + 25, frame)]
            tables.append(operator.update(Block(start, np.arange(len(block)), block)).values["settled"])
        at = frame
        if verb:
            operator.decide(Decision(frame, "extract", verb, ids)).make()
    last = operator.finish()
    assert last is not None
    final: dict[int, np.ndarray] = {}
    for table in [*tables, last.values["settled"]]:
        for i in np.unique(table["id"]).tolist():
            rows = table["id"] == i
            final.setdefault(i, np.full(FRAMES, np.nan))[table["frame"][rows]] = table["raw"][rows]
    return operator, final


def precision(operator: Operator, cells: np.ndarray) -> float:
    """Of the accepted components those whose footprint is that of a cell (cosine above .5)."""
    shown, found = operator.read(["footprints", "quality_now"]), []
    for box, row in zip(shown["footprints"], shown["quality_now"], strict=True):
        if row[2]:
            image, (top, left) = np.zeros(SHAPE), row[7:9].astype(int)
            image[top : top + box.shape[0], left : left + box.shape[1]] = box
            found.append(max((image * c).sum() / np.linalg.norm(image) / np.linalg.norm(c) for c in cells) > 0.5)
    return float(np.mean(found))


def correlation(a: np.ndarray, b: np.ndarray, start: int) -> float:
    """Of two traces from a frame on, where both are known."""
    known = np.isfinite(a) & np.isfinite(b) & (np.arange(FRAMES) >= start)
    return float(np.corrcoef(a[known], b[known])[0, 1])


def measured(seed: int, signal: float) -> tuple[float, ...]:
    """Precision before and after; correlation of the merged with the whole, of undone parts with unmerged ones."""
    movie, cells, inner, false = field(seed, signal)
    others = [*(mask for k, mask in enumerate(cells) if k != inner), false]
    middle = float((cells[inner].sum(0) @ np.arange(SHAPE[1])) / cells[inner].sum())
    halves = [cells[inner] * (middle > X), cells[inner] * (middle <= X)]
    split = [*halves, *others]
    whole, activity = run(movie, [cells[inner], *others], ())
    rejected, _ = run(movie, [cells[inner], *others], ((MERGED_AT, "reject", (len(others),)),))
    _, merged = run(movie, split, ((MERGED_AT, "merge", (0, 1)),))
    _, never = run(movie, split, ())
    _, undone = run(movie, split, ((MERGED_AT, "merge", (0, 1)), (UNDONE_AT, "undo", ())))
    return (
        precision(whole, cells),
        precision(rejected, cells),
        correlation(merged[0], activity[0], MERGED_AT),
        *(correlation(undone[i], never[i], UNDONE_AT) for i in (0, 1)),
    )


def main() -> None:
    """Print what is measured of each seed, and the medians and least."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[70301, 70302])
    parser.add_argument("--signal", type=float, default=0.5, help="of a transient, in units of the background")
    options = parser.parse_args()
    print("seed     precision, curated   merged and whole   undone and unmerged")
    rows = []
    for seed in options.seeds:
        rows.append(measured(seed, options.signal))
        print(
            f"{seed}  {rows[-1][0]:9.3f} {rows[-1][1]:9.3f} {rows[-1][2]:18.4f} {rows[-1][3]:14.4f} {rows[-1][4]:8.4f}"
        )
    for name, what in (("median", np.median), ("least", np.min)):
        print(name, *(f"{value:.4f}" for value in what(np.array(rows), 0)))


if __name__ == "__main__":
    main()
