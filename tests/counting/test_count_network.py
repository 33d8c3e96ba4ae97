"""Simulated spots with known numbers of fluorophores: served over ZeroMQ, detected, integrated and counted."""

import numpy as np
import pytest
from processes import Process, called
from scipy.spatial import cKDTree

from streamfluo import open_session
from streamfluo.engine.shipped import shipped_config
from streamfluo.simulate import bleaching_steps

CONFIG = shipped_config("counting.toml")


@pytest.mark.timeout(300)  # on a machine that has not compiled the kernels yet
def test_spots_are_counted_while_they_arrive(tmp_path):
    scene = {"spots": 24, "max_y": 4, "p_bleach": 0.0, "brightness_sd": 0.05, "seed": 2}
    _, truth = bleaching_steps(frames=1, shape=(160, 160), **scene)
    uri = "sim:bleaching-steps?shape=160x160&frames=500&" + "&".join(f"{k}={v}" for k, v in scene.items())
    with Process("replay", uri, "--bind", "tcp://127.0.0.1:0", "--max", "--wait", cwd=tmp_path) as server:
        endpoint = server.stdout.readline().rsplit(" at ", 1)[1].strip()
        options = ["--set", "spots.false_alarms=0.1", "--set", "count.max_emitters=6"]
        done = called("run", CONFIG, "--source", endpoint, "--out", "S", *options, cwd=tmp_path, timeout=240)
        assert server.wait(20) == 0
    assert done.returncode == 0, done.stderr
    session = open_session(tmp_path / "S")
    assert (session.lost, session.state) == (0, "finished")
    table, counted = session.values("spots")["spots"], session.snapshot("count")
    last = table["frame"] == 499
    distance, spot = cKDTree(truth["position_px"]).query(np.stack([table["y_px"][last], table["x_px"][last]], 1))
    assert sorted(spot) == list(range(24))
    assert distance.max() < 0.5
    assert (counted["count"] == truth["y"][spot]).sum() >= 21
    low, high = counted["credible_interval"].T
    assert ((low <= truth["y"][spot]) & (truth["y"][spot] <= high)).sum() >= 22
    assert session.values("count")["mean_count"].shape == (500, 24)
