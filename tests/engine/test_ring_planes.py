"""The ring with several planes: a lane each, handed on evenly or in the order they came."""

import itertools
import random
import threading
import time

import numpy as np
import pytest

from streamfluo import Block, FrameError, Plane, Spec
from streamfluo.core.source import Gap
from streamfluo.engine.ring_buffer import PLANES_BYTES, RingBuffer

SPEC = Spec((4, 4), "u2", planes=(Plane("red"), Plane("green"), Plane("green", 1)))
NAMES = SPEC.plane_names


def frames(plane, start, stop):
    """Frames of a plane whose every pixel says index and plane."""
    channel, _, z = plane.rpartition("/")
    values = 8 * np.arange(start, stop, dtype=np.uint16) + NAMES.index(plane)
    return Block(start, np.arange(start, stop) * 10, np.repeat(values, 16).reshape(-1, 4, 4), channel, int(z))


def seen(item):
    if isinstance(item, Gap):
        return [(item.plane, n, None) for n in range(item.first, item.first + item.count)]
    values = item.pixels[:, 0, 0].tolist()
    return [(item.plane, n, value) for n, value in zip(range(item.index, item.stop), values, strict=True)]


def expected(plane, start, stop):
    return [(plane, n, 8 * n + NAMES.index(plane)) for n in range(start, stop)]


def drained(ring, reader="chain", max_frames=32):
    items = []
    while (item := ring.take(reader, max_frames)) is not None:
        items += seen(item)
    return items


def filled(*items, readers=("chain",), follows=None):
    ring = RingBuffer(SPEC, 1 << 20, readers, follows=follows)
    for item in items:
        assert ring.put(item)
    ring.close()
    return ring


def singly(order, count):
    return [frames(plane, n, n + 1) for n in range(count) for plane in order]


def test_a_backlog_of_interleaved_frames_comes_as_whole_cells_of_each_plane():
    ring = filled(*singly(NAMES, 70))
    taken = []
    while (item := ring.take("chain")) is not None:
        taken.append((item.plane, item.index, item.stop))
    cells = [(0, 32), (32, 64), (64, 70)]
    assert taken == [(plane, *cell) for cell in cells for plane in NAMES]


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_everything_comes_in_the_order_it_was_put_to_who_takes_all(cut):
    items = [frames(p, n, min(n + cut, 60)) for n in range(0, 60, cut) for p in NAMES]
    ring = filled(*items, readers=("journal",))
    found = [one for item in ring.take_all("journal") for one in seen(item)]
    assert found == [one for item in items for one in seen(item)]
    assert ring.take_all("journal") == []


@pytest.mark.parametrize("order", list(itertools.permutations(NAMES)))
def test_no_plane_is_handed_on_before_the_ones_it_follows(order):
    ring = filled(*singly(order, 50), follows={"green/0": ["red/0"], "green/1": ["green/0"]})
    reached = dict.fromkeys(NAMES, 0)
    while (item := ring.take("chain", 7)) is not None:
        reached[item.plane] = item.stop
        assert reached["red/0"] >= reached["green/0"] >= reached["green/1"]
    assert set(reached.values()) == {50}


def test_a_plane_waits_for_the_one_it_follows_only_as_long_as_that_one_may_still_come():
    ring = RingBuffer(SPEC, 1 << 20, ["chain"], follows={"green/0": ["red/0"]})
    for n in range(64):
        ring.put(frames("green/0", n, n + 1))
    assert ring.take("chain", wait_s=0.01) is None
    ring.put(frames("green/0", 64, 65))  # red has stopped: 65 frames ahead of it
    assert seen(ring.take("chain", wait_s=0.01)) == expected("green/0", 0, 32)
    ring.close()
    assert drained(ring) == expected("green/0", 32, 65)


def test_a_gap_of_the_plane_it_follows_lets_a_plane_go_on():
    ring = RingBuffer(SPEC, 1 << 20, ["chain"], follows={"green/0": ["red/0"]})
    ring.put(frames("green/0", 0, 10))
    assert ring.take("chain", wait_s=0.01) is None
    ring.put(Gap(0, 4, "camera", "red/0"))
    assert ring.take("chain") == Gap(0, 4, "camera", "red/0")
    assert seen(ring.take("chain")) == expected("green/0", 0, 4)
    assert ring.take("chain", wait_s=0.01) is None
    ring.close()
    assert drained(ring) == expected("green/0", 4, 10)


def test_gaps_are_of_their_plane_alone():
    gap = Gap(3, 2, "transport", "red/0")
    found = drained(filled(frames("red/0", 0, 3), frames("green/0", 0, 3), gap, frames("red/0", 5, 6)))
    red = [*expected("red/0", 0, 3), ("red/0", 3, None), ("red/0", 4, None), *expected("red/0", 5, 6)]
    assert [one for one in found if one[0] == "red/0"] == red
    assert [one for one in found if one[0] != "red/0"] == expected("green/0", 0, 3)


def test_a_frame_of_a_plane_that_the_stream_does_not_list_is_refused():
    ring = RingBuffer(SPEC, 1 << 20, ["chain"])
    with pytest.raises(FrameError, match="a frame of plane 'blue/0'; the stream lists red/0, green/0, green/1"):
        ring.put(Block(0, [0], np.zeros((1, 4, 4), np.uint16), "blue"))


@pytest.mark.parametrize(("side", "planes"), [(16, 2), (512, 4), (2048, 8), (4096, 64)])
def test_slabs_of_all_planes_fit_into_the_ring(side, planes):
    spec = Spec((side, side), "u2", planes=tuple(Plane("c", z) for z in range(planes)))
    ring = RingBuffer(spec, 64 << 20, ["chain"])
    assert ring.max_bytes >= PLANES_BYTES
    cell, *_ = ring._slab_shape
    assert 2 * cell * planes * spec.frame_nbytes <= ring.max_bytes
    assert 32 % cell == 0


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_interleaving_every_reader_sees_every_frame_of_every_plane(seed):
    random.seed(seed)
    ring = RingBuffer(SPEC, 1 << 20, ["chain", "journal"], follows={"red/0": ["green/1"]})
    ring.max_bytes = 40 * 32 * SPEC.frame_nbytes
    reached, items = dict.fromkeys(NAMES, 0), []
    while min(reached.values()) < 300:
        plane = min(reached, key=lambda name: reached[name] + random.randrange(12))
        count = random.choice([1, 1, 1, 3, 9])
        if random.random() < 0.05:
            items.append(Gap(reached[plane], count, "camera", plane))
        else:
            items.append(frames(plane, reached[plane], reached[plane] + count))
        reached[plane] += count
    found = {"chain": [], "journal": []}

    def chain():
        while (item := ring.take("chain", random.choice([1, 5, 32]))) is not None:
            found["chain"] += seen(item)
            time.sleep(random.random() * 1e-4)

    def journal():
        while taken := ring.take_all("journal"):
            found["journal"] += [one for item in taken for one in seen(item)]
            time.sleep(random.random() * 1e-3)

    threads = [threading.Thread(target=job, daemon=True) for job in (chain, journal)]
    for thread in threads:
        thread.start()
    for item in items:
        assert ring.put(item)
    ring.close()
    for thread in threads:
        thread.join(20)
    all_of_it = [one for item in items for one in seen(item)]
    assert found["journal"] == all_of_it
    for plane in NAMES:
        assert [one for one in found["chain"] if one[0] == plane] == [one for one in all_of_it if one[0] == plane]
    assert ring.waiting("chain") == ring.waiting("journal") == 0
