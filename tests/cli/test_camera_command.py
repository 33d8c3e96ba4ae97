"""`streamfluo camera` on Micro-Manager's demo camera: every frame counted, still fresh after ten minutes."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_killed import free_endpoint

pytest.importorskip("pymmcore_plus", reason="needs pymmcore-plus and mm-test-adapters: the extra [camera]")

from systems import needs_proc

from streamfluo import Block, open_session, open_source
from streamfluo.core.source import Gap

STREAMFLUO = [sys.executable, "-m", "streamfluo"]


class Program:
    """One of our commands in another process, and the endpoint it says it serves at."""

    def __init__(self, folder, *words):
        self.process = subprocess.Popen(
            [*STREAMFLUO, *map(str, words)], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.endpoint = None
        while self.endpoint is None and (line := self.process.stdout.readline()):
            if " at tcp" in line:
                self.endpoint = line.rsplit(" at ", 1)[1].strip()

    def rss_mb(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def ended(self, within_s=60):
        told, errors = self.process.communicate(timeout=within_s)
        assert self.process.returncode == 0, errors
        return told

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def test_frames_and_losses_of_a_recorded_camera_add_up_to_what_the_camera_counted(tmp_path):
    words = ["camera", "mm:demo", "--bind", "tcp://127.0.0.1:0", "--frames", 500, "--exposure-ms", 2, "--wait"]
    with Program(tmp_path, *words) as camera:
        done = subprocess.run(
            [*STREAMFLUO, "record", camera.endpoint, "--out", "S"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "finished:" in camera.ended()
    session = open_session(tmp_path / "S")
    assert session.frames + session.lost == 500
    assert session.series["user"]["camera"]["model"] == "DCam"


def test_a_camera_is_a_source_of_run_too(tmp_path):
    (tmp_path / "chain.toml").write_text('[[step]]\nkind = "moments"\n')
    uri = "mm:demo?exposure_ms=2&roi=0:64,0:64&frames=200"
    done = subprocess.run(
        [*STREAMFLUO, "run", "chain.toml", "--source", uri, "--out", "S"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    session = open_session(tmp_path / "S")
    assert session.frames + session.lost == 200
    frames = session.read_frames(0, 200)
    assert np.allclose(session.snapshot("moments")["mean"], frames.mean(0))


def test_a_camera_killed_and_started_again_is_one_gap_to_its_recorder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    endpoint = free_endpoint()
    words = ["camera", "mm:demo?roi=0:64,0:64", "--bind", endpoint, "--exposure-ms", 5]
    with Program(tmp_path, *words) as camera:
        recorder = subprocess.Popen(
            [*STREAMFLUO, "record", endpoint, "--out", "S"],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(3)
    with Program(tmp_path, *words) as camera:
        time.sleep(2)
        camera.process.terminate()
        told, errors = recorder.communicate(timeout=60)
        assert recorder.returncode == 0, errors
        assert "aborted" in told
    session = open_session(tmp_path / "S")
    (gap,) = session.gaps
    assert gap.reason == "transport"
    assert gap.count > 50
    indices = session.journal.indices
    assert len(indices) == session.frames
    assert np.array_equal(
        np.setdiff1d(np.arange(indices[-1] + 1), indices), np.arange(gap.first, gap.first + gap.count)
    )


@needs_proc
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_minutes_at_a_hundred_frames_a_second_change_neither_memory_nor_latency(tmp_path):
    # A checkpoint copies 10 MB; the allocator needs some twenty of them to settle, here within the first minute.
    (tmp_path / "chain.toml").write_text('[record]\nraw = false\ncheckpoint_s = 2\n[[step]]\nkind = "moments"\n')
    camera_words = ["camera", "mm:demo", "--bind", "tcp://127.0.0.1:0", "--exposure-ms", 9, "--history-mb", 64]
    with Program(tmp_path, *camera_words) as camera:
        run_words = ["run", "chain.toml", "--source", camera.endpoint, "--out", "S", "--publish", "tcp://127.0.0.1:0"]
        with Program(tmp_path, *run_words) as run, open_source(camera.endpoint) as source:
            threading.Timer(600, source.interrupt).start()
            began, ages_ms, lost, sampled = time.monotonic(), [], 0, []
            for item in source.blocks():
                now = time.monotonic() - began
                if isinstance(item, Block):
                    ages_ms.append((now, (time.time_ns() - source.series.t0_ns - item.times_ns[-1]) / 1e6))
                elif isinstance(item, Gap) and now > 5:
                    lost += item.count
                if len(ages_ms) % 500 == 1 and now > 60:
                    sampled.append((now, camera.rss_mb(), run.rss_mb()))
            source.finished()
    at_s, age_ms = np.array(ages_ms).T
    p99_ms = [np.percentile(age_ms[(at_s >= m * 60) & (at_s < (m + 1) * 60)], 99) for m in range(1, 10)]
    t_s, *rss_mb = np.array(sampled).T
    grown_mb = [np.median(mb[t_s > 420]) - np.median(mb[t_s < 240]) for mb in rss_mb]
    print(
        f"{len(age_ms)} frames, {lost} lost, p99 by minute {np.round(p99_ms, 1)} ms, growth {np.round(grown_mb, 2)} MB"
    )
    assert len(age_ms) > 50_000
    assert lost == 0
    assert max(abs(g) for g in grown_mb) < 5
    assert np.median(p99_ms[-3:]) < 1.5 * np.median(p99_ms[:3]) + 2
