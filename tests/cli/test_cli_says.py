"""What the command line says is so: rates, numbers of things, states, files it took, libraries that are missing."""

import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from commands import command
from processes import Process
from systems import KILLED
from toys import ONES, Movie, bright_above, config

import streamfluo
from streamfluo.cli import inspect as inspect_command
from streamfluo.cli import run as run_command
from streamfluo.cli.compiling import ALOUD, Course, _Missing
from streamfluo.core.source import Gap
from streamfluo.core.step_values import StepValues
from streamfluo.engine.compile_tasks import Told
from streamfluo.engine.engine import Engine
from streamfluo.engine.found import Found
from streamfluo.engine.shipped import shipped_config
from streamfluo.session.health import Health

SIMULATED = "sim:calcium?shape=32x32&frames=12&neurons=4"
WITHOUT_ZARR = """
import sys
sys.modules["zarr"] = None
from streamfluo.cli.cli import main
sys.argv[0] = "streamfluo"
main()
"""


def test_the_version_is_that_of_the_package_and_stands_in_one_place(tmp_path):
    assert command("--version", cwd=tmp_path).stdout == f"streamfluo {streamfluo.__version__}\n"
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" in project["dynamic"]


@pytest.mark.parametrize(
    ("words", "rate"),
    [((), "30 Hz"), (("--set", "source.interval_s=0.0667"), "14.99 Hz"), (("--set", "source.interval_s=2"), "0.5 Hz")],
)
def test_check_says_the_rate_that_the_config_states(tmp_path, words, rate):
    (tmp_path / "mine.toml").write_text('[[step]]\nkind = "moments"\n')
    assert f"512 × 512 uint16, {rate}\n" in command("check", "mine.toml", *words, cwd=tmp_path).stdout


