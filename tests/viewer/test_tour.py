"""The tour: five steps, each beside what it speaks of, within the window; over when somebody has enough."""

import pytest
from wire_bytes import frame, result

pytest.importorskip("PySide6")
import numpy as np
from PySide6.QtCore import QPoint
from PySide6.QtWidgets import QPushButton
from windows import PIXELS, look

from streamfluo.viewer.tour import TEXTS, begin_tour


def test_it_goes_through_the_window_in_five_steps(open_window):
    window, _ = open_window(frame(3, PIXELS), result("extract", 3, ids=np.array([3]), trace=np.ones((1, 1))))
    tour = begin_tour(window)
    look(window)
    said = []
    while tour.isVisible():
        said.append(tour.text.text())
        assert window.rect().translated(window.mapToGlobal(QPoint(0, 0))).contains(tour.geometry())
        tour.next.click()
    assert tuple(said) == TEXTS


def test_what_is_not_there_is_passed_over_and_skip_ends_it(open_window):
    window, _ = open_window()
    window.docks["by_id/extract/trace"].hide()
    look(window)
    tour = begin_tour(window)
    look(window)
    assert "1 of 4" in tour._count.text()
    next(button for button in tour.findChildren(QPushButton) if button.text() == "Skip").click()
    assert not tour.isVisible()
