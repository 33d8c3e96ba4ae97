"""The publisher: values in order, snapshots only while watched, the newest frame, and nothing that holds up the run."""

import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import zmq
from toys import DOUBLE, FRAMES, LEVEL, SPEC, SQUARED, Movie, a, block, config, means, toys  # noqa: F401

from streamfluo import SourceError, open_session, open_source
from streamfluo.core import wire
from streamfluo.core.source import Gap
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.network.client import PreviewSubscriber, ResultsSubscriber, ask
from streamfluo.network.publishing import preview_frame

PUBLISH = "[publish]\nuri = 'tcp://127.0.0.1:0'\n"


class Held(Movie):
    """Gives its items up to each `hold`, then waits for `go`."""

    def __init__(self, items, hold=(0,), **options):
        super().__init__(items, **options)
        self.hold, self.go = hold, threading.Semaphore(0)

    def blocks(self, max_frames=32):
        for n, item in enumerate(super().blocks(max_frames)):
            if n in self.hold:
                self.go.acquire()
            yield item
        if len(self.items) in self.hold:
            self.go.acquire()


def ones(stop, start=0):
    return [block(n, n + 1) for n in range(start, stop)]


@contextmanager
def running(source, *tables, out=None, publish=PUBLISH):
    settings = parse_config(publish + "\n".join(f"[[step]]\n{t}" for t in tables), "run.toml")
    engine = Engine(source, settings, out)
    engine.start()
    try:
        yield engine, ask(engine.publisher.endpoint, wire.Hello())
    finally:
        engine.source.interrupt()
        for _ in range(9):
            getattr(source, "go", threading.Semaphore()).release()
        assert engine.wait(40)


def until(condition, within_s=5.0):
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


def messages(subscriber, topic, within_s=5.0):
    """The messages of a topic until the series ends or none comes."""
    found = []
    while (message := subscriber.receive(within_s)) is not None:
        if message[0].startswith(topic):
            found.append(message)
        if isinstance(message[1], wire.End):
            break
    return found


def watch(engine, hello, *topics):
    """A subscriber that the publisher knows of."""
    subscriber = ResultsSubscriber(hello.endpoints["results"], topics)
    until(lambda: {t for t in engine.publisher._results.watched() if t.startswith(tuple(topics))})
    until(lambda: engine.publisher._watched >= engine.publisher._results.watched())
    return subscriber


def test_hello_says_what_runs_and_what_it_gives():
    with running(Held(ones(5)), LEVEL, DOUBLE) as (_, hello):
        assert hello.program == "run"
        assert hello.series["series_uid"] == "movie"
        assert hello.series["shape"] == list(SPEC.shape)
        assert hello.steps == [("level", "toy-level", "source"), ("double", "toy-double", "level")]
        assert hello.gives["level"][0] == ("level", "per_frame", ("t",), "ADU", "mean")
        assert set(hello.endpoints) == {"results", "preview", "control"}


@pytest.mark.parametrize("keys", [200, 240, 256])
def test_hello_can_be_read_however_much_a_series_user_says(keys):
    source = Held(ones(5))
    source.series = replace(source.series, user={f"key {n}": n for n in range(keys)})
    with running(source, LEVEL, DOUBLE) as (engine, hello), ResultsSubscriber(hello.endpoints["results"]) as viewer:
        assert hello.series["series_uid"] == "movie"
        assert set(hello.gives) == {"level", "double"}
        assert viewer.receive(5)[1].series_uid == "movie"
        assert engine.publisher._start().user in ({}, source.series.user)


def test_status_tells_frames_losses_edges_steps_and_mutes():
    source = Held([*ones(20), Gap(20, 3, "camera"), *ones(40, 23)], hold=(38,))
    with running(source, LEVEL, a("fragile", id="'fragile'", after="'source'")) as (engine, _):
        until(lambda: engine.health().frames == 37)
        status = ask(engine.publisher.endpoint, wire.Status())
        assert (status.program, status.state, status.series_uid) == ("run", "running", "movie")
        assert (status.counters["frames"], status.counters["lost"]) == (37, 3)
        assert status.counters["lost_camera"] == 3
        assert "a toy that breaks" in status.counters["muted"]["fragile"]
        assert set(status.counters["steps_ms"]["level"]) == {"p50", "p99", "max"}
        muted, gap = sorted(status.counters["lately"], key=lambda line: "gap" in line)
        assert "muted: step fragile" in muted
        assert "error ZeroDivisionError: a toy that breaks" in muted
        assert "gap: first 20, count 3, reason camera" in gap


def test_values_come_whole_and_in_order_with_dims_and_unit():
    source = Held([*ones(120), *ones(200, 130)])
    with running(source, LEVEL) as (engine, hello), watch(engine, hello, "values/level/", "series/") as viewer:
        source.go.release()
        got = messages(viewer, "values/")
        index = np.concatenate([np.arange(m.index, m.index + m.count) for _, m, _ in got])
        assert index.tolist() == [*range(120), *range(130, 200)]
        assert np.allclose(np.concatenate([arrays["level"] for *_, arrays in got]), FRAMES[index].mean((1, 2)))
        header = got[0][1].arrays[0]
        assert (header.dims, header.unit, got[0][1].kind) == (("t",), "ADU", "values")


