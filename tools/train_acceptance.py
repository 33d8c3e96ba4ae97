"""Train the two networks that give a component's probability of being a cell, on movies whose truth is known.

    python tools/acceptance_movies.py FOLDER --seeds 0 400     a quarter of an hour of one core
    python tools/train_acceptance.py FOLDER                    a minute; writes cell_probability.npz into the package

Of eight movies six train the networks and one decides how long; that and the last calibrate: the mean logit of both
networks is scaled and shifted to make their labels most likely (Platt 1999). Footprints are turned and mirrored at
random. Other recipes of acceptance_movies.py and the fields of tools/fields.py are for tools/bench_acceptance.py, and
not used.
"""

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from streamfluo.calcium.extract import cell_probability as cp
from streamfluo.calcium.extract.acceptance import is_cell
from streamfluo.calcium.extract.cell_features import FIGURES, SIDE, Context, features, typical_area
from streamfluo.calcium.extract.components import Components
from streamfluo.calcium.extract.extraction import BIN
from streamfluo.calcium.extract.params import ExtractParams

PARTS, DECIDES, CALIBRATES = 8, 3, 7  # movies by number modulo 8
SIZES = ((24, 32), (16, 48))  # of the networks: units that see the images, units behind these and the figures
STEPS, BATCH, RATE, DECAY, DROP = 6000, 512, 2e-3, 1.0, 0.1  # steps, components each, Adam's rate, decay of weights
EVERY = 250  # steps, after which the movies held out are looked at
FARTHER, QUANTILE = 1.15, 0.999  # times that quantile of the training set's distances


class Samples(NamedTuple):
    """Components (n,) of movies: images, figures, label; whether the rule accepts it, its evidence; movie, moment."""

    images: np.ndarray
    figures: np.ndarray
    label: np.ndarray
    rule: np.ndarray
    evidence: np.ndarray
    movie: np.ndarray
    moment: np.ndarray

    def of(self, chosen: np.ndarray) -> "Samples":
        """Return those that are chosen (n,) bool."""
        return Samples(*(part[chosen] for part in self))


def components_at(found: dict[str, np.ndarray], moment: int) -> tuple[Components, np.ndarray, np.ndarray, Context]:
    """Return the components of a movie's file at a moment, their rows, the window's frames in order, the context."""
    sigma, box, shape = float(found["neuron_sigma_px"]), tuple(found["box"].tolist()), tuple(found["shape"].tolist())
    cells = Components(shape, box, int(found["modes"]), int(found["window"]), 0.0, int(found["samples"]))
    prefix = f"{moment}/component_"
    cells.restore({k.partition("/")[2]: v for k, v in found.items() if k.startswith(prefix)}, "component_", "movie")
    context = Context(BIN, float(found["interval_s"]), int(found["observed_px"]) / sigma**2, sigma)
    return cells, np.arange(cells.count), found[f"{moment}/slots"], context


