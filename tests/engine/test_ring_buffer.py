"""The ring: bounded by bytes, each reader at its own pace, nothing lost, doubled or out of place."""

import random
import threading
import time

import numpy as np
import pytest

from streamfluo import Block, Spec
from streamfluo.core.source import Gap
from streamfluo.engine.ring_buffer import RingBuffer

SPEC = Spec((4, 4), "u2")
FRAME_BYTES = SPEC.frame_nbytes
READERS = ["chain", "journal"]


def block(start, stop):
    """Frames whose every pixel says their index."""
    pixels = np.repeat(np.arange(start, stop, dtype=np.uint16), 16).reshape(-1, 4, 4)
    return Block(start, np.arange(start, stop) * 10, pixels, "green")


def seen(item):
    """What a reader sees of an item, in values that outlast it."""
    if isinstance(item, Gap):
        return [("gap", item.first, item.count)]
    assert item.pixels[:, 0, 0].tolist() == list(range(item.index, item.stop))
    assert item.times_ns.tolist() == [10 * n for n in range(item.index, item.stop)]
    return list(range(item.index, item.stop))


def drained(ring, reader, max_frames=32):
    items = []
    while (item := ring.take(reader, max_frames)) is not None:
        items += seen(item)
    return items


def in_thread(job, *args):
    thread = threading.Thread(target=job, args=args, daemon=True)
    thread.start()
    return thread


def filled(*items, max_bytes=1 << 20, readers=("chain",)):
    ring = RingBuffer(SPEC, max_bytes, readers)
    for item in items:
        assert ring.put(item)
    ring.close()
    return ring


CUTS = [
    ([(0, 100)], [(0, 32), (32, 64), (64, 96), (96, 100)]),
    ([(n, n + 1) for n in range(70)], [(0, 32), (32, 64), (64, 70)]),
    ([(20, 90)], [(20, 32), (32, 64), (64, 90)]),
    ([(30, 34), (34, 38), (38, 42)], [(30, 32), (32, 42)]),
    ([(0, 3), (10, 12), (12, 18)], [(0, 3), (10, 18)]),
]


@pytest.mark.parametrize(("runs", "expected"), CUTS)
def test_waiting_frames_come_as_whole_cells_of_the_grid_cut_at_jumps(runs, expected):
    ring = filled(*(block(*run) for run in runs))
    taken = []
    while (item := ring.take("chain")) is not None:
        taken.append((item.index, item.stop))
        seen(item)
        assert item.channel == "green"
    assert taken == expected


@pytest.mark.parametrize("max_frames", [1, 7, 31])
def test_a_reader_may_ask_for_fewer_frames(max_frames):
    ring = filled(block(0, 50), block(50, 75))
    assert drained(ring, "chain", max_frames) == list(range(75))


def test_a_block_that_is_a_grid_cell_passes_by_reference_small_ones_are_copied_together():
    whole, head, tail = block(0, 32), block(32, 36), block(36, 40)
    ring = filled(whole, head, tail)
    assert np.shares_memory(ring.take("chain").pixels, whole.pixels)
    gathered = ring.take("chain")
    assert len(gathered) == 8
    assert not np.shares_memory(gathered.pixels, head.pixels)
    assert not gathered.pixels.flags.writeable


def test_a_large_block_is_cut_into_cells_without_a_copy():
    large = block(0, 96)
    ring = filled(large)
    for _ in range(3):
        assert np.shares_memory(ring.take("chain").pixels, large.pixels)


def test_gaps_keep_their_place_for_every_reader():
    items = [block(0, 3), Gap(3, 2, "camera"), block(5, 6), Gap(6, 1), Gap(7, 1), block(8, 9)]
    ring = filled(*items, readers=READERS)
    expected = [0, 1, 2, ("gap", 3, 2), 5, ("gap", 6, 1), ("gap", 7, 1), 8]
    assert drained(ring, "chain") == expected
    assert [x for item in ring.take_all("journal") for x in seen(item)] == expected
    assert ring.take_all("journal") == []


def test_two_readers_each_see_every_frame_at_their_own_pace():
    ring = RingBuffer(SPEC, 1 << 20, READERS)
    for start in range(0, 60, 5):
        ring.put(block(start, start + 5))
    assert [len(ring.take("chain")) for _ in range(2)] == [32, 28]
    assert sum(len(b) for b in ring.take_all("journal")) == 60


def full(readers=READERS):
    """A ring filled to its last byte, and the index of its next frame."""
    ring = RingBuffer(SPEC, 0, readers)
    stop = ring.max_bytes // FRAME_BYTES
    for start in range(0, stop, 32):
        assert ring.put(block(start, start + 32))
    assert ring.backlog == ring.max_bytes
    return ring, stop


@pytest.mark.parametrize("size", [1, 5, 16, 32])
def test_bytes_bound_the_producer_until_the_slowest_reader_has_moved_on(size):
    ring, start = full()
    done = threading.Event()

    def produce():
        for index in range(start, start + 320, size):
            ring.put(block(index, index + size))
        ring.close()
        done.set()

    producer, fast = in_thread(produce), in_thread(drained, ring, "chain")
    assert not done.wait(0.1)
    assert ring.backlog <= ring.max_bytes
    assert drained(ring, "journal") == list(range(start + 320))
    for thread in (producer, fast):
        thread.join(5)
        assert not thread.is_alive()
    assert ring.peak_backlog <= ring.max_bytes


def test_a_block_larger_than_the_whole_ring_passes_alone():
    ring = RingBuffer(SPEC, 0, ["chain"])
    assert ring.put(block(0, 200))
    ring.close()
    assert drained(ring, "chain") == list(range(200))


