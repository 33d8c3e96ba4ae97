"""A slider that says which one of several pictures is shown, each a dock of its own."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QSlider, QWidget

from .model import Model
from .panels import Panel
from .words import named


class ChoiceSlider(QWidget):
    """Stands at one of `names`, this picture's; `chosen` has the id of another one's panel, to which it was moved."""

    chosen = Signal(str)

    def __init__(self, called: str, names: Sequence[str], ids: Sequence[str], at: int) -> None:
        super().__init__()
        self._at, self._ids = at, ids
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, len(names) - 1)
        self.slider.setPageStep(1)
        self.slider.setTickPosition(QSlider.TickPosition.TicksBelow)
        self.slider.setFixedWidth(max(60, 24 * len(names)))
        self.slider.setValue(at)
        self.slider.setToolTip(f"which {called} is shown: {', '.join(named(name) for name in names)}")
        self.slider.valueChanged.connect(self._moved)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(6, 0, 6, 0)
        layout.addWidget(QLabel(named(called)))
        layout.addWidget(self.slider)
        layout.addWidget(QLabel(f"<b>{named(names[at])}</b>"))

    def _moved(self, place: int) -> None:
        if place != self._at:
            self.slider.blockSignals(True)
            self.slider.setValue(self._at)  # this picture stays what it is; another one comes to the front
            self.slider.blockSignals(False)
            self.chosen.emit(self._ids[place])


def slider_of(panel: Panel, model: Model) -> ChoiceSlider | None:
    """Return the slider of a picture that is one of several to choose from, None for any other."""
    layout = model.layout()
    called, ids = layout.choice if layout is not None else ("", ())
    if panel.id not in ids:
        return None
    return ChoiceSlider(called, [model.panels[name].name for name in ids], ids, ids.index(panel.id))