def samples_of(path: Path, number: int) -> tuple[Samples, str]:
    """Return the components of a movie at all moments, and its kind."""
    with np.load(path, allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
    parts, params = [], ExtractParams(neuron_sigma_px=float(found["neuron_sigma_px"]))
    for moment in found["moments"].tolist():
        cells, rows, slots, context = components_at(found, moment)
        if not cells.count:
            continue
        known = features(cells, rows, slots, context)
        accepted = is_cell(cells, params, BIN, int(found["observed_px"]))
        evidence = known.figures[:, FIGURES.index("times")]
        ones = np.ones(len(rows), np.int64)
        label = found[f"{moment}/label"]
        parts.append(Samples(*known, label, accepted, evidence, number * ones, moment * ones))
    if not parts:
        none, number = np.empty(0, bool), np.empty(0, np.int64)
        images, figures = np.empty((0, 2 * SIDE**2)), np.empty((0, len(FIGURES)))
        return Samples(images, figures, none, none, np.empty(0), number, number), str(found["kind"])
    return Samples(*(np.concatenate(columns) for columns in zip(*parts, strict=True))), str(found["kind"])


def load(folder: Path, recipes: tuple[str, ...] = ("train",)) -> tuple[Samples, list[str]]:
    """Return the components of all movies of a folder, and the kind of each movie."""
    paths = [p for name in recipes for p in folder.glob(f"{name}-[0-9]*.npz") if ".part" not in p.name]
    paths.sort(key=lambda path: (path.stem.rpartition("-")[0], int(path.stem.rpartition("-")[2])))
    parts, kinds = zip(*(samples_of(path, n) for n, path in enumerate(paths)), strict=True)
    return Samples(*(np.concatenate(columns) for columns in zip(*parts, strict=True))), list(kinds)


def areas_of(folder: Path) -> np.ndarray:
    """Return the least and the largest typical area (2,) of accepted components in any movie of a folder."""
    areas = []
    for path in folder.glob("train-[0-9]*.npz"):
        if ".part" not in path.name:
            with np.load(path, allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
            sigma = float(found["neuron_sigma_px"])
            areas += [typical_area(components_at(found, moment)[0], sigma) for moment in found["moments"].tolist()]
    return np.array([np.nanmin(areas), np.nanmax(areas)])


def turned(rng: np.random.Generator, images: np.ndarray) -> np.ndarray:
    """Footprints and residuals (n, 512), all turned and mirrored at random."""
    views = images.reshape(-1, 2, SIDE, SIDE)
    views = np.rot90(views, rng.integers(4), (2, 3))
    views = views[:, :, ::-1] if rng.random() < 0.5 else views
    return np.ascontiguousarray(views).reshape(len(images), -1)


def begin(rng: np.random.Generator, size: tuple[int, int]) -> list[np.ndarray]:
    """Weights and offsets of each layer."""
    seen, hidden = size
    shapes = ((2 * SIDE**2, seen), (seen + len(FIGURES), hidden), (hidden, 1))
    parts = []
    for shape in shapes:
        parts += [rng.standard_normal(shape) * np.sqrt(1 / shape[0]), np.zeros(shape[1])]
    return [part.astype(np.float32) for part in parts]


def gradient(layers: list[np.ndarray], batch: tuple[np.ndarray, ...], drop: np.ndarray) -> list[np.ndarray]:
    """Gradient of the mean cross entropy of a batch: images, figures, labels, weights."""
    (a, a0, b, b0, c, c0), (images, figures, label, weight) = layers, batch
    seen = np.maximum(images @ a + a0, 0)
    told = np.concatenate([seen, figures], 1)
    hidden = np.maximum(told @ b + b0, 0) * drop
    error = ((expit((hidden @ c + c0)[:, 0]) - label) * weight / weight.sum())[:, None].astype(np.float32)
    back = (error @ c.T) * (hidden > 0) * drop
    before = (back @ b.T)[:, : seen.shape[1]] * (seen > 0)
    return [images.T @ before, before.sum(0), told.T @ back, back.sum(0), hidden.T @ error, error.sum(0)]


def layers_of(parts: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(zip(parts[::2], parts[1::2], strict=True))


def cross_entropy(logit: np.ndarray, label: np.ndarray, weight: np.ndarray) -> float:
    """Mean cross entropy of logits (n,)."""
    return float((weight * (np.logaddexp(0, logit) - label * logit)).sum() / weight.sum())


def train(samples: Samples, held_out: Samples, size: tuple[int, int], seed: int) -> list[np.ndarray]:
    """Return a network: Adam (Kingma & Ba 2015), the step at which the movies held out have least cross entropy."""
    rng = np.random.default_rng(seed)
    layers = begin(rng, size)
    first, second = ([np.zeros_like(part) for part in layers] for _ in range(2))
    best, least = layers, np.inf
    weight, ones = weights_of(samples), weights_of(held_out)
    chance = weight / weight.sum()
    for step in range(1, STEPS + 1):
        rows = rng.choice(len(weight), BATCH, p=chance)
        figures = samples.figures[rows] + np.float32(0.05) * rng.standard_normal((BATCH, len(FIGURES)))
        images = turned(rng, samples.images[rows])
        drop = (rng.random((BATCH, size[1])) > DROP) / np.float32(1 - DROP)
        batch = images, figures.astype(np.float32), samples.label[rows], np.ones(BATCH)
        rate = RATE * 0.5 * (1 + np.cos(np.pi * step / STEPS))
        moved = []
        for n, (part, slope) in enumerate(zip(layers, gradient(layers, batch, drop.astype(np.float32)), strict=True)):
            first[n] = 0.9 * first[n] + 0.1 * slope
            second[n] = 0.999 * second[n] + 0.001 * slope**2
            change = first[n] / (1 - 0.9**step) / (np.sqrt(second[n] / (1 - 0.999**step)) + 1e-8)
            moved.append((part - rate * (change + DECAY * part * (part.ndim == 2))).astype(np.float32))
        layers = moved
        if step % EVERY == 0:
            found = cross_entropy(
                cp.logits(held_out.images, held_out.figures, [layers_of(layers)]), held_out.label, ones
            )
            if found < least:
                best, least = [part.copy() for part in layers], found
            if step % (4 * EVERY) == 0:
                print(f"  step {step}: cross entropy of movies held out {found:.4f}, least {least:.4f}", flush=True)
    return best


def weights_of(samples: Samples) -> np.ndarray:
    """Weight (n,) of each component: movies of many cells count less than their number."""
    _, movie, count = np.unique(samples.movie, return_inverse=True, return_counts=True)
    return 1 / np.sqrt(count[movie])


def calibrated(logit: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the logits that make the labels most likely."""
    ones = np.ones(len(label))
    found = minimize(lambda x: cross_entropy(x[0] * logit + x[1], label, ones), [1.0, 0.0], method="BFGS")
    return float(found.x[0]), float(found.x[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=cp.WEIGHTS)
    args = parser.parse_args()
    began = time.process_time()
    samples, kinds = load(args.folder)
    mean, sd = samples.figures.mean(0), np.maximum(samples.figures.std(0), 1e-3)
    standard = (samples.figures - mean) / sd
    covariance = np.cov(np.clip(standard, -20, 20).T) + 0.02 * np.eye(len(FIGURES))
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    distance = np.sqrt(((np.clip(standard, -20, 20) @ whitening.T) ** 2).mean(1))
    farthest = FARTHER * float(np.quantile(distance, QUANTILE))
    clipped = np.clip(standard, -cp.LIMIT, cp.LIMIT).astype(np.float32)
    samples = samples._replace(figures=clipped, images=samples.images.astype(np.float32))
    part = samples.movie % PARTS
    print(f"{len(kinds)} movies, {len(part)} components, {int(samples.label.sum())} of them cells; distances up to "
          f"{distance.max():.1f}, farthest {farthest:.1f}", flush=True)  # fmt: skip
    kept: dict[str, np.ndarray] = {}
    networks = []
    for n, size in enumerate(SIZES):
        layers = train(
            samples.of((part != DECIDES) & (part != CALIBRATES)), samples.of(part == DECIDES), size, seed=71 + n
        )
        networks.append(layers_of(layers))
        for name, (weights, offsets) in zip(cp.LAYERS, networks[-1], strict=True):
            kept |= {f"{n}_{name}_weights": weights.astype(np.float32), f"{n}_{name}_offsets": offsets}
    others = samples.of((part == DECIDES) | (part == CALIBRATES))
    slope, offset = calibrated(cp.logits(others.images, others.figures, networks), others.label)
    scale = {"mean": mean, "sd": sd, "whitening": whitening, "farthest": farthest, "slope": slope, "offset": offset}
    scale["areas"] = areas_of(args.folder)
    np.savez_compressed(args.out, version=cp.VERSION, **{k: np.asarray(v) for k, v in scale.items()}, **kept)
    print(f"calibration {slope:.2f}, {offset:.2f}; {args.out.stat().st_size / 1e3:.0f} kB; "
          f"{time.process_time() - began:.0f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