def test_snapshots_are_computed_only_while_somebody_watches_and_at_most_hz_a_second():
    source = Held(ones(200), hold=(), wait=0.01)
    with running(source, LEVEL, publish=PUBLISH + "hz = 20\n") as (engine, hello):
        operator, reads = engine.chain.step("level").operator, []
        real = operator.read
        operator.read = lambda *args: (reads.append(time.monotonic()), real(*args))[1]
        time.sleep(0.3)
        assert reads == []
        with watch(engine, hello, "snapshot/level/sum/") as viewer:
            _, message, arrays = viewer.receive(5)
            assert message.kind == "snapshot"
            assert np.isclose(arrays["sum"], means(0, message.index + 1).sum())
            time.sleep(0.5)
        until(lambda: not engine.publisher._watched)
        assert 5 <= len(reads) <= 14
        count = len(reads)
        time.sleep(0.2)
        assert len(reads) == count


def test_who_comes_late_gets_the_last_snapshot_the_series_and_the_events_at_once():
    source = Held(ones(50), hold=(50,))
    tables = LEVEL, a("fragile", id="'fragile'", after="'source'")
    with running(source, *tables) as (engine, hello):
        until(lambda: engine.health().frames == 50)
        for _ in range(2):  # nothing arrives any more, so the first is read while idle and the second is the last
            with ResultsSubscriber(hello.endpoints["results"]) as late:
                seen = {}
                topics = {"series/", "snapshot/level/sum/", "health/", "event/"}
                until(lambda: seen.keys() >= topics or seen.update([late.receive(2)[:2]]))  # noqa: B023
                assert seen["series/"].series_uid == "movie"
                assert seen["snapshot/level/sum/"].index == 49
                until(lambda: seen["health/"].counters["frames"] == 50 or seen.update([late.receive(2)[:2]]))  # noqa: B023
                assert (seen["event/"].event, seen["event/"].fields["step"]) == ("muted", "fragile")


def test_gaps_and_the_end_are_told():
    source = Held([*ones(10), Gap(10, 4, "camera"), *ones(20, 14)])
    with running(source, LEVEL) as (engine, hello), watch(engine, hello, "event/", "series/") as viewer:
        source.go.release()
        (gap,) = messages(viewer, "event/")
        assert gap[1].event == "gap"
        assert gap[1].fields == {"first": 10, "count": 4, "reason": "camera", "n": 1}
    with ResultsSubscriber("tcp://127.0.0.1:9", ["series/"]) as nobody:
        assert nobody.receive(0.01) is None


def test_a_step_that_lives_on_snapshots_is_computed_on_the_workers_thread():
    source = Held(ones(30), hold=(30,))
    with running(source, LEVEL, SQUARED) as (engine, hello):
        operator, threads = engine.chain.step("squared").operator, []
        real = operator.read
        operator.read = lambda *args: (threads.append(threading.current_thread().name), real(*args))[1]
        with watch(engine, hello, "snapshot/squared/") as viewer:
            until(lambda: engine.health().frames == 30)
            until(lambda: np.isclose(viewer.receive(5)[2]["squared"], means(0, 30).sum() ** 2))
        assert all(name.startswith("snapshots") for name in threads)


def test_a_snapshot_that_cannot_be_read_is_an_event_and_the_run_goes_on(tmp_path):
    source = Held(ones(200), hold=(), wait=0.003)
    with running(source, LEVEL, out=tmp_path / "s") as (engine, hello):
        engine.chain.step("level").operator.read = lambda *args: 1 / 0
        with watch(engine, hello, "snapshot/level/", "event/") as viewer:
            topic, message, _ = viewer.receive(5)
            assert (topic, message.event) == ("event/", "snapshot failed")
            until(lambda: engine.health().frames == 200)
    session = open_session(tmp_path / "s")
    assert session.state == "finished"
    assert len(session.values("level")["level"]) == 200
    assert "snapshot failed" in [e["event"] for e in session.events]


def test_a_preview_is_the_newest_frame_of_the_step_asked_for_binned_as_asked():
    source = Held(ones(100), hold=(0, 60))
    with running(source, a("inverse", id="'inverse'")) as (engine, hello):
        endpoint = ask(engine.publisher.endpoint, wire.Preview(step="inverse", bin_px=2)).endpoint
        assert ask(engine.publisher.endpoint, wire.Preview(step="inverse", bin_px=2)).endpoint == endpoint
        with PreviewSubscriber(endpoint) as binned, PreviewSubscriber(hello.endpoints["preview"]) as raw:
            until(lambda: engine.publisher._previewed == {"source", "inverse"})
            source.go.release()
            image, pixels = raw.receive(5)
            assert np.array_equal(pixels, FRAMES[image.index])
            assert abs(image.user.pop("arrived_ns") - time.time_ns()) < 10e9
            assert image.user == {"step": "source", "bin_px": 1}
            image, pixels = binned.receive(5)
            expected = (1000 - FRAMES[image.index].astype(float)).reshape(2, 2, 2, 2).mean((1, 3))
            assert np.allclose(pixels, expected)
            assert (image.user["step"], image.user["bin_px"]) == ("inverse", 2)
        with pytest.raises(SourceError, match="no step 'invers'; there is 'source', 'inverse'"):
            ask(engine.publisher.endpoint, wire.Preview(step="invers"))


