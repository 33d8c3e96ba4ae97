"""Two channels and four slices from the simulator over ZeroMQ into a session: every bit in its plane."""

import time

import numpy as np
import pytest
from processes import Process, called
from systems import needs_signals

from streamfluo import open_session, open_source

SIM = "sim:calcium?channels=2&z=4&shape=48x64&frames=60&seed=4"
ON_RED = """
[[step]]
kind = "motion"
planes = ["red"]
params = { init_frames = 20, max_shift_px = 6 }
"""
CHAINS = {
    "by slice": f"""{ON_RED}[[step]]
id = "apply"
kind = "motion"
planes = ["green"]
inputs = {{ shift_px = "red/motion.shift_px", valid = "red/motion.valid" }}
params = {{ mode = "apply", max_shift_px = 6 }}
""",
    "by volume": f"""{ON_RED}[[step]]
id = "apply"
kind = "motion"
after = "source"
inputs = {{ shift_px = "red/*/motion.shift_px" }}
params = {{ mode = "apply", max_shift_px = 6 }}
""",
}
REST = """
[[step]]
kind = "moments"
"""
OFTEN = "[record]\ncheckpoint_s = 0.05\n"  # so that a killed run has some


@pytest.fixture(scope="module")
def movies():
    with open_source(SIM) as source:
        found = {name: [] for name in source.spec.plane_names}
        for block in source.blocks():
            found[block.plane].append(block.pixels)
    return {name: np.concatenate(parts) for name, parts in found.items()}


@pytest.fixture(scope="module", params=CHAINS)
def shifts(request):
    return request.param


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, shifts):
    folder = tmp_path_factory.mktemp("unbroken")
    (folder / "chain.toml").write_text(CHAINS[shifts] + REST)
    done = called("run", "chain.toml", "--source", SIM, "--out", "S", cwd=folder)
    assert done.returncode == 0, done.stderr
    return open_session(folder / "S")


def replay(folder, *options):
    server = Process("replay", SIM, "--bind", "tcp://127.0.0.1:0", "--wait", *options, cwd=folder)
    return server, server.stdout.readline().rsplit(" at ", 1)[1].strip()


def same_results(session, unbroken):
    for step in unbroken.steps:
        for name, array in unbroken.values(step).items():
            np.testing.assert_array_equal(session.values(step)[name], array, err_msg=f"{step} {name}")
        for name, array in unbroken.snapshot(step).items():
            np.testing.assert_array_equal(session.snapshot(step)[name], array, err_msg=f"{step} {name}")


def test_every_plane_arrives_over_zeromq_bit_for_bit(tmp_path, movies, shifts, unbroken):
    (tmp_path / "chain.toml").write_text(CHAINS[shifts] + REST)
    server, endpoint = replay(tmp_path, "--fps", "60")
    with server:
        done = called("run", "chain.toml", "--source", endpoint, "--out", "S", cwd=tmp_path)
        assert server.wait(20) == 0
    assert done.returncode == 0, done.stderr
    session = open_session(tmp_path / "S")
    assert (session.frames, session.lost, session.state) == (480, 0, "finished")
    assert session.planes == unbroken.planes == tuple(movies)
    for name, movie in movies.items():
        np.testing.assert_array_equal(session.read_frames(0, 60, plane=name), movie)
    same_results(session, unbroken)


def test_shifts_measured_on_red_are_those_of_green(shifts, unbroken):
    if shifts == "by volume":
        applied = [unbroken.values(f"{plane}/apply") for plane in unbroken.planes]
        for values in applied:
            assert values["valid"].all()
            np.testing.assert_array_equal(values["shift_px"], applied[0]["shift_px"])
        return
    for z in range(4):
        red, green = unbroken.values(f"red/{z}/motion"), unbroken.values(f"green/{z}/apply")
        valid = red["valid"] > 0
        np.testing.assert_array_equal(green["shift_px"][valid], red["shift_px"][valid])
        np.testing.assert_array_equal(green["valid"], red["valid"])


@needs_signals
@pytest.mark.parametrize("shifts", ["by volume", pytest.param("by slice", marks=pytest.mark.slow)], indirect=True)
def test_a_run_that_is_killed_goes_on_to_the_same_bits(tmp_path, movies, shifts, unbroken):
    (tmp_path / "chain.toml").write_text(CHAINS[shifts] + REST + OFTEN)
    server, endpoint = replay(tmp_path, "--fps", "40")
    with server:
        run = ["run", "chain.toml", "--source", endpoint, "--out", "S"]
        with Process(*run, cwd=tmp_path) as first:
            deadline = time.monotonic() + 60
            while not any(f.stat().st_size > 1 << 19 for f in tmp_path.glob("S/journal/*.sfj")):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            first.kill()
        before = open_session(tmp_path / "S").frames
        assert 0 < before < 480
        done = called(*run, "--resume", cwd=tmp_path)
        server.terminate()  # for half a minute it would wait for the one that was killed
        assert server.wait(20) == 0
    assert done.returncode == 0, done.stderr
    session = open_session(tmp_path / "S")
    assert (session.frames, session.lost) == (480, 0), session.gaps
    for name, movie in movies.items():
        np.testing.assert_array_equal(session.read_frames(0, 60, plane=name), movie)
    same_results(session, unbroken)
