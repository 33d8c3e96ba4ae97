"""The row of buttons above an image."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtWidgets import QComboBox, QMenu, QSpinBox, QToolBar, QToolButton

from .choice_slider import ChoiceSlider
from .controls import tool_button
from .theme import COLOUR_MAPS
from .views import MODES, Mode


class ImageBar(QToolBar):
    """What is used most often; what a narrow dock has no room for goes behind its arrow.

    `slider` chooses one of several pictures, where this is one of them.
    """

    def __init__(self, modes: Sequence[Mode], slider: ChoiceSlider | None) -> None:
        super().__init__()
        self.pause = tool_button("Hold", "hold this image; the acquisition goes on (Space holds all)", checkable=True)
        self.lock = tool_button("Lock levels", "keep brightness and contrast (L)", checkable=True)
        self.levels = tool_button("Levels", "histogram and levels beside the image", checkable=True)
        self.colours = QComboBox()
        self.colours.addItems(list(COLOUR_MAPS))
        self.colours.setToolTip("colour map (C)")
        self.average = QSpinBox(minimum=1, maximum=500, prefix="mean of ")
        self.average.setSpecialValueText("no average")
        self.average.setToolTip("show the mean of the last so many images")
        self.plane = QSpinBox(prefix="plane ")
        self.modes = QComboBox()
        self.modes.addItems([MODES[mode] for mode in modes])
        self.modes.setToolTip("one plane, planes side by side, or the channels of a slice merged (M)")
        self.more = tool_button("More", "fit, turn, regions, overlays, binning")
        self.more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.more.setMenu(QMenu(self.more))
        self.addWidget(self.modes).setVisible(len(modes) > 1)  # without a parent it would outlive the window
        if slider is not None:
            self.addWidget(slider)
        for widget in (self.more, self.pause, self.levels, self.lock, self.colours, self.average):
            self.addWidget(widget)
        self._plane_shown = self.addWidget(self.plane)
        self._plane_shown.setVisible(False)

    def offer_planes(self, count: int) -> None:
        """Let one of so many planes of a stack be chosen."""
        self._plane_shown.setVisible(True)
        self.plane.setMaximum(count - 1)
