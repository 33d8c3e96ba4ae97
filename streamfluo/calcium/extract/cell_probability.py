"""The probability that a component is a cell: two small networks over what is known of it, calibrated.

They are trained on simulated fields and real neurons (`tools/train_acceptance.py`). How far a component is from all of
those is known: too far, and its probability is NaN.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from ...core.errors import ConfigError
from .cell_features import FIGURES, SIDE, Context, Features, features, typical_area
from .components import Components

VERSION = 2  # of the weights; another one has other inputs
WEIGHTS = Path(__file__).with_name("cell_probability.npz")
NETWORKS = 2
LAYERS = ("image", "joined", "last")
LIMIT = 5.0  # of the inputs [standard deviations of the training set]


class Scale(NamedTuple):
    """Mean and standard deviation (F,) of the figures of the training set, its inverse Cholesky factor (F, F).

    `farthest`: the distance from its mean beyond which nothing is said; `slope`, `offset` of the calibration; `areas`
    (2,): the least and the largest typical area of its movies' cells [neuron_sigma_px²].
    """

    mean: np.ndarray
    sd: np.ndarray
    whitening: np.ndarray
    farthest: float
    slope: float
    offset: float
    areas: np.ndarray


class Weights(NamedTuple):
    """Scale, and of each network the weights and offsets of its layers."""

    scale: Scale
    networks: list[list[tuple[np.ndarray, np.ndarray]]]


def cell_probability(cells: Components, rows: np.ndarray, slots: np.ndarray, context: Context) -> np.ndarray:
    """Return the probability (n,) that components `rows` (n,) are cells, NaN unlike all of the training set.

    All are NaN where the accepted components are typically larger or smaller, in units of the stated size of a cell,
    than in any movie of it: one by one a piece of a large cell looks like a cell, and its shape is cut by its box.
    Cost: some .02 ms a component. Raises ConfigError for weights that cannot be used.
    """
    if not len(rows):
        return np.empty(0)
    weights = load_weights(WEIGHTS)
    area, (least, largest) = typical_area(cells, context.neuron_sigma_px), weights.scale.areas
    if area < least or area > largest:
        return np.full(len(rows), np.nan)
    return probability_of(features(cells, rows, slots, context), weights)


def probability_of(known: Features, weights: Weights) -> np.ndarray:
    """Return the probability (n,) of features, NaN where they are too far from those of the training set."""
    scale = weights.scale
    figures = (known.figures - scale.mean) / scale.sd
    distance = np.sqrt(((np.clip(figures, -20, 20) @ scale.whitening.T) ** 2).mean(1))
    logit = scale.slope * logits(known.images, figures, weights.networks) + scale.offset
    probability: np.ndarray = np.where(distance <= scale.farthest, expit(logit), np.nan)
    return probability


def logits(images: np.ndarray, figures: np.ndarray, networks: list[list[tuple[np.ndarray, np.ndarray]]]) -> np.ndarray:
    """Return the mean logit (n,) of the networks, from images (n, 512) and standardised figures (n, F)."""
    told, total = np.clip(figures, -LIMIT, LIMIT).astype(np.float32), np.zeros(len(figures))
    for (image, image_offset), (joined, joined_offset), (last, last_offset) in networks:
        seen = np.maximum(images.astype(np.float32) @ image + image_offset, 0)
        hidden = np.maximum(np.concatenate([seen, told], 1) @ joined + joined_offset, 0)
        total += (hidden @ last + last_offset)[:, 0].astype(float) / len(networks)
    return total


@lru_cache(maxsize=4)
def load_weights(path: Path) -> Weights:
    """Return the weights of a file. Raises ConfigError where they are missing, damaged, or of another version."""
    remedy = "install streamfluo again, or write them with tools/train_acceptance.py"
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise ConfigError(f"{path}: weights cannot be read: {error}; {remedy}") from None
    version = found.get("version", np.array(0))
    if version.shape != () or version.dtype.kind not in "iu" or version != VERSION:
        raise ConfigError(f"{path}: weights are of version {version}, {VERSION} is needed; {remedy}")
    figures = len(FIGURES)
    wanted = {"mean": (figures,), "sd": (figures,), "whitening": (figures, figures), "areas": (2,)}
    wanted |= dict.fromkeys(("farthest", "slope", "offset"), ())
    for name, shape in wanted.items():
        if name not in found or found[name].shape != shape or not np.isfinite(found[name]).all():
            has = found[name].shape if name in found else "none"
            raise ConfigError(f"{path}: {name!r} must be finite numbers of shape {shape}, found {has}; {remedy}")
    networks = [_network(path, found, n, remedy) for n in range(NETWORKS)]
    farthest, slope, offset = (float(found[name]) for name in ("farthest", "slope", "offset"))
    scale = Scale(found["mean"], found["sd"], found["whitening"], farthest, slope, offset, found["areas"])
    return Weights(scale, networks)


def _network(path: Path, found: dict[str, np.ndarray], n: int, remedy: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """The layers of a network, each checked against the one before."""
    layers, inputs = [], 2 * SIDE**2
    for name in LAYERS:
        weights, offsets = (found.get(f"{n}_{name}_{part}", np.empty(0)) for part in ("weights", "offsets"))
        outputs = 1 if name == "last" else offsets.shape[0] if offsets.ndim == 1 else -1
        inputs += len(FIGURES) * (name == "joined")
        sound = weights.shape == (inputs, outputs) and offsets.shape == (outputs,) and outputs > 0
        if not sound or not np.isfinite(weights).all() or not np.isfinite(offsets).all():
            raise ConfigError(
                f"{path}: layer {name!r} of network {n} takes {inputs} numbers, found {weights.shape}; {remedy}"
            )
        layers.append((weights.astype(np.float32), offsets.astype(np.float32)))
        inputs = outputs
    return layers
