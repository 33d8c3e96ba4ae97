"""The menu of an image: what can be done with it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QApplication, QMenu

from .picture import GAMMAS
from .regions import as_step

if TYPE_CHECKING:
    from .image_panel import ImagePanel


def fill_menu(menu: QMenu, image: ImagePanel) -> None:
    """Put into a menu what can be done with an image now."""
    menu.clear()
    for step, verb, meaning, ids in image.decisions():
        which = f"component{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids))}"
        decision = menu.addAction(f"{verb.capitalize()} {which}", partial(image.decided.emit, step, verb, ids))
        decision.setToolTip(meaning)
    menu.addAction("Zoom to fit\tF", image.canvas.fit)
    menu.addAction("Turn by 90°\tR", image.canvas.rotate)
    menu.addAction("Flip left to right\tH", lambda: image.canvas.flip(1))
    menu.addAction("Flip top to bottom\tV", lambda: image.canvas.flip(0))
    _regions(menu, image)
    menu.addAction("Measure along a line\tN", image.line.add)
    if image.line.line is not None:
        menu.addAction("Take the line away", image.line.remove)
    if image.others and image.mode != "grid":
        compare = menu.addMenu("Compare with")
        for other in (None, *image.others):
            choice = compare.addAction(other.title if other else "nothing", partial(image.compare_with, other))
            choice.setCheckable(True)
            choice.setChecked(other is image.compared_with)
    if image.panel.frames:
        binning = menu.addMenu("Binning")
        for bin_px in (0, 1, 2, 4, 8):
            label = f"{bin_px} × {bin_px}" if bin_px else "by the frame's size"
            choice = binning.addAction(label, partial(image.set_binning, bin_px))
            choice.setCheckable(True)
            choice.setChecked(bin_px == image.bin_px)
    bent = menu.addMenu("Gamma")
    for gamma in sorted(GAMMAS):
        choice = bent.addAction(f"{gamma:g}", partial(set_gamma, image, gamma))
        choice.setCheckable(True)
        choice.setChecked(image.scale is not None and gamma == image.scale.gamma)
    if "composite" in image.modes:
        safe = menu.addAction("Channels in colours that the colour blind tell apart")
        safe.setCheckable(True)
        safe.setChecked(image.safe_colours)
        safe.toggled.connect(image.use_safe_colours)
    for name, is_shown in image.overlays.shown.items():
        shown = menu.addAction("Show " + ": ".join(name.rsplit("/", 1)))
        shown.setCheckable(True)
        shown.setChecked(is_shown)
        shown.toggled.connect(partial(image.overlays.toggle, name))


def _regions(menu: QMenu, image: ImagePanel) -> None:
    """Draw regions; hand on those that are drawn."""
    regions = menu.addMenu("Draw a region")
    regions.setEnabled(image.mode != "grid")
    for kind in ("rectangle", "ellipse", "polygon"):
        regions.addAction(kind, partial(image.regions.add, kind))
    drawn = image.regions.regions()
    if drawn:
        menu.addAction("Copy the regions as a step", lambda: QApplication.clipboard().setText(as_step(drawn)))
    if drawn and image.measured_by is not None:
        polygons = [region.polygon() for region in drawn]
        menu.addAction("Measure these regions in the run", lambda: image.regions_sent.emit(polygons))
    for step, verb, meaning in image.drawn_decisions() if drawn else ():
        label = f"{verb.capitalize()} {'this region' if len(drawn) == 1 else f'these {len(drawn)} regions'} to {step}"
        corners = [region.polygon() for region in drawn]
        menu.addAction(label, partial(image.drawn.emit, step, verb, corners)).setToolTip(meaning)


def set_gamma(image: ImagePanel, gamma: float) -> None:
    """Draw the chosen channel with a gamma."""
    if image.scale is not None:
        image.scale.gamma = gamma
        image.redraw()


def next_gamma(image: ImagePanel) -> None:
    """Draw the chosen channel with the next gamma there is."""
    at = GAMMAS.index(image.scale.gamma) if image.scale is not None else 0
    set_gamma(image, GAMMAS[(at + 1) % len(GAMMAS)])
