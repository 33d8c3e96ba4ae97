"""A run that was killed and resumed has each event of its chain once, though frames are computed again."""

import numpy as np
import pytest
from toys import Movie, Toy, a, block, chain, toys  # noqa: F401 - a fixture

from streamfluo import Block, Output, Spec, open_session
from streamfluo.core.registry import register
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine


class Telling(Toy):
    """Notes each tenth frame, and doubts its results from frame 7 on."""

    def __init__(self, params, spec, device="cpu"):
        super().__init__(params, spec, device)
        self.told, self.last = [], 0

    def update(self, block, inputs={}):
        self.told += [(n, f"frame {n}") for n in range(block.index, block.stop) if n % 10 == 3]
        self.last = block.stop - 1
        return Output(block.index)

    def notes(self):
        told, self.told = self.told, []
        return told

    def doubt(self):
        return f"{self.last} frames are many" if self.last >= 7 else ""

    def state(self):
        return {"last": self.last}

    def restore(self, state):
        self.last = state["last"]


@pytest.fixture(autouse=True, scope="module")
def telling(toys):  # noqa: F811
    register("toy-telling")(Telling)


CHAIN = """
[record]
raw = true
[[step]]
kind = "toy-telling"
id = "telling"
[[step]]
kind = "toy-fragile"
id = "fragile"
after = "source"
params = { at = 20 }
"""


def run(folder, frames, **more):
    source = Movie([Block(n, [n * 10_000_000], np.full((1, 6, 8), 5, np.uint16)) for n in range(frames)])
    source.spec = Spec((6, 8), "uint16", interval_s=0.01)
    engine = Engine(source, parse_config(CHAIN, "c.toml"), folder, **more)
    engine.start()
    assert engine.wait(60)
    assert engine.error is None


def told(folder):
    events = [event for event in open_session(folder).events if event["event"] in ("noted", "doubtful", "muted")]
    return [(event["step"], event["event"], event.get("said", "")) for event in events]


def test_events_of_frames_that_are_computed_again_stand_there_once(tmp_path):
    run(tmp_path / "S", 35)
    (tmp_path / "S" / "checkpoint.npz").unlink(missing_ok=True)  # so that the journal is read from its start
    first = told(tmp_path / "S")
    assert sorted(first) == [
        ("fragile", "muted", ""), ("telling", "doubtful", ""),
        *(("telling", "noted", f"frame {n}") for n in (13, 23, 3, 33)),
    ]  # fmt: skip
    run(tmp_path / "S", 60, resume=True)
    assert told(tmp_path / "S") == [*first, ("telling", "noted", "frame 43"), ("telling", "noted", "frame 53")]


def test_what_was_lost_with_the_kill_is_noted_when_it_is_computed_again(tmp_path):
    run(tmp_path / "S", 35)
    (tmp_path / "S" / "checkpoint.npz").unlink(missing_ok=True)
    events = tmp_path / "S" / "events.jsonl"
    kept = [line for line in events.read_text().splitlines(keepends=True) if "frame 13" not in line]
    events.write_text("".join(kept))
    run(tmp_path / "S", 35, resume=True)
    assert sorted(said for _, event, said in told(tmp_path / "S") if event == "noted") == [
        "frame 13", "frame 23", "frame 3", "frame 33",
    ]  # fmt: skip


def test_a_doubt_of_a_checkpoint_is_not_said_again():
    first, second = chain(a("telling")), chain(a("telling"))
    first.push(block(0, 10))
    assert [event["event"] for event in first.events] == ["noted", "doubtful"]
    second.restore(first.state())
    assert second.steps[0].doubt == "9 frames are many"
    second.push(block(10, 12))
    assert second.events == []
