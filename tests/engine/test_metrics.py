"""Metrics, and the dashboard and alerts that are made of them: each name that is used there is one that there is."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from urllib.request import urlopen

import pytest

from streamfluo.engine.metrics import Metrics, complaints
from streamfluo.session import disk_calls
from streamfluo.session.disk_calls import BOUNDS_S, DiskCalls

DOCS = Path(__file__).parents[2] / "docs"
NAME = re.compile(r"streamfluo_[a-z0-9_]+")


def told(**more):
    calls = DiskCalls()
    for kind in ("journal write", "journal fsync"):
        with calls.timed(kind):
            pass
    facts = {
        "state": "running", "frames": 10, "series": 2, "starts": 1, "unrecorded": 3, "waiting_frames": 1,
        "backlog_bytes": 5, "backlog_s": 0.5, "bytes_per_s": 9, "disk_free_bytes": 10, "disk_left_s": 100,
        "lost": {"camera": 1}, "refused": {"crc": 1}, "steps_ms": {"moments": {"p50": 1.0, "p99": 2.0, "max": 3.0}},
        "muted": {"spots": "ValueError"}, "blocked": {"journal write": "has not come back for 12 s"},
        "disk_calls": calls.histograms(), **more,
    }  # fmt: skip
    return {"scope": facts}


@pytest.fixture
def answered():
    pytest.importorskip("prometheus_client")
    metrics = Metrics("127.0.0.1:0", told, lambda: {"exported": 4, "warnings": 2})
    try:
        with urlopen(f"http://{metrics.address}/metrics", timeout=10) as answer:
            yield answer.read().decode()
    finally:
        metrics.close()


def test_the_dashboard_and_the_alerts_use_metrics_that_there_are_and_the_dashboard_all_of_them(answered):
    there = {line.split("{")[0].split(" ")[0] for line in answered.splitlines() if not line.startswith("#")}
    dashboard = json.loads((DOCS / "grafana" / "streamfluo.json").read_text())
    alerts = (DOCS / "prometheus" / "alerts.yaml").read_text()
    shown = set(NAME.findall(json.dumps(dashboard["panels"])))
    assert shown <= there
    assert set(NAME.findall(alerts)) <= there
    assert there - shown == {"streamfluo_disk_call_seconds_count", "streamfluo_disk_call_seconds_sum"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_calls_to_the_disk_are_a_histogram(answered):
    assert 'streamfluo_disk_call_seconds_count{call="journal fsync",source="scope"} 1.0' in answered
    assert 'streamfluo_disk_call_seconds_bucket{call="journal write",le="+Inf",source="scope"} 1.0' in answered
    assert f'le="{BOUNDS_S[0]}"' in answered
    assert 'streamfluo_disk_call_blocked{call="journal write",source="scope"} 1.0' in answered
    assert 'streamfluo_muted{source="scope",step="spots"} 1.0' in answered
    assert "streamfluo_exported_sessions_total 4.0" in answered
    assert "streamfluo_warnings 2.0" in answered


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (
            {"blocked": {"journal write": "has not come back for 12 s"}},
            "scope: journal write has not come back for 12 s",
        ),
        ({"unrecorded_lately": 7}, "scope: 7 frames of the last minute were not written"),
        ({"cannot_write": True, "why": "S: cannot write"}, "scope: S: cannot write"),
        ({"unrecorded": 7, "unrecorded_lately": 0, "slow": "journal fsync took 2 s"}, None),
    ],
)
def test_frames_that_come_and_are_not_written_are_not_well(facts, sentence):
    assert complaints({"scope": facts}) == ([sentence] if sentence else [])


def test_times_of_calls_are_counted_below_each_bound(monkeypatch):
    now = 0.0
    monkeypatch.setattr(disk_calls, "time", SimpleNamespace(monotonic=lambda: now))
    calls = DiskCalls()
    for elapsed_s in (2e-5, 3e-3, 3e-3, 0.7, 4.0, 200.0):
        with calls.timed("journal write"):
            assert calls.lasting(-1) == {"journal write": 0.0}
            now += elapsed_s
    found = calls.histograms()["journal write"]
    assert found["count"] == 6
    assert dict(zip(BOUNDS_S, found["below"], strict=True)) == {
        bound: sum(t <= bound for t in (2e-5, 3e-3, 3e-3, 0.7, 4.0)) for bound in BOUNDS_S
    }
    assert found["sum_s"] == pytest.approx(204.70602)
    assert calls.slowest_lately_s() == ("journal write", 200.0)
    now += 30
    assert calls.slowest_lately_s() == ("", 0.0)
    assert calls.summary_ms()["journal write"]["max"] == 200_000
