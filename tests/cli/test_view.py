"""`streamfluo view` as a person uses it: a process of its own beside a running one."""

import os
import time

import numpy as np
import pytest
import tifffile
from matplotlib.image import imread

pytest.importorskip("PySide6")

from commands import command
from processes import Process, called
from systems import needs_proc

from streamfluo.core import wire
from streamfluo.network.client import ask

CHAIN = '[[step]]\nkind = "moments"\n[[step]]\nkind = "bin"\n'


def free_endpoint():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"tcp://127.0.0.1:{taken.getsockname()[1]}"


def view(*words, cwd):
    return called("view", *words, cwd=cwd, timeout=90)


@pytest.fixture
def folder(tmp_path):
    y, x = np.mgrid[:96, :128]
    movie = (500 + 400 * np.sin(x / 9) * np.sin(y / 7) + 40 * np.arange(60)[:, None, None] % 300).astype(np.uint16)
    tifffile.imwrite(tmp_path / "recording.tif", movie, photometric="minisblack")
    (tmp_path / "chain.toml").write_text(CHAIN)
    return tmp_path


@pytest.fixture
def replay(started):
    return started("replay", "recording.tif", "--bind", "tcp://127.0.0.1:0", "--fps", 50, "--loop")[1]


def test_a_screenshot_of_a_run(folder, started, replay):
    run, endpoint = started("run", "chain.toml", "--source", replay, "--publish", "tcp://127.0.0.1:0", "--out", "S")
    done = view(endpoint, "--screenshot", "a.png", "--after", 3, "--size", "900x600", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "picture: a.png" in done.stdout
    picture = imread(folder / "a.png")[..., :3]
    assert picture.shape == (600, 900, 3)
    assert picture[100:400].std() > 0.1  # images, not an empty window
    assert run.poll() is None
    assert ask(endpoint, wire.Status()).counters["lost"] == 0


def test_a_replay_and_a_camera_can_be_looked_at_without_a_run(folder, replay):
    done = view(replay, "--screenshot", "a.png", "--after", 2, "--theme", "dark", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert imread(folder / "a.png")[100:600, 300:1000, :3].std() > 0.1


def test_where_nobody_answers_there_is_no_picture(folder):
    done = view(free_endpoint(), "--screenshot", "a.png", "--after", 0.5, cwd=folder)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "nobody answers here (waited 0.5 s); there is no picture" in done.stderr
    assert not (folder / "a.png").exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("nonsense", "--screenshot", "a.png"), "'nonsense': not an endpoint; write tcp://"),
        (("tcp://127.0.0.1:99999",), "99999"),
        (("tcp://127.0.0.1:9", "--screenshot", "a.png", "--size", "large"), "--size is WIDTHxHEIGHT"),
        (("tcp://127.0.0.1:9", "--screenshot", "a.png", "--size", "10x99999"), "200 to 16384 pixels a side"),
    ],
)
def test_bad_words_are_one_line(folder, words, error):
    done = command("view", *words, cwd=folder)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert error in done.stderr


def test_a_picture_that_cannot_be_written_is_one_line(folder):
    done = view("tcp://127.0.0.1:9", "--screenshot", "no/a.png", "--after", "0.1", cwd=folder)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "the picture could not be written" in done.stderr
    assert not (folder / "no").exists()


def test_a_run_opens_its_viewer_and_goes_on_without_it(folder, replay):
    """The viewer cannot open a window here; the run does not mind."""
    environment = {**os.environ, "QT_QPA_PLATFORM": "none of them"}
    words = ["run", "chain.toml", "--source", "recording.tif", "--view", "--out", "S"]
    done = called(*words, cwd=folder, timeout=60, env=environment)
    assert done.returncode == 0
    assert "serving results at tcp://127.0.0.1:" in done.stdout
    assert "finished: 60 of 60 frames, 0 lost" in done.stdout


