"""Colours and fonts: light or dark as the desktop is, legible at 4K."""

from __future__ import annotations

import gc
from typing import Literal

import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication

Theme = Literal["auto", "light", "dark"]

COLOUR_MAPS = {
    "grey": "CET-L1",
    "viridis": "viridis",
    "inferno": "inferno",
    "magma": "magma",
    "cividis": "cividis",
    "green": "CET-L14",
    "blue to red": "CET-D1",
    "rainbow": "CET-R4",
}  # perceptually even ones first
# Okabe & Ito's colours without black and yellow: told apart by the colour blind, legible on light and dark.
CURVES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
DARK_CURVES = ("#56b4e9", "#e69f00", "#2fc79a", "#e59ac6", "#7f9fff", "#f0e442")
OVERLAYS = {"spots": "#ffb000", "vectors": "#40e0ff", "contours": "#ff5fa2", "rectangle": "#9aa7b4"}
LETTERS_PT = (7, 28)
RED, AMBER, GREEN = "#c62828", "#b26a00", "#2e7d32"
DARK_RED, DARK_AMBER, DARK_GREEN = "#ff6b60", "#ffb74d", "#66bb6a"


def apply(app: QApplication, theme: Theme = "auto") -> None:
    """Give the program its style; `auto` follows the desktop, also when it changes."""
    app.setStyle("Fusion")
    scheme = {"auto": Qt.ColorScheme.Unknown, "light": Qt.ColorScheme.Light, "dark": Qt.ColorScheme.Dark}[theme]
    app.styleHints().setColorScheme(scheme)
    # Where no desktop answers, as without a screen, the palette has to be given.
    palette = app.style().standardPalette() if theme == "auto" else _palette(theme == "dark")
    app.setPalette(palette)
    pg.setConfigOptions(
        background=palette.color(QPalette.ColorRole.Base),
        foreground=palette.color(QPalette.ColorRole.Text),
        imageAxisOrder="row-major",
        antialias=True,
    )


def scale_letters(by: int) -> None:
    """Make all letters larger or smaller by so many points, for a projector or a far screen."""
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    font = app.font()
    font.setPointSize(min(max(font.pointSize() + by, LETTERS_PT[0]), LETTERS_PT[1]))
    app.setFont(font)
    gc.collect()  # or it deletes widgets of closed panels while they are listed: the process ended by SIGSEGV
    for widget in app.allWidgets():
        widget.setFont(font)
        if isinstance(widget, pg.PlotWidget):
            for side in ("left", "bottom"):
                axis = widget.getAxis(side)
                axis.setTickFont(font)
                axis.label.setFont(font)


def _palette(dark: bool) -> QPalette:
    window, base, text = ("#26282b", "#1d1f21", "#e4e4e4") if dark else ("#efefef", "#ffffff", "#1a1a1a")
    palette = QPalette(QColor(window))  # the shades between come from Qt
    role = QPalette.ColorRole
    for roles, colour in (((role.Base, role.ToolTipBase), base), ((role.AlternateBase,), window)):
        for each in roles:
            palette.setColor(each, QColor(colour))
    for each in (role.WindowText, role.Text, role.ButtonText, role.ToolTipText):
        palette.setColor(each, QColor(text))
    for each in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, each, QColor("#8a8a8a"))
    palette.setColor(role.Highlight, QColor("#3d7eb8"))
    palette.setColor(role.HighlightedText, QColor("#ffffff"))
    return palette


def is_dark() -> bool:
    """Whether text is lighter than what it stands on."""
    palette = QApplication.palette()
    return palette.color(QPalette.ColorRole.Window).lightness() < palette.color(QPalette.ColorRole.Text).lightness()


def curve_colour(n: int) -> QColor:
    """Return the n-th curve's colour; they repeat."""
    colours = DARK_CURVES if is_dark() else CURVES
    return QColor(colours[n % len(colours)])


def text_colour() -> QColor:
    """Return the colour of text on the ground that plots have."""
    return QApplication.palette().color(QPalette.ColorRole.Text)


def signal_colours() -> tuple[str, str, str]:
    """Return (red, amber, green) for text."""
    return (DARK_RED, DARK_AMBER, DARK_GREEN) if is_dark() else (RED, AMBER, GREEN)