def test_blocks_larger_than_half_the_ring_pass_one_after_another():
    ring = RingBuffer(SPEC, 0, ["chain"])
    got = []
    reader = in_thread(lambda: got.extend(drained(ring, "chain")))
    producer = in_thread(lambda: [ring.put(block(n, n + 100)) for n in (0, 100, 200)] and ring.close())
    producer.join(2)
    stuck = producer.is_alive()
    ring.close()
    reader.join(5)
    assert not stuck
    assert got == list(range(300))


def test_what_a_reader_has_passed_is_let_go_what_it_holds_is_not():
    ring = filled(*(block(n, n + 32) for n in range(0, 128, 32)))
    ring.take("chain")
    assert ring.backlog == 128 * FRAME_BYTES
    for _ in range(3):
        ring.take("chain")
    assert 32 * FRAME_BYTES <= ring.backlog <= 64 * FRAME_BYTES


@pytest.mark.parametrize("size", [1, 32])
def test_what_one_reader_still_holds_is_not_overwritten_while_another_goes_on(size):
    ring = RingBuffer(SPEC, 0, READERS)
    for start in range(0, 64, size):
        ring.put(block(start, start + size))
    held = ring.take_all("journal")
    while (item := ring.take("chain")).stop < 64:
        pass
    assert item.stop == 64
    for start in range(64, 96, size):
        ring.put(block(start, start + size))
    ring.take("chain")
    for start in range(96, 128, size):
        ring.put(block(start, start + size))
    assert [x for item in held for x in seen(item)] == list(range(64))


def test_dropping_a_reader_that_gave_up_frees_the_others():
    ring, start = full()
    for _ in range(start // 32):
        assert ring.take("chain") is not None
    producer = in_thread(ring.put, block(start, start + 32))
    consumer = in_thread(ring.take, "chain")
    time.sleep(0.05)
    assert producer.is_alive()
    ring.drop_reader("journal")
    for thread in (producer, consumer):
        thread.join(5)
        assert not thread.is_alive()


def test_with_no_reader_left_nothing_is_kept():
    ring = RingBuffer(SPEC, 0, ["chain"])
    ring.put(block(0, 64))
    ring.drop_reader("chain")
    assert ring.backlog == 0


def test_closing_wakes_everyone_and_refuses_what_comes_after():
    ring = RingBuffer(SPEC, 0, READERS)
    results = {}
    waiting = [
        in_thread(lambda: results.update(take=ring.take("chain"))),
        in_thread(lambda: results.update(all=ring.take_all("journal"))),
    ]
    time.sleep(0.05)
    ring.close()
    for thread in waiting:
        thread.join(5)
    assert results == {"take": None, "all": []}
    assert ring.put(block(0, 1)) is False


@pytest.mark.parametrize("size", [1, 32])
def test_closing_wakes_a_producer_that_waits_for_room(size):
    ring, start = full(["chain"])
    results = []
    producer = in_thread(lambda: results.append(ring.put(block(start, start + size))))
    time.sleep(0.05)
    ring.close()
    producer.join(5)
    assert results == [False]
    assert drained(ring, "chain") == list(range(start))


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_interleaving_every_reader_sees_every_frame_once_and_in_order(seed):
    chance = random.Random(seed)
    items, expected, at = [], [], chance.randrange(40)
    for _ in range(60):
        if chance.random() < 0.15:
            count = chance.randrange(1, 40)
            items.append(Gap(at, count))
            expected.append(("gap", at, count))
        else:
            count = chance.choice([1, 1, 1, 3, 32, 50])
            items.append(block(at, at + count))
            expected += range(at, at + count)
        at += count
    ring = RingBuffer(SPEC, chance.choice([0, 8192, 1 << 20]), READERS)
    got, failures = {"chain": [], "journal": []}, []

    def produce():
        for item in items:
            ring.put(item)
            time.sleep(chance.choice([0, 0, 0, 1e-4]))
        ring.close()

    def run_chain(dice):
        while (item := ring.take("chain", dice.choice([1, 5, 32]))) is not None:
            time.sleep(dice.choice([0, 0, 0, 1e-4]))
            got["chain"] += seen(item)

    def write_journal(dice):
        while taken := ring.take_all("journal"):
            time.sleep(dice.choice([0, 0, 1e-3]))
            for item in taken:
                got["journal"] += seen(item)

    def guarded(job, *args):
        try:
            job(*args)
        except Exception as error:
            failures.append(repr(error)[:500])
            ring.close()

    jobs = [(produce,), (run_chain, random.Random(seed + 1)), (write_journal, random.Random(seed + 2))]
    threads = [in_thread(guarded, *job) for job in jobs]
    for thread in threads:
        thread.join(5)
    stuck = [thread.is_alive() for thread in threads]
    ring.close()
    assert failures == []
    assert stuck == [False, False, False]
    assert got["chain"] == expected
    assert got["journal"] == expected
    assert ring.peak_backlog <= ring.max_bytes


class SlowSlab(np.ndarray):
    """Memory that takes a while to copy into."""

    def __setitem__(self, where, what):
        time.sleep(0.1)
        super().__setitem__(where, what)


def test_a_reader_that_looks_while_the_first_frame_of_a_slab_is_copied_does_not_pass_it_by():
    ring = RingBuffer(Spec((1, 1), "uint16"), 1 << 20, ["chain"])
    for n in range(32):
        ring.put(Block(n, [0], np.zeros((1, 1, 1), np.uint16)))
    ring._slabs.append(np.empty((32, 1, 1), np.uint16).view(SlowSlab))
    copying = threading.Thread(target=ring.put, args=(Block(32, [0], np.zeros((1, 1, 1), np.uint16)),))
    copying.start()
    time.sleep(0.03)
    assert len(ring.take("chain")) == 32
    assert ring.take("chain").index == 32
    copying.join()