def test_a_setting_of_source_record_and_publish_goes_into_its_table(tmp_path):
    changes = ["source.pixel_um=0.5", "record.raw=true", "publish.uri=tcp://127.0.0.1:0", f"source.uri={SIMULATED}"]
    words = [word for change in changes for word in ("--set", change)]
    done = command("run", "moments.toml", *words, "--out", "S", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "serving results at tcp://127.0.0.1:" in done.stdout
    session = streamfluo.open_session(tmp_path / "S")
    assert session.has_journal
    assert session.series["source"] == SIMULATED


@pytest.mark.parametrize("name", ["calcium_2p", "calcium_2p.toml"])
def test_a_shipped_config_is_found_by_its_name_unless_the_folder_has_one(tmp_path, name):
    shown = command("check", name, cwd=tmp_path).stdout
    assert shown.startswith(f"config: {shipped_config('calcium_2p')}\n")
    (tmp_path / "calcium_2p.toml").write_text('[[step]]\nkind = "moments"\n')
    shown = command("check", name, cwd=tmp_path).stdout
    assert shown.startswith("calcium_2p.toml: fits together\n")
    assert "no such" in command("check", f"elsewhere/{name}", cwd=tmp_path).stderr.lower()


def test_shipped_configs_are_listed_and_copied_and_a_wrong_name_says_which_there_are(tmp_path):
    listed = command("configs", cwd=tmp_path).stdout
    assert re.search(r"^ calcium_2p +Two-photon calcium imaging: .* of every neuron\. *$", listed, re.MULTILINE)
    for words, written in (
        (["spots"], "spots.toml"),
        (["sofi.toml", "mine"], "mine.toml"),
        (["sofi", "."], "sofi.toml"),
    ):
        assert command("configs", "copy", *words, cwd=tmp_path).stdout == f"{written}\n"
        assert (tmp_path / written).read_bytes() == shipped_config(words[0]).read_bytes()
    again = command("configs", "copy", "spots", cwd=tmp_path)
    assert (again.returncode, "spots.toml is there already" in again.stderr) == (1, True)
    for words in (["configs", "copy", "spotts"], ["check", "spotts"]):
        assert "did you mean 'spots'?" in command(*words, cwd=tmp_path).stderr
    assert "there is 'calcium_1p', 'calcium_2p', " in command("run", "nothing-like-it", cwd=tmp_path).stderr


def test_warm_leaves_nothing_for_a_run_to_compile(tmp_path):
    said = command("warm", "moments", cwd=tmp_path).stdout
    assert re.search(r"compiled in|there already", said)
    assert "there already" in command("warm", "moments", cwd=tmp_path).stdout


def test_what_compiles_and_how_long_it_takes_is_said():
    course = Course({"motion": 10, "extract": 30, "trigger": 0}, cores=2)
    for _ in range(5):
        course.hear(Told("motion", "compiles", "warp_frame"))
    assert re.fullmatch(r"compiling motion 5/10 \(warp frame\), about \d+ s left", str(course))
    before = course.left_s()
    course.hear(Told("extract", "compiles", "demix"))
    course.hear(Told("motion", "built"))
    assert str(course).startswith("compiling extract 1/30 (demix), about ")
    assert course.left_s() < before
    for kind in ("extract", "trigger"):
        course.hear(Told(kind, "built"))
    assert (course.left_s(), course.compiled) == (0, 6)


def test_what_is_found_so_far_adds_up_over_frames_and_over_ids_of_the_newest():
    found = Found([("a/motion", {"valid": "valid frames"}), ("b/motion", {"valid": "valid frames"}),
                   ("extract", {"present": "cells"}), ("bin", {})])  # fmt: skip
    for step in ("a/motion", "b/motion"):
        found.add(StepValues(step, 0, 3, {"valid": np.array([1, 0, 1], np.uint8)}, 3))
    for cells in ([1, 1, 0], [1, 1, 1, 1]):
        found.add(StepValues("extract", 0, 2, {"present": np.array([[0] * len(cells), cells], bool)}, 6))
    found.add(StepValues("bin", 0, 1, {"other": np.ones(1)}, 8))
    assert str(found) == "4 cells, 4 valid frames"


def test_what_is_known_of_the_source_may_be_set(tmp_path):
    words = ["--source", SIMULATED, "--set", "source.interval_s=.066", "--set", "source.pixel_um=.5"]
    assert "15.15 Hz, 0.5 µm" in command("check", "moments", *words, cwd=tmp_path).stdout


def test_a_killed_run_was_interrupted(tmp_path):
    words = ("run", "moments.toml", "--source", "sim:calcium?shape=32x32&neurons=4", "--out", "S")
    run = Process(*words, cwd=tmp_path)
    values = tmp_path / "S" / "values" / "moments.sfv"
    until = time.monotonic() + 60
    while not (values.exists() and values.stat().st_size) and time.monotonic() < until:
        time.sleep(0.02)
    assert streamfluo.open_session(tmp_path / "S").state == "running"
    run.kill()
    assert run.wait(10) == KILLED
    assert "S: interrupted, started " in command("inspect", "S", cwd=tmp_path).stdout


def test_one_gap_is_one_gap(tmp_path, capsys):
    engine = Engine(Movie([*ONES[:1], Gap(1, 1, "camera")]), config('kind = "moments"'), tmp_path / "S")
    engine.start()
    assert engine.wait(30)
    inspect_command.inspect(tmp_path / "S")
    assert "1 frame in the journal, 1 lost in 1 gap\n" in capsys.readouterr().out


def test_a_run_without_frames_has_no_rate_and_no_times(capsys):
    health = Health(steps_ms={"moments": {}})
    source = SimpleNamespace(series=SimpleNamespace(frames=9))
    run_command.report(SimpleNamespace(health=lambda: health, source=source, state="aborted"), Path("S"))
    said = capsys.readouterr().out
    assert "aborted: 0 of 9 frames, 0 lost, 0.0 s → S" in said
    assert "nan" not in said


def test_an_export_without_its_library_is_one_line_and_leaves_no_folder(tmp_path):
    done = command("run", "moments.toml", "--source", SIMULATED, "--out", "S", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    export = [sys.executable, "-c", WITHOUT_ZARR, "export", "S", "--to", "ome-zarr", "--out", "E"]
    done = subprocess.run(export, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert re.fullmatch(r'streamfluo: .*needs zarr; install it with pip install "streamfluo\[formats\]"\n', done.stderr)
    assert not (tmp_path / "E").exists()
    (tmp_path / "F").touch()
    for words in (("--to", "csv", "--out", "F"), ("--to", "tiff", "--out", "F/deep"), ("--to", "tiff", "--out", "F")):
        done = command("export", "S", *words, cwd=tmp_path)
        assert done.returncode == 1
        assert re.fullmatch(r"streamfluo: export: F\S* cannot be written: .*\n", done.stderr)
    values = tmp_path / "S" / "values" / "moments.sfv"
    values.write_bytes(values.read_bytes()[:-5])
    assert "damaged, and left out: values/moments.sfv" in command("export", "S", "--to", "csv", cwd=tmp_path).stdout


def test_what_the_encoding_of_a_pipe_lacks_is_a_question_mark(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 24, 31), np.uint16), photometric="minisblack")
    settings = {**os.environ, "PYTHONIOENCODING": "ascii"}
    words = [sys.executable, "-m", "streamfluo", "check", "moments.toml", "--source", "a.tif"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=100, env=settings)
    assert done.returncode == 0, done.stderr
    assert "24 ? 31 uint16" in done.stdout


MISTAKEN = {  # what somebody types: what is said
    "a camera without its library": (("camera", "mm:demo"), 'mm:demo: needs pymmcore-plus; .*"streamfluo.camera."'),
    "another camera without it": (("record", "mm:rig.cfg"), "mm:rig.cfg: needs pymmcore-plus"),
    "an address of the web": (("record", "http://rig/movie.tif"), "only Zarr is read from elsewhere; copy the file"),
    "noise for an array": (("record", "noise.npy"), "noise.npy: not an array that can be read: no array begins it"),
    "a text for traces": (("count", "words.txt"), "words.txt: no reader for '.txt'; there is .npy, .npz, .csv"),
    "a misspelt session, in the browser": (
        ("web", "Sessoin"),
        "'Sessoin': not an endpoint; write .*, or the folder of a s",
    ),
}


@pytest.mark.parametrize(("words", "said"), MISTAKEN.values(), ids=MISTAKEN)
def test_a_mistake_is_one_line_that_names_the_way_out(tmp_path, monkeypatch, words, said):
    for name in ("pymmcore", "pymmcore_plus"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "noise.npy").write_bytes(bytes(range(1, 200)))
    (tmp_path / "words.txt").write_text("one two")
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 1
    assert re.match(f"streamfluo: .*{said}", done.stderr)
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_colons_are_no_pictures(tmp_path):
    assert "camera:x: no such file" in command("record", "camera:x", cwd=tmp_path).stderr.replace("'", "")
    (tmp_path / "a:cat:").mkdir()
    assert ":cat:" in command("inspect", "a:cat:", cwd=tmp_path).stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[action]]\non = "b"\nto = "udp:x"', "no action of scheme 'udp'"),
        ('[[input]]\nname = "a"\nuri = "serail:/dev/ttyACM0"', "no input of scheme 'serail'; did you mean 'serial'"),
    ],
)
def test_check_knows_what_actions_and_inputs_there_are(tmp_path, text, said):
    (tmp_path / "loop.toml").write_text(f"{bright_above(3).replace('bright', 'b')}{text}\n")
    done = command("check", "loop.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stdout == ""


def test_a_run_of_a_file_says_that_it_opens_no_inputs(tmp_path):
    (tmp_path / "in.toml").write_text('[[input]]\nname = "a"\nuri = "udp://127.0.0.1:9"\n[[step]]\nkind = "moments"\n')
    done = command("run", "in.toml", "--source", SIMULATED, "--out", "S", cwd=tmp_path)
    assert f"inputs are not opened: {SIMULATED} is read again" in done.stdout


@pytest.mark.parametrize(("built", "said"), [((), "frames come; beside them: compiling operators"), (("spots",), "")])
def test_nothing_is_said_of_kernels_that_are_all_compiled_when_frames_come(capsys, built, said):
    missing = _Missing(list, True, ALOUD)
    missing._compiling = Course({"spots": 9}, 2, built=set(built)), SimpleNamespace(over=False)
    missing.go_on(None)
    out = capsys.readouterr().out
    assert said in out if said else not out
