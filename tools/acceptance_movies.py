"""Movies that the acceptance of components is trained and tried on, and what `extract` finds in them, with the truth.

Simulated fields of many assumptions, drawn at random; clouds of one-photon recordings; real neurons of the semi-real
movies, half of them for training. Of each movie the components are kept at four times, those of every movie in a file.

    python tools/acceptance_movies.py FOLDER --recipe train --seeds 0 150

Components count as cells by what tools/fields.py asks of found ones: the image alike (cosine .5), the centre near.
"""

import argparse
import importlib.util
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import bench_onephoton
import fields
import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment

from streamfluo import Block, Chain, Spec
from streamfluo.calcium.extract import results
from streamfluo.engine.config import parse_config
from streamfluo.simulate import calcium

FRAMES, MOMENTS = 800, (300, 450, 600, 800)
ALIGNED = 150  # last frames, whose shifts say where the template has the truth
SEMIREAL = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[2] / "shared" / "data")) / "semireal"


class Recipe(NamedTuple):
    """A movie (t, y, x), its truth, the config that extracts it, its frame interval [s], and what kind it is."""

    movie: np.ndarray
    truth: dict[str, np.ndarray]
    config: str
    interval_s: float
    kind: str


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def drawn(seed: int) -> Recipe:
    """A movie of assumptions drawn at random: one in six of one photon, one in six of real neurons."""
    rng = np.random.default_rng([seed, 1])
    part = rng.random()
    if part < 1 / 6:
        return one_photon(rng, seed)
    if part < 1 / 3:
        return semi_real(rng, seed, half=0)
    return simulated(rng, seed)


def simulated(rng: np.random.Generator, seed: int) -> Recipe:
    """A field of `sim:calcium`; one in four without cells."""
    sigma, rate = rng.uniform(2.2, 4.5), float(rng.choice([10, 15, 20, 30]))
    side = 128 if sigma < 3.6 else 160
    empty = rng.random() < 0.25
    decay_s, moving = between(rng, 0.25, 1.5), rng.choice(["still", "left", "corrected"], p=[0.6, 0.2, 0.2])
    motion_px = {"still": 0.0, "left": rng.uniform(0.1, 0.4), "corrected": rng.uniform(0.7, 2.0)}[moving]
    params: dict[str, Any] = {
        "shape": (side, side), "frame_rate_hz": rate, "neuron_sigma_px": sigma, "motion_px": motion_px,
        "neurons": 0 if empty else round(side**2 / (sigma**2 * between(rng, 13, 250))),
        "photons": between(rng, 3, 300), "decay_s": decay_s, "signal": between(rng, 0.15, 0.8),
        "rise_s": rng.uniform(0.02, 0.1) if rng.random() < 0.4 else 0.0, "spike_rate_hz": between(rng, 0.05, 0.5),
        "rest": rng.uniform(0.1, 1.0), "neuropil": rng.uniform(0, 0.25), "neuropil_follows": rng.uniform(0, 1.2),
        "processes": int(rng.integers(4, 30)) if rng.random() < 0.35 else 0, "bursts": rng.uniform(0, 0.8),
        "saturation": 0.1 if rng.random() < 0.2 else 0.0, "z_drift": rng.uniform(0.2, 0.6) * (rng.random() < 0.2),
        "size_spread": rng.uniform(0, 0.3), "rings": rng.uniform(0, 0.7),
        "bleach_fraction": rng.uniform(0, 0.4), "bleach_s": between(rng, 20, 120),
    }  # fmt: skip
    movie, truth = calcium(frames=FRAMES, seed=seed, **params)
    if rng.random() < 0.2:
        movie = with_vessels(movie, rng, rate)
    stated = f"neuron_sigma_px = {sigma * rng.uniform(0.85, 1.2):.3f}"
    if rng.random() < 0.5:
        stated += f", decay_s = {decay_s:.3f}"
    if rng.random() < 0.25:
        stated += ', background = "low_rank"'
    return Recipe(movie, truth, config_of(stated, moving == "corrected"), 1 / rate, "empty" if empty else str(moving))


