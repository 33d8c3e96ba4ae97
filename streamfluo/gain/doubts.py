"""What a straight line of variance over mean takes for granted, tested on the data it is drawn through.

Each test gives the relative error that an effect makes in the slope, with its standard error. An effect that shows is a
reason not to state a gain, or widens the interval where it is small.
"""

from __future__ import annotations

import numpy as np

from .kernels.bins import Array
from .line import Blocks, Line
from .pixel_noise import Dark, Noise, Pixels
from .shared_noise import Measured

SHOWS_SD, MAY_BE_SD = 4.0, 2.0  # standard errors of an effect that is a reason, and of one that widens the interval
LIMIT = 0.02  # relative error of the gain beyond which it is not stated
LEAST_SPREAD = 1e-2  # of the light between patches, relative, that tells an offset from an illumination
NEIGHBOURS_SHARE, OFFSET_JITTERS, CURVED = "neighbours share noise", "the offset jitters", "the line is curved"
REASONS = {
    NEIGHBOURS_SHARE: "neighbouring pixels share noise, which makes the gain {:.3g} times too large: these frames were "
    "filtered, interpolated, binned or registered; give the camera's own",
    OFFSET_JITTERS: "bright and dim regions change alike: the offset jitters from frame to frame, worth {:.1%} of the "
    "gain; take frames without that",
    CURVED: "variance against mean is curved, worth {:.1%} of the gain: the camera is not linear there, or the light "
    "not steady; take less light",
}

Effects = tuple[tuple[str, Measured], ...]


def refused(effects: Effects) -> str:
    """Return why no gain is stated, '' if no effect shows that is larger than LIMIT."""
    shown = {name: effect.effect for name, effect in _pooled(effects) if _shows(effect)}
    for name, effect in shown.items():
        if abs(effect) > LIMIT:
            if name == CURVED and OFFSET_JITTERS in shown:
                name = OFFSET_JITTERS  # which bends the line
            return REASONS[name].format(1 + effect if name == NEIGHBOURS_SHARE else abs(effect))
    return ""


def allowed(effects: Effects, notes: list[str]) -> float:
    """Return the relative standard error that effects add which show, and are small; say so in the notes."""
    total = 0.0
    for name, effect in _pooled(effects):
        if _shows(effect, MAY_BE_SD):
            notes.append(f"{name}, worth {abs(effect.effect):.2%} of the gain: the interval is that much wider")
            total = float(np.hypot(total, effect.effect))
    return total


def _pooled(effects: Effects) -> Effects:
    """Each effect once, in the order of REASONS: of several light levels the mean, of a jittering offset the worst."""
    found = []
    for name in REASONS:  # the later ones may follow from the earlier
        values = np.array([e for n, e in effects if n == name and np.isfinite(e).all() and e.error > 0])
        if not len(values):
            continue
        weight = 1 / values[:, 1] ** 2
        mean = Measured(float(weight @ values[:, 0] / weight.sum()), float(weight.sum() ** -0.5))
        shown = [Measured(*map(float, v)) for v in values if _shows(Measured(*v))]
        worst = max(shown, key=lambda e: abs(e.effect), default=mean)
        found.append((name, worst if name == OFFSET_JITTERS else mean))
    return tuple(found)


def shared_effects(pixels: Pixels, noise: Noise, dark: Dark | None, dark_level: float) -> Effects:
    """Return what noise that pixels share does to a series: relative, and of a jittering offset in ADU of the slope."""
    shared = pixels.shared
    if shared is None:
        return ()
    zero = dark_level + (float(np.median(dark.offset)) if dark is not None else 0.0)
    common, covariance = shared.fitted_common(zero)
    at = shared._replace(light=shared.light - zero)
    light, own = at.light.mean(axis=(1, 2)), np.maximum(shared.neighbours[:, 0], 1e-30)
    effects = [(NEIGHBOURS_SHARE, at.of_neighbours(common))]
    through_zero = noise.floor_known
    known = dark.jitter2 if dark is not None and through_zero else 0.0
    if through_zero or np.std(light) > LEAST_SPREAD * abs(float(np.mean(light))):
        weight = 1 / own**2
        about = light if through_zero else light - np.average(light, weights=weight)
        slope = weight * about / np.sum(weight * about**2)
        parts = slope @ np.stack([light**2, 2 * light, np.ones_like(light)], axis=1)
        wrong = common - (noise.step_flicker2(dark_level), 0.0, known)
        effects.append((OFFSET_JITTERS, Measured(float(parts @ wrong), float(np.sqrt(parts @ covariance @ parts)))))
    return tuple(effects)


def curvature(blocks: Blocks, line: Line, noise: Noise, dark_level: float, known: tuple[bool, float]) -> Measured:
    """Return by how much a line is steeper than the curve is in the dark, relative, from means over neighbours.

    known: whether the dark point is, and the scatter of the pixels' gains.
    """
    through_dark, scatter = known
    if len(blocks.x) < 8:
        return Measured(0.0, np.inf)
    x, y = blocks.x - dark_level, blocks.y - line.at(blocks.x)
    level = np.maximum(line.at(blocks.x) + noise.dark, 1e-9)
    each = noise.of_variance(level, dark_level, blocks.x, line.slope) + (scatter * level) ** 2
    weight = blocks.size / each
    scale = max(float(np.max(np.abs(x))), 1e-9)
    square = (blocks.x2 - 2 * dark_level * blocks.x + dark_level**2) / scale**2
    columns = np.stack([np.ones_like(x), x / scale, square])
    normal = (columns * weight) @ columns.T
    if through_dark and noise.floor_known:
        normal[0, 0] += 1 / (0.02 + 1e-3 * noise.dark) ** 2
    normal += np.diag(np.diag(normal)) * 1e-12
    covariance = np.linalg.inv(normal)
    found: Array = covariance @ (columns @ (weight * y))
    misfit = float(np.sum(weight * (y - found @ columns) ** 2)) / max(len(x) - 3, 1)
    turn = float(np.linalg.solve(normal[:2, :2], normal[:2, 2])[1])  # of the line's slope, per unit of the square
    flicker = noise.flicker2_error(dark_level) * scale**2
    error = np.sqrt(covariance[2, 2] * max(misfit, 1.0) + flicker**2)
    return Measured(turn * float(found[2]) / scale / line.slope, abs(turn) * float(error) / scale / line.slope)


def _shows(effect: Measured, sd: float = SHOWS_SD) -> bool:
    return bool(abs(effect.effect) > sd * effect.error)
