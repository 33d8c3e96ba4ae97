"""Steering from the window: live parameters as they are, changes and their undoing, marks; and how a run fares."""

import numpy as np
import pytest
from wire_bytes import HELLO, frame, hello, result, status

pytest.importorskip("PySide6")
from PySide6.QtWidgets import QLabel, QMenu, QPushButton
from windows import PIXELS, look, panel

from streamfluo.core import wire
from streamfluo.core.control import Answer
from streamfluo.core.errors import SourceError
from streamfluo.viewer import steering
from streamfluo.viewer.arrangement import STEERING
from streamfluo.viewer.health import RunHealth, spelled_duration
from streamfluo.viewer.image_menu import fill_menu

LIVE = {"extract": [("min_snr", 2.0, 0.0, None, "SNR that a component needs"), ("tiles", 3, 1.0, 9.0, "how many")],
        "trigger": [("armed", True, None, None, "whether it acts")]}  # fmt: skip
STEERED = {"live": LIVE, "endpoints": {**HELLO.endpoints, "control": "tcp://127.0.0.1:3"}}


SQUARE = np.array([[1.0, 1], [1, 3], [3, 3], [3, 1]])
OUTLINED = (
    frame(5, PIXELS, step="motion"),
    result("extract", 5, ids=np.array([3, 8]), trace=np.ones((1, 2))),
    result("extract", 5, kind="snapshot", contours=np.stack([SQUARE, SQUARE + np.array([2, 4])])),
)


class Asked:
    """Stands in for a program that takes control: notes what it is asked, refuses what it is told to."""

    def __init__(self):
        self.words, self.refuses = [], False

    def __call__(self, uri):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, verb, **words):
        if self.refuses:
            raise SourceError("this key may view, not control")
        self.words.append((verb, *words.values()))
        return Answer(ok=True, frame=41, number=7)

    def set(self, step, param, value):
        return self.ask("set", step=step, param=param, value=value)

    def mark(self, text):
        return self.ask("mark", text=text)

    def curate(self, step, verb, ids=(), undo_of=0, polygons=()):
        return self.ask("curate", step=step, decision=verb, what=undo_of or ids or polygons)


@pytest.fixture
def asked(monkeypatch):
    """The program asked; who asks waits for the answer."""

    class AtOnce:
        def __init__(self, target, name, daemon):
            self.start = target

    program = Asked()
    monkeypatch.setattr(steering, "Control", program)
    monkeypatch.setattr(steering.threading, "Thread", AtOnce)
    return program


@pytest.fixture
def steered(open_window, asked):
    window, watch = open_window(hello(**STEERED))
    window.toggle_steering()
    look(window)
    return window, watch, window.docks[STEERING].widget()


def test_live_parameters_are_changed_and_changes_taken_back(steered, asked):
    window, watch, panel = steered
    row = panel._rows["extract", "min_snr"]
    assert row.label.text() == "min snr"
    assert "SNR that a component needs" in row.slider.toolTip()
    assert "from 0" in row.slider.toolTip()
    row.number.setValue(3.5)
    assert asked.words == [("set", "extract", "min_snr", 3.5)]
    assert "extract.min_snr = 3.5 from frame 41 on" in window.model.events
    changed = {**LIVE, "extract": [("min_snr", 3.5, 0.0, None, ""), LIVE["extract"][1]]}
    watch.hand(hello(**{**STEERED, "live": changed}))
    look(window)
    assert "extract.min_snr: 2.0 → 3.5" in texts(panel)
    window.undo()
    assert asked.words[-1] == ("set", "extract", "min_snr", 2.0)
    window.undo()
    assert "nothing done in this window" in window.model.events[-1]


def texts(panel):
    return [label.text() for label in panel.findChildren(QLabel)]


def test_each_change_is_taken_back_by_a_button_of_its_own(steered, asked):
    window, _, panel = steered
    panel._rows["extract", "min_snr"].number.setValue(3.5)
    panel._rows["extract", "tiles"].number.setValue(5)
    look(window)
    undo = [button for button in panel.findChildren(QPushButton) if button.text() == "Undo"]
    assert len(undo) == 2
    undo[1].click()  # the first change; the newest stands on top
    assert asked.words[-1] == ("set", "extract", "min_snr", 2.0)
    assert [done.text for done in panel._steering.done] == ["extract.tiles: 3 → 5"]
    undo[1].click()  # not twice
    assert len(asked.words) == 3


def test_the_dock_that_steers_covers_no_other(steered):
    window, _, _ = steered
    dock = window.docks[STEERING]
    others = [d for d in window.docks.values() if d is not dock and not d.visibleRegion().isEmpty()]
    assert others
    assert not dock.isFloating()
    assert not any(dock.geometry().intersects(other.geometry()) for other in others)


