"""How likely distance and footprint correlation are for pairs of the same cell and of others, fitted to the pairs.

The idea is that of Sheintuch et al. 2017, Cell Rep. 21:1102: the distribution over all neighbouring pairs is a mixture
of same and other cells, and its parts give each pair's probability. Here others are known without a mixture: two
components of one day are two cells, so that pairs within days say how many neighbours there are at each distance and
how their footprints correlate. Same cells: displacement a bivariate Student t of 10 degrees of freedom, log(1 -
correlation) normal around a line in log distance. A few are strays, fragments of a cell or two cells in one, whose
centre may lie anywhere in the body and whose shape says nothing. The expectation step takes partners as exclusive
(`association`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .association import marginals
from .pairs import Pairs, Placed

# Of Student's t: a faint cell's centre is less sure than a bright one's. With 4, as with a fiftieth of strays, pairs at
# one to two radii were expected that there are not: of 17 simulated animals 8 of the same cell, where 1 was.
FREEDOM = 10.0
ROUNDS = 40
FEWEST = 0.05  # of neighbours at any distance, relative to places at random: cells above each other in depth
PRIOR_PAIRS = 4.0  # that the prior of a width counts for
SHAPE_LIMIT = 2.0  # of the log likelihood ratio of correlations: they are extrapolated where no neighbours lie
NEAREST_RADII = 0.25
WIDEST_RADII = 0.5  # sd of displacements; allowed 1, precision fell from .67 to .55 in deformed fields
STRAY_RADII = 0.6  # sd along each axis of a stray's centre
STRAYS = 0.005  # their fraction; fitted it fell to 0.0003, as strays with no weight gain none


class Line(NamedTuple):
    """log(1 - correlation) around intercept + slope · log(distance² + floor²), with this standard deviation."""

    intercept: float
    slope: float
    sd: float

    def log_density(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Of the normal distribution around the line."""
        z = (y - self.intercept - self.slope * x) / self.sd
        return np.asarray(-0.5 * z**2 - np.log(self.sd * np.sqrt(2 * np.pi)))


class PairModel(NamedTuple):
    """The fit: `sd_px` of the same cell's displacement along each axis, and of strays, lines of same
    and other pairs, how many neighbours lie at each distance relative to random places (`around`, in bins of `bin_px`),
    iterations."""

    sd_px: float
    stray_px: float
    same: Line
    other: Line
    around: np.ndarray
    bin_px: float
    rounds: int


class Fitted(NamedTuple):
    """Pairs across days, their probabilities of being the same cell, the fraction of a day's cells found on another
    (days, days), NaN on the diagonal, and the model."""

    pairs: Pairs
    probability: np.ndarray
    common: np.ndarray
    model: PairModel


def fit_pairs(components: Placed, pairs: Pairs, radius_px: float) -> Fitted:
    """Return the probabilities of all pairs across days, by expectation maximisation."""
    one_day = components.day[pairs.a] == components.day[pairs.b]
    within, across = (Pairs(*(column[which] for column in pairs)) for which in (one_day, ~one_day))
    bin_px = radius_px / 4
    around = _neighbours(components, within, bin_px)
    x, y = _features(across, radius_px)
    x0, y0 = _features(within, radius_px)
    touching = (within.correlation > 0.01) & (within.distance < 2.5 * radius_px)
    other = _line(x0[touching], y0[touching], np.ones(int(touching.sum())), Line(-2 * np.log(2 * radius_px), 1.0, 0.5))
    counts = _seen_counts(components)
    days = components.day[across.a], components.day[across.b]
    node_a, node_b = (c * len(components.seen) + d for c, d in ((across.a, days[1]), (across.b, days[0])))
    at = np.minimum((across.distance / bin_px).astype(int), len(around) - 1)
    common = np.full(counts.shape, 0.5)
    first_px = _first_sd(across, node_a, node_b, radius_px)
    model = PairModel(first_px, STRAY_RADII * radius_px, other, other, around, bin_px, 0)
    probability = np.zeros(len(across.a))
    for turn in range(ROUNDS):
        same = sum(_densities(model, across.distance, x, y)) / around[at]
        odds = same * _prior_odds(common, counts, components.area_px, days)
        before, probability = probability, marginals(node_a, node_b, odds)
        common = _common(probability, days, counts)
        model = _updated(model, across.distance, x, y, probability, radius_px)._replace(rounds=turn + 1)
        if len(probability) == 0 or np.abs(probability - before).max() < 1e-3:
            break
    return Fitted(across, probability, np.where(np.eye(len(common), dtype=bool), np.nan, common), model)


def _features(pairs: Pairs, radius_px: float) -> tuple[np.ndarray, np.ndarray]:
    floor = NEAREST_RADII * radius_px
    return np.log(pairs.distance**2 + floor**2), np.log(np.clip(1 - pairs.correlation, 1e-3, 1))


