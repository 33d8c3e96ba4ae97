"""A card that is full, lost or not there costs no value: steps go on on the processor, and events say so."""

import numpy as np
import pytest
from toys import FRAMES, Movie, block, same_of_steps, toys  # noqa: F401

from streamfluo import Block, ConfigError, Spec, open_session
from streamfluo.core.card import CardFull, CardLost, using_card
from streamfluo.core.card_block import CardBlock
from streamfluo.engine import chain_thread, flow
from streamfluo.engine.chain import Chain
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.testing.host_card import HostCard
from streamfluo.verify.verifying import Wanted, verify_session

STEPS = """
[chain]
device = "gpu"
threads = {threads}
[record]
raw = {raw}
checkpoint_s = {checkpoint_s}
[[step]]
kind = "moments"
[[step]]
kind = "trigger"
id = "bright"
params = {{ when = "moments.total_signal > 9500 ADU" }}
[[step]]
kind = "toy-level"
after = "source"
[[action]]
on = "bright"
to = "python:test_falling_back:act"
deadline_ms = 20_000
"""
acted = []


def act(decision):
    acted.append(decision.frame)


class Failing(HostCard):
    """A card that fails once so many things were asked of it: it is full, or lost for ever."""

    def __init__(self, after=1 << 60, fault=CardLost):
        super().__init__()
        self.after, self.fault, self.asked = after, fault, 0

    def check(self):
        self.asked += 1
        if self.asked > self.after and self.fault is CardLost:
            raise CardLost("the bus is gone")

    def put(self, pixels):
        if self.asked > self.after and self.fault is CardFull:
            raise CardFull("out of memory")
        return super().put(pixels)


def run(folder, card, text=STEPS, sizes=5, raw="true", checkpoint_s=0.001, threads=1, wait=0.0):
    acted.clear()
    cells = [block(n, min(n + sizes, 400)) for n in range(0, 400, sizes)]
    source = Movie(cells, wait=wait)
    with using_card(card):
        text = text.format(raw=raw, checkpoint_s=checkpoint_s, threads=threads)
        engine = Engine(source, parse_config(text), folder)
        engine.start()
        assert engine.wait(60)
    assert engine.error is None
    return open_session(folder)


def said(session):
    return [(event["step"], event["said"]) for event in session.events if event["event"] == "noted"]


def same(session, expected):
    assert session.health["muted"] == expected.health["muted"] == {}
    assert same_of_steps(session, expected)  # of integers: to the bit


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize("fault", [CardFull, CardLost])
@pytest.mark.parametrize(("sizes", "threads", "checkpoint_s"), [(5, 1, 0.001), (32, 1, 1000), (32, 3, 0.05)])
def test_a_fault_amid_a_run_costs_no_value(tmp_path, monkeypatch, fault, sizes, threads, checkpoint_s):
    if threads > 1:  # however small blocks are, they are worth a stream
        monkeypatch.setattr(flow, "FRAME_NS", 0)
        monkeypatch.setattr(chain_thread, "PRESSED_FRAMES", 0)
    expected = run(tmp_path / "cpu", HostCard(), STEPS.replace('"gpu"', '"cpu"'))
    fired = list(acted)
    assert 20 < len(fired) < 64  # none finds the queue full
    session = run(
        tmp_path / "S", Failing(40, fault), sizes=sizes, threads=threads, checkpoint_s=checkpoint_s, wait=0.0005
    )
    same(session, expected)
    assert acted == fired  # each decision once
    (step, why), *others = [one for one in said(session) if "processor" in one[1] and "twin" not in one[1]]
    assert (step, others) == ("moments", [])
    assert ("out of memory" if fault is CardFull else "the bus is gone") in why


