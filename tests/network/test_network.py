"""Frames over real sockets: every frame, in order, to each consumer at its own pace, whatever dies on the way."""

import threading
import time

import numpy as np
import pytest
import zmq
from systems import needs_ipc
from toy_server import FRAMES, SPEC, Movie, Serving, frames, same, serving

from streamfluo import Block, SourceError, open_source
from streamfluo.core.source import Gap, Series
from streamfluo.network import consumer as consumer_module
from streamfluo.network import server as server_module
from streamfluo.network import socket as socket_module
from streamfluo.network.consumer import NetworkSource
from streamfluo.network.frames import JournalFrames, ReplayedFrames
from streamfluo.network.server import DataServer
from streamfluo.session.journal import JournalWriter

# All frames


def test_every_frame_comes_bit_for_bit_in_order_with_its_time():
    with serving() as served, open_source(served.uri) as source:
        blocks = list(source.blocks())
        assert same(frames(blocks))
        assert [int(b.times_ns[0]) for b in blocks] == [10_000_000 * n for n in range(len(FRAMES))]
        assert {b.channel for b in blocks} == {"green"}
        assert source.ended == "finished"
        source.finished()
        assert served.ended()
        assert served.server.emitted == len(FRAMES)


def test_a_frame_that_comes_due_while_a_turn_ends_does_not_wait_for_the_next_one(monkeypatch):
    now_s = 100.0
    monkeypatch.setattr("streamfluo.network.frames.time.monotonic", lambda: now_s)
    frames = ReplayedFrames(Movie(), 10)
    frames.begin()
    seen = frames.frontier()
    now_s += 0.05
    assert frames.pause_s(seen) == pytest.approx(0.05)
    now_s += 0.06
    assert frames.frontier() == seen + 1
    assert frames.pause_s(seen) == 0
    frames.close()


class Gappy(Movie):
    """Frames 50 to 59 never came."""

    def blocks(self, max_frames=32):
        while self.next < len(FRAMES):
            start = self.next
            self.next = 50 if start < 50 else 60 if start < 60 else min(start + max_frames, len(FRAMES))
            if 50 <= start < 60:
                yield Gap(start, 60 - start)
            else:
                yield Block(start, np.arange(start, self.next), FRAMES[start : self.next])


def gaps(items):
    return [(i.first, i.count) for i in items if isinstance(i, Gap)]


def test_frames_that_are_not_in_a_recording_are_a_gap_to_who_asks_for_them():
    with serving(Gappy()) as served, NetworkSource(served.uri) as source:
        items = list(source.blocks())
    assert list(frames(items)) == [*range(50), *range(60, 300)]
    assert [n for first, count in gaps(items) for n in range(first, first + count)] == list(range(50, 60))


def test_a_damaged_frame_of_a_run_is_a_gap_to_who_asks_for_it(tmp_path):
    writer = JournalWriter(tmp_path, "movie")
    writer.append(Block(0, np.zeros(40, np.int64), FRAMES[:40]))
    path = tmp_path / "000000.sfj"
    data = bytearray(path.read_bytes())
    data[data.index(FRAMES[7].tobytes()) + 5] ^= 1
    path.write_bytes(data)
    recorded = JournalFrames(SPEC, Series("movie", "toy:movie"), writer)
    recorded.finish("finished")
    with serving(recorded) as served, NetworkSource(served.uri) as source:
        items = list(source.blocks())
    assert list(frames(items)) == [n for n in range(40) if n != 7]
    assert gaps(items) == [(7, 1)]
    writer.close()


def test_a_consumer_knows_spec_and_series_from_the_start():
    with serving() as served, NetworkSource(served.uri) as source:
        assert source.spec == SPEC
        assert source.series == Series("movie", "toy:movie", 7, len(FRAMES), {"who": "me"})
        assert source.seekable is False


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "f4"])
def test_every_dtype_the_wire_carries_arrives(dtype):
    spec = SPEC.with_(dtype=dtype)
    with serving(Movie(20, spec=spec)) as served, NetworkSource(served.uri) as source:
        got = frames(source.blocks())
        assert np.array_equal(np.stack(list(got.values())), FRAMES[:20].astype(dtype))


