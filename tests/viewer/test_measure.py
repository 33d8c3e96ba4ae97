"""Measuring on an image: along a line, as time goes by, and beside another image."""

import numpy as np
import pytest
from wire_bytes import frame, result

pytest.importorskip("PySide6")
from PySide6.QtCore import QPointF, Qt
from PySide6.QtWidgets import QMenu
from windows import PIXELS, look, panel

from streamfluo.viewer.image_keys import act_on_image
from streamfluo.viewer.image_menu import fill_menu
from streamfluo.viewer.measure import profile, spelled
from streamfluo.viewer.picture import PixelGrid


def test_a_plane_of_light_is_read_exactly_between_its_pixels():
    y, x = np.mgrid[:20, :30].astype(float)
    distance, values = profile(3 * y - 2 * x, ((2.25, 3.5), (11.25, 15.5)))
    assert (distance[0], distance[-1], len(values)) == (0, 15, 16)
    along = np.linspace(0, 1, 16)
    assert np.allclose(values, 3 * (2.25 + 9 * along) - 2 * (3.5 + 12 * along), atol=1e-12)


@pytest.mark.parametrize("bin_px", [2, 4])
def test_of_a_binned_image_the_same_is_read(bin_px):
    y, x = np.mgrid[:64, :64].astype(float)
    image = 3 * y - 2 * x
    binned = image.reshape(64 // bin_px, bin_px, 64 // bin_px, bin_px).mean((1, 3))
    line = ((10.0, 12.0), (40.0, 52.0))
    for _, values in (profile(image, line), profile(binned, line, PixelGrid(bin_px))):
        assert np.allclose(values[[0, -1]], [3 * 10 - 2 * 12, 3 * 40 - 2 * 52])


def test_outside_of_the_image_nothing_is_known():
    _, values = profile(np.ones((4, 4)), ((1, -2), (1, 5)))
    assert np.isnan(values[[0, 1, -1, -2]]).all()
    assert (values[2:6] == 1).all()
    assert np.isnan(profile(np.ones((4, 4)), ((-9, -9), (-5, -5)))[1]).all()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (((0, 0), (0, 10)), "10.0 px · 5.00 µm · 0°"),
        (((10, 0), (0, 10)), "14.1 px · 7.07 µm · 45°"),
        (((0, 0), (10, 0)), "10.0 px · 5.00 µm · 270°"),
        (((3, 3), (3, 3)), "0.0 px · 0.00 µm · 0°"),
    ],
)
def test_a_line_says_how_long_it_is_and_where_it_points(line, told):
    assert spelled(line, 0.5) == told
    assert spelled(line, None) == " · ".join(told.split(" · ")[::2])


def test_what_lies_along_a_line_is_drawn_image_after_image(open_window):
    window, watch = open_window(frame(3, PIXELS))
    image = panel(window, "frames/source")
    act_on_image(window, "N")
    handles = [handle["item"] for handle in image.line._item.handles]
    for handle, (x, y) in zip(handles, [(1, 2), (6, 2)], strict=True):
        handle.movePoint(image.canvas.over.mapToScene(QPointF(x, y)))
    look(window)
    (ends,) = [image.line.line]
    assert np.allclose(ends, [(2, 1), (2, 6)], atol=0.05)
    for index in range(4, 9):
        watch.hand(frame(index, PIXELS + index))
        look(window)
    along = window.docks["line/frames/source"].widget()
    assert not window.docks["line/frames/source"].isHidden()
    assert np.allclose(along._curve.getData()[1], PIXELS[2, 1:7] + 8, atol=40)
    assert along._rows.image.shape == (len(image.line.rows), 6)
    assert "2.5 µm" in along._told.text() or "2.50 µm" in along._told.text()
    menu = QMenu()
    fill_menu(menu, image)
    next(a for a in menu.actions() if a.text() == "Take the line away").trigger()
    look(window)
    assert window.docks["line/frames/source"].isHidden()
    assert image.line.line is None


def test_another_image_stands_right_of_a_divider_that_moves(open_window):
    window, watch = open_window(frame(3, PIXELS), result("extract", 3, kind="snapshot", mean=np.full((12, 16), 900.0)))
    window.docks["snapshot/extract/mean"].hide()
    image = panel(window, "frames/source")
    assert "snapshot/extract/mean/" not in watch.topics
    menu = QMenu()
    fill_menu(menu, image)
    (compare,) = [action.menu() for action in menu.actions() if action.text() == "Compare with"]
    next(action for action in compare.actions() if action.text() == "mean").trigger()
    look(window)
    assert "snapshot/extract/mean/" in watch.topics
    divider = image.canvas.divider
    assert divider.isVisible()
    assert divider.image.image.shape == (12, 16)
    assert divider.image.mapRectToParent(divider.image.boundingRect()) == image.canvas.frame_rect
    assert divider.share == 0.5
    assert image.canvas.sides == ("frames", "mean")
    left, right = divider.parts()
    assert (left.right(), right.right()) == (right.left(), image.canvas.frame_rect.right())
    named = image.canvas.grab().toImage()
    image.canvas.sides = ("", "")
    assert image.canvas.grab().toImage() != named

    class Drag:
        def button(self):
            return Qt.MouseButton.LeftButton

        def accept(self):
            self.accepted = True

        def pos(self):
            return QPointF(image.canvas.frame_rect.left() + 2, 1)

    divider.mouseDragEvent(Drag())
    assert divider.share == pytest.approx(0.25)
    assert divider._clip.rect().left() == pytest.approx(1.5)
    act_on_image(window, "B")
    assert divider.share == 1.0
    act_on_image(window, "B")
    assert divider.share == 0.0
    next(action for action in compare.actions() if action.text() == "nothing").trigger()
    look(window)
    assert not divider.isVisible()
    assert "snapshot/extract/mean/" not in watch.topics
