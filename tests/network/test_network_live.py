"""A live source behind a data endpoint: a history bounded by bytes, gaps as messages, answers to who and how."""

import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from toy_server import FRAMES, SPEC, Movie, frames, same, serving

from streamfluo import Block, Source, SourceError
from streamfluo.core import wire
from streamfluo.core.source import Gap, Series
from streamfluo.network import continuation as continuation_module
from streamfluo.network import server as server_module
from streamfluo.network.client import ask
from streamfluo.network.consumer import NetworkSource
from streamfluo.network.continuation import Continuation, Mark
from streamfluo.network.frames import LiveFrames
from streamfluo.network.server import DataServer
from streamfluo.network.watching import Watch

FRAME_NBYTES = SPEC.frame_nbytes


class Camera(Source):
    """Gives what the test hands it, when the test hands it; a live source."""

    seekable = False

    def __init__(self, frames=None):
        self.spec, self.series = SPEC, Series("live", "toy:camera", frames=frames)
        self._items, self._more, self._over = [], threading.Condition(), False

    def give(self, *items):
        with self._more:
            self._items += items
            self._more.notify()

    def interrupt(self):
        with self._more:
            self._over = True
            self._more.notify()

    def seek(self, index):
        raise AssertionError

    def blocks(self, max_frames=32):
        while True:
            with self._more:
                while not self._items and not self._over:
                    self._more.wait()
                if not self._items:
                    return
                item = self._items.pop(0)
            yield item


def block(start, stop, offset=0):
    return Block(start + offset, np.arange(start, stop) * 10_000_000, FRAMES[start:stop])


@contextmanager
def live(camera, max_bytes=1 << 30, uri="tcp://127.0.0.1:0", continuation=None, **options):
    stream = LiveFrames(camera, max_bytes, continuation)
    server = DataServer(stream, uri, program="camera", **options)
    halt = threading.Event()
    thread = threading.Thread(target=server.run, args=(halt.is_set,), daemon=True)
    thread.start()
    try:
        yield server, stream
    finally:
        halt.set()
        thread.join(5)
        stream.close()
        server.close()
        assert not thread.is_alive()


def test_frames_of_a_live_source_reach_a_consumer_as_they_come():
    camera = Camera()
    with live(camera) as (server, _), NetworkSource(server.endpoint) as source:
        blocks = source.blocks()
        for n in range(5):
            camera.give(block(n, n + 1))
            assert next(blocks).index == n
        camera.give(block(5, 40))
        camera.interrupt()
        assert [b.index for b in blocks] == list(range(5, 40))
        assert source.ended == "finished"


def test_drops_of_the_camera_are_told_apart_and_counted_at_the_end():
    camera = Camera()
    camera.give(block(0, 10), Gap(10, 4, "camera"), block(10, 20, offset=4))
    with live(camera) as (server, _), NetworkSource(server.endpoint) as source:
        camera.interrupt()
        items = list(source.blocks())
        assert [(i.first, i.count, i.reason) for i in items if isinstance(i, Gap)] == [(10, 4, "camera")]
        assert len(items) == 21
        assert source._end.dropped_camera == 4
        assert ask(server.endpoint, wire.Status()).counters["dropped_camera"] == 4


def test_what_fell_out_of_the_history_is_one_gap_of_its_size():
    camera = Camera()
    with live(camera, 50 * FRAME_NBYTES) as (server, stream):
        camera.give(*[block(n, n + 5) for n in range(0, 200, 5)])
        camera.interrupt()
        while stream.total is None:
            time.sleep(0.01)
        assert stream.oldest == 150
        with NetworkSource(server.endpoint) as source:
            items = list(source.blocks())
        assert [(i.first, i.count) for i in items if isinstance(i, Gap)] == [(0, 150)]
        assert same(frames(items), 150, 200)


def test_a_slow_consumer_gets_a_gap_and_a_fast_one_beside_it_everything():
    camera = Camera()
    with (
        live(camera, 100 * FRAME_NBYTES) as (server, _),
        NetworkSource(server.endpoint) as slow,
        NetworkSource(server.endpoint) as fast,
    ):
        slow._window = 8
        slowly, quickly = slow.blocks(), fast.blocks()
        camera.give(block(0, 1))
        begun, got = [next(slowly)], [next(quickly)]
        for n in range(1, 300):
            camera.give(block(n, n + 1))
            got.append(next(quickly))
        camera.interrupt()
        assert same(frames([*got, *quickly]))
        items = [*begun, *slowly]
        gaps = [i for i in items if isinstance(i, Gap)]
        assert len(gaps) == 1
        assert gaps[0].count + len(frames(items)) == 300