@pytest.mark.parametrize("dtype", ["i4", "f8"])
def test_a_dtype_the_wire_does_not_carry_is_refused_at_once(dtype):
    with pytest.raises(SourceError, match=r"toy:movie: .* frames; the wire carries u1 u2 u4 i2 f4"):
        DataServer(ReplayedFrames(Movie(spec=SPEC.with_(dtype=dtype))), "tcp://127.0.0.1:0")


def test_two_consumers_side_by_side_each_get_everything_at_their_own_pace():
    with serving() as served, NetworkSource(served.uri) as slow, NetworkSource(served.uri) as fast:
        slowly = slow.blocks()
        begun = [next(slowly) for _ in range(3)]
        assert same(frames(fast.blocks()))
        fast.finished()
        assert not served.ended(0.3)
        assert same(frames([*begun, *slowly]))
        slow.finished()
        assert served.ended()


def test_a_late_consumer_gets_everything_too():
    with serving(fps=None) as served, NetworkSource(served.uri) as first:
        assert same(frames(first.blocks()))
        with NetworkSource(served.uri) as second:
            assert same(frames(second.blocks()))


@pytest.mark.parametrize("at", [1, 100, 299, 300])
def test_a_consumer_resumes_where_an_earlier_one_stood(at):
    with serving() as served, NetworkSource(served.uri) as source:
        source.resume(at, at)
        assert same(frames(source.blocks()), at)
        source.finished()
        assert served.ended()


def test_a_stream_cannot_be_sought():
    with serving() as served, NetworkSource(served.uri) as source:
        source.seek(0)
        with pytest.raises(SourceError, match="a stream cannot be sought; it stands at frame 0"):
            source.seek(5)


# Pace


def test_with_wait_no_frame_counts_as_emitted_before_the_first_credit():
    with serving(fps=1000, wait=True) as served:
        time.sleep(0.2)
        with NetworkSource(served.uri) as source:
            time.sleep(0.2)
            assert served.server.emitted == 0
            assert same(frames(source.blocks()))


def test_without_wait_a_paced_series_runs_from_the_beginning():
    with serving(fps=100) as served:
        time.sleep(0.5)
        assert 30 <= served.server.emitted <= 80


def test_a_paced_series_takes_its_time():
    with serving(Movie(60), fps=100, wait=True) as served, NetworkSource(served.uri) as source:
        began = time.monotonic()
        assert same(frames(source.blocks()), 0, 60)
        assert 0.5 < time.monotonic() - began < 1.5


def test_a_loop_is_one_unbounded_series_whose_index_and_time_go_on():
    with serving(Movie(40), loop=True) as served, NetworkSource(served.uri) as source:
        assert source.series.frames is None
        blocks = source.blocks()
        got = [next(blocks) for _ in range(100)]
        assert [b.index for b in got] == list(range(100))
        assert all(np.array_equal(b.pixels[0], FRAMES[b.index % 40]) for b in got)
        assert [int(b.times_ns[0]) for b in got] == [10_000_000 * n for n in range(100)]


