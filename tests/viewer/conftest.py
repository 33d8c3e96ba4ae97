"""A light window to hand things to; without PySide6 there is none, and the tests are skipped."""

import pytest


@pytest.fixture(scope="module")
def light(qapp):
    from streamfluo.viewer import theme

    theme.apply(qapp, "light")


@pytest.fixture
def open_window(qtbot, qapp, light):
    from windows import windows

    with windows(qapp) as open_one:
        yield open_one
