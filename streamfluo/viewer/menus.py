"""The window's menus and keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMenu, QMessageBox

from .image_keys import IMAGE_KEYS, act_on_image
from .theme import scale_letters
from .tour import begin_tour

if TYPE_CHECKING:
    from .window import Window

SHORTCUTS = {
    "Space": "hold the display, or follow again; the acquisition goes on either way",
    "F": "zoom to fit", "R": "turn by 90°", "H": "flip left to right", "V": "flip top to bottom",
    "L": "lock the levels, or let them follow",
    "C": "next colour map; of several planes the next channel", "Shift+C": "next colour map",
    "G": "gamma of the chosen channel: dim things brighter, or darker",
    "PgUp": "the slice before", "PgDown": "the slice behind",
    "Up": "the next component, its outline and trace thick", "Down": "the component before",
    "M": "one plane, planes side by side, or the channels of a slice merged",
    "N": "draw a line: length, angle, values along it", "B": "of two that are compared the other one",
    "S": "save the picture (PNG)", "D": "save the data (TIFF)",
    ",": "the frame before: look back", ".": "the frame behind",
    "Ctrl+Left": "look back at what happened before", "Ctrl+Right": "at what happened next",
    "P": "play what was recorded, or stop", "End": "back to the newest frame",
    "Ctrl+M": "mark this moment with a note", "Ctrl+T": "steer the run: its live parameters, stop, pause",
    "A": "accept the component that is pointed out", "X": "reject it",
    "J": "join those that are (Shift+click points out several)", "Ctrl+Z": "take back what was done last to the run",
    "Ctrl+0": "arrange the docks as at first", "Ctrl++": "larger letters", "Ctrl+-": "smaller letters",
    "F11": "full screen", "Ctrl+Q": "quit", "?": "this list",
}  # fmt: skip


def fill_menus(window: Window) -> None:
    """Put everything that can be done with a key into the window's menus."""
    bar = window.menuBar()
    docks = bar.addMenu("&Panels")
    docks.aboutToShow.connect(lambda: list_docks(window, docks))
    image = bar.addMenu("&Image")
    for key in IMAGE_KEYS:
        _action(image, key, partial(act_on_image, window, key))
    _switch(image, "frame and time in saved pictures", window, partial(setattr, window, "stamps"))
    for key, by in (("PgUp", -1), ("PgDown", 1)):
        _action(image, key, partial(window.step_z, by))
    for key, by in (("Up", 1), ("Down", -1)):
        _action(image, key, partial(window.step_component, by))
    run, bar_of_time = bar.addMenu("&Run"), window.time_bar
    for key, does in (
        ("Space", lambda: window.set_paused(not window.paused)),
        (",", partial(bar_of_time.step, -1)), (".", partial(bar_of_time.step, 1)),
        ("Ctrl+Left", partial(bar_of_time.jump, -1)), ("Ctrl+Right", partial(bar_of_time.jump, 1)),
        ("P", bar_of_time.toggle), ("End", bar_of_time.live),
        ("A", partial(window.decide, "accept")), ("X", partial(window.decide, "reject", "remove")),
        ("J", partial(window.decide, "merge")),
        ("Ctrl+M", window.ask_for_mark), ("Ctrl+T", window.toggle_steering), ("Ctrl+Z", window.undo),
    ):  # fmt: skip
        _action(run, key, does)
    view = bar.addMenu("&View")
    _action(view, "Ctrl+0", window.arrange)
    _action(view, "F11", window.full_screen)
    for key, by in (("Ctrl++", 1), ("Ctrl+-", -1)):
        _action(view, key, partial(scale_letters, by))
    for theme in ("auto", "light", "dark"):
        view.addAction(f"{theme} colours", partial(window.set_theme, theme))
    _switch(view, "a sound when something goes wrong", window, partial(setattr, window.strip, "sound"))
    _action(view, "Ctrl+Q", window.close)
    helps = bar.addMenu("&Help")
    _action(helps, "?", partial(show_keys, window))
    helps.addAction("a tour in five steps", partial(begin_tour, window))


def list_docks(window: Window, menu: QMenu) -> None:
    """Fill a menu with the docks there are now, to open and to close."""
    menu.clear()
    for dock in window.docks.values():
        menu.addAction(dock.toggleViewAction())


def show_keys(window: Window) -> None:
    """Tell which keys there are."""
    rows = "".join(f"<tr><td><b>{key}</b>&nbsp;&nbsp;</td><td>{what}</td></tr>" for key, what in SHORTCUTS.items())
    mouse = "Drag moves an image, the wheel zooms. Keys go to the image the mouse was over last."
    QMessageBox.information(window, "Keys", f"<table>{rows}</table><p>{mouse}</p>")


def _switch(menu: QMenu, text: str, window: Window, does: Callable[[bool], object]) -> None:
    """Something that is on or off, off at first."""
    action = QAction(text, window, checkable=True)  # type: ignore[call-overload]
    action.toggled.connect(does)
    menu.addAction(action)


def _action(menu: QMenu, key: str, does: Callable[[], object]) -> None:
    action = QAction(SHORTCUTS[key], menu)
    action.setShortcut(QKeySequence(key))
    action.triggered.connect(lambda _=False: does())
    menu.addAction(action)
