"""The figures of rigs, out of a catalogue: told apart by rig, with what else changed at a step."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from streamfluo.catalogue.database import opened, put, transaction
from streamfluo.catalogue.entry import Entry, Measured
from streamfluo.catalogue.find import Query
from streamfluo.catalogue.report import draw_trends
from streamfluo.catalogue.trends import trends_in
from streamfluo.core.errors import ConfigError

BEGAN = datetime(2026, 1, 5, 10, tzinfo=UTC)
DAYS = 60


@pytest.fixture
def file(tmp_path):
    """Two rigs: the gain of the left one steps on day 30 with another version, the SNR of the right one falls."""
    random = np.random.default_rng(5)
    path = tmp_path / "catalogue.sqlite"
    with opened(path, write=True) as connection, transaction(connection):
        for day in range(DAYS):
            for rig in ("left", "right"):
                stepped = rig == "left" and day >= 30
                gain = 0.5 * (1.2 if stepped else 1.0) * np.exp(0.01 * random.standard_normal())
                snr = 8.0 * np.exp(0.05 * random.standard_normal() - (0.02 * day if rig == "right" else 0))
                figures = (
                    ("gain", "gain_e_per_adu", gain),
                    ("extract", "snr", snr),
                    ("extract", "cells", 20.0 + day % 3),
                )
                measured = [Measured(step, step, name, value) for step, name, value in figures]
                fields = {
                    "path": f"/{rig}/{day}", "name": f"{day}", "rig": rig, "frames": 100, "lost_share": 0.0,
                    "began": (BEGAN + timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%SZ"), "state": "finished",
                    "version": "0.2" if stepped else "0.1", "steps": "gain extract",
                }  # fmt: skip
                about = {"signature": "", "read_by": "1", "read_utc": "", "root": ""}
                put(connection, Entry(fields, measured, {"user.laser": rig.upper()}), about)
        put(connection, Entry({"path": "/new", "rig": "new", "began": "2026-03-01T00:00:00Z"},
                              [Measured("gain", "gain", "gain_e_per_adu", 0.5)]), about)  # fmt: skip
    return path


def test_what_warns_comes_first_and_says_what_and_when(file):
    found = trends_in(file, Query())
    told = {(figure.group, figure.name): figure for figure in found}
    step = told["left", "gain_e_per_adu"]
    assert step.said.startswith("stepped by +2")
    assert "on 2026-02-04" in step.said
    assert step.said.endswith("streamfluo's version changed then")
    drift = told["right", "snr"]
    assert drift.said.startswith("drifts by −4")
    assert {figure.warns for figure in found[:2]} == {True}
    assert not any(figure.warns for figure in found[2:])
    assert told["left", "snr"].said == "steady"
    assert told["new", "gain_e_per_adu"].said == "cannot tell: 1 session on 1 day, 10 days needed"
    assert ("left", "cells") not in told


def test_figures_dates_and_what_tells_rigs_apart_are_chosen(file):
    assert {figure.name for figure in trends_in(file, Query(), ["extract.cells", "frames"])} == {"cells", "frames"}
    assert {figure.group for figure in trends_in(file, Query(), by="user.laser")} == {"LEFT", "RIGHT", "(not said)"}
    late = trends_in(file, Query(since="2026-02-05"), ["gain_e_per_adu"])
    assert [figure.trend.verdict for figure in late if figure.group == "left"] == ["steady"]
    assert {figure.group for figure in trends_in(file, Query(("rig = right",)))} == {"right"}
    with pytest.raises(ConfigError, match=r"'laser' is none of rig, camera, host, source, user\.laser"):
        trends_in(file, Query(), by="laser")
    with pytest.raises(ConfigError, match="no column 'colour'"):
        trends_in(file, Query(), ["colour"])
    with pytest.raises(ConfigError, match="state is no number"):
        trends_in(file, Query(), ["state"])


def test_sessions_that_are_gone_still_count(file):
    with opened(file, write=True) as connection:
        connection.execute("UPDATE sessions SET gone = '2026-04-01T00:00:00Z'")
    assert any(figure.warns for figure in trends_in(file, Query()))


def test_the_picture_has_a_panel_for_each(file, tmp_path):
    found = trends_in(file, Query())
    assert draw_trends(found, tmp_path / "trends.png") == len(found) - 1  # one day is no course
    assert (tmp_path / "trends.png").read_bytes().startswith(b"\x89PNG")
    assert draw_trends([], tmp_path / "none.png") == 0
