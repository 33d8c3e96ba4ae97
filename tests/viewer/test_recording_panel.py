"""The dock of a recording: rate, losses along the run, the sessions beside it, and how one is opened."""

import subprocess

import pytest
from PySide6.QtCore import Qt
from windows import look, panel
from wire_bytes import FACTS, hello, status

from streamfluo.core import wire
from streamfluo.core.errors import SourceError
from streamfluo.viewer import sessions as sessions_module
from streamfluo.viewer.arrangement import RECORDING
from streamfluo.viewer.recording_panel import COLUMNS
from streamfluo.viewer.sessions import Sessions, line_of, open_in_window

RECORDS = dict(
    program="record", steps=[], gives={}, frames={"source": FACTS},
    endpoints={name: f"tcp://127.0.0.1:{n}" for n, name in enumerate(("results", "preview", "control"), 1)},
)  # fmt: skip
GAP = wire.encode(wire.Event(event="gap", fields={"first": 400, "count": 12, "reason": "camera", "n": 1}))
TOLD = [
    {"session": "/data/tuesday/two", "state": "running", "frames": 900, "lost": 12, "nbytes": 5_200_000_000},
    {"session": "/data/tuesday/one", "state": "finished", "started": "2026-11-24T08:20:11.5Z", "frames": 100,
     "lost": 0, "nbytes": 15_800_000},
    {"session": "/data/tuesday/none", "state": "unreadable: session.json is torn"},
    {"state": "no name"}, "nonsense", {"session": 7},
]  # fmt: skip


class Told:
    """A program that tells of these sessions, or refuses."""

    def __init__(self, told):
        self.told = told

    def __call__(self, uri):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def sessions(self):
        if isinstance(self.told, Exception):
            raise self.told
        return self.told


@pytest.fixture
def told(monkeypatch):
    class AtOnce:
        def __init__(self, target, name, daemon):
            self.start = target

    program = Told(TOLD)
    monkeypatch.setattr(sessions_module, "Control", program)
    monkeypatch.setattr(sessions_module.threading, "Thread", AtOnce)
    return program


def rows(table):
    return [[table.item(r, c).text() for c in range(table.columnCount())] for r in range(table.rowCount())]


def test_a_recording_has_its_dock_beside_the_picture_and_a_run_in_the_menu(open_window, told):
    window, _ = open_window(hello(**RECORDS), status(lost=15, lost_camera=15, edges={"ingest": {"frames": 985}}), GAP)
    look(window)
    shown = panel(window, RECORDING)
    assert not window.docks[RECORDING].isHidden()
    assert rows(shown.table) == [
        ["tuesday/two", "", "running", "900", "12", "5.2 GB"],
        ["tuesday/one", "2026-11-24 08:20", "finished", "100", "0", "15.8 MB"],
        ["tuesday/none", "", "unreadable", "", "", ""],
    ]
    assert shown._told.text() == (
        "lost: 15 of 1,000 frames (15 by the camera, 0 on the way); 3 before this window came are not drawn"
    )
    edges, lost = shown._bars.getData()
    assert lost.sum() == 12
    at = edges[lost.argmax()]
    assert at <= 40.0 <= at + edges[1] - edges[0], "at the second of the frame"
    assert len(COLUMNS) == shown.table.columnCount()
    run, _ = open_window(hello())
    look(run)
    assert run.docks[RECORDING].isHidden()


def test_why_nothing_is_told_is_said(open_window, told):
    told.told = SourceError("the key may not control")
    window, _ = open_window(hello(**RECORDS))
    look(window)
    assert panel(window, RECORDING)._count.text() == "sessions: the key may not control"


def test_they_are_asked_for_now_and_then(told, monkeypatch):
    asked = Sessions("tcp://127.0.0.1:1")
    asked.ask_if_due()
    asked.ask_if_due()
    assert asked.revision == 1
    monkeypatch.setattr(sessions_module, "ASK_S", 0.0)
    asked.ask_if_due()
    assert (asked.revision, [line.name for line in asked.lines]) == (2, ["tuesday/two", "tuesday/one", "tuesday/none"])
    assert line_of({"session": "s", "frames": "many"}).frames is None


@pytest.mark.parametrize("uri", ["tcp://10.0.0.7:5560", "tcp://127.0.0.1:5560?ssh=rig"])
def test_a_folder_of_another_computer_is_not_opened(uri, tmp_path):
    (tmp_path / "session.json").touch()
    assert "another computer" in open_in_window(uri, str(tmp_path))


def test_a_session_of_this_computer_is_opened_in_a_process_of_its_own(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: started.append(command))
    uri = "tcp://127.0.0.1:5560"
    for nothing in (str(tmp_path), "--record=x", "relative", str(tmp_path / "gone")):
        assert "no session is there" in open_in_window(uri, nothing)
    assert started == []
    (tmp_path / "session.json").touch()
    assert open_in_window(uri, str(tmp_path)) == ""
    assert started[0][1:] == ["-m", "streamfluo", "view", "--", str(tmp_path)]


def test_a_double_click_opens_one(open_window, told, tmp_path, monkeypatch, qtbot):
    (tmp_path / "session.json").touch()
    told.told = [{"session": str(tmp_path), "state": "finished"}]
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: started.append(command[-1]))
    window, _ = open_window(hello(**RECORDS))
    window.model.uri = "tcp://127.0.0.1:5560"
    look(window)
    table = panel(window, RECORDING).table
    at = table.visualItemRect(table.item(0, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    qtbot.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert started == [str(tmp_path)]
