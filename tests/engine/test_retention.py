"""Retention: nothing unverified is ever gone, whenever it is stopped; what runs, is open or changed stays."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import command
from systems import needs_proc, needs_signals
from toys import FRAMES, Movie, block

from streamfluo import open_session
from streamfluo.engine import retention
from streamfluo.engine.config import parse_config
from streamfluo.engine.daemon_config import load_daemon_config
from streamfluo.engine.engine import Engine
from streamfluo.engine.retention import retain, verdicts
from streamfluo.session.exported import export_verified
from streamfluo.session.lock import take

CONFIG = """
[daemon]
folder = "sessions"
name = "{source}/{uid}"
[[source]]
name = "scope"
uri = "tcp://127.0.0.1:5555"
[export]
folder = "exported"
format = "npy"
[retention]
"""


def nothing(*_):
    pass


@pytest.fixture
def rig(tmp_path):
    def rig(limits):
        (tmp_path / "rig.toml").write_text(CONFIG + limits)
        (tmp_path / "sessions").mkdir(exist_ok=True)
        return load_daemon_config(tmp_path / "rig.toml")

    return rig


def record(config, name, exported=True, age_days=0.0):
    folder = config.folder / "scope" / name
    engine = Engine(Movie([block(0, 20)], name), parse_config("[record]\nraw = true"), folder)
    engine.start()
    assert engine.wait(30)
    session = open_session(folder)
    if exported:
        exports = config.disks.exports
        export_verified(session, "npy", exports / "scope" / name, exports / ".unfinished", nothing)
    then = time.time() - age_days * 86400
    os.utime(folder / "session.json", (then, then))
    return folder


def names(config):
    return {path.name for path in (config.folder / "scope").iterdir() if not path.name.startswith(".")}


def said(config):
    heard = []
    retain(config, heard.append, nothing)
    return {verdict.session.folder.name: verdict.but for verdict in heard}


def test_the_old_go_and_what_is_not_exported_stays(rig):
    config = rig("keep_days = 7")
    for name, exported, age in (("old", True, 8), ("young", True, 6), ("lost", False, 900)):
        record(config, name, exported, age)
    assert said(config) == {"old": "", "lost": "it is not exported"}
    assert names(config) == {"young", "lost"}


def test_the_oldest_go_until_the_rest_is_below_the_quota(rig):
    config = rig("quota_bytes = 1")
    for name, age in (("a", 5), ("b", 4), ("c", 3), ("d", 2)):
        nbytes = retention.nbytes_of(record(config, name, name != "b", age))
    config = rig(f"quota_bytes = {int(2.5 * nbytes)}")
    assert said(config) == {"a": "", "c": "", "b": "it is not exported"}
    assert names(config) == {"b", "d"}


def test_it_says_what_it_would_delete_and_why_not_the_rest(rig, tmp_path):
    config = rig("keep_days = 7")
    record(config, "old", True, 8)
    record(config, "lost", False, 8)
    done = command("daemon", "retention", "rig.toml", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    assert "delete sessions/scope/old" in done.stdout
    assert "keep sessions/scope/lost" in done.stdout
    assert "older than keep_days = 7, but it is not exported" in done.stdout
    assert names(config) == {"old", "lost"}
    assert command("daemon", "retention", "rig.toml", cwd=tmp_path).returncode == 0
    assert names(config) == {"lost"}


@pytest.mark.parametrize("harm", ["export bit", "export gone", "session bit", "runs", "open", "link inside", "went on"])
def test_what_runs_is_open_damaged_or_changed_stays(rig, harm):
    config = rig("keep_days = 7")
    folder = record(config, "S", True, 8)
    held = None
    if harm == "export bit":
        flip(config.disks.exports / "scope" / "S" / "frames.npy")
    elif harm == "export gone":
        shutil.rmtree(config.disks.exports / "scope" / "S")
    elif harm == "session bit":
        flip(folder / "journal" / "000000.sfj")
    elif harm == "runs":
        held = take(folder)
    elif harm == "open":
        if not Path("/proc/self/fd").exists():
            pytest.skip("shows no open files")
        held = subprocess.Popen(
            [sys.executable, "-c", "import sys, time; f = open(sys.argv[1]); print('open', flush=True); time.sleep(60)",
             str(folder / "journal" / "000000.sfj")], stdout=subprocess.PIPE
        )  # fmt: skip
        held.stdout.readline()
    elif harm == "link inside":
        (folder / "link").symlink_to("/etc/hostname")
    elif harm == "went on":
        shutil.copy(folder / "journal" / "000000.sfj", folder / "journal" / "000001.sfj")
    try:
        (but,) = said(config).values()
        assert but
        assert folder.exists()
        assert (folder / "journal" / "000000.sfj").exists()
    finally:
        if isinstance(held, subprocess.Popen):
            held.kill()
            held.communicate()
        elif held is not None:
            held.release()


def test_links_and_what_lies_elsewhere_are_never_followed(rig, tmp_path):
    config = rig("keep_days = 7")
    folder = record(config, "S", True, 8)
    shutil.move(folder, tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (config.folder / "scope" / "deep" / "deeper").mkdir(parents=True)
    shutil.copytree(tmp_path / "elsewhere", config.folder / "scope" / "deep" / "deeper" / "S")
    assert list(verdicts(config)) == []
    assert said(config) == {}
    assert (tmp_path / "elsewhere" / "session.json").exists()


def test_what_an_interrupted_deletion_left_is_put_back_or_goes(rig):
    config = rig("keep_days = 7")
    whole, torn = record(config, "whole"), record(config, "torn")
    os.rename(whole, whole.with_name(".whole.deleted"))
    os.rename(torn, torn.with_name(".torn.deleted"))
    (torn.with_name(".torn.deleted") / "session.json").unlink()
    record(config, "whole-2", exported=False)
    record(config, "whole", exported=False)
    assert said(config) == {}
    assert names(config) == {"whole", "whole-2", "whole-3"}
    np.testing.assert_array_equal(open_session(whole.with_name("whole-3")).read_frames(0, 20), FRAMES[:20])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@needs_signals
@needs_proc
@pytest.mark.parametrize("sessions", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_random_nothing_unverified_is_ever_gone(rig, tmp_path, sessions):
    config = rig("keep_days = 7")
    model = record(config, "model", False, 8)
    expected = open_session(model).read_frames(0, 20)
    np.testing.assert_array_equal(expected, FRAMES[:20])
    shutil.move(model, tmp_path / "model")
    for n in range(sessions):
        folder = config.folder / "scope" / f"s{n:02d}"
        shutil.copytree(tmp_path / "model", folder)
        if n % 5:
            exports = config.disks.exports
            export_verified(open_session(folder), "npy", exports / "scope" / folder.name, exports / ".u", nothing)
        if n % 5 == 1:
            flip(exports / "scope" / folder.name / "frames.npy")
        then = time.time() - 8 * 86400
        os.utime(folder / "session.json", (then, then))
    code = """
