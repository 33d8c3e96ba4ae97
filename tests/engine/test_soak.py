"""A night of the daemon, in minutes."""

import pytest
from soak import SOURCES, soaked
from systems import needs_signals


@needs_signals
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_daemon_killed_cut_off_and_out_of_disk_keeps_every_frame_it_acknowledged_once(tmp_path):
    soak = soaked(tmp_path, series=30, frames=500, kills=10)
    assert not soak.failures
    assert not soak.given_up
    assert [len(soak.done[name]) for name in SOURCES] == [10, 10, 10]
    for name in SOURCES:
        assert soak.found[f"{name} wrong"] == 0
    for name in ("taken", "cut"):
        assert (soak.found[f"{name} kept"], soak.found[f"{name} lost"]) == (5000, 0)
    assert 0 < soak.found["pushed kept"] <= 5000
