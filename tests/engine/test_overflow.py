"""Which disk a new series goes to, how its session is found again, and what is said of a disk that fills."""

import shutil
from types import SimpleNamespace

import pytest

from streamfluo.engine import disk_facts
from streamfluo.engine.alarm import Alarm, briefly
from streamfluo.engine.daemon_config import load_daemon_config
from streamfluo.engine.disk_facts import disk_warnings, root_for_new, root_of
from streamfluo.engine.export_pace import GO, PAUSE, SHARE, Pace
from streamfluo.engine.known_series import KnownSeries

GB = 10**9


@pytest.fixture
def rig(tmp_path, monkeypatch):
    (tmp_path / "rig.toml").write_text(
        '[daemon]\nfolder = "first"\n[[source]]\nname = "scope"\nuri = "tcp://127.0.0.1:5555"\n'
        '[disk]\noverflow = "second"\noverflow_left_s = 100\noverflow_left_bytes = 5_000_000_000\n'
    )
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    free = {"first": 100 * GB, "second": 50 * GB}
    monkeypatch.setattr(
        disk_facts, "shutil", SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=free[path.name]))
    )
    return load_daemon_config(tmp_path / "rig.toml"), free


@pytest.mark.parametrize(
    ("first", "second", "rate", "goes_to", "said"),
    [
        (100, 50, 0, "first", ""),
        (100, 50, 0.5, "first", ""),
        (100, 150, 2, "second", "first has 100 GB left; this series goes into"),
        (4, 50, 0, "second", "first has 4 GB left; this series goes into"),
        (4, 3, 0, "first", "second no more"),
    ],
)
def test_a_new_series_goes_to_the_overflow_once_the_first_disk_is_nearly_full(rig, first, second, rate, goes_to, said):
    config, free = rig
    free |= {"first": first * GB, "second": second * GB}
    root, why = root_for_new(config, rate * GB)
    assert root.name == goes_to
    assert said in why
    assert bool(why) == bool(said)


def test_an_overflow_that_is_not_mounted_is_said_and_not_made(rig):
    config, free = rig
    free["first"] = GB
    shutil.rmtree(config.disks.overflow)
    root, why = root_for_new(config, 0)
    assert root == config.folder
    assert "there is no folder" in why
    assert not config.disks.overflow.exists()


def test_a_session_on_the_overflow_is_found_again(rig):
    config, _ = rig
    for root in config.roots:
        (root / "scope" / "a").mkdir(parents=True)
        (root / "scope" / "a" / "session.json").write_text("{}")
    known = KnownSeries(config.roots, "scope")
    known.note("one", config.roots[0] / "scope" / "a", whole=True)
    known.note("two", config.roots[1] / "scope" / "a", whole=False)
    again = KnownSeries(config.roots, "scope")
    assert again.find("one") == (config.roots[0] / "scope" / "a", True)
    assert again.find("two") == (config.roots[1] / "scope" / "a", False)
    assert root_of(config, str(config.roots[1] / "scope" / "a")) == config.roots[1]
    assert KnownSeries(config.roots[:1], "scope").find("two") is None


def test_a_disk_that_is_slow_or_soon_full_is_said_once(rig, caplog):
    config, _ = rig
    told = {"scope": {"state": "running", "disk_left_s": 3600, "slow": "journal fsync took 2.5 s"}}
    alarm = Alarm()
    for _ in range(3):
        told["scope"]["disk_left_s"] -= 60
        alarm.look(told, {"refused_exports": 1}, config)
    assert alarm.sentences == [
        "scope: slow disk: journal fsync took 2.5 s; slow_s is 1",
        "scope: the disk is full in 57 min at this rate",
        "housekeeping: 1 sessions are not exported, or stay; see the log",
    ]
    assert len(caplog.records) == 3
    assert disk_warnings("scope", {"disk_left_s": 7201, "slow": ""}, config.disks.disk) == []


def test_what_status_says_of_many_sources_fits_its_message():
    calls = {f"call {n}": {"p50": 0.1, "p99": 1.5, "max": 12.0} for n in range(8)}
    told = {f"s{n}": {"state": "running", "disk_ms": calls, "disk_calls": {"a": {"below": [1]}}} for n in range(9)}
    brief = briefly(told)["sources"]["s0"]
    assert brief["disk"][0] == "call 0: p50 0.1, p99 1.5, max 12 ms"
    assert not {"disk_calls", "disk_ms"} & brief.keys()


def test_exports_wait_while_a_series_falls_behind_or_its_disk_is_in_trouble(monkeypatch):
    now = 0.0
    monkeypatch.setattr("streamfluo.engine.export_pace.time", SimpleNamespace(monotonic=lambda: now))
    pace = Pace()

    def ordered(**facts):
        nonlocal now
        now += 1
        return pace.order({"scope": {"state": "running", **facts}})

    assert ordered(backlog_s=0.03) == GO
    assert ordered(backlog_s=0.2) == SHARE
    assert ordered(backlog_s=0.6) == PAUSE
    assert ordered(backlog_s=0.4) == PAUSE
    now += 20
    assert ordered(backlog_s=0.4) == SHARE
    for trouble in ({"stalled": {"journal": "full"}}, {"blocked": {"journal write": "x"}}, {"hung": ["chain"]}):
        assert ordered(**trouble) == PAUSE
        now += 20
    quiet, slow = ({"journal write": {"p50": p50, "p99": p99, "max": 9}} for p50, p99 in ((1, 5), (30, 400)))
    for _ in range(5):
        assert ordered(disk_lately_ms=quiet) == GO
    assert ordered(disk_lately_ms=slow) == PAUSE
    assert ordered(disk_lately_ms=quiet) == PAUSE
    now += 20
    assert ordered(disk_lately_ms=quiet) == GO
    assert pace.order({"scope": {"state": "waiting", "disk_lately_ms": slow, "backlog_s": 1.0}}) == GO
