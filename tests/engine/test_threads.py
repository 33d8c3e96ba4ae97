"""A chain on several threads gives what it gives on one: results, states, events and files, in their order."""

import json
import threading

import numpy as np
import pytest
from test_bands import in_bytes
from toys import BINNED, DOUBLE, FRAMES, LEVEL, Movie, Toy, a, block, chain, config, toys  # noqa: F401

from streamfluo import Block, FrameError, Output, Spec
from streamfluo.core import thread_pool
from streamfluo.core.registry import register
from streamfluo.engine import chain_thread, flow
from streamfluo.engine.chain import Chain
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

BRANCHES = """
[[step]]
kind = "motion"
params = { init_frames = 20 }
[[step]]
kind = "sofi"
[[step]]
kind = "reconstruct"
params = { psf = 1.3, iterations = 2 }
[[step]]
kind = "extract"
after = "motion"
params = { init_frames = 20, init_delay_frames = 12, neuron_sigma_px = 2 }
[[step]]
kind = "moments"
after = "source"
[[step]]
kind = "trigger"
params = { when = "moments.total_signal > 0 ADU and motion.valid" }
inputs = { "motion.valid" = "motion.valid" }
"""
MOVIE = np.random.default_rng(61002).poisson(100 + 50 * np.sin(np.arange(40) / 3)[None, :, None], (160, 40, 48))
THREADS = (2, 4, 16)


@pytest.fixture(autouse=True)
def however_small(monkeypatch):
    """What is shared out may be as small as these frames."""
    for module, name in ((thread_pool, "LEAST_NS"), (flow, "LEAST_NS"), (flow, "FRAME_NS")):
        monkeypatch.setattr(module, name, 0)
    monkeypatch.setattr(chain_thread, "PRESSED_FRAMES", 0)


def ran(text, threads, stream, frames=MOVIE.astype(np.uint16)):
    """What a chain makes of a movie: results in order, states, what it reads, and events."""
    made = Chain(parse_config(f"[chain]\nthreads = {threads}\n{text}"), Spec(frames.shape[1:], "uint16", 0.02))
    results, cells = [], [Block(n, np.arange(n, n + 32), frames[n : n + 32]) for n in range(0, len(frames), 32)]
    if stream:
        given = iter(cells)
        made.run_stream(lambda: next(given, None), lambda block, found: results.extend(found))
    else:
        for cell in cells:
            results += made.run(cell)
    results += made.run_end()
    told = [(one.step, in_bytes(one.values.arrays) if one.values is not None else None) for one in results]
    return told, in_bytes(made.state()), {s.id: in_bytes(made.read(s.id)) for s in made.steps}, made.events


@pytest.mark.parametrize("stream", [pytest.param(False, marks=pytest.mark.slow), True], ids=["blocks", "stream"])
def test_branches_give_the_same_bits_in_the_same_order(stream):
    expected = ran(BRANCHES, 1, False)
    for threads in THREADS:
        assert ran(BRANCHES, threads, stream) == expected


class Meets(Toy):
    """Waits until another step is at it too."""

    barrier = threading.Barrier(2)

    def update(self, block, inputs={}):
        self.barrier.wait(20)
        return Output(block.index)


@pytest.fixture
def meets(toys):  # noqa: F811
    register("toy-meets")(Meets)
    Meets.barrier = threading.Barrier(2)


TWO = [a("meets", id="'one'"), a("meets", id="'other'", after="'source'")]


def of(threads, *tables):
    return chain(*tables[:-1], with_threads(threads, tables[-1]))


def with_threads(threads, table):
    """The last step of a config, and how many threads there are."""
    return f"{table}\n[chain]\nthreads = {threads}"


def test_branches_are_at_it_at_the_same_time(meets):
    made = of(2, *TWO)
    made.run(block(0, 8))
    assert not any(step.muted for step in made.steps)


