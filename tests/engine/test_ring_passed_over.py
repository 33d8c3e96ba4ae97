"""What a reader is not given because it does not come back: every frame is taken or passed over, once; what it holds
stays as it is."""

import numpy as np
import pytest

from streamfluo import Block, Plane, Spec
from streamfluo.core.source import Gap
from streamfluo.engine.ring_buffer import RingBuffer

FRAMES = np.random.default_rng(6).integers(0, 60000, (3000, 4, 4)).astype(np.uint16)


def pixels_of(plane, first, count):
    return FRAMES[first : first + count] + np.uint16(z_of(plane))


def z_of(plane):
    return int(plane.rpartition("/")[2] or 0)


class Reader:
    """Takes now and then, and holds what it took until the next time, as the journal's thread does while it writes."""

    def __init__(self, ring, name):
        self.ring, self.name, self.held = ring, name, []
        self.got, self.gaps, self.passed = {}, [], []

    def take(self):
        self.check()
        if not self.ring.waiting(self.name):
            return
        self.held = self.ring.take_all(self.name)
        for item in self.held:
            if isinstance(item, Gap):
                self.gaps.append(item)
            else:
                self.got.setdefault(item.plane, []).extend(range(item.index, item.stop))

    def pass_over(self):
        self.passed += self.ring.pass_over(self.name, "skipped")

    def check(self):
        for item in self.held:
            if isinstance(item, Block):
                np.testing.assert_array_equal(item.pixels, pixels_of(item.plane, item.index, len(item)))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("planes", [(), (Plane("red", 0), Plane("red", 1))])
def test_each_frame_is_taken_or_passed_over_and_what_is_held_stays(seed, planes):
    rng = np.random.default_rng(seed)
    ring = RingBuffer(Spec((4, 4), "u2", planes=planes), 1 << 20, ["chain", "journal"])
    names = [plane.name for plane in planes] or ["/0"]
    journal, chain = Reader(ring, "journal"), Reader(ring, "chain")
    at, gaps = dict.fromkeys(names, 0), []
    for _ in range(400):
        name = names[rng.integers(len(names))]
        channel, z = name.rpartition("/")[0], z_of(name)
        count = int(rng.integers(1, 12))
        if at[name] + count > len(FRAMES):
            break
        if rng.random() < 0.05 and at[name]:
            gaps.append(Gap(at[name], count, "camera", name if planes else ""))
            assert ring.put(gaps[-1])
        else:
            times = np.arange(at[name], at[name] + count)
            assert ring.put(Block(at[name], times, pixels_of(name, at[name], count), channel, z))
        at[name] += count
        if rng.random() < 0.3:
            chain.take()
        if rng.random() < 0.15:
            journal.take()
        if rng.random() < 0.05:
            journal.pass_over()
            journal.check()
    for name in names:  # behind a gap at the end: frames are waited for, gaps are not
        ring.put(Block(at[name], [0], pixels_of(name, at[name], 1), name.rpartition("/")[0], z_of(name)))
        at[name] += 1
    for reader in (chain, journal):
        reader.take()
        reader.check()
        skipped = [gap for gap in reader.passed if gap.reason == "skipped"]
        told = sorted((g.plane, g.first) for g in [*reader.gaps, *reader.passed] if g.reason == "camera")
        assert told == sorted((g.plane, g.first) for g in gaps)
        for name in names:
            missing = {n for g in gaps if g.plane in ("", name) for n in range(g.first, g.first + g.count)}
            over = [n for g in skipped if g.plane in ("", name) for n in range(g.first, g.first + g.count)]
            got = reader.got.get(name, [])
            assert got == sorted(got)
            assert sorted([*got, *over]) == [n for n in range(at[name]) if n not in missing]
    assert journal.passed
    assert not chain.passed
