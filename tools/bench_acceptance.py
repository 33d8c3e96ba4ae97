"""Learned acceptance of components against the rule of their evidence, on movies that training never saw.

    python tools/acceptance_movies.py FOLDER --recipe semi-real simulated one-photon --seeds 20000 20016
    python tools/bench_acceptance.py FOLDER                             area under the ROC curve, precision, calibration
    python tools/bench_acceptance.py FOLDER --picture docs/images/acceptance.png
    python tools/bench_acceptance.py --cost                             time of a component

The rule's score is how many times the evidence needed a component has; it accepts by a bound that depends on the field.
Counted are the components at the last moment of each movie, at least 30 s after the first frame.
"""

import argparse
import time
from pathlib import Path

import fields
import numpy as np
from scipy.stats import rankdata
from train_acceptance import Samples, components_at, load

from streamfluo.calcium.extract import cell_probability as cp
from streamfluo.calcium.extract.cell_features import Features
from streamfluo.calcium.extract.learned_acceptance import LEAST_PROBABILITY

RECALL, BINS = 0.9, 10


def area_under_roc(score: np.ndarray, label: np.ndarray) -> float:
    """Chance that a cell has a higher score than what is none."""
    cells, others = int(label.sum()), int((~label).sum())
    if not cells or not others:
        return float("nan")
    return float((rankdata(score)[label].sum() - cells * (cells + 1) / 2) / (cells * others))


def roc(score: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Parts of the others and of the cells that score at least each threshold."""
    order = np.argsort(-score, kind="stable")
    hit = label[order]
    return np.cumsum(~hit) / max(1, (~hit).sum()), np.cumsum(hit) / max(1, hit.sum())


def precision_at(score: np.ndarray, label: np.ndarray, recall: float) -> float:
    """Part of the cells among what scores at least what `recall` of the cells do."""
    if not label.any():
        return float("nan")
    bound = np.sort(score[label])[::-1][int(np.ceil(recall * label.sum())) - 1]
    return float(label[score >= bound].mean())


def reliability(probability: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean probability, part of cells and number of components in ten bins of probability."""
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    sums = [np.bincount(bins, values, BINS) for values in (probability, label.astype(float))]
    said, true = (np.divide(s, count, out=np.full(BINS, np.nan), where=count > 0) for s in sums)
    return said, true, count


def calibration_error(probability: np.ndarray, label: np.ndarray) -> float:
    """Expected calibration error: mean difference of probability and part of cells over the bins."""
    said, true, count = reliability(probability, label)
    return float(np.nansum(np.abs(said - true) * count) / max(1, count.sum()))


def decided(samples: Samples, probability: np.ndarray) -> np.ndarray:
    """Which components the learned acceptance would take: the rule's where no probability is known."""
    return np.where(np.isnan(probability), samples.rule, probability >= LEAST_PROBABILITY)


def told(name: str, samples: Samples, probability: np.ndarray) -> str:
    """A row of the table: movies, components, cells, both rules' figures, calibration."""
    label, known = samples.label.astype(bool), np.isfinite(probability)
    score = np.where(known, probability, 0.5)
    figures = []
    for values, accepted in ((samples.evidence, samples.rule.astype(bool)), (score, decided(samples, probability))):
        false, hit = int((accepted & ~label).sum()), int((accepted & label).sum())
        figures.append(
            f"{area_under_roc(values, label):.3f} | {precision_at(values, label, RECALL):.3f} | {hit} + {false}"
        )
    error = calibration_error(probability[known], label[known])
    movies = len(np.unique(samples.movie))
    return (f"| {name} | {movies} | {len(label)} | {int(label.sum())} | {' | '.join(figures)} | {error:.3f} | "
            f"{1 - known.mean():.3f} |")  # fmt: skip


def joined(groups: list[tuple[Samples, np.ndarray]]) -> tuple[Samples, np.ndarray]:
    """Return groups of components and their probabilities as one."""
    parts, probabilities = zip(*groups, strict=True)
    whole = Samples(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    apart = np.repeat(1000 * np.arange(len(parts)), [len(part.label) for part in parts])
    return whole._replace(movie=whole.movie + apart), np.concatenate(probabilities)


def picture(path: Path, groups: dict[str, tuple[Samples, np.ndarray]]) -> None:
    """Draw ROC curves of both on groups of movies, at all moments, and how often what has a probability is a cell."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.4), dpi=110, layout="constrained")
    for n, (name, (samples, probability)) in enumerate(groups.items()):
        label, known = samples.label.astype(bool), np.isfinite(probability)
        if label.all() or not label.any():
            continue
        for values, style in ((samples.evidence, "--"), (np.where(known, probability, 0.5), "-")):
            left.plot(*roc(values, label), style, color=f"C{n}", lw=1.4, label=name if style == "-" else None)
        said, true, count = reliability(probability[known], label[known])
        shown = count >= 10
        right.plot(said[shown], true[shown], "o-", color=f"C{n}", ms=4, lw=1.2, label=name)
    left.set(xlim=(-0.01, 0.5), ylim=(0.5, 1.01), xlabel="part of the others taken", ylabel="part of the cells taken",
             title="rule - - -   learned ——")  # fmt: skip
    right.plot([0, 1], [0, 1], color="0.7", lw=1)
    right.set(xlabel="probability", ylabel="part that are cells", title="calibration")
    right.legend(frameon=False, fontsize=8)
    figure.savefig(path)


def cost(folder: Path) -> None:
    """Print the processor time of a component's probability: features, and networks, of all of a movie at once."""
    path = max(folder.glob("*.npz"), key=lambda p: p.stat().st_size)
    with np.load(path) as file:
        found = {name: file[name] for name in file.files}
    given = components_at(found, int(found["moments"][-1]))
    times = []
    for _ in range(15):
        began = time.thread_time()
        cp.cell_probability(*given)
        times.append(time.thread_time() - began)
    count = given[0].count
    print(f"{count} components: {1e3 * np.median(times) / count:.4f} ms each, {1e3 * np.median(times):.2f} ms in all")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipes", nargs="+")
    parser.add_argument("--weights", type=Path, default=cp.WEIGHTS)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--cost", action="store_true")
    args = parser.parse_args()
    if args.cost:
        cost(args.folder)
        return
    weights = cp.load_weights(args.weights)
    groups: dict[str, tuple[Samples, np.ndarray]] = {}
    shown: dict[str, tuple[Samples, np.ndarray]] = {}  # at all moments
    names = args.recipes or sorted(
        {p.stem.rpartition("-")[0] for p in args.folder.glob("*.npz") if ".part" not in p.name}
    )
    print("| movies | n | components | cells | rule AUC | precision | cells + false | learned AUC | precision | "
          "cells + false | calibration | unknown |\n|---|---|---|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    for name in names:
        samples, _ = load(args.folder, (name,))
        if len(samples.label):
            probability = cp.probability_of(Features(samples.images, samples.figures), weights)
            shown[name] = samples, probability
            last = samples.moment == [samples.moment[samples.movie == m].max() for m in samples.movie]
            groups[name] = samples.of(last), probability[last]
            print(told(name, *groups[name]), flush=True)
        else:
            print(f"| {name} | | 0 |")
    if groups:
        print(told("all", *joined(list(groups.values()))))
    if args.picture:
        others = {name: group for name, group in shown.items() if name not in fields.FIELDS}
        named = [group for name, group in shown.items() if name in fields.FIELDS]
        picture(args.picture, ({"fields": joined(named)} if named else {}) | others)


if __name__ == "__main__":
    main()