def one_photon(rng: np.random.Generator, seed: int) -> Recipe:
    """A field of one-photon clouds; one in four without cells."""
    empty = rng.random() < 0.25
    cells = 0 if empty else int(rng.integers(5, 50))
    movie, truth = bench_onephoton.render(seed, between(rng, 15, 120), 0.0, FRAMES, cells)
    stated = f"neuron_sigma_px = {2 * bench_onephoton.SIGMA_PX * rng.uniform(0.85, 1.2):.3f}"
    kind = "1p empty" if empty else "1p"
    return Recipe(movie, truth, config_of(stated, moving=False), bench_onephoton.INTERVAL_S, kind)


def semi_real(rng: np.random.Generator, seed: int, half: int) -> Recipe:
    """Half of the real neurons, every second one from the first or second on, in a field that moves or does not."""
    make = _make()
    images, traces, shifts = make.load_components()
    kept = np.arange(half, len(traces), 2)
    if rng.random() < 0.5:  # fewer of them
        kept = np.sort(rng.choice(kept, rng.integers(5, len(kept)), replace=False))
    start = int(rng.integers(0, traces.shape[1] - FRAMES))
    part = images[:, kept], traces[kept, start : start + FRAMES], shifts[start : start + FRAMES]
    make.load_components = lambda: part
    moving = bool(rng.random() < 0.4)
    movie, truth = make.movie(make.SIDE, FRAMES, between(rng, 3, 40), seed, motion=moving)
    stated = f"neuron_sigma_px = {4 * rng.uniform(0.9, 1.15):.3f}"
    return Recipe(movie, truth, config_of(stated, moving), 0.04, "semi-real")


def field(name: str, seed: int) -> Recipe:
    """A field of tools/fields.py."""
    movie, truth = fields.render(name, seed)
    sigma = fields.FIELDS[name].get("neuron_sigma_px", fields.SIGMA_PX)
    config = config_of(f"neuron_sigma_px = {sigma}, decay_s = 0.5", "motion_px" in fields.FIELDS[name])
    return Recipe(movie, truth, config, 1 / fields.RATE_HZ, name)


def config_of(stated: str, moving: bool) -> str:
    """The TOML of a chain with parameters of `extract`, behind motion correction where the field moves."""
    motion = '[[step]]\nkind = "motion"\nparams = { max_shift_px = 10 }\n' if moving else ""
    return f'{motion}[[step]]\nkind = "extract"\nparams = {{ {stated} }}\n'


def with_vessels(movie: np.ndarray, rng: np.random.Generator, rate_hz: float) -> np.ndarray:
    """The movie behind dark vessels that pulse and carry blood: absorbing lines, .3 to .6, whose width wanders."""
    dark, side = np.median(movie[:50], 0).min(), movie.shape[1]
    level = ndi.gaussian_filter(rng.standard_normal((side, side)), side / 12)
    distance = np.abs(level / np.hypot(*np.gradient(level)).mean())
    wander = ndi.gaussian_filter1d(rng.standard_normal(len(movie)), 0.5 * rate_hz)
    width = rng.uniform(1.5, 3) * (1 + rng.uniform(0.02, 0.15) * wander / wander.std())
    depth = rng.uniform(0.3, 0.6)
    out = np.empty_like(movie)
    for t, frame in enumerate(movie):
        through = 1 - depth * np.exp(-((distance / max(width[t], 0.3)) ** 2) / 2)
        out[t] = np.clip(np.rint(0.5 * dark + (frame - 0.5 * dark) * through), 0, 65535)
    return out


