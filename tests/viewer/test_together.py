"""Snapshots that belong together are drawn together, as their axes' names say: a scatter with its fit, an interval."""

import numpy as np
import pytest
from wire_bytes import fed, hello, result

pytest.importorskip("PySide6")

from streamfluo.viewer.scatter_panels import IntervalPanel, ScatterPanel

GIVES = {
    "gain": [
        ("gain", "snapshot", (), "e/ADU", "a number"),
        ("bounds", "snapshot", ("gain",), "e/ADU", "its interval"),
        ("mean", "snapshot", ("mean",), "ADU", "an axis"),
        ("variance", "snapshot", ("mean",), "ADU²", "against it"),
        ("variance_fit", "snapshot", ("mean",), "ADU²", "through it"),
        ("noise", "snapshot", ("bin",), "ADU", "a curve of its own"),
    ]
}
X, Y = np.array([1.0, 2.0, np.nan, 4.0]), np.array([2.0, 4.5, 6.0, 8.0])


def run(*pieces):
    return fed(hello(steps=[("gain", "gain", "source")], gives=GIVES, frames={}, endpoints={}), *pieces)


def snapshot(index, **arrays):
    return result("gain", index, kind="snapshot", **arrays)


def test_axes_say_what_is_drawn_together():
    panels = run().panels
    assert {name.rpartition("/")[2]: panel.kind for name, panel in panels.items()} == {
        "bounds": "interval",
        "variance": "scatter",
        "noise": "curve",
        "gain": "numbers",
    }
    assert panels["snapshot/gain/variance"].topics == (
        "snapshot/gain/variance/", "snapshot/gain/mean/", "snapshot/gain/variance_fit/",
    )  # fmt: skip
    assert panels["snapshot/gain/bounds"].topics == ("snapshot/gain/bounds/", "snapshot/gain/gain/")


def test_a_scatter_has_its_points_and_its_fit(qtbot):
    model = run()
    panel = ScatterPanel(model.panels["snapshot/gain/variance"], model)
    qtbot.addWidget(panel)
    fed(snapshot(5, mean=X), snapshot(5, variance=Y), model=model)
    panel.refresh()
    assert np.transpose(panel._points.getData()).tolist() == [[1, 2], [2, 4.5], [4, 8]]
    assert panel._line.getData()[0] is None or len(panel._line.getData()[0]) == 0
    fed(snapshot(6, variance_fit=2 * Y), model=model)
    panel.refresh()
    assert panel._line.getData()[1].tolist() == (2 * Y).tolist()
    assert panel._plot.getAxis("bottom").labelText == "mean [ADU]"
    fed(snapshot(7, variance=Y[:2]), model=model)  # its axis has not come yet
    panel.refresh()
    assert len(panel._points.getData()[0]) == 3
    assert not model.refused


def test_an_interval_narrows_as_frames_go_by(qtbot):
    model = run()
    panel = IntervalPanel(model.panels["snapshot/gain/bounds"], model.traces["snapshot/gain/bounds"])
    qtbot.addWidget(panel)
    fed(snapshot(10, gain=np.nan), snapshot(10, bounds=[np.nan, np.nan]), model=model)
    panel.refresh()
    assert panel._newest.text() == "not determined yet"
    for index, half in ((20, 0.2), (40, 0.1)):
        fed(snapshot(index, gain=0.5), snapshot(index, bounds=[0.5 - half, 0.5 + half]), model=model)
    panel.refresh()
    assert np.allclose(panel._low.getData(), [[20, 40], [0.3, 0.4]])
    assert np.allclose(panel._high.getData(), [[20, 40], [0.7, 0.6]])
    assert panel._newest.text() == "0.50 e/ADU (0.40 to 0.60)"


@pytest.mark.parametrize("arrays", [{"bounds": np.zeros(3)}, {"unheard": np.zeros(2)}, {"mean": np.zeros((2, 2))}])
def test_what_does_not_fit_is_counted(arrays):
    assert sum(run(snapshot(3, **arrays)).refused.values()) == 1
