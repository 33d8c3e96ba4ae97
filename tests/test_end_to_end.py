"""A real recording replayed as a live camera, run through a chain and recorded: nothing lost, nothing changed."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from processes import Process, called

from streamfluo import open_session

DATA = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[2] / "shared" / "data"))
MOUSE = DATA / "mesoscope" / "mouse_160x160x1000.tif"


@pytest.mark.skipif(not MOUSE.exists(), reason=f"needs the mesoscope recording in {DATA} or $STREAMFLUO_DATA")
def test_the_mesoscope_recording_arrives_whole(tmp_path):
    (tmp_path / "chain.toml").write_text('[[step]]\nkind = "moments"\n')
    with Process("replay", MOUSE, "--bind", "tcp://127.0.0.1:0", "--fps", 500, "--wait", cwd=tmp_path) as server:
        endpoint = server.stdout.readline().rsplit(" at ", 1)[1].strip()
        done = called("run", "chain.toml", "--source", endpoint, "--out", "S", cwd=tmp_path)
        assert server.wait(10) == 0
    assert done.returncode == 0, done.stderr
    movie, session = tifffile.imread(MOUSE), open_session(tmp_path / "S")
    assert (session.frames, session.lost, session.state) == (1000, 0, "finished")
    np.testing.assert_allclose(session.snapshot("moments")["mean"], movie.mean(0), rtol=1e-9)
    np.testing.assert_array_equal(session.read_frames(0, 1000), movie)
