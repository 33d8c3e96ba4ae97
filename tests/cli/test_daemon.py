"""The daemon: series after series into sessions, stations that are killed and go on, one folder for one daemon."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest
import zmq
from commands import command
from processes import called
from systems import needs_signals

from streamfluo import open_session
from streamfluo.core import wire
from streamfluo.core.errors import StreamfluoError
from streamfluo.engine.metrics import Metrics, complaints
from streamfluo.network.client import ask

CALL = [sys.executable, "-m", "streamfluo"]
MOVIE = np.random.default_rng(8).integers(0, 4096, (200, 24, 32), np.uint16)
PACE_S = 0.01


def free_ports(count):
    taken = [socket.socket() for _ in range(count)]
    for one in taken:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


@pytest.fixture
def rig(tmp_path):
    status, ingest, served = free_ports(3)
    (tmp_path / "moments.toml").write_text('[[step]]\nkind = "moments"\n')
    (tmp_path / "red.toml").write_text('[[step]]\nkind = "bin"\nparams = { bin_px = 2 }\n')
    (tmp_path / "rig.toml").write_text(f"""
[daemon]
folder = "sessions"
name = "{{source}}/{{uid}}"
status = "tcp://127.0.0.1:{status}"
metrics = "127.0.0.1:0"
hung_s = 20
[[source]]
name = "scope"
uri = "ingest+tcp://127.0.0.1:{ingest}"
chain = "moments.toml"
[[source]]
name = "camera"
uri = "tcp://127.0.0.1:{served}"
[[rule]]
user = {{ colour = "red" }}
chain = "red.toml"
""")
    return tmp_path, f"tcp://127.0.0.1:{status}", f"tcp://127.0.0.1:{ingest}", f"tcp://127.0.0.1:{served}"


@contextmanager
def daemon(folder, status, **environment):
    with subprocess.Popen(
        [*CALL, "daemon", "rig.toml"], cwd=folder, text=True, env={**os.environ, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            assert "status at" in process.stdout.readline()
            process.metrics = re.search(r"http://[^/]+", process.stdout.readline())[0]
            until(lambda: sources(status)["scope"].get("series") is not None)
            yield process
        finally:
            process.terminate()
            process.said = process.communicate(timeout=60)[0]


def sources(status):
    return ask(status, wire.Status()).counters["sources"]


def until(true, within_s=40):
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def sender(endpoint):
    with zmq.Context() as context, context.socket(zmq.PUSH) as out:
        out.setsockopt(zmq.SNDHWM, 4)
        out.connect(endpoint)

        def send(header, *parts):
            out.send_multipart([json.dumps(header).encode(), *parts])

        yield send


def begin(send, uid, **said):
    send(dict(type="start", series_uid=uid, dtype="<u2", shape=[24, 32], interval_s=PACE_S, frames=200, **said))


def frames(send, uid, start=0, stop=200):
    for n in range(start, stop):
        header = dict(type="image", series_uid=uid, dtype="<u2", shape=[24, 32], seq=n, index=n, nbytes=1536)
        send(header, MOVIE[n].tobytes())
        time.sleep(PACE_S)


def end(send, uid):
    send(dict(type="end", series_uid=uid, seq=200, frames=200))


def whole(folder):
    session = open_session(folder)
    assert (session.frames, session.lost, session.state) == (200, 0, "finished")
    np.testing.assert_array_equal(session.read_frames(0, 200), MOVIE)
    return session


@needs_signals
def test_series_after_series_becomes_a_session_with_the_chain_that_its_rule_names(rig):
    folder, status, ingest, served = rig
    with daemon(folder, status) as process, sender(ingest) as send:
        for uid, said in (("one", {}), ("two", {"user": {"colour": "red"}}), ("../../three", {})):
            begin(send, uid, **said)
            frames(send, uid)
            end(send, uid)
        words = ["replay", "sim:calcium?shape=24x32&frames=50&seed=2", "--bind", served]
        assert called(*words, cwd=folder, timeout=90).returncode == 0
        until(lambda: sources(status)["scope"]["series"] == 3 and sources(status)["scope"]["state"] == "waiting")
        with urlopen(f"{process.metrics}/metrics", timeout=10) as answer:
            told = answer.read().decode()
        assert 'streamfluo_frames_total{source="scope"} 600.0' in told
        assert 'streamfluo_series_total{source="camera"} 1.0' in told
        assert "streamfluo_healthy 1.0" in told
        assert 'streamfluo_lost_frames_total{reason="transport",source="scope"} 0.0' in told
        with urlopen(f"{process.metrics}/healthz", timeout=10) as answer:
            assert answer.read() == b"all is well\n"
        second = called("daemon", "rig.toml", cwd=folder, timeout=60)
        assert second.returncode == 1
        assert "another program is writing into it" in second.stderr
    sessions = folder / "sessions"
    assert list(whole(sessions / "scope" / "one").steps) == ["moments"]
    assert list(whole(sessions / "scope" / "two").steps) == ["bin"]
    whole(sessions / "scope" / "three")  # a name leads nowhere else
    assert sorted(p.name for p in sessions.iterdir() if p.is_dir()) == ["camera", "scope"]
    (camera,) = (sessions / "camera").iterdir()
    assert open_session(camera).frames == 50
    assert process.returncode == 0
    assert "Traceback" not in process.said


@needs_signals
@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="processes compile beside each other where there are two cores")
def test_a_service_has_kernels_compiled_by_processes_before_a_series_and_loses_none_of_it(rig, tmp_path):
    folder, status, ingest, _ = rig
    (folder / "moments.toml").write_text('[[step]]\nkind = "gain"\n')
    empty = str(tmp_path / "cache")
    with daemon(folder, status, NUMBA_CACHE_DIR=empty) as process, sender(ingest) as send:
        begin(send, "one")
        frames(send, "one")
        end(send, "one")
        until(lambda: sources(status)["scope"]["state"] == "waiting" and sources(status)["scope"]["series"] == 1, 100)
    assert list(whole(folder / "sessions" / "scope" / "one").steps) == ["gain"]
    assert "compiling gain, once on a machine" in process.said


@needs_signals
def test_a_station_that_is_killed_is_started_again_and_goes_on_in_its_series(rig):
    folder, status, ingest, _ = rig
    with daemon(folder, status) as process, sender(ingest) as send:
        begin(send, "one")
        frames(send, "one", 0, 60)
        until(lambda: (sources(status)["scope"].get("frames") or 0) > 0)
        station = int(subprocess.run(["pgrep", "-P", str(process.pid), "-f", "scope"], capture_output=True).stdout)
        os.kill(station, signal.SIGKILL)
        frames(send, "one", 60, 200)
        end(send, "one")
        until(lambda: sources(status)["scope"]["starts"] == 2 and sources(status)["scope"]["state"] == "waiting")
        until(lambda: open_session(folder / "sessions" / "scope" / "one").state == "finished")
    session = open_session(folder / "sessions" / "scope" / "one")
    assert session.spec.interval_s == PACE_S  # which the sender said once, to who was killed
    assert session.series["frames"] == 200
    assert session.frames + session.lost == 200
    assert session.frames > 60
    kept = np.setdiff1d(np.arange(200), [n for gap in session.gaps for n in range(gap.first, gap.first + gap.count)])
    np.testing.assert_array_equal(session.read_frames(0, 200), MOVIE[kept])
    assert "Traceback" not in process.said


@needs_signals
def test_the_service_manager_hears_that_it_is_ready_lives_and_ends(rig, tmp_path):
    folder, status, *_ = rig
    heard = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        listener = threading.Thread(target=lambda: [heard.append(manager.recv(4096).decode()) for _ in iter(int, 1)])
        listener.daemon = True
        listener.start()
        with daemon(folder, status, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="1000000") as process:
            until(lambda: sum("WATCHDOG=1" in said for said in heard) > 2)
            process.send_signal(signal.SIGHUP)
            until(lambda: any("RELOADING=1" in said and "MONOTONIC_USEC=" in said for said in heard))
        until(lambda: any("STOPPING=1" in said for said in heard))
    assert "READY=1" in heard[0]
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[[source]]", "[[sauce]]", "no table [sauce]; did you mean 'source'?"),
        ("hung_s = 20", 'publish = "x"', "no parameter 'publish'"),
        ("hung_s = 20", "hung_s = -1", "[daemon]: hung_s"),
        ('name = "scope"', 'name = "../scope"', "a source's name is a letter"),
        ('name = "camera"', 'name = "scope"', "two sources are called 'scope'"),
        ('chain = "moments.toml"', 'chain = "nothing.toml"', "cannot read the config"),
        ('name = "{source}/{uid}"', 'name = "../{uid}"', "each part between / is a plain file name"),
        ('name = "{source}/{uid}"', 'name = "/tmp/{uid}"', "each part between / is a plain file name"),
        ('name = "{source}/{uid}"', 'name = "{sauce}-{uid}"', "no field 'sauce'; did you mean 'source'?"),
        ('name = "{source}/{uid}"', 'name = "{source}"', "every series would have one folder"),
        ("[[rule]]", '[[rule]]\nsource = "skope"', "no source 'skope'; did you mean 'scope'?"),
        ("[daemon]", '[daemon]\nfolders = "x"', "no parameter 'folders'; did you mean 'folder'?"),
    ],
)
def test_a_config_that_is_wrong_is_refused_in_one_line(rig, old, new, message):
    folder, *_ = rig
    text = (folder / "rig.toml").read_text()
    assert old in text
    (folder / "rig.toml").write_text(text.replace(old, new, 1))
    done = command("daemon", "check", "rig.toml", cwd=folder)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_unit_file_is_one_that_systemd_takes(rig):
    folder, *_ = rig
    for scope in ("--user", "--system"):
        shown = command("daemon", "install", "rig.toml", scope, "--print", cwd=folder)
        assert shown.returncode == 0
        assert f"-m streamfluo daemon {folder / 'rig.toml'}" in shown.stdout
        assert "Type=notify" in shown.stdout
        if shutil.which("systemd-analyze"):
            unit = folder / "streamfluo-rig.service"
            unit.write_text(shown.stdout)
            verified = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
            assert not [line for line in verified.stderr.splitlines() if unit.name in line]


def test_a_service_of_the_system_may_write_where_sessions_and_exports_go(rig):
    folder, *_ = rig
    with (folder / "rig.toml").open("a") as file:
        file.write('[disk]\noverflow = "second disk"\n[export]\nfolder = "exports"\nformat = "tiff"\n')
    unit = command("daemon", "install", "rig.toml", "--system", "--print", cwd=folder).stdout.splitlines()
    first, second, exports = (str((folder / name).resolve()) for name in ("sessions", "second disk", "exports"))
    assert f'ReadWritePaths={first} "-{second}" -{exports}' in unit
    assert f"RequiresMountsFor={first}" in unit


def test_it_is_installed_where_the_user_s_service_manager_looks(rig, monkeypatch):
    folder, *_ = rig
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "home"))
    done = command("daemon", "install", "rig.toml", cwd=folder)
    assert "systemctl --user enable --now streamfluo-rig.service" in done.stdout
    assert (folder / "home" / "systemd" / "user" / "streamfluo-rig.service").exists()
    assert (folder / "sessions").is_dir()


@pytest.mark.slow
@needs_signals
def test_a_station_that_says_nothing_is_killed_and_started_again(rig):
    folder, status, *_ = rig
    text = (folder / "rig.toml").read_text()
    (folder / "rig.toml").write_text(text.replace("hung_s = 20", "hung_s = 4"))
    with daemon(folder, status) as process:
        until(lambda: sources(status)["camera"].get("series") is not None)
        station = int(subprocess.run(["pgrep", "-P", str(process.pid), "-f", "camera"], capture_output=True).stdout)
        os.kill(station, signal.SIGSTOP)
        until(lambda: sources(status)["camera"]["starts"] > 1)
    assert "camera: said nothing for 4 s; killed" in process.said


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (
            {"state": "running", "stalled": {"journal": "No space left on device"}},
            "scope: journal cannot write: ",
        ),
        ({"state": "running", "hung": ["chain"]}, "scope: its thread chain hangs"),
        ({"state": "starting", "why": "ended with code -11"}, "scope: ended with code -11"),
        ({"state": "waiting", "why": "nobody serves frames here"}, None),
    ],
)
def test_it_is_not_well_where_frames_come_and_are_not_written(facts, sentence):
    pytest.importorskip("prometheus_client")
    told = {"scope": facts}
    wrong = complaints(told)
    assert len(wrong) == (sentence is not None)
    assert sentence is None or wrong[0].startswith(sentence)
    metrics = Metrics("127.0.0.1:0", lambda: told)
    try:
        if sentence is None:
            assert urlopen(f"http://{metrics.address}/healthz", timeout=10).status == 200
        else:
            with pytest.raises(HTTPError, match="503"):
                urlopen(f"http://{metrics.address}/healthz", timeout=10)
    finally:
        metrics.close()


@pytest.mark.parametrize("address", ["0.0.0.0:9570", "example.org:80", "nonsense", "127.0.0.1:99999"])
def test_metrics_are_for_this_machine(address):
    pytest.importorskip("prometheus_client")
    with pytest.raises(StreamfluoError):
        Metrics(address, dict)