def _make() -> Any:
    """The module that renders semi-real movies."""
    spec = importlib.util.spec_from_file_location("make", SEMIREAL / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def extracted(recipe: Recipe, moments: tuple[int, ...] = MOMENTS) -> dict[str, np.ndarray]:
    """Run a movie; return the state of the components at moments, with the label of each: 1 a cell, 0 none."""
    shape = recipe.movie.shape[1:]
    chain = Chain(parse_config(recipe.config), Spec(shape, recipe.movie.dtype, interval_s=recipe.interval_s))
    operator = next(step.operator for step in chain.steps if step.operator.kind == "extract")
    shifts: list[np.ndarray] = []
    kept: dict[str, np.ndarray] = {"moments": np.array(moments), "kind": np.array(recipe.kind)}
    for n, frame in enumerate(recipe.movie):
        for step, output in chain.push(Block(n, np.array([n]), frame[None])):
            if step == "motion":
                shifts.extend(output.values["shift_px"])
        if n + 1 in moments:
            extraction = operator._live.extraction
            extraction.catch_up()
            cells, background = extraction.cells, extraction.background
            boxes = results.footprints(cells, background)
            labels = labelled(boxes, cells["origin"], shape, _truth_shifted(recipe.truth, np.array(shifts), n + 1))
            kept |= {f"{n + 1}/{name}": array for name, array in cells.state("component_").items()}
            slots = extraction.recent[0].slots()
            kept |= {f"{n + 1}/label": labels, f"{n + 1}/slots": slots}
    kept |= {
        "shape": np.array(shape), "box": np.array(cells.box_shape), "window": np.array(cells.history.shape[1]),
        "samples": np.array(cells.rate_samples.shape[1]), "modes": np.array(cells.mode_overlap.shape[1]),
        "observed_px": np.array(background.observed_px), "interval_s": np.array(recipe.interval_s),
        "neuron_sigma_px": np.array(operator.params.neuron_sigma_px),
    }  # fmt: skip
    return kept


def _truth_shifted(truth: dict[str, np.ndarray], shifts: np.ndarray, until: int) -> np.ndarray:
    """Images (K, y·x) of the true cells where the template has them."""
    parts = (truth["A_data"], truth["A_indices"], truth["A_indptr"])
    images = sp.csc_matrix(parts, shape=tuple(truth["A_shape"])).toarray().T.astype(float)
    if len(shifts) and len(images):
        side = round(np.sqrt(images.shape[1]))
        late = slice(max(100, until - ALIGNED), until)  # a template may have jumped before
        offset = np.rint(np.median(truth["shift_px"][late] - shifts[late], 0)).astype(int)
        if not np.isfinite(offset).all():
            return images
        images = np.roll(images.reshape(-1, side, side), offset, (1, 2)).reshape(len(images), -1)
    return images


def labelled(boxes: np.ndarray, origin: np.ndarray, shape: tuple[int, int], true: np.ndarray) -> np.ndarray:
    """Whether each component (K,) is a true cell: one for each cell, the most alike."""
    found = np.zeros((len(boxes), *shape))
    for image, box, (top, left) in zip(found, boxes, origin, strict=True):
        image[top : top + box.shape[0], left : left + box.shape[1]] = box
    images = true.reshape(-1, *shape)
    if not len(images) or not len(found):
        return np.zeros(len(found), bool)
    alike = fields._cosines(images, found) * (fields._distances(images, found) < fields.CENTRE_PX)
    rows, columns = linear_sum_assignment(-alike)
    labels = np.zeros(len(found), bool)
    labels[columns] = alike[rows, columns] >= fields.COSINE
    return labels


def recipe_of(name: str, seed: int) -> Recipe:
    """The movie of a recipe and a seed."""
    rng = np.random.default_rng([seed, 2])
    if name == "train":
        return drawn(seed)
    if name == "semi-real":
        return semi_real(rng, seed, half=1)
    if name == "simulated":
        return simulated(rng, seed)
    if name == "one-photon":
        return one_photon(rng, seed)
    return field(name, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipe", nargs="+", default=["train"])
    parser.add_argument("--seeds", type=int, nargs=2, default=[0, 150], help="first, and that behind the last")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for seed in range(*args.seeds):
        for name in args.recipe:
            path = args.folder / f"{name}-{seed}.npz"
            if path.exists():
                continue
            began = time.process_time()
            recipe = recipe_of(name, seed)
            moments = MOMENTS if len(recipe.movie) == FRAMES else (*MOMENTS, len(recipe.movie))
            kept = extracted(recipe, moments)
            np.savez_compressed(path.with_suffix(".part.npz"), **kept)
            path.with_suffix(".part.npz").rename(path)
            last = moments[-1]
            counts = [int(kept[f"{last}/{key}"].sum()) for key in ("label", "component_accepted")]
            print(f"{path.name}: {recipe.kind}, {len(kept[f'{last}/label'])} components, {counts[0]} cells, "
                  f"{counts[1]} accepted, {time.process_time() - began:.1f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
