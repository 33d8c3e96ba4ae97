"""What an operator gives is checked before anything trusts it: nonsense mutes the step, recording goes on."""

import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from toys import DOUBLE, FRAMES, LEVEL, SPEC, Movie, Toy, a, block, chain, config, means, toys  # noqa: F401

from streamfluo import Block, FrameError, Gives, Output, Table, open_session
from streamfluo.core.registry import register
from streamfluo.core.step_values import Gate
from streamfluo.engine.engine import Engine

GIVES = (
    Gives("level", "per_frame", ("t",), "ADU", "mean"),
    Gives("trace", "by_id", ("t", "id"), "", "traces"),
    Gives("spots", "table", ("frame", "x"), "", "spots"),
    Gives("sum", "snapshot", (), "ADU", "sum"),
)
N = 8  # frames of a block
IDS = np.array([3, 7])
NONSENSE = {
    "uint64": ({"level": np.arange(N, dtype="u8")}, "value 'level' is uint64, which results do not carry"),
    "complex": ({"level": np.ones(N, complex)}, "value 'level' is complex128"),
    "objects": ({"level": np.array([None] * N)}, "value 'level' is object"),
    "a scalar": ({"level": 1.0}, r"value 'level' must be an array \(t\), found float"),
    "a numpy scalar": ({"level": np.float64(1)}, r"value 'level' must be an array \(t\), found float64"),
    "a list": ({"level": [1.0] * N}, r"value 'level' must be an array \(t\), found list"),
    "none": ({"level": None}, "found NoneType"),
    "too short": ({"level": np.ones(N - 1)}, f"value 'level' has {N - 1} rows for {N} frames"),
    "too long": ({"level": np.ones(N + 1)}, f"value 'level' has {N + 1} rows for {N} frames"),
    "too many axes": ({"level": np.ones((N, 2))}, r"must be an array \(t\), found one of shape \(8, 2\)"),
    "not declared": ({"levle": np.ones(N)}, "'levle' is not declared in gives; did you mean 'level'"),
    "a snapshot as a value": ({"sum": np.ones(N)}, "'sum' is not declared in gives"),
    "no name": ({3: np.ones(N)}, "3 is not declared in gives"),
    "no ids": ({"trace": np.ones((N, 2))}, r"'trace' is given by id and needs 'ids' \(K,\)"),
    "an id twice": ({"ids": np.array([3, 3]), "trace": np.ones((N, 2))}, "distinct integers"),
    "ids of another length": ({"ids": IDS, "trace": np.ones((N, 3))}, "value 'trace' has 3 columns for 2 ids"),
    "an array for a table": ({"spots": np.ones((N, 2))}, "value 'spots' is declared as a table, found ndarray"),
    "a table for an array": ({"level": Table({"frame": np.arange(N)})}, "value 'level' must be an array"),
    "other columns": ({"spots": Table({"frame": [0], "y": [1.0]})}, "columns frame, x expected, found frame, y"),
    "frames that are no indices": ({"spots": Table({"frame": [0.5], "x": [1.0]})}, "'frame' holds indices"),
    "no mapping": ([1, 2], "values must be a mapping of names, found list"),
}


class Strange(Toy):
    """Gives what it was told to."""

    gives = GIVES
    given = Output(0)

    def update(self, block, inputs={}):
        return self.given


@pytest.fixture(autouse=True, scope="module")
def strange(toys):  # noqa: F811
    register("toy-strange")(Strange)
    register("toy-named")(Named)


def muted_by(given, monkeypatch):
    c = chain(a("strange", id="'strange'"), a("level", id="'level'", after="'source'"))
    monkeypatch.setattr(Strange, "given", given)
    assert [step for step, _ in c.push(block(0, N))] == ["level"]
    return c.step("strange").muted


@pytest.mark.parametrize(("values", "reason"), NONSENSE.values(), ids=NONSENSE)
def test_a_step_that_gives_nonsense_is_muted_with_one_sentence_and_the_others_go_on(values, reason, monkeypatch):
    muted = muted_by(Output(0, values), monkeypatch)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(muted)
    assert "\n" not in muted


