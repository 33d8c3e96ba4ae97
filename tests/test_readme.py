"""What the README shows works as it stands there."""

import re
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from streamfluo import Block, Chain, Spec, create, open_session, open_source
from streamfluo.core import registry
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.testing import check_laws

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def threshold():
    registry.operators()
    [code] = [block for block in blocks("python") if "@register" in block]
    exec(code, {"__name__": "yours"})
    yield
    del registry._operators["threshold"]


def test_the_operator_keeps_the_laws_and_counts(threshold):
    check_laws("threshold", Spec((13, 17), "uint16"))
    operator = create("threshold", Spec((2, 2), "uint16"), level_adu=5.0)
    pixels = np.array([[[1, 9], [6, 5]], [[0, 0], [0, 9]]], np.uint16)
    assert operator.update(Block(0, [0, 0], pixels)).values["count"].tolist() == [2, 1]


def test_the_config_runs_on_the_simulation_and_the_snippet_reads_the_session(tmp_path):
    [config] = [block for block in blocks("toml") if "binned" in block]
    [snippet] = [block for block in blocks("python") if "open_session(" in block]
    with open_source("sim:calcium?shape=32x32&frames=205&seed=3&neurons=4") as source:
        engine = Engine(source, parse_config(config), tmp_path / "S")
        engine.start()
        engine.wait()
    assert engine.error is None
    exec(snippet.replace('"S"', repr(str(tmp_path / "S"))), {})
    assert open_session(tmp_path / "S").read_frames(100, 200).shape == (100, 32, 32)


def test_every_shipped_config_fits_together():
    configs = sorted((Path(__file__).parents[1] / "configs").glob("*.toml"))
    assert configs
    for path in configs:
        assert Chain.from_toml(path, Spec((64, 64), "uint16")).steps


def test_every_config_it_shows_fits_together():
    chains = [Chain(parse_config(config), Spec((64, 64), "uint16")) for config in blocks("toml")]
    assert sum(bool(chain.steps) for chain in chains) >= 3


def free_endpoint():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def test_the_sender_drives_a_chain(tmp_path):
    [code] = [block for block in blocks("python") if "zmq.PUSH" in block]
    frames = np.random.default_rng(1).integers(0, 4096, (30, 512, 512)).astype("<u2")
    endpoint = free_endpoint()
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
    [code] = [block for block in blocks("python") if "ResultsSubscriber(" in block]
    endpoint = free_endpoint()
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
