"""Simulated days of an animal without movies: footprints as an extraction leaves them, and which cell each is of."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from streamfluo.analysis import Day
from streamfluo.sources.simulate.calcium_params import CalciumParams
from streamfluo.sources.simulate.days import DayScene


class SeenDay(NamedTuple):
    """A day, the animal's cell of each of its components, and how its field lies in the animal's."""

    day: Day
    cells: np.ndarray
    turn_deg: float


def seen_day(animal, seed, shape=(96, 96), cells=None, **params):
    """A day with noise on footprints and image, a tenth of the cells not found; `cells` alone where they are named."""
    base = {"day_common": 0.6, "neuron_sigma_px": 2.0, "day_turn_deg": 2.0, "neurons": 60}
    scene = DayScene(CalciumParams(animal=animal, seed=seed, shape=shape, **{**base, **params}), 2)
    rng = np.random.default_rng([animal, seed])
    pixels = np.arange(np.prod(scene.field)).reshape(scene.field)
    footprints = sp.csc_matrix(scene.slices[0].footprints.tocsr()[scene.inside(pixels).ravel()])
    found = rng.random(footprints.shape[1]) < 0.9 if cells is None else np.isin(scene.cell, cells)
    footprints = footprints[:, found]
    footprints.data = np.maximum(footprints.data * rng.normal(1, 0.2, len(footprints.data)) - 0.1, 0).astype("f4")
    seen = np.asarray(footprints.sum(0)).ravel() > 0
    image = scene.inside(scene.slices[0].background) * rng.normal(1, 0.02, shape)
    ids = 3 * np.arange(seen.sum()) + seed  # of that day, and of no other
    return SeenDay(Day(f"day {seed}", footprints[:, seen], ids, image), scene.cell[found][seen], scene.turn_deg)


def true_ids(days):
    """A number (n,) for each component of all days, the same where it is the same cell."""
    return np.concatenate([seen.cells for seen in days])
