"""Killed at random moments and started again: every frame once, in order, the bits of an unbroken run.

Three kills in the fast tests, a hundred in the slow ones.
"""

import random
import socket
import time

import numpy as np
import pytest
import tifffile
from processes import Process, called
from systems import KILLED

from streamfluo import open_session

CHAIN = """
[record]
checkpoint_s = 0.2
[[step]]
kind = "moments"
[[step]]
kind = "bin"
params = { bin_px = 2, bin_frames = 5 }
[[step]]
id = "binned"
kind = "moments"
"""
EARLY_S = 0.2
KILLS = [pytest.param(3, id="3"), pytest.param(100, id="100", marks=[pytest.mark.slow, pytest.mark.timeout(1500)])]


class Server:
    """A replay in another process."""

    def __init__(self, folder, *words, bind="tcp://127.0.0.1:0"):
        self.process = Process("replay", "movie.tif", "--bind", bind, "--fps", "200", *words, cwd=folder)
        self.endpoint = self.process.stdout.readline().rsplit(" at ", 1)[1].strip()

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def ended(self):
        """Its exit code, once it has ended by itself."""
        self.process.communicate(timeout=60)
        return self.process.returncode


def free_endpoint():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def movie(folder, frames):
    pixels = np.random.default_rng(frames).integers(0, 4096, (frames, 16, 20), np.uint16)
    tifffile.imwrite(folder / "movie.tif", pixels, photometric="minisblack")
    (folder / "chain.toml").write_text(CHAIN)
    return pixels


def killed_again_and_again(command, folder, kills, within_s):
    """Start it, kill it after a while, start it again; at last let it end by itself. Each third is killed early."""
    chance = random.Random(kills)
    for n in range(kills):
        process = Process(*command, cwd=folder)
        time.sleep(chance.uniform(0, EARLY_S if n % 3 == 0 else within_s))
        process.kill()
        _, errors = process.communicate()
        assert process.returncode == KILLED, errors
    done = called(*command, cwd=folder, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kills", KILLS)
def test_a_recorder_killed_at_random_moments_has_every_frame_once_in_order_to_the_bit(tmp_path, kills):
    pixels = movie(tmp_path, 200 * max(5, kills))
    server = Server(tmp_path, "--wait")
    try:
        told = killed_again_and_again(["record", server.endpoint, "--out", "S"], tmp_path, kills, 1.6)
        assert f"finished: {len(pixels)} of {len(pixels)} frames, 0 lost" in told
    finally:
        server.kill()
    session = open_session(tmp_path / "S")
    assert session.state == "finished"
    assert session.lost == 0
    assert session.journal.indices.tolist() == list(range(len(pixels)))
    assert np.array_equal(session.read_frames(0, len(pixels)), pixels)


@pytest.mark.parametrize("kills", KILLS)
def test_a_run_killed_at_random_moments_and_resumed_ends_with_the_bits_of_an_unbroken_one(tmp_path, kills):
    pixels = movie(tmp_path, 400 * max(5, kills))
    run = ["run", "chain.toml", "--source"]
    done = called(*run, "movie.tif", "--out", "whole", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    server = Server(tmp_path, "--wait")
    try:
        killed_again_and_again([*run, server.endpoint, "--out", "S", "--resume"], tmp_path, kills, 4.0)
    finally:
        server.kill()
    session, whole = open_session(tmp_path / "S"), open_session(tmp_path / "whole")
    assert np.array_equal(session.read_frames(0, len(pixels)), pixels)
    assert session.health["frames"] == len(pixels)
    for step in whole.steps:
        assert np.array_equal(session.index(step), whole.index(step))
        for kind in ("values", "snapshot"):
            one, other = getattr(session, kind)(step), getattr(whole, kind)(step)
            assert one.keys() == other.keys()
            for name, array in other.items():
                assert np.array_equal(one[name], array), (step, kind, name)


def test_a_replay_killed_and_started_again_serves_on_to_a_recorder_that_waits(tmp_path):
    pixels = movie(tmp_path, 800)
    server = Server(tmp_path, "--wait")
    endpoint = server.endpoint
    recorder = Process("record", endpoint, "--out", "S", cwd=tmp_path)
    try:
        time.sleep(2.5)
        server.kill()
        time.sleep(0.5)
        server = Server(tmp_path, bind=endpoint)
        told, errors = recorder.communicate(timeout=60)
        assert recorder.returncode == 0, errors
        assert "finished: 800 of 800 frames, 0 lost" in told
        assert server.ended() == 0
    finally:
        server.kill()
        recorder.kill()
    assert np.array_equal(open_session(tmp_path / "S").read_frames(0, 800), pixels)