def test_a_sound_where_it_turns_red_once_and_only_if_wanted(open_window, monkeypatch):
    beeps = []
    monkeypatch.setattr("streamfluo.viewer.health_strip.QApplication.beep", lambda: beeps.append(1))
    window, watch = open_window()
    full = status(stalled={"journal": "the disk is full"})
    for wanted, then in ((False, 0), (True, 1)):
        window.strip.sound = wanted
        for told in (full, full, status()):
            watch.hand(told)
            look(window)
            window.strip.refresh(None, False, 0)
        assert len(beeps) == then


def test_a_slider_asks_when_it_is_let_go_and_whole_numbers_stay_whole(steered, asked):
    _, _, panel = steered
    row = panel._rows["extract", "tiles"]
    row.slider.setSliderDown(True)
    row.slider.setSliderPosition(100)
    assert not asked.words
    row.slider.setSliderDown(False)
    assert asked.words == [("set", "extract", "tiles", 5)]
    assert isinstance(asked.words[0][3], int)


def test_a_switch_is_a_tick(steered, asked):
    _, _, panel = steered
    tick = panel._rows["trigger", "armed"].tick
    assert tick.isChecked()
    tick.click()
    assert asked.words == [("set", "trigger", "armed", False)]


def test_a_mark_is_noted_and_a_refusal_told(steered, asked):
    window, _, panel = steered
    window.ask_for_mark()
    panel.note.setText("drug on")
    panel.mark()
    assert asked.words == [("mark", "drug on")]
    assert panel.note.text() == ""
    asked.refuses = True
    panel._rows["extract", "min_snr"].number.setValue(9)
    assert window.model.events[-1] == "extract.min_snr = 9.0: not done: this key may view, not control"
    window._strip_at = 0.0
    look(window)
    assert window.strip._said.text() == window.model.events[-1], "nobody sees why nothing happened"
    assert not panel._steering.done


def test_without_control_there_is_nothing_to_change(open_window):
    window, _ = open_window(hello(live=LIVE))
    window.toggle_steering()
    look(window)
    assert window.docks[STEERING].widget()._rows == {}


def told(**counters):
    return wire.Status(program="run", state="running", series_uid="one", counters=counters)


@pytest.mark.parametrize(
    ("counters", "level", "text"),
    [
        ({}, "green", "all well, none of 0 frames lost"),
        ({"lost": 9, "lost_camera": 9, "edges": {"ingest": {"frames": 91}}}, "amber",
         "9 of 100 frames lost, none in the last minute"),
        ({"doubtful": {"spots": "the offset is too high"}}, "amber", "spots is doubtful: the offset is too high"),
        ({"muted": {"a": "no", "b": "no"}}, "red", "a failed and was taken out (and 1 more); recording goes on: no"),
        ({"stalled": {"journal": "the disk is full"}}, "red", "recording waits for the disk: the disk is full"),
    ],
)  # fmt: skip
def test_a_run_fares_as_its_worst_trouble_says(counters, level, text):
    health = RunHealth()
    health.take(told(**counters), 0.0)
    assert health.verdict(1.0) == (level, text)


def test_a_loss_is_red_for_a_minute_and_says_whose_it_was():
    health = RunHealth()
    health.take(told(lost=0, lost_camera=0), 0.0)
    health.take(told(lost=38, lost_camera=38), 10.0)
    assert health.verdict(11.0) == ("red", "38 frames lost by the camera in the last minute")
    health.take(told(lost=40, lost_camera=38, lost_transport=2), 12.0)
    assert health.verdict(13.0).text == "40 frames lost (38 by the camera, 2 by the network) in the last minute"
    health.take(told(lost=40, lost_camera=38, lost_transport=2), 80.0)
    assert health.verdict(81.0) == ("amber", "40 of 40 frames lost, none in the last minute")


def test_frames_that_wait_are_told_in_seconds():
    health = RunHealth()
    for second in range(4):
        health.take(told(edges={"ingest": {"frames": 100 * second}, "chain": {"frames": 0}}), float(second))
    assert health.verdict(3.0) == ("amber", "300 frames wait: 3 s behind the camera")


def recorded(second, free, rate=2_000_000):
    return told(edges={"journal": {"bytes": rate * second}}, disk_free_bytes=free)


@pytest.mark.parametrize(
    ("free", "spelled"),
    [(180_000_000, "90 s"), (14_000_000_000, "117 min"), (15_600_000_000, "2 h 10 min"), (1_000_000_000_000, "6 days")],
)
def test_what_the_disk_has_left_is_a_time(free, spelled):
    health = RunHealth()
    for second in range(4):
        health.take(recorded(second, free), float(second))
    assert spelled_duration(health.disk_left_s()) == spelled
    soon = health.disk_left_s() < 600
    assert (health.verdict(3.0) == ("amber", f"the disk is full in {spelled} at this rate")) == soon


