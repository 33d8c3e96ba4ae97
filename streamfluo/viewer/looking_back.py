"""What is asked for while the run is looked back at."""

from __future__ import annotations

from collections.abc import Iterable

from ..network.watching import Watch
from .image_panel import ImagePanel
from .model import Model


def ask_for_past(model: Model, watch: Watch, panels: Iterable[object], asked: dict[str, tuple[int, int]]) -> None:
    """Have the frames that are looked back at come, those of each plane shown once; `asked` has what was asked for."""
    at = model.looking_at
    if at is None:
        return
    wanted = {
        model.source_of(p): image.binning
        for image in panels
        if isinstance(image, ImagePanel)
        for p in image.panels()
        if p.frames
    }
    for source, bin_px in wanted.items():
        if asked.get(source) != (at, bin_px):
            asked[source] = (at, bin_px)
            watch.look(source, at, bin_px)
