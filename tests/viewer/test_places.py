"""Where things are drawn: a molecule's image lies where the molecule is, however fine the picture of it is."""

import numpy as np
import pytest
from windows import look, panel
from wire_bytes import frame, hello, result

from streamfluo import Block, Spec, Table, create
from streamfluo.pixels.cosine_interpolation import interpolate_cosine
from streamfluo.viewer.measure import profile
from streamfluo.viewer.overlay_items import OverlayItem
from streamfluo.viewer.regions import Region, region_means

SHAPE, PLACE, SIGMA_PX = (24, 32), (9.3, 17.8), 1.6
FINE = ("fine_y", "fine_x")
NEAR_PX = 0.05


def molecule(shape=SHAPE, place=PLACE):
    y, x = np.indices(shape)
    return np.exp(-((y - place[0]) ** 2 + (x - place[1]) ** 2) / (2 * SIGMA_PX**2))


def rendered():
    spots = {"frame": [0], "y_px": [PLACE[0]], "x_px": [PLACE[1]], "y_error_px": [0.2], "x_error_px": [0.2]}
    spec = Spec(shape=SHAPE, dtype="uint16")
    step = create("render", spec, zoom=5)
    table = Table({name: np.asarray(column) for name, column in spots.items()})
    step.update(Block(0, np.zeros(1, np.int64), np.zeros((1, *SHAPE), np.uint16)), {"spots": table})
    return step.read(["rendered"])["rendered"]


def centre_of(item):
    """The centre of mass of what an item draws, in pixels of the frame (y, x)."""
    image = np.asarray(item.image, float)
    y, x = (float((image * at).sum() / image.sum()) + 0.5 for at in np.indices(image.shape))
    at = item.mapToParent(x, y)
    return at.y(), at.x()


@pytest.fixture
def shown(open_window):
    """A window on a run that gives one fine picture; the frames show the same molecule."""

    def show(picture, dims=FINE):
        greeting = hello(
            steps=[("made", "theirs", "source")],
            frames={"source": (SHAPE, "<f4", None, None)},
            gives={"made": [("fine", "snapshot", dims, "", "")]},
            presents={"theirs": (["fine", "frames"], [])},
            compares={"theirs": "frames"},
        )
        frames = frame(3, molecule().astype("<f4"))
        window, _ = open_window(greeting, frames, result("made", 3, kind="snapshot", fine=picture))
        look(window)
        return window, panel(window, "snapshot/made/fine")

    return show


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8])
def test_an_interpolated_molecule_lies_where_the_molecule_is(shown, factor):
    _, image = shown(interpolate_cosine(molecule(), factor))
    assert image.canvas.image.image.shape[0] == (SHAPE[0] - 1) * factor + 1
    assert centre_of(image.canvas.image) == pytest.approx(PLACE, abs=NEAR_PX)


def test_a_rendered_localisation_lies_where_it_was_found(shown):
    _, image = shown(rendered())
    assert image.canvas.image.image.shape == (5 * SHAPE[0], 5 * SHAPE[1])
    assert centre_of(image.canvas.image) == pytest.approx(PLACE, abs=NEAR_PX)


@pytest.mark.parametrize("factor", [2, 4])
def test_on_both_sides_of_the_divider_it_lies_in_the_same_place(shown, factor):
    _, image = shown(interpolate_cosine(molecule(), factor))
    assert image.canvas.divider.isVisible()
    assert centre_of(image.canvas.divider.image) == pytest.approx(PLACE, abs=NEAR_PX)
    assert centre_of(image.canvas.image) == pytest.approx(PLACE, abs=NEAR_PX)


@pytest.mark.parametrize("factor", [2, 3])
def test_what_the_mouse_a_line_and_a_region_read_is_what_lies_there(shown, factor):
    _, image = shown(interpolate_cosine(molecule(), factor))
    tile = image._tiles[0]
    peak = np.unravel_index(tile.image.argmax(), tile.image.shape)
    image._hover(*(at / factor for at in peak))
    assert f"{tile.image.max():.6g}" in image._readout.text()
    along, values = profile(tile.image, ((PLACE[0], 10.0), (PLACE[0], 25.0)), tile.grid)
    assert 10.0 + along[values.argmax()] == pytest.approx(PLACE[1], abs=0.6 / factor)
    halves = [
        Region("rectangle", ((2.0, PLACE[1] - 6), (17.0, PLACE[1]))),
        Region("rectangle", ((2.0, PLACE[1]), (17.0, PLACE[1] + 6))),
    ]
    left, right = region_means(halves, tile.image, tile.grid)
    assert left == pytest.approx(right, rel=0.25)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_outlines_are_as_thick_as_letters_of_a_screen(qapp, monkeypatch, scale):
    """Those of 1 px stay so: wider ones take twenty times as long to paint."""
    monkeypatch.setattr(type(qapp), "devicePixelRatio", lambda app: scale)
    item = OverlayItem("contours", None)
    for width, painted in ((1.5, 1.5 * scale), (4.0, 4.0 * scale), (1.0, 1.0)):
        item.set_line("white", width)
        assert item.opts["pen"].widthF() == painted
