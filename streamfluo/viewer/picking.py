"""What lies where the mouse clicks, what an arrow key chooses, and what may be decided about it. No Qt of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .model import Model
from .overlay_items import contour_at
from .panels import Overlay, Panel
from .place_items import place_at

Place = tuple[float, float]  # (y, x) [px]


def decisions(model: Model, overlays: Iterable[Overlay]) -> list[tuple[str, str, str, list[int]]]:
    """Return what may be decided about components that are pointed out: step, verb, what it does, their ids."""
    pointed = {o.step: model.pointed.get(o.step, []) for o in overlays if o.kind == "contours"}
    return [
        (step, verb, meaning, ids)
        for step, ids in pointed.items()
        for verb, (needs, meaning) in model.takes(step).items()
        if ids and needs == "ids"
    ]


def drawn_decisions(model: Model, panel: Panel, overlays: Iterable[Overlay]) -> list[tuple[str, str, str]]:
    """Return what steps take that is drawn over a panel's image: step, verb, what it does; of the panel's own step and
    those whose outlines are drawn over it."""
    steps = dict.fromkeys((panel.step, *(overlay.step for overlay in overlays if overlay.kind == "contours")))
    return [
        (step, verb, meaning)
        for step in steps
        for verb, (needs, meaning) in model.takes(step).items()
        if needs == "polygons"
    ]


def components_at(model: Model, overlays: Iterable[Overlay], place: Place) -> Iterator[tuple[str, int]]:
    """Yield which outline of each step lies round a place; of one that draws several the first."""
    seen = set[str]()
    for overlay in overlays:
        if overlay.kind == "contours" and overlay.step not in seen:
            seen.add(overlay.step)
            number = contour_at(model.contours.get(overlay.id, np.empty((0, 0, 2))), *place)
            if number is not None:
                yield overlay.step, number


def choose_place(model: Model, panel: Panel, place: Place) -> bool:
    """Choose the spot at a place of a panel's image; returns whether there is one."""
    found = False
    for step, of in model.places_over(panel).items():
        number = place_at(model.places(of).yx, *place)
        if number is not None:
            model.pointed[step], found = [number], True
    return found


def step_place(model: Model, by: int) -> bool:
    """Choose the next of the places that a run speaks of, or one before; returns whether there are any."""
    for step, of in model.drawn.places.items():
        count = len(model.places(of).value)
        if count:
            model.pointed[step] = [(model.chosen_place(step) + by) % count]
            return True
    return False
