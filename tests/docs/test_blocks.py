"""Every code block of README and documentation runs as it stands there, as a reader would, in an empty folder.

A block with a title is written to that file, shell blocks run in bash with the installed command, Python blocks of a
page share one namespace. A block under `<!-- not run: reason -->` is only checked for its names (test_pages.py).
"""

import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
from itertools import zip_longest

import matplotlib as mpl
import numpy as np
import pytest
from pages import PAGES, ROOT, blocks

from streamfluo import Block, Chain, Spec, create, open_session, open_source
from streamfluo.core import registry
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

ENDPOINT = re.compile(r"127\.0\.0\.1:\d{4}")
LONG = "advise", "catalogue", "planes", "refine", "register", "report", "reprocess", "verify", "volumes"  # 3 to 60 s
SECONDS = re.compile(f"tutorials/|how-to/({'|'.join(LONG)}).md")


def runs(page):
    return any(block.language in ("sh", "python") and not block.reason for block in blocks(page))


def page_of(name):
    return pytest.param(ROOT / name, id=name, marks=[pytest.mark.slow] if SECONDS.search(name) else [])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def as_before():
    """Operators that a page registers are gone after it."""
    known = set(registry.operators())
    yield
    for kind in set(registry._operators) - known:
        del registry._operators[kind]


def alike(printed, said):
    """Whether two texts are the same but for numbers that differ by a tenth, or by .02, as between machines."""
    number = re.compile(r"(?<![\w.])\d+(?:\.\d+)?")
    if number.sub("#", printed).split() != number.sub("#", said).split():
        return False
    pairs = zip(number.findall(printed), number.findall(said), strict=True)
    return all(float(a) == pytest.approx(float(b), rel=0.1, abs=0.02) for a, b in pairs)


class Reader:
    """Somebody who works through a page in a folder; its endpoints become free ones."""

    def __init__(self, folder):
        self.folder = folder
        self.namespace = {"__name__": "page"}
        self.ports = {}
        self.shells = []

    def follow(self, block, said):
        """Do what a block shows, and compare what Python prints with the text `said` below it (None: there is none)."""
        text = ENDPOINT.sub(lambda found: self.ports.setdefault(found[0], f"127.0.0.1:{free_port()}"), block.text)
        if block.title:
            (self.folder / block.title).write_text(text, encoding="utf-8")
        if block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(text, "page", "exec"), self.namespace)
            assert said is None or alike(printed.getvalue(), said), printed.getvalue()
        elif block.language == "sh":
            self.shell(text)

    def shell(self, text):
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
        settings = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
        said = self.folder.with_name(f"{self.folder.name}-shell-{len(self.shells)}.txt")  # beside what the page writes
        with said.open("w") as output:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", text], cwd=self.folder, env=settings, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.shells.append(process)
        assert process.wait(timeout=400) == 0, f"{text}\n{said.read_text()}"

    def leave(self):
        """End what still runs in the background."""
        for process in self.shells:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="the shell blocks are for bash")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", [page_of(p.relative_to(ROOT).as_posix()) for p in PAGES if runs(p)])
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch, as_before):
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    reader = Reader(tmp_path)
    try:
        shown = blocks(page)
        for block, following in zip_longest(shown, shown[1:]):
            if not block.reason:
                reader.follow(block, following.text if following and following.language == "text" else None)
        assert {shell.returncode for shell in reader.shells} <= {0}
        assert reader.shells or reader.namespace.keys() > {"__name__"}, "nothing of the page ran"
    finally:
        reader.leave()


def block_of(name, word):
    [block] = [b for b in blocks(ROOT / name) if b.language == "python" and word in b.text]
    return block.text


def test_the_operator_counts(as_before):
    exec(block_of("docs/how-to/add-an-operator.md", "@register"), {"__name__": "yours"})
    operator = create("threshold", Spec((2, 2), "uint16"), level_adu=5.0)
    pixels = np.array([[[1, 9], [6, 5]], [[0, 0], [0, 9]]], np.uint16)
    assert operator.update(Block(0, [0, 0], pixels)).values["count"].tolist() == [2, 1]


CONFIGS = sorted((ROOT / "configs").glob("*.toml"))


@pytest.mark.timeout(600)  # tried alone on a machine that has compiled nothing yet, it compiles what a config needs
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_fits_together(config):
    interval_s = 0.001 if config.stem == "voltage" else None  # spikes need it
    assert Chain.from_toml(config, Spec((64, 64), "uint16", interval_s=interval_s)).steps


def test_the_sender_drives_a_chain(tmp_path):
    code = block_of("docs/how-to/send-frames.md", "zmq.PUSH")
    frames = np.random.default_rng(1).integers(0, 4096, (30, 512, 512)).astype("<u2")
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    code = code.replace("tcp://127.0.0.1:5556", endpoint)
    theirs = {"frames": [frame.tobytes() for frame in frames]}
    sender = threading.Thread(target=exec, args=(code, theirs))
    sender.start()
    with open_source(f"ingest+{endpoint}") as source:
        engine = Engine(source, parse_config('[[step]]\nkind = "moments"'), tmp_path / "S")
        engine.start()
        engine.wait()
    sender.join(10)
    theirs["socket"].context.destroy()
    session = open_session(tmp_path / "S")
    assert (session.frames, session.lost, session.spec.interval_s) == (30, 0, 0.01)
    np.testing.assert_allclose(session.snapshot("moments")["mean"], frames.mean(0))


def test_the_watcher_sees_values_snapshots_and_the_newest_frame():
    code = block_of("docs/how-to/watch.md", "ResultsSubscriber(")
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    config = parse_config(f'[publish]\nuri = "{endpoint}"\n[[step]]\nkind = "moments"')
    with open_source("sim:calcium?shape=32x32&neurons=4") as source:  # without end
        engine = Engine(source, config, None)
        engine.start()
        seen = {}
        exec(code.replace("tcp://127.0.0.1:5560", endpoint), seen)
        engine.stop()
        engine.wait()
    assert "moments" in seen["hello"].gives
    assert seen["topic"].split("/")[1] == "moments"
    assert seen["arrays"]
    assert seen["pixels"].shape == (32, 32)