import os, random, signal, sys, time
from pathlib import Path
from streamfluo.engine.daemon_config import load_daemon_config
from streamfluo.engine.retention import retain

config, chance, kills, sessions = load_daemon_config(Path("rig.toml")), random.Random(7), 0, int(sys.argv[1])
scope, exports = config.folder / "scope", config.disks.exports / "scope"
while True:
    if not (child := os.fork()):
        retain(config, lambda v: None, lambda n: None)
        os._exit(0)
    time.sleep(chance.uniform(0, 0.1 / sessions * (1 + kills)))  # ever longer: it comes to an end on any machine
    os.kill(child, signal.SIGKILL)
    killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    kills += killed
    for n in range(sessions):
        places = scope / f"s{n:02d}", scope / f".s{n:02d}.deleted"
        whole = any((p / "session.json").exists() and (p / "journal/000000.sfj").exists() for p in places)
        assert whole or n % 5 > 1 and (exports / f"s{n:02d}/frames.npy").exists(), n
    if not killed:
        break
print(kills)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(sessions)], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > sessions // 3
    assert names(config) == {f"s{n:02d}" for n in range(sessions) if n % 5 <= 1}
    assert not list((config.folder / "scope").glob(".*deleted"))
    for n in range(sessions):
        name = f"s{n:02d}"
        if n % 5 > 1:
            np.testing.assert_array_equal(np.load(config.disks.exports / "scope" / name / "frames.npy"), expected)
        else:
            np.testing.assert_array_equal(open_session(config.folder / "scope" / name).read_frames(0, 20), expected)