def test_a_source_that_takes_longer_than_consumers_wait_does_not_silence_its_server(monkeypatch):
    monkeypatch.setattr(server_module, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(consumer_module, "PATIENCE_S", 0.8)
    first = threading.Event()

    class Slow(Movie):
        def blocks(self, max_frames=32):
            for block in super().blocks(max_frames):
                if not first.is_set():
                    time.sleep(2)
                first.set()
                yield block

    with serving(Slow()) as served, NetworkSource(served.uri) as source, NetworkSource(served.uri) as other:
        blocks = source.blocks()
        begun = [next(blocks)]
        assert first.is_set()
        assert same(frames([*begun, *blocks]))
        assert same(frames(other.blocks()))


def test_a_source_that_fails_while_it_reads_fails_its_server():
    class Breaks(Movie):
        def blocks(self, max_frames=32):
            yield from list(super().blocks(max_frames))[:2]
            raise TimeoutError("the network drive")

    served = Serving(Breaks())
    with NetworkSource(served.uri) as source:
        blocks = source.blocks()
        got = [next(blocks) for _ in range(64)]
        assert [b.index for b in got] == list(range(64))
        served.thread.join(10)
    assert isinstance(served.failure, TimeoutError)


# Ends


def test_frames_that_wait_to_be_taken_wait_for_somebody_else_when_one_leaves_early():
    with serving() as served:
        with NetworkSource(served.uri) as source:
            next(source.blocks())
            source.finished()
        assert not served.ended(0.5)
        with NetworkSource(served.uri) as source:
            assert same(frames(source.blocks()))
            source.finished()
        assert served.ended(5)


def test_the_end_waits_for_every_acknowledgement_and_no_longer():
    with serving() as served, NetworkSource(served.uri) as source:
        same(frames(source.blocks()))
        assert not served.ended(0.3)
        source.finished()
        assert served.ended(1)


def test_a_consumer_that_says_bye_early_does_not_keep_the_server():
    with serving() as served, NetworkSource(served.uri) as stays, NetworkSource(served.uri) as leaves:
        next(leaves.blocks())
        leaves.finished()
        same(frames(stays.blocks()))
        stays.finished()
        assert served.ended()


@pytest.mark.parametrize("come", [True, False], ids=["vanished", "never came"])
def test_nobody_left_to_acknowledge_does_not_keep_the_server(monkeypatch, come):
    monkeypatch.setattr(server_module, "GRACE_S", 0.6)
    monkeypatch.setattr(server_module, "SILENT_S", 0.3)
    with serving(Movie(30)) as served:
        if come:
            with NetworkSource(served.uri) as source:
                assert same(frames(source.blocks()), 0, 30)
        assert not served.ended(0.2)
        assert served.ended(3)


def test_a_consumer_that_took_its_leave_early_does_not_keep_the_server_after_the_last_frame():
    with serving(Movie(60), fps=150, wait=True) as served:
        with NetworkSource(served.uri) as source:
            next(source.blocks())
            source.finished()
        assert not served.ended(0.1)
        assert served.ended(3)


def test_a_server_stopped_early_ends_the_series_as_aborted():
    with serving(fps=200, wait=True) as served, NetworkSource(served.uri) as source:
        blocks = source.blocks()
        begun = [next(blocks) for _ in range(20)]
        served.stop()
        got = frames([*begun, *blocks])
        assert same(got, 0, len(got))
        assert source.ended == "aborted"


def test_a_consumer_can_be_interrupted_while_it_waits():
    with serving(fps=1, wait=True) as served, NetworkSource(served.uri) as source:
        blocks = source.blocks()
        next(blocks)
        threading.Timer(0.1, source.interrupt).start()
        began = time.monotonic()
        assert list(blocks) == []
        assert time.monotonic() - began < 1


# Endpoints


def test_a_port_in_use_is_said_in_one_line():
    with serving() as served, pytest.raises(SourceError, match="cannot bind: another program uses this port"):
        DataServer(ReplayedFrames(Movie()), served.uri)


REFUSED = [
    ("tcp://0.0.0.0:5999", "refused to bind beyond this machine without encryption"),
    ("tcp://*:5999", "refused to bind beyond this machine without encryption"),
    ("tcp://192.168.0.1:5999", "refused to bind beyond this machine"),
    ("nonsense", "not an endpoint; write tcp://127.0.0.1:5555"),
    ("tcp://127.0.0.1", "not an endpoint; write tcp://127.0.0.1:5555"),
    ("tcp://127.0.0.1:7601;0.0.0.0:7601", "not an endpoint; write tcp://127.0.0.1:5555"),
    ("tcp://127.0.0.1:0/way", "not an endpoint; write tcp://127.0.0.1:5555"),
    ("tcp://127.0.0.1:*", "not an endpoint; write tcp://127.0.0.1:5555"),
    ("tcp://127.0.0.1:99999", "there is no port 99999; ports are 1 to 65535"),
    ("tcp://127.0.0.1:65536", "there is no port 65536; ports are 1 to 65535"),
    ("tcp://lo:0", "refused to bind beyond this machine"),
    ("tcp://[::]:0", "this account has no key; make one: streamfluo keys new NAME"),
    ("ipc://@name", "not an endpoint; write tcp://127.0.0.1:5555"),
    ("ipc://name;tcp://0.0.0.0:7601", "not an endpoint; write tcp://127.0.0.1:5555"),
    ("inproc://name", "not an endpoint; write tcp://127.0.0.1:5555"),
]


@pytest.mark.parametrize(("uri", "message"), REFUSED)
def test_an_endpoint_that_cannot_be_is_refused(uri, message):
    with pytest.raises(SourceError) as caught:
        DataServer(ReplayedFrames(Movie()), uri)
    assert message in str(caught.value)


@pytest.mark.parametrize(("uri", "message"), [*REFUSED[3:9], ("tcp://127.0.0.1:0", "nobody can be found at port 0")])
def test_an_endpoint_that_cannot_be_is_not_connected_to(uri, message):
    with pytest.raises(SourceError, match=message):
        NetworkSource(uri)


def test_a_name_of_this_machine_that_leads_elsewhere_is_not_bound(monkeypatch):
    monkeypatch.setattr(socket_module, "_LOOPBACK", ("localhost",))  # bound, it tells 127.0.0.1
    with pytest.raises(SourceError, match=r"tcp://localhost:0: is tcp://127.0.0.1:\d+, beyond this machine"):
        DataServer(ReplayedFrames(Movie()), "tcp://localhost:0")


@needs_ipc
def test_frames_travel_over_ipc_as_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket has 104 characters at most on macOS
    with serving(uri="ipc://f") as served, open_source(served.uri) as source:
        assert same(frames(source.blocks()))


def test_where_there_is_no_ipc_the_line_says_what_to_use(tmp_path, monkeypatch):
    monkeypatch.setattr(zmq, "has", lambda capability: False)
    with pytest.raises(SourceError, match="there is no ipc on this system; use tcp"):
        DataServer(ReplayedFrames(Movie()), f"ipc://{tmp_path}/no/folder")


def test_nobody_there_is_said_after_a_while(monkeypatch):
    monkeypatch.setattr(consumer_module, "PATIENCE_S", 0.3)
    with serving() as served:
        uri = served.uri
    with pytest.raises(SourceError, match=r"nobody serves frames here.*is the source running"):
        NetworkSource(uri)
    with pytest.raises(SourceError, match="not an endpoint"):
        NetworkSource("tcp://nowhere")


# A server that dies


def test_a_server_started_anew_on_its_port_is_gone_on_with_nothing_lost_or_doubled(monkeypatch):
    monkeypatch.setattr(consumer_module, "RETRY_S", 0.1)
    first = Serving(fps=300, wait=True)
    with NetworkSource(first.uri) as source:
        blocks = source.blocks()
        begun = [next(blocks) for _ in range(40)]
        first.kill()
        with serving(uri=first.uri, fps=None) as second:
            items = [*begun, *blocks]
            assert not any(isinstance(item, Gap) for item in items)
            assert same(frames(items))
            source.finished()
            assert second.ended()


def test_a_server_that_stays_away_ends_in_an_error_after_what_came(monkeypatch):
    monkeypatch.setattr(consumer_module, "PATIENCE_S", 0.6)
    monkeypatch.setattr(consumer_module, "RETRY_S", 0.1)
    served = Serving(fps=300, wait=True)
    with NetworkSource(served.uri) as source:
        blocks = source.blocks()
        got = [next(blocks) for _ in range(40)]
        served.kill()
        with pytest.raises(SourceError, match="the source vanished: nothing heard"):
            got.extend(blocks)
        assert same(frames(got), 0, len(got))


def test_another_series_on_the_same_port_is_refused_in_a_running_one(monkeypatch):
    monkeypatch.setattr(consumer_module, "RETRY_S", 0.1)
    first = Serving(fps=300, wait=True)
    with NetworkSource(first.uri) as source:
        blocks = source.blocks()
        next(blocks)
        first.kill()
        with serving(Movie(uid="other"), uri=first.uri), pytest.raises(SourceError, match="series movie is not here"):
            list(blocks)
