"""Buttons and bars as all parts of the window have them."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QSizePolicy, QToolBar, QToolButton, QWidget


def tool_button(text: str, tip: str, checkable: bool = False) -> QToolButton:
    """Return a flat button with a tip."""
    button = QToolButton()
    button.setText(text)
    button.setToolTip(tip)
    button.setCheckable(checkable)
    button.setAutoRaise(True)
    return button


class ElidedLabel(QLabel):
    """A line that takes what room is left, right aligned, and ends in … where it does not fit."""

    def __init__(self) -> None:
        super().__init__()
        self._whole = ""
        self.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)

    def setText(self, text: str) -> None:
        """Say this."""
        self._whole = text
        self._fit()

    def text(self) -> str:
        """Return all of it."""
        return self._whole

    def _fit(self) -> None:
        super().setText(self.fontMetrics().elidedText(self._whole, Qt.TextElideMode.ElideRight, self.width()))
        self.setToolTip(self._whole)

    def resizeEvent(self, event: object) -> None:
        """Show as much of it as there is room for."""
        self._fit()
        super().resizeEvent(event)  # type: ignore[arg-type]


def fixed_bar(name: str, content: QWidget) -> QToolBar:
    """Return a bar of the window that stays where it is put."""
    bar = QToolBar(name)
    bar.setObjectName(name)
    bar.setMovable(False)
    bar.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
    bar.addWidget(content)
    return bar