def test_a_viewer_finds_an_engine_that_was_killed_and_started_again(folder, started, replay, qtbot):
    from streamfluo.network.watching import Watch
    from streamfluo.viewer.model import Model
    from streamfluo.viewer.window import Window

    words = ("run", "chain.toml", "--source", replay, "--publish", free_endpoint())
    run, endpoint = started(*words, "--out", "S")
    with Watch(endpoint) as watch:
        window = Window(watch, Model(endpoint))
        qtbot.addWidget(window)
        window.show()
        model = window.model

        def seen():
            return model.pictures["frames/source"].revision

        qtbot.waitUntil(
            lambda: model.link == "live" and model.pictures["frames/source"].pixels is not None, timeout=30000
        )
        run.kill()
        qtbot.waitUntil(lambda: model.link == "lost", timeout=30000)
        started(*words, "--out", "T")
        back, before = time.monotonic(), seen()
        qtbot.waitUntil(lambda: model.link == "live" and seen() > before, timeout=30000)
        print(f"the viewer shows new frames {time.monotonic() - back:.2f} s after the engine was back")
        assert model.events[-1] == "the program was started again"
        window.close()


def test_the_strip_of_a_run_that_ended_counts_every_frame(folder, started, qtbot):
    from streamfluo.network.watching import Watch
    from streamfluo.viewer.model import Model
    from streamfluo.viewer.window import Window

    endpoint = free_endpoint()
    with Watch(endpoint) as watch:  # before the run, which may be over before a window is built
        window = Window(watch, Model(endpoint))
        qtbot.addWidget(window)
        window.show()
        _, replay = started("replay", "recording.tif", "--bind", "tcp://127.0.0.1:0", "--fps", 10, "--wait")
        started("run", "chain.toml", "--source", replay, "--publish", endpoint)
        qtbot.waitUntil(lambda: window.model.link == "ended", timeout=60000)
        qtbot.waitUntil(lambda: "60" in window.strip._figures["in"].text(), timeout=5000)
        assert window.strip._figures["in"].text() == "<b>60</b> frames"
        assert "finished" in window.strip._state.text()
        window.close()


@needs_proc
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_minutes_at_500_frames_a_second_leave_the_viewers_memory_as_it_was(folder, started):
    noise = np.random.default_rng(0).integers(0, 4096, (64, 512, 512), np.uint16)
    np.save(folder / "noise.npy", noise)
    (folder / "chain.toml").write_text("[record]\nraw = false\n" + CHAIN)
    replay = started("replay", "noise.npy", "--bind", "tcp://127.0.0.1:0", "--fps", 500, "--loop")[1]
    endpoint = started("run", "chain.toml", "--source", replay, "--publish", "tcp://127.0.0.1:0", "--out", "S")[1]
    with Process("view", endpoint, "--screenshot", "a.png", "--after", "600", cwd=folder) as viewer:
        began, sampled = time.monotonic(), []
        while viewer.poll() is None:
            if memory_mb := rss_mb(viewer.pid):
                sampled.append((time.monotonic() - began, memory_mb))
            time.sleep(2)
    counters = ask(endpoint, wire.Status()).counters
    at_s, mb = np.array(sampled).T
    by_minute = [round(float(np.median(mb[(at_s >= m * 60) & (at_s < (m + 1) * 60)])), 1) for m in range(10)]
    print(f"viewer's memory by minute {by_minute} MB; {counters['frames']} frames, {counters['lost']} lost")
    assert viewer.returncode == 0
    assert counters["lost"] == 0
    assert np.median(mb[at_s > 420]) - np.median(mb[(at_s > 60) & (at_s < 240)]) < 5


def rss_mb(pid):
    """A process's resident memory, None if it is gone."""
    try:
        with open(f"/proc/{pid}/status") as status:
            return next((int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS")), None)
    except OSError:
        return None


def test_a_session_is_looked_at_like_its_run(folder):
    done = command("run", "chain.toml", "--source", "recording.tif", "--out", "seen", cwd=folder)
    assert done.returncode == 0, done.stderr
    done = view("seen", "--screenshot", "seen.png", "--after", 2, "--size", "900x600", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    picture = imread(folder / "seen.png")[..., :3]
    assert picture[100:500, 50:500].std() > 0.1
