"""What the window loads before its first picture, how often it looks, how its plots are numbered."""

import subprocess
import sys

import pytest
from windows import Watch

from streamfluo.viewer.axis import Axis
from streamfluo.viewer.model import Model
from streamfluo.viewer.window import Window

OPENED = """
import sys
sys.path[:0] = {paths}
from windows import PIXELS, Watch, look
from wire_bytes import frame, hello, status
from streamfluo.cli import cli, view
from streamfluo.viewer import main
from streamfluo.viewer.model import Model
from streamfluo.viewer.window import Window
app, watch = main._application("light"), Watch()
watch.hand(hello(), status(), frame(3, PIXELS))
window = Window(watch, Model("tcp://127.0.0.1:9"))
window._timer.stop()
window.show()
look(window)
look(window)
assert window._content("frames/source").draws
window.grab()
print(*[name for name in ("matplotlib", "asyncio", "numpy.ma", "numba", "scipy", "tifffile") if name in sys.modules])
"""


def test_the_first_picture_needs_neither_matplotlib_nor_asyncio():
    script = OPENED.format(paths=[path for path in sys.path if "tests" in path])
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize(("asked_hz", "least_ms", "most_ms"), [(30, 27, 33.4), (60, 13, 16.7)])
def test_it_looks_as_often_as_it_is_asked_to(qapp, asked_hz, least_ms, most_ms):
    window = Window(Watch(), Model("tcp://127.0.0.1:9"), None, asked_hz)
    assert least_ms <= window._timer.interval() <= most_ms
    window.close()


@pytest.mark.parametrize(
    ("values", "spacing"),
    [
        ([999_990, 999_995, 1_000_000, 1_000_005], 5),
        ([3e8 - 3, 3e8, 3e8 + 3], 3),
        ([1e12, 1.5e12, 2e12], 5e11),
        ([-20_000, 0, 20_000], 20_000),
        ([12_000.5, 12_001.0], 0.5),
        ([0.1, 0.2], 0.1),
    ],
)
def test_numbers_of_an_axis_can_be_told_apart_and_are_what_they_stand_for(qapp, values, spacing):
    texts = Axis("left").tickStrings(values, 1.0, spacing)
    assert [float(text) for text in texts] == pytest.approx(values, abs=spacing / 10)
    assert len(set(texts)) == len(texts)