@pytest.mark.parametrize("given", [None, {"level": np.ones(N)}, 5])
def test_a_step_that_returns_no_output_is_muted(given, monkeypatch):
    assert f"update must return an Output, found {type(given).__name__}" in muted_by(given, monkeypatch)


def test_frames_of_another_spec_than_declared_mute_the_step(monkeypatch):
    other = Block(0, np.arange(N), np.zeros((N, 4, 4), np.float32))
    assert "hands on frames (4, 4) float32; its out_spec says (4, 4) uint16" in muted_by(
        Output(0, block=other), monkeypatch
    )


def test_types_with_an_exact_equivalent_are_converted():
    gate = Gate("strange", Strange(None, SPEC))
    cases = {"i1": np.int16, "f2": np.float32, ">u2": np.uint16, ">f8": np.float64, "?": np.bool_}
    for dtype, expected in cases.items():
        values = gate.values(Output(0, {"level": np.ones(N, dtype)}), block(0, N))
        assert values.arrays["level"].dtype == expected
        assert values.arrays["level"].tolist() == [1] * N


def test_what_passed_is_a_copy_that_nobody_can_write_to():
    gate, mine = Gate("strange", Strange(None, SPEC)), np.arange(float(N))
    values = gate.values(Output(0, {"level": mine}), block(0, N))
    mine[...] = 99
    assert values.arrays["level"].tolist() == list(range(N))
    with pytest.raises(ValueError, match="read-only"):
        values.arrays["level"][0] = 1
    assert values.nbytes >= values.arrays["level"].nbytes


def test_snapshots_pass_the_same_gate(monkeypatch):
    c = chain(LEVEL)
    c.push(block(0, N))
    for found, reason in {
        "x": ({"sum": object()}, "'sum' must be"),
        "y": ({"mean": np.ones(3)}, "not declared"),
    }.values():
        monkeypatch.setattr(c.step("level").operator, "read", lambda names, inputs={}, found=found: found)
        with pytest.raises(FrameError, match=reason):
            c.read("level")


class Named(Toy):
    """Needs values by id, and whose they are."""

    needs = ("trace",)
    gives = (Gives("sums", "by_id", ("t", "id"), "", "sums"),)

    def update(self, block, inputs={}):
        ids = inputs["trace.ids"]
        return Output(block.index, {"ids": ids, "sums": inputs["trace"] + ids})


def test_a_step_that_needs_values_by_id_is_given_their_ids(monkeypatch):
    c = chain(a("strange", id="'strange'"), a("named", id="'named'"))
    monkeypatch.setattr(Strange, "given", Output(0, {"ids": IDS, "trace": np.zeros((N, 2))}))
    (_, (_, out)) = c.push(block(0, N))
    assert out.values["sums"].tolist() == [[3, 7]] * N


def test_a_step_that_cannot_give_its_state_is_muted_and_the_checkpoint_holds_the_others(monkeypatch):
    c = chain(a("strange", id="'strange'"), a("level", id="'level'", after="'source'"))
    c.push(block(0, N))
    monkeypatch.setattr(c.step("strange").operator, "state", lambda: {"sum": object()})
    state = c.state()
    assert state["strange"]["state"] == {}
    assert "a plain array" in c.step("strange").muted
    assert np.isclose(state["level"]["state"]["sum"], means(0, N).sum())


