"""The choice of a plane for the whole window: a channel, a slice."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSlider, QWidget

from .model import Model

SLIDER_WIDTH_PX = 240


class PlaneBar(QWidget):
    """A channel and a slice of the stream; what the user chooses is what `model.planes` has chosen."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model
        self._offered: tuple[tuple[str, ...], tuple[int, ...]] = ((), ())
        self._channels, self._slices, self._depth = QComboBox(), QSlider(Qt.Orientation.Horizontal), QLabel()
        self._channels.setToolTip("channel (C)")
        self._channels.activated.connect(lambda n: model.planes.choose(channel=model.planes.channels[n]))
        self._slices.setToolTip("slice (Page Up, Page Down)")
        self._slices.setFixedWidth(SLIDER_WIDTH_PX)
        self._slices.setPageStep(1)
        self._slices.setTickPosition(QSlider.TickPosition.TicksBelow)
        self._slices.valueChanged.connect(self._slide)
        self._channel_label, self._slice_label = QLabel("channel"), QLabel("slice")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(6, 2, 6, 2)
        widgets = (self._channel_label, self._channels, self._slice_label, self._slices, self._depth)
        for widget in widgets:
            layout.addWidget(widget)
        layout.addStretch()

    def refresh(self) -> None:
        """Show what is chosen now, of what the stream has."""
        planes = self._model.planes
        offered = (tuple(planes.channels), tuple(planes.slices))
        for widget in (self._channels, self._slices):
            widget.blockSignals(True)
        if offered != self._offered:
            self._offered = offered
            self._channels.clear()
            self._channels.addItems(planes.channels)
            self._slices.setRange(0, max(0, len(planes.slices) - 1))
            by_channel: tuple[QWidget, ...] = (self._channel_label, self._channels)
            by_slice: tuple[QWidget, ...] = (self._slice_label, self._slices, self._depth)
            for several, shown in ((planes.channels, by_channel), (planes.slices, by_slice)):
                for each in shown:
                    each.setVisible(len(several) > 1)
        if len(planes):
            self._channels.setCurrentIndex(planes.channels.index(planes.channel))
            self._slices.setValue(planes.slices.index(planes.z))
            self._depth.setText(planes.depth(planes.z))
        for widget in (self._channels, self._slices):
            widget.blockSignals(False)

    def _slide(self, place: int) -> None:
        self._model.planes.choose(z=self._model.planes.slices[place])