def test_a_series_that_goes_on_after_its_server_died_is_one_gap_of_the_lost_time_to_who_waited(tmp_path, monkeypatch):
    monkeypatch.setattr(continuation_module, "NOTE_S", 0.0)
    first, second = Camera(), Camera()
    with live(first, continuation=Continuation(first, "here", tmp_path)) as (server, _):
        uri = server.endpoint
        source = NetworkSource(uri)
        blocks = source.blocks()
        first.give(block(0, 20))
        got = [next(blocks) for _ in range(20)]
        while not (notes := list(tmp_path.glob("*.json"))):
            time.sleep(0.01)
        note, left = notes[0], notes[0].read_bytes()
        server.end = lambda reason: None  # it dies without a word
    note.write_bytes(left)
    second.series = Series("another", "toy:camera", t0_ns=1_005_000_000)
    with live(second, uri=uri, continuation=Continuation(second, "here", tmp_path)) as (_, stream):
        assert stream.series.uid == "live"
        time.sleep(0.5)
        second.give(block(0, 30))
        second.interrupt()
        items = [*got, *blocks]
        source.finished()
    source.close()
    (gap,) = [i for i in items if isinstance(i, Gap)]
    assert (gap.first, gap.reason) == (20, "transport")
    assert 50 <= gap.count <= 200  # half a second and more at 100 frames a second
    assert list(frames(items)) == [*range(20), *range(20 + gap.count, 50 + gap.count)]
    assert items[-1].times_ns[-1] == 29 * 10_000_000 + 1_005_000_000
    assert list(tmp_path.iterdir()) == []  # ended in order


def test_a_note_too_old_torn_or_of_another_camera_begins_a_new_series(tmp_path):
    camera = Camera()
    continuation = Continuation(camera, "here", tmp_path)
    mark = Mark("old", 0, time.time_ns(), 7, 7)
    continuation.note(mark)
    assert Continuation(camera, "here", tmp_path).mark == mark
    assert Continuation(camera, "there", tmp_path).mark is None
    (note,) = tmp_path.iterdir()
    for damaged in (note.read_bytes()[:-3], b"", b"{}"):
        note.write_bytes(damaged)
        assert Continuation(camera, "here", tmp_path).mark is None
    Continuation(camera, "here", tmp_path).note(Mark("old", 0, time.time_ns() - 61 * 10**9, 7, 7))
    assert Continuation(camera, "here", tmp_path).mark is None


def test_a_folder_that_cannot_be_written_stops_no_camera(tmp_path):
    (tmp_path / "file").touch()
    camera = Camera()
    camera.give(block(0, 5))
    with live(camera, continuation=Continuation(camera, "here", tmp_path / "file" / "series")) as (server, stream):
        with NetworkSource(server.endpoint) as source:
            camera.interrupt()
            assert same(frames(source.blocks()), 0, 5)
            assert source.ended == "finished"
        assert stream.error is None


@pytest.mark.parametrize("keys", [1, 200, 240, 256])
def test_hello_and_start_can_be_read_however_much_a_series_user_says(keys):
    movie = Movie(20)
    movie.series = replace(movie.series, user={f"key {n}": n for n in range(keys)})
    with serving(movie, wait=True) as served, NetworkSource(served.uri) as source:
        hello = ask(served.uri, wire.Hello())
        assert hello.series["series_uid"] == "movie"
        assert len(hello.series["user"]) in (0, keys)
        assert len(source.series.user) in (0, keys)
        assert same(frames(source.blocks()), 0, 20)


def test_the_frames_missed_are_counted_at_the_series_own_rate_where_that_is_known():
    second = 10**9
    assert Mark("u", 0, 0, 900, 1000, ran_ns=10 * second).missed(2 * second, 0.5) == 200
    assert Mark("u", 0, 0, 5, 5, ran_ns=10 * second).missed(2 * second, 0.5) == 4
    assert Mark("u", 0, 0, 5, 5, ran_ns=10 * second).missed(0, None) == 1


def test_a_clock_that_is_set_while_a_server_is_away_counts_no_frames(monkeypatch):
    monkeypatch.setattr(continuation_module, "steady_ns", lambda: 50 * 10**9)
    monkeypatch.setattr(continuation_module, "boot_id", lambda: "today")
    an_hour_ago_ns = time.time_ns() - 3600 * 10**9
    assert Mark("u", 0, an_hour_ago_ns, 5, 5, 0, 48 * 10**9, "today").away_ns == 2 * 10**9
    assert Mark("u", 0, an_hour_ago_ns, 5, 5, 0, 48 * 10**9, "yesterday").away_ns >= 3600 * 10**9