@pytest.mark.usefixtures("toys")
def test_frames_that_are_not_recorded_are_said_to_be_missing(tmp_path):
    session = run(tmp_path / "S", Failing(60), raw="false", checkpoint_s=1000)
    ((_, why),) = [one for one in said(session) if "the bus is gone" in one[1]]
    assert "frames are missing in what it found, as they are not recorded: " in why
    assert not session.health["muted"]
    assert session.values("moments")["total_signal"].shape == (400,)  # those of every frame were there
    assert session.snapshot("moments")["frames"] < 400


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize("fault", [CardFull, CardLost])
def test_a_card_that_fails_before_the_first_frame_is_done_without(tmp_path, fault):
    class Broken(HostCard):
        def compiled(self, source, **given):
            raise fault("no room")

    session = run(tmp_path / "S", Broken())
    assert ("moments", "runs on the processor: no room") in said(session)


@pytest.mark.usefixtures("toys")
def test_steps_without_a_twin_run_on_the_processor_and_say_so_once(tmp_path):
    session = run(tmp_path / "S", HostCard())
    assert said(session) == [
        (step, "runs on the processor: it has no twin on a card") for step in ("bright", "toy-level")
    ]
    assert session.facts["steps"]["moments"]["device"] == "host"


@pytest.mark.usefixtures("toys")
def test_a_step_that_asks_for_a_card_itself_is_refused_without_a_twin():
    with pytest.raises(ConfigError, match="toy-level: no device 'gpu'; it runs on cpu"):
        Chain(parse_config("[[step]]\nkind = 'toy-level'\ndevice = 'gpu'"), Spec((4, 4), "uint16"))


def test_frames_go_to_the_card_once_however_many_steps_take_them():
    card = HostCard()
    with using_card(card):
        steps = "".join(f"[[step]]\nkind = 'moments'\nid = '{name}'\nafter = 'source'\n" for name in "abc")
        chain = Chain(parse_config(f"[chain]\ndevice = 'gpu'\n{steps}"), Spec((4, 4), "uint16"))
        before, got = card.bytes_put, card.bytes_got
        for n in range(0, 96, 32):
            chain.push(block(n, n + 32))
    put, got = card.bytes_put - before, card.bytes_got - got
    arrays = chain.steps[0].operator._pixels.arrays()
    own, pivot = 3 * sum(array.nbytes for array in arrays.values()), 3 * arrays["pivot"].nbytes
    assert put == FRAMES[:96].nbytes + own  # each step's own, once, with its pivot
    assert got == 3 * 96 * 8 + own - pivot  # totals, and the empty sums that the pivot came to


def test_frames_made_on_a_card_come_to_the_host_where_somebody_looks_and_once():
    card = HostCard()
    made = CardBlock(block(3, 7), card, card.put(FRAMES[3:7].astype(np.float32)))
    assert (len(made), made.stop, made.shape, made.dtype, made.plane) == (4, 7, (4, 4, 4), np.float32, "/0")
    part = made.cut(4, 6)
    assert isinstance(part, CardBlock)
    assert (part.index, part.times_ns.tolist(), card.bytes_got) == (4, [400, 500], 0)
    np.testing.assert_array_equal(made.pixels, FRAMES[3:7])
    assert not made.pixels.flags.writeable
    assert card.bytes_got == made.nbytes
    assert isinstance(made.of(made.pixels), Block)


@pytest.mark.parametrize("off", [0, 1e-6])
def test_a_session_of_a_card_is_verified_without_one_within_its_tolerance(tmp_path, monkeypatch, off):
    class Rounding(HostCard):
        """As cards may: the last bits are others, or more than that."""

        def get(self, array):
            found = super().get(array)
            return found * (1 + 2e-15 + off) if found.dtype == np.float64 else found

    with using_card(Rounding()):
        text = "[record]\nraw = true\n[[step]]\nkind = 'sofi'\ndevice = 'gpu'\n"
        source = Movie([block(n, n + 32) for n in range(0, 96, 32)])
        engine = Engine(source, parse_config(text), tmp_path / "S")
        engine.start()
        assert engine.wait(60)
    found = verify_session(tmp_path / "S", Wanted(full=True)).findings
    assert ({finding.kind for finding in found} == {"not reproducible"}) == (off > 0), found
