"""Simulated spots served as a camera over ZeroMQ, found and integrated, recorded: recall, photons and traces."""

import numpy as np
import pytest
from processes import Process, called
from scipy.spatial import cKDTree

from streamfluo import open_session
from streamfluo.engine.shipped import shipped_config
from streamfluo.simulate import spots as simulate

CONFIG = shipped_config("spots.toml")


def recorded(source, folder, *changes):
    """The session of a run on a simulation that another process serves."""
    with Process("replay", source, "--bind", "tcp://127.0.0.1:0", "--max", "--wait", cwd=folder) as server:
        endpoint = server.stdout.readline().rsplit(" at ", 1)[1].strip()
        options = [word for change in changes for word in ("--set", change)]
        done = called("run", CONFIG, "--source", endpoint, "--out", "S", *options, cwd=folder)
        assert server.wait(20) == 0
    assert done.returncode == 0, done.stderr
    session = open_session(folder / "S")
    assert (session.lost, session.state) == (0, "finished")
    return session


def test_molecules_of_each_frame_arrive_with_their_photons(tmp_path):
    settings = {"shape": (128, 128), "frames": 300, "spots": 12, "spot_photons": 1500, "motion": "random", "seed": 5}
    _, truth = simulate(**settings)
    uri = "sim:spots?" + "&".join(f"{k}={'x'.join(map(str, v)) if k == 'shape' else v}" for k, v in settings.items())
    session = recorded(uri, tmp_path)
    table, hits, found, true = session.values("spots")["spots"], 0, [], []
    inner = np.min([truth["y_px"], truth["x_px"], 127 - truth["y_px"], 127 - truth["x_px"]], 0) > 3
    for t in range(300):
        there, mine = np.flatnonzero((truth["frame"] == t) & inner), np.flatnonzero(table["frame"] == t)
        at = np.stack([truth["y_px"], truth["x_px"]], 1)
        distance, number = cKDTree(np.stack([table["y_px"][mine], table["x_px"][mine]], 1)).query(at[there])
        alone = cKDTree(at[truth["frame"] == t]).query(at[there], 2)[0][:, 1] > 6
        hits += (distance[alone] < 1).sum() / max(alone.sum(), 1)
        near = alone & (distance < 1)
        found += table["photons"][mine[number[near]]].tolist()
        true += truth["photons_spot"][there[near]].tolist()
    assert hits / 300 > 0.99
    assert len(table["frame"]) < 1.05 * len(truth["frame"]) + 300
    assert np.mean(np.array(found) / true) == pytest.approx(1, abs=0.01)


def test_molecules_that_stay_give_traces(tmp_path):
    session = recorded(
        "sim:spots?shape=128x128&frames=200&spots=15&spot_photons=600&seed=6", tmp_path, "spots.detect=mean",
        "spots.false_alarms=0.1",
    )  # fmt: skip
    values = session.values("spots")
    _, truth = simulate(frames=1, shape=(128, 128), spots=15, spot_photons=600, seed=6)
    assert values["photons"].shape == (200, 15)
    table = values["spots"]
    last = table["frame"] == 199
    places = np.stack([table["y_px"][last], table["x_px"][last]], 1)
    distance, spot = cKDTree(truth["position_px"]).query(places)
    assert distance.max() < 0.2
    late = values["photons"][20:]
    np.testing.assert_allclose(late.mean(0) / truth["spot_photons"][spot], 1, atol=0.03)
    pull = (late - truth["spot_photons"][spot]) / values["photons_error"][20:]
    assert pull.std() == pytest.approx(1, abs=0.1)