STRANGER = """
    import sys
    import numpy as np
    from streamfluo import Gives, Operator, Output, Table, register

    def nonsense(kind, block):
        t = len(block)
        if kind == "exit":
            sys.exit(3)
        return {
            "uint64": lambda: Output(block.index, {"level": block.pixels.sum((1, 2))}),
            "scalar": lambda: Output(block.index, {"level": 1.0}),
            "list": lambda: Output(block.index, {"level": [1.0] * t}),
            "short": lambda: Output(block.index, {"level": np.ones(t + 1)}),
            "objects": lambda: Output(block.index, {"level": np.array([object()] * t)}),
            "undeclared": lambda: Output(block.index, {"other": np.ones(t)}),
            "nothing": lambda: None,
            "table": lambda: Output(block.index, {"level": Table({"frame": np.arange(t)})}),
            "index": lambda: Output("first", {"level": np.ones(t)}),
            "block": lambda: Output(block.index, block=block.pixels),
            "raises": lambda: 1 / 0,
        }[kind]()

    @register("stranger")
    class Stranger(Operator):
        gives = (Gives("level", "per_frame", ("t",), "ADU", "mean"),)

        def update(self, block, inputs={}):
            return nonsense(KIND, block)

        def state(self):
            return {}

        def restore(self, state):
            pass
"""
RUN = """
    import sys, pathlib
    import stranger
    from streamfluo import open_session, open_source
    from streamfluo.engine.config import parse_config
    from streamfluo.engine.engine import Engine

    config = parse_config('''
    [[step]]
    kind = "stranger"
    [[step]]
    kind = "moments"
    after = "source"
    [record]
    raw = true
    ''')
    for kind in "uint64 scalar list short objects undeclared nothing table index block raises exit".split():
        stranger.KIND = kind
        with open_source("sim:spots?shape=24x24&frames=300") as source:
            engine = Engine(source, config, pathlib.Path(kind))
            engine.start()
            engine.wait()
        session = open_session(kind)
        total = len(session.values("moments")["total_signal"])
        print(kind, session.state, session.frames, total, "muted" if engine.health().muted else "not muted")
"""


def test_a_strangers_operator_in_a_package_of_its_own_never_ends_a_recording(tmp_path):
    about = tmp_path / "stranger-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[streamfluo.operators]\nstranger = stranger\n")
    (tmp_path / "stranger.py").write_text(textwrap.dedent(STRANGER))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(RUN)], cwd=tmp_path, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 12
    assert [line.split(" ", 1)[1] for line in lines] == ["finished 300 300 muted"] * 12


def ran(out, *tables, items, **options):
    engine = Engine(Movie(items), config(*tables), out, **options)
    engine.start()
    assert engine.wait(30)
    return engine


def test_wait_does_not_raise_for_a_step_that_gives_nonsense(tmp_path, monkeypatch):
    monkeypatch.setattr(Strange, "given", Output(0, {"level": np.arange(N, dtype="u8")}))
    items = [block(n, n + N) for n in range(0, 80, N)]
    engine = ran(tmp_path / "S", a("strange", id="'strange'"), a("level", id="'level'", after="'source'"), items=items)
    session = open_session(tmp_path / "S")
    assert (engine.state, session.frames) == ("finished", 80)
    assert np.allclose(session.values("level")["level"], means(0, 80))
    assert np.array_equal(session.read_frames(0, 80), FRAMES[:80])
    assert list(engine.health().muted) == ["strange"]


def test_the_values_queue_is_bounded_by_the_bytes_it_holds(tmp_path, monkeypatch):
    """While the disk takes nothing the chain waits; memory does not grow."""
    import streamfluo.engine.engine as module

    monkeypatch.setattr(module, "VALUES_BYTES", 20_000)
    engine = Engine(Movie([block(n, n + 1) for n in range(300)]), config(LEVEL), tmp_path / "S")
    parts = engine._parts
    go = []

    def slow(values, write=parts.recording.values):
        while not go:
            time.sleep(0.01)
        write(values)

    parts.recording.values = slow
    engine.start()
    time.sleep(0.5)
    waiting = list(parts.values._items)
    assert sum(size for _, size in waiting) == parts.values.backlog <= 20_000
    assert len(waiting) <= 100  # of 300 frames: each counts 200 bytes or more
    assert not any(hasattr(item, "block") for item, _ in waiting)
    go.append(True)
    assert engine.wait(30)
    assert np.allclose(open_session(tmp_path / "S").values("level")["level"], means(0, 300))
