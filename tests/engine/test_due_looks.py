"""What of a run is read for viewers, and when; what is drawn as frames go by, though nobody watches."""

from types import SimpleNamespace

import numpy as np
import pytest

from streamfluo.core import wire
from streamfluo.core.operator import Gives, Presents
from streamfluo.engine import due_looks
from streamfluo.engine.due_looks import UNASKED_S, UNASKED_SHARE, DueLooks, over_time_of
from streamfluo.engine.recent_looks import RecentLooks


def step(name, after, *gives, over_time=()):
    presents = Presents(over_time=over_time) if over_time else None
    operator = SimpleNamespace(gives=[Gives(n, kind, dims, "", "") for n, kind, dims in gives], presents=presents)
    return SimpleNamespace(id=name, after=after, operator=operator)


SOFI = step("sofi", "source", ("change", "snapshot", ("order",)), ("picture", "snapshot", ("y", "x")))
GAIN = step(
    "gain", "source", ("gain", "snapshot", ()), ("band", "snapshot", ("gain",)), ("curve", "snapshot", ("bin",))
)
RECONSTRUCT = step("sharp", "sofi", ("sharp", "snapshot", ("y", "x")), over_time=("change", "nothing", "sharp"))
STEPS = [SOFI, GAIN, RECONSTRUCT]
WATCHED = {"snapshot/sofi/picture/"}


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(s=1000.0)
    monkeypatch.setattr(due_looks.time, "monotonic", lambda: now.s)
    return now


def looks():
    return DueLooks(STEPS, {s.id: {g.name: g for g in s.operator.gives} for s in STEPS}, 10, 30)


def test_what_goes_by_is_found_with_the_step_that_gives_it_and_intervals_with_their_numbers():
    assert over_time_of(STEPS) == {"sofi": ("change",), "gain": ("band", "gain")}


def test_it_is_read_now_and_then_though_nobody_watches_and_only_where_frames_came(clock):
    due = looks()
    assert dict(due.of_snapshots((), 5, False)) == {"sofi": ["change"], "gain": ["band", "gain"]}
    assert not [*due.of_snapshots((), 6, False)]
    clock.s += UNASKED_S
    assert not [*due.of_snapshots((), 5, False)], "no frame came"
    assert not [*due.of_snapshots((), 9, True)], "frames wait"
    due.computing.add("gain")
    assert dict(due.of_snapshots((), 9, False)) == {"sofi": ["change"]}


def test_what_is_dear_is_read_less_often(clock):
    due = looks()
    assert [*due.of_snapshots((), 5, False)]
    due.took("sofi", 20 * UNASKED_S * UNASKED_SHARE)
    clock.s += 19 * UNASKED_S
    assert dict(due.of_snapshots((), 9, False)) == {"gain": ["band", "gain"]}
    clock.s += 2 * UNASKED_S
    assert dict(due.of_snapshots((), 10, False)) == {"sofi": ["change"], "gain": ["band", "gain"]}


def test_what_is_watched_comes_as_often_as_it_is_asked_for_and_the_other_with_it(clock):
    due = looks()
    assert dict(due.of_snapshots(WATCHED, 5, False))["sofi"] == ["picture", "change"]
    clock.s += 0.11
    assert dict(due.of_snapshots(WATCHED, 6, False)) == {"sofi": ["picture"]}
    assert not [*due.of_snapshots(WATCHED, 6, False)]
    due.read("sofi", clock.s - 0.1)
    clock.s += 0.1 / due_looks.LOOK_SHARE - 0.01
    assert not [*due.of_snapshots(WATCHED, 7, False)]
    clock.s += 0.02
    assert "sofi" in dict(due.of_snapshots(WATCHED, 7, False))


def test_an_interval_is_kept_with_the_number_that_it_is_of():
    kept = RecentLooks("uid", {"gain": {g.name: g for g in GAIN.operator.gives}})
    for index, gain in ((3, 0.5), (9, 0.6)):
        kept.put("gain", index, {"gain": np.array(gain), "band": np.array([gain - 0.1, gain + 0.1])})
    message, parts = kept.answer(wire.Past(step="gain", names=("band",), before=99), 1000)
    arrays = {header.name: part for header, part in zip(message.arrays, parts, strict=True)}
    assert arrays["frames"].tolist() == [3, 9]
    assert np.allclose(arrays["band"], [[0.4, 0.5, 0.6], [0.5, 0.6, 0.7]])
