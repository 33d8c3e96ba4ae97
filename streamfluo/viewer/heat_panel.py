"""A snapshot of two axes that are no places: a cell of colour for each value, its axes named."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtWidgets import QWidget

from .model import Model
from .panels import Panel
from .plot_panels import empty_plot, stacked
from .theme import COLOUR_MAPS


class HeatPanel(QWidget):
    """A table of numbers as colours, its first axis downwards; where the mouse is, what stands there."""

    def __init__(self, panel: Panel, model: Model) -> None:
        super().__init__()
        self.paused = False
        self._panel, self._model, self._drawn = panel, model, np.empty((0, 0))
        self._plot = empty_plot()
        self._plot.invertY(True)
        self._plot.setLabel("left", panel.dims[0])
        self._plot.setLabel("bottom", panel.dims[1])
        self._cells = pg.ImageItem()
        self._cells.setColorMap(pg.colormap.get(COLOUR_MAPS["viridis"]))
        self._plot.addItem(self._cells)
        self._plot.scene().sigMouseMoved.connect(self._tell)
        stacked(self, None, self._plot)

    def turn_to(self, panel: Panel) -> None:
        """Draw the same snapshot of another plane from now on."""
        self._panel, self._drawn = panel, np.empty((0, 0))
        self._cells.clear()

    def refresh(self) -> None:
        """Draw what is new."""
        values = self._model.curves.get(self._panel.id, self._drawn)
        if self.paused or values is self._drawn or values.ndim != 2 or not values.size:
            return
        self._drawn = values
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        self._cells.setImage(values, autoLevels=False, levels=(low, high if high > low else low + 1))
        self._cells.setRect(-0.5, -0.5, values.shape[1], values.shape[0])

    def _tell(self, place: object) -> None:
        at = self._plot.getViewBox().mapSceneToView(place)
        row, column = round(at.y()), round(at.x())
        rows, columns = self._drawn.shape
        if 0 <= row < rows and 0 <= column < columns:
            down, across = self._panel.dims
            self._plot.setToolTip(f"{down} {row}, {across} {column}: {self._drawn[row, column]:.3g}")