def test_previews_come_at_most_at_their_rate():
    source = Held(ones(200), wait=0.005)
    with (
        running(source, publish=PUBLISH + "preview_hz = 10\n") as (engine, hello),
        PreviewSubscriber(hello.endpoints["preview"]) as viewer,
    ):
        until(lambda: engine.publisher._previewed)
        source.go.release()
        seen = []
        while engine.state == "running":
            if (frame := viewer.receive(0.01)) is not None:
                seen.append(frame[0].index)
        assert 5 <= len(seen) <= engine.health().elapsed_s * 10 + 2
        assert seen == sorted(set(seen))


def test_pixels_of_a_type_the_wire_does_not_carry_are_previewed_as_float32():
    from streamfluo import Block

    wide = Block(3, np.array([7]), np.arange(20.0).reshape(1, 4, 5))
    assert preview_frame(wide, 1).pixels.dtype == np.float32
    assert np.array_equal(preview_frame(wide, 2).pixels[0], wide.pixels[0, :4, :4].reshape(2, 2, 2, 2).mean((1, 3)))
    assert preview_frame(wide, 2).index == 3


# Frames of a run that records


def test_what_a_run_records_another_program_can_take_as_its_source(tmp_path):
    source = Held([*ones(50), Gap(50, 3, "camera"), *ones(200, 53)], hold=(60,))
    with running(source, LEVEL, out=tmp_path / "s") as (engine, _), open_source(engine.publisher.endpoint) as second:
        copy = Engine(second, config(DOUBLE.replace("double", "level")), tmp_path / "copy")
        copy.start()
        until(lambda: copy.health().frames > 30)
        source.go.release()
        end = threading.Thread(target=engine.wait)
        end.start()
        assert copy.wait(20)
        assert copy.state == "finished"
        end.join(20)
        assert not end.is_alive()
    one, two = open_session(tmp_path / "s"), open_session(tmp_path / "copy")
    assert np.array_equal(one.read_frames(0, 300), two.read_frames(0, 300))
    assert two.gaps == (Gap(50, 3, "camera"),)
    assert two.series["uid"] == "movie"


def test_a_run_without_a_journal_refuses_consumers_and_says_why():
    with running(Held(ones(9))) as (engine, _), pytest.raises(SourceError, match="no frames are served here"):
        open_source(engine.publisher.endpoint)


# Who does harm


def test_a_subscription_to_nothing_there_is_counted_and_the_others_go_on():
    source = Held(ones(100))
    with running(source, LEVEL) as (engine, hello), watch(engine, hello, "values/", "series/") as viewer:
        with zmq.Context() as context, context.socket(zmq.XSUB) as bad:
            bad.setsockopt(zmq.LINGER, 100)
            bad.setsockopt(zmq.SNDHWM, 0)
            bad.connect(hello.endpoints["results"])
            for n in range(500):
                bad.send(b"\x01" + f"rubbish {n}".encode())
                bad.send(b"\x02not a subscription")
                bad.send(b"")
            until(lambda: engine.publisher._results.refused["topic"] == 500)
        source.go.release()
        got = messages(viewer, "values/")
        assert sum(m.count for _, m, _ in got) == 100
        refused = engine.publisher._results.refused
        assert refused["topic"] == 500
        assert refused["type"] == 1000


def test_a_viewer_that_never_reads_holds_nobody_up():
    source = Held(ones(400), wait=0.001)
    with running(source, LEVEL) as (engine, hello), zmq.Context() as context, context.socket(zmq.SUB) as idle:
        idle.setsockopt(zmq.RCVHWM, 1)
        idle.setsockopt(zmq.SUBSCRIBE, b"")
        idle.connect(hello.endpoints["results"])
        until(lambda: engine.publisher._watched)
        source.go.release()
        until(lambda: engine.health().frames == 400)
        assert engine.wait(20)
    assert engine.state == "finished"


def test_a_port_in_use_is_one_line_and_nothing_is_left_open(tmp_path):
    with running(Held(ones(3))) as (engine, _):
        settings = parse_config(f"[publish]\nuri = '{engine.publisher.endpoint}'")
        with pytest.raises(SourceError, match="another program uses this port"):
            Engine(Movie(ones(3)), settings, None)
        settings = parse_config(f"{PUBLISH}results = '{engine.publisher.endpoint}'")
        with pytest.raises(SourceError, match="another program uses this port"):
            Engine(Movie(ones(3)), settings, None)