def test_with_wait_a_camera_starts_with_its_first_consumer():
    camera = Camera()
    with live(camera, wait=True) as (server, stream):
        camera.give(block(0, 3))
        time.sleep(0.1)
        assert stream.frontier() == 0
        with NetworkSource(server.endpoint) as source:
            assert next(source.blocks()).index == 0


def test_a_camera_that_fails_ends_its_series_with_error_and_all_it_gave():
    class Failing(Camera):
        def blocks(self, max_frames=32):
            yield block(0, 7)
            raise SourceError("toy:camera: the cable came off")

    with live(Failing()) as (server, stream), NetworkSource(server.endpoint) as source:
        assert same(frames(source.blocks()), 0, 7)
        assert source.ended == "error"
        assert stream.error == "toy:camera: the cable came off"


def test_hello_says_program_series_and_endpoints():
    with serving(wait=True) as served:
        hello = ask(served.uri, wire.Hello())
        assert (hello.version, hello.program) == (1, "replay")
        assert hello.series["series_uid"] == "movie"
        assert hello.series["shape"] == list(SPEC.shape)
        assert hello.series["frames"] == 300


def test_status_counts_what_was_emitted_and_what_was_refused():
    with serving(Movie(20), wait=True) as served, NetworkSource(served.uri) as source:
        blocks = source.blocks()
        next(blocks)
        source._socket.send(b"\xc1")
        list(blocks)
        status = ask(served.uri, wire.Status())
        assert (status.program, status.series_uid) == ("replay", "movie")
        assert status.counters["emitted"] == 20
        assert status.counters["consumers"] == 1
        assert status.counters["refused"] == {"header_syntax": 1}


def test_who_asks_where_nobody_is_gets_one_line():
    with pytest.raises(SourceError, match="nobody answers here"):
        ask("tcp://127.0.0.1:9", wire.Hello(), patience_s=0.2)


def test_a_server_of_frames_shows_the_newest_to_who_only_looks():
    camera = Camera()
    with live(camera) as (server, _), Watch(server.endpoint) as watch:
        watch.want([], [("source", 2)])
        messages = seen(watch, lambda m: isinstance(m, wire.Preview))
        assert messages["hello"].frames == {"source": (SPEC.shape, "<u2", SPEC.pixel_um, SPEC.interval_s)}
        assert messages["status"].counters["consumers"] == 0
        time.sleep(0.2)  # until the subscription has arrived
        camera.give(block(0, 40))
        image = seen(watch, lambda m: isinstance(m, wire.Image))["image"]
        assert (image.index, image.user["bin_px"]) == (39, 2)
        assert time.time_ns() - image.user["arrived_ns"] < 5e9


def test_who_only_looks_does_not_start_a_replay_that_waits():
    with serving(Movie(20), wait=True) as served, Watch(served.uri) as watch:
        watch.want([], [("source", 1)])
        seen(watch, lambda m: isinstance(m, wire.Preview))
        time.sleep(0.2)
        assert ask(served.uri, wire.Status()).counters["emitted"] == 0


def test_a_preview_of_a_step_that_is_not_there_is_refused():
    with serving(wait=True) as served, pytest.raises(SourceError, match="no step 'motion'; there is 'source'"):
        ask(served.uri, wire.Preview(step="motion"))


def seen(watch, last, patience_s=5):
    """What a watch sees until a message comes that `last` knows: the newest of each type by its name."""
    found, deadline = {}, time.monotonic() + patience_s
    while time.monotonic() < deadline:
        for message, _ in watch.turn():
            found[type(message).__name__.lower()] = message
            if last(message):
                return found
        time.sleep(0.01)
    raise AssertionError(f"only {sorted(found)} came")


def test_more_consumers_than_there_is_room_for_are_refused_until_silent_ones_make_room(monkeypatch):
    monkeypatch.setattr(server_module, "MAX_CONSUMERS", 2)
    with serving(wait=True) as served:
        one, two = NetworkSource(served.uri), NetworkSource(served.uri)
        with one, two, pytest.raises(SourceError, match="2 consumers are here already"):
            NetworkSource(served.uri)
        monkeypatch.setattr(server_module, "SILENT_S", 0.0)
        with NetworkSource(served.uri) as source:
            assert same(frames(source.blocks()))