def test_a_step_is_at_the_next_block_while_the_one_behind_it_is_at_the_last(meets):
    """The first step meets the second one, which is a block behind: none of both could do so alone."""
    Meets.barrier = threading.Barrier(2)
    made = of(2, a("level"), a("meets", id="'one'"), a("meets", id="'other'", after="'one'"))
    blocks, done = iter([block(0, 8), block(8, 16), block(16, 24)]), []

    class First(Meets):
        def update(self, block, inputs={}):
            return Output(block.index) if block.index == 0 else super().update(block)

    class Last(Meets):
        def update(self, block, inputs={}):
            return Output(block.index) if block.index == 16 else super().update(block)

    made.step("one").operator.__class__, made.step("other").operator.__class__ = First, Last
    made.run_stream(lambda: next(blocks, None), lambda block, found: done.append(block.index))
    assert done == [0, 8, 16]
    assert not any(step.muted for step in made.steps)


@pytest.mark.parametrize("threads", [1, *THREADS])
@pytest.mark.parametrize("stream", [False, True], ids=["blocks", "stream"])
def test_a_fault_mutes_its_step_and_those_behind_it_at_its_frame(threads, stream):
    tables = [
        a("level", id="'before'"),
        a("fragile", id="'fragile'", params="{ at = 10 }"),
        a("double", id="'behind'", inputs="{ level = 'before.level' }"),
        a("level", id="'beside'", after="'source'"),
        a("fragile", id="'late'", after="'source'", params="{ at = 20 }"),
    ]
    made, blocks, results = of(threads, *tables), iter([block(0, 8), block(8, 16), block(16, 24)]), []
    if stream:
        made.run_stream(lambda: next(blocks, None), lambda _, found: results.append([one.step for one in found]))
    else:
        results = [[one.step for one in made.run(each)] for each in blocks]
    assert results == [
        ["before", "fragile", "behind", "beside", "late"],
        ["before", "beside", "late"],
        ["before", "beside"],
    ]
    said = [(event["event"], event["step"], event["frame"]) for event in made.events]
    assert said == [("muted", "fragile", 8), ("muted", "late", 16)]
    assert "in update" in made.events[0]["traceback"]
    assert made.step("behind").muted == "needs fragile, which is muted"


@pytest.mark.parametrize("threads", [1, 4])
def test_frames_that_go_back_are_refused(threads):
    made = of(threads, LEVEL, DOUBLE, a("level", id="'beside'", after="'source'"))
    made.run(block(8, 16))
    with pytest.raises(FrameError, match="step 'level': frame 0 after frame 15"):
        made.run(block(0, 8))
    made.run(block(16, 24))


def files_of(folder):
    """What a session holds, without when it was written and how long steps took."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    kept = {"events": [{k: v for k, v in event.items() if k not in ("utc", "crc32")} for event in events]}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in (
            "config.toml",
            "events.jsonl",
            "health.json",
            "session.json",
            "session.copy.json",
            "manifest.json",  # sums of these, too
        ):
            kept[str(path.relative_to(folder))] = path.read_bytes()
    return kept


@pytest.mark.parametrize(("threads", "frames"), [(2, 32), (4, 32), (2, 1), (4, 8)])
def test_a_session_holds_the_same_bytes(tmp_path, threads, frames, monkeypatch):
    """Also where frames are so large that blocks under way are of fewer of them; a step that breaks is muted there."""
    monkeypatch.setattr(flow, "STREAM_BYTES", min(flow.AHEAD, threads) * frames * FRAMES[0].size * 4)
    streamed, run_stream = [], Chain.run_stream
    monkeypatch.setattr(Chain, "run_stream", lambda *given: streamed.append(given) or run_stream(*given))
    for name, count in (("one", 1), ("several", threads)):
        fragile = [a("fragile", after="'source'", params="{ at = 300 }")] if frames == 32 else []
        tables = (LEVEL, DOUBLE, BINNED, *fragile, with_threads(count, "kind = 'moments'\nafter = 'source'"))
        engine = Engine(Movie([block(n, n + 40) for n in range(0, 400, 40)]), config(*tables), tmp_path / name)
        engine.start()
        assert engine.wait(30)
        assert engine.error is None
    one, several = files_of(tmp_path / "one"), files_of(tmp_path / "several")
    assert one.keys() == several.keys()
    assert [name for name in one if one[name] != several[name]] == []
    muted = [(e["step"], e["frame"]) for e in one["events"] if e["event"] == "muted"]
    assert muted == ([("toy-fragile", 288)] if frames == 32 else [])
    assert streamed  # blocks waited: the source is faster than the chain