def _neighbours(components: Placed, within: Pairs, bin_px: float) -> np.ndarray:
    """Neighbours within days at each distance, relative to places at random."""
    edges = np.arange(int(np.ceil(within.distance.max(initial=bin_px) / bin_px)) + 1) * bin_px
    found = np.histogram(within.distance, edges)[0] * 2.0  # each is the other's neighbour
    cells = np.bincount(components.day, minlength=len(components.seen)).astype(float)
    expected = (cells**2).sum() / components.area_px * np.pi * np.diff(edges**2)
    smooth = np.array([0.25, 0.5, 0.25])
    found, expected = (np.convolve(np.pad(v, 1, mode="edge"), smooth, "valid") for v in (found, expected))
    return np.asarray(np.maximum((found + 0.2) / (expected + 1), FEWEST))


def _seen_counts(components: Placed) -> np.ndarray:
    """How many components of day a lie in the field of day b (days, days)."""
    return np.stack([components.seen[:, components.day == d].sum(1) for d in range(len(components.seen))])


def _first_sd(across: Pairs, node_a: np.ndarray, node_b: np.ndarray, radius_px: float) -> float:
    """From the pairs that are each other's nearest."""
    if not len(across.distance):
        return 0.2 * radius_px
    nearest = [np.full(int(max(node_a.max(), node_b.max())) + 1, np.inf) for _ in range(2)]
    for least, node in zip(nearest, (node_a, node_b), strict=True):
        np.minimum.at(least, node, across.distance)
    mutual = (across.distance <= nearest[0][node_a]) & (across.distance <= nearest[1][node_b])
    near = across.distance[mutual & (across.distance < radius_px)]
    return float(np.clip(np.median(near) / 1.18 if len(near) else 0.2 * radius_px, 0.03 * radius_px, 0.4 * radius_px))


def _densities(model: PairModel, distance: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Density of the same cell's centre and shape over that of others' shape, of whole footprints and of strays."""
    s2, stray2 = model.sd_px**2, model.stray_px**2
    place = -np.log(2 * np.pi * s2) - (FREEDOM + 2) / 2 * np.log1p(distance**2 / (FREEDOM * s2))
    shape = model.same.log_density(x, y) - model.other.log_density(x, y) if model.rounds else np.zeros(len(x))
    whole = (1 - STRAYS) * np.exp(place + np.clip(shape, -SHAPE_LIMIT, SHAPE_LIMIT))
    return whole, STRAYS * np.exp(-(distance**2) / (2 * stray2)) / (2 * np.pi * stray2)


def _prior_odds(
    common: np.ndarray, counts: np.ndarray, area_px: float, days: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Odds that a has a partner, over the density of components of b that have none [1/px²]."""
    a, b = days
    fraction = np.clip(common[a, b], 0.005, 0.99)
    alone = np.maximum(counts[b, a] * (1 - common[b, a]), 0.05 * counts[b, a] + 0.5)
    seen_part = np.maximum(counts[b, a], 1) / np.maximum(counts[b, b], 1)
    return np.asarray(fraction / (1 - fraction) * area_px * seen_part / alone)


def _common(probability: np.ndarray, days: tuple[np.ndarray, np.ndarray], counts: np.ndarray) -> np.ndarray:
    matched = np.zeros(counts.shape)
    np.add.at(matched, days, probability)
    matched = matched + matched.T
    return np.asarray((matched + 0.5) / (counts + 1))


def _updated(
    model: PairModel, distance: np.ndarray, x: np.ndarray, y: np.ndarray, weight: np.ndarray, radius_px: float
) -> PairModel:
    s2 = model.sd_px**2
    whole, stray = _densities(model, distance, x, y)
    share = stray / np.maximum(whole + stray, 1e-300)
    weight = weight * (1 - share)
    heavy = weight * (FREEDOM + 2) / (FREEDOM + distance**2 / s2)
    prior = (0.15 * radius_px) ** 2
    new = (0.5 * (heavy * distance**2).sum() + PRIOR_PAIRS * prior) / (weight.sum() + PRIOR_PAIRS)
    sd = float(np.clip(np.sqrt(new), 0.03 * radius_px, WIDEST_RADII * radius_px))
    return model._replace(sd_px=sd, same=_line(x, y, weight, model.other))


def _line(x: np.ndarray, y: np.ndarray, weight: np.ndarray, prior: Line) -> Line:
    """Weighted least squares, drawn to a prior line by `PRIOR_PAIRS` pairs at the prior's distance of one radius."""
    total = weight.sum() + PRIOR_PAIRS
    middle = float(weight @ x) / float(weight.sum()) if weight.sum() > 0 else 0.0
    spread = weight @ (x - middle) ** 2
    left = y - prior.intercept - prior.slope * x
    slope = (weight @ ((x - middle) * left)) / (spread + PRIOR_PAIRS)
    intercept = (weight @ (left - slope * (x - middle))) / total - slope * middle
    line = Line(float(prior.intercept + intercept), float(prior.slope + slope), prior.sd)
    rest = y - line.intercept - line.slope * x
    return line._replace(sd=float(np.sqrt((weight @ rest**2 + PRIOR_PAIRS * prior.sd**2) / total)))
