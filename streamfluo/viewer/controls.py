"""Buttons and bars as all parts of the window have them."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QToolBar, QToolButton, QWidget


def tool_button(text: str, tip: str, checkable: bool = False) -> QToolButton:
    """Return a flat button with a tip."""
    button = QToolButton()
    button.setText(text)
    button.setToolTip(tip)
    button.setCheckable(checkable)
    button.setAutoRaise(True)
    return button


def fixed_bar(name: str, content: QWidget) -> QToolBar:
    """Return a bar of the window that stays where it is put."""
    bar = QToolBar(name)
    bar.setObjectName(name)
    bar.setMovable(False)
    bar.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
    bar.addWidget(content)
    return bar