def test_frames_of_steps_that_are_written_fill_the_disk_as_well():
    health = RunHealth()
    for second in range(4):
        edges = {"journal": {"bytes": 500_000 * second}, "frames": {"bytes": 1_500_000 * second}}
        health.take(told(edges=edges, disk_free_bytes=180_000_000), float(second))
    assert health.disk_left_s() == 90


def test_a_disk_to_which_nothing_is_written_has_bytes_left_and_without_a_recording_nothing_is_said():
    health = RunHealth()
    for second in range(4):
        health.take(recorded(second, 5_000_000_000, rate=0), float(second))
    assert health.disk_left_s() is None
    assert health.disk_free_bytes == 5_000_000_000
    health.take(told(), 4.0)
    assert health.disk_left_s() is None
    assert health.disk_free_bytes is None


TAKES = {
    "extract": {"accept": ("ids", "takes it for a cell"), "reject": ("ids", "it is none"), "undo": ("nothing", "")}
}


def test_people_decide_about_components_by_menu_and_keys_and_take_it_back(open_window, asked):
    window, _ = open_window(hello(takes=TAKES, endpoints=STEERED["endpoints"]), *OUTLINED)
    image = panel(window, "frames/motion/frames")
    image.pick(1.5, 1.5)
    image.pick(4.5, 5.5, also=True)
    assert window.model.pointed == {"extract": [3, 8]}
    menu = QMenu()
    fill_menu(menu, image)
    first, second = menu.actions()[:2]
    assert (first.text(), second.text(), second.toolTip()) == (
        "Accept components 3, 8", "Reject components 3, 8", "it is none",
    )  # fmt: skip
    second.trigger()
    assert asked.words == [("curate", "extract", "reject", [3, 8])]
    image.pick(1.5, 1.5, also=True)
    window.decide("accept")
    window.decide("merge")  # which this step does not take
    assert asked.words[1:] == [("curate", "extract", "accept", [8])]
    window.undo()
    assert asked.words[2:] == [("curate", "extract", "undo", 7)]


DRAWN = {"extract": {"add": ("polygons", "follows it"), "remove": ("ids", "none"), "undo": ("nothing", "")}}


def menu_of(image):
    """The actions of an image's menu by what they are called; the menu stays with the image."""
    menu = QMenu(image)
    fill_menu(menu, image)
    return {action.text(): action for action in menu.actions()}


def test_a_region_that_is_drawn_becomes_a_cell_of_the_step_that_takes_it_and_is_taken_back(open_window, asked):
    window, _ = open_window(hello(takes=DRAWN, endpoints=STEERED["endpoints"]), *OUTLINED)
    image = panel(window, "frames/motion/frames")
    assert "Add this region to extract" not in menu_of(image)
    image.regions.add("rectangle")
    polygon = image.regions.regions()[0].polygon()
    action = menu_of(image)["Add this region to extract"]
    assert action.toolTip() == "follows it"
    action.trigger()
    assert asked.words == [("curate", "extract", "add", [polygon])]
    assert len(polygon) == 4
    look(window)
    assert len(image.regions) == 0  # its outline comes from the run
    window.undo()
    assert asked.words[1:] == [("curate", "extract", "undo", 7)]


def test_what_was_drawn_stays_where_the_run_refuses_it(open_window, asked):
    window, _ = open_window(hello(takes=DRAWN, endpoints=STEERED["endpoints"]), *OUTLINED)
    image = panel(window, "frames/motion/frames")
    image.regions.add("polygon")
    image.regions.add("ellipse")
    asked.refuses = True
    menu_of(image)["Add these 2 regions to extract"].trigger()
    look(window)
    assert len(image.regions) == 2
    assert not window._steering.done


def test_a_cell_is_removed_by_the_key_that_rejects_where_the_step_says_so(open_window, asked):
    window, _ = open_window(hello(takes=DRAWN, endpoints=STEERED["endpoints"]), *OUTLINED)
    image = panel(window, "frames/motion/frames")
    image.pick(1.5, 1.5)
    assert "Remove component 3" in menu_of(image)
    window.decide("reject", "remove")
    assert asked.words == [("curate", "extract", "remove", [3])]


def test_without_control_there_is_nothing_to_decide(open_window):
    window, _ = open_window(hello(takes=TAKES), *OUTLINED)
    image = panel(window, "frames/motion/frames")
    image.pick(1.5, 1.5)
    menu = QMenu()
    fill_menu(menu, image)
    assert menu.actions()[0].text() == "Zoom to fit\tF"


def test_a_long_sentence_does_not_keep_the_window_wide(open_window):
    window, watch = open_window(hello())
    narrow = window.minimumSizeHint().width()
    watch.hand(wire.encode(told(muted={"motion": "ValueError: " + "no template " * 40})))
    window.strip.say("a change was refused " * 20)
    window._strip_at = 0.0
    look(window)
    assert window.minimumSizeHint().width() <= max(narrow, 700)
