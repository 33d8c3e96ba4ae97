"""`extract` on a card: the processor's cells and traces of whole movies, to the bit, whatever happens meanwhile."""

import numpy as np
import pytest
from scipy import sparse
from toys import Movie

from streamfluo import Block, Spec, create, open_session
from streamfluo.calcium.extract.card_buffer import CardBuffer
from streamfluo.core.card import CardLost, using_card
from streamfluo.core.card_block import CardBlock
from streamfluo.core.decision import Decision
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.simulate import calcium
from streamfluo.testing.host_card import HostCard
from streamfluo.testing.strict_card import StrictCard
from streamfluo.testing.subject import copied, flat, joined, same

SHAPE, FRAMES, INTERVAL_S = (64, 72), 360, 1 / 30
SETTINGS = {"init_frames": 80, "init_delay_frames": 20, "window_frames": 60, "neuron_sigma_px": 3.0, "decay_s": 0.4}
RUNS = {
    "modes": {"background": "low_rank"},
    "a ring": {},
    "a ring, first order": {"ar_order": 1, "ring_radius_px": 7.0, "background_components": 1},
    "first frames searched": {"init": "greedy", "background_components": 3},
    "pieces of any shape": {"shape": "any", "accept": "learned", "min_snr": 1.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def scene():
    """A movie of moving cells, and their true footprints."""
    movie, truth = calcium(
        frames=FRAMES, shape=SHAPE, neuron_sigma_px=3.0, neurons=8, signal=1.0, motion_px=0.0, spike_rate_hz=1.0,
        seed=4,
    )  # fmt: skip
    return movie, truth


@pytest.fixture(autouse=True)
def card():
    card = Counted()
    with using_card(card):
        yield card


class Counted(StrictCard):
    """Counts how often the host waits for the card, and keeps the shapes of what comes back."""

    waits = 0

    def __init__(self):
        super().__init__()
        self.shapes = set()

    def put(self, pixels):
        self.waits += 1
        return super().put(pixels)

    def get(self, array):
        self.waits += 1
        self.shapes.add(array.shape[-2:])
        return super().get(array)


def with_rims(movie):
    """Floats as motion hands them on: rims of up to nine pixels, half of the frames without, and a hole."""
    movie, rng = movie.astype(np.float32), np.random.default_rng(7)
    for frame in movie[::2]:
        y, x = rng.integers(0, 10, 2)
        frame[:y] = frame[:, len(frame[0]) - x :] = np.nan
    movie[200:210, 20:23, 30:33] = np.nan
    return movie


class Run:
    """A run of a movie on a device, in blocks of some sizes."""

    def __init__(self, device, movie, params=(), sizes=(1, 7)):
        self.operator = create("extract", Spec(SHAPE, movie.dtype, INTERVAL_S), device, **{**SETTINGS, **dict(params)})
        self.movie, self.sizes, self.outputs = movie, sizes, []

    def feed(self, start, stop, inputs=()):
        n = 0
        while start < stop:
            upto = min(start + self.sizes[n % len(self.sizes)], stop)
            given = {name: values[start:upto] for name, values in dict(inputs).items()}
            times = np.arange(start, upto) * 33_000_000
            self.outputs.append(copied(flat(self.operator.update(Block(start, times, self.movie[start:upto]), given))))
            start, n = upto, n + 1
        return self

    def results(self):
        outputs = [*self.outputs, copied(flat(self.operator.finish()))]
        snapshots = {f"snapshot {name}": array for name, array in copied(self.operator.read()).items()}
        return joined(self.operator, outputs) | snapshots

    @property
    def cells(self):
        return self.operator._live.extraction.cells

    @property
    def on_card(self):
        return isinstance(self.operator._live.extraction.recent[0], CardBuffer)


def whole(device, movie, params=(), inputs=()):
    run = Run(device, movie, params).feed(0, FRAMES, inputs)
    assert run.on_card == (device == "gpu")
    return run


def agree(there, here, least=5):
    assert here.cells["accepted"].sum() >= least
    same(there.results(), here.results(), "on the card", 0.0)


@pytest.mark.parametrize("name", RUNS)
def test_a_whole_movie_gives_the_processors_cells_and_traces(name, scene):
    agree(*(whole(device, scene[0], RUNS[name]) for device in ("gpu", "cpu")))


@pytest.mark.parametrize("name", ["modes", "a ring"])
def test_so_do_floats_with_rims_that_were_not_seen(name, scene):
    agree(*(whole(device, with_rims(scene[0]), RUNS[name]) for device in ("gpu", "cpu")))


def test_seeds_gaps_and_frames_that_are_not_valid_are_taken_as_on_the_processor(scene):
    movie, truth = scene
    of_sparse = sparse.csc_matrix((truth["A_data"], truth["A_indices"], truth["A_indptr"]), truth["A_shape"])
    light = of_sparse.T.toarray().reshape(-1, *SHAPE)
    masks = (light > 0.3 * light.max((1, 2), keepdims=True)).astype(np.float32)
    masks = np.concatenate((masks, np.roll(masks[:1], 2, 2), np.zeros((1, *SHAPE), np.float32)))  # one twice, one empty
    valid = np.ones(FRAMES)
    valid[[90, 210, 211, 300]] = 0
    movie = movie.copy()
    movie[250:253] = 9 * movie.max()  # a flash
    runs = []
    for device in ("gpu", "cpu"):
        run = Run(device, movie, {"init": "seeded", "seeds": masks}).feed(0, 180, {"valid": valid})
        run.operator.gap(180, 20)
        runs.append(run.feed(200, FRAMES, {"valid": valid}))
    assert runs[0].on_card
    assert runs[0].operator.doubt() == runs[1].operator.doubt() != ""
    agree(*runs)


def test_cells_that_people_reject_merge_and_take_apart_are_so_on_the_card(scene):
    runs = []
    for device in ("gpu", "cpu"):
        run = Run(device, scene[0], {"init": "seeded", "seeds": [[20, 20], [20, 23], [40, 50]]}).feed(0, 200)
        for n, (verb, ids) in enumerate([("merge", (0, 1)), ("reject", (2,)), ("undo", ()), ("undo", ())]):
            run.operator.decide(Decision("extract", 0, verb, ids)).make()
            run.feed(200 + 30 * n, 230 + 30 * n)
        runs.append(run.feed(320, FRAMES))
    agree(*runs, least=3)


def test_a_scene_that_changes_is_learned_anew_and_goes_back_to_the_card(scene):
    movie = np.random.default_rng(2).poisson(20, scene[0].shape).astype(np.uint16)
    movie[130:] += 2000
    runs = [Run(device, movie).feed(0, FRAMES) for device in ("gpu", "cpu")]
    assert runs[0].on_card
    assert runs[0].cells.next_id == runs[1].cells.next_id
    same(runs[0].results(), runs[1].results(), "on the card", 0.0)


SOON = [("gpu", "cpu", 203), ("cpu", "gpu", 95), ("gpu", "gpu", 203)]
LATER = [("gpu", "cpu", 50), ("cpu", "gpu", 50), ("cpu", "gpu", 203), ("gpu", "gpu", 50), ("gpu", "gpu", 95)]


@pytest.mark.parametrize(  # while first frames are collected, learned from, over
    ("one", "other", "at"), [*SOON, *(pytest.param(*case, marks=pytest.mark.slow) for case in LATER)]
)
def test_a_run_goes_on_on_either_device_from_the_state_of_the_other(one, other, at, scene):
    first, second = (Run(device, scene[0]) for device in (one, other))
    first.feed(0, at)
    second.operator.restore(first.operator.state())
    second.outputs = first.outputs
    agree(second.feed(at, FRAMES), whole("cpu", scene[0]))


def test_what_is_frozen_takes_a_part_on_the_card(scene):
    runs = []
    for device in ("gpu", "cpu"):
        run = Run(device, scene[0]).feed(0, 220)
        run.operator.freeze()
        run.feed(100, 200)
        run.operator.begin_part()
        runs.append(run.feed(200, FRAMES))
    agree(*runs)


@pytest.mark.parametrize("name", ["modes", "a ring"])
def test_frames_stay_on_the_card_and_the_host_waits_for_it_thrice_a_frame(name, scene, card):
    """For what it looks at, for what it sends, for products; beside that some seven times a bin, behind the values."""
    operator = Run("gpu", scene[0], RUNS[name]).operator
    for t, frame in enumerate(scene[0][:300]):
        if t == 200:
            assert SHAPE in card.shapes  # of those that are learned from
            waits = card.waits
            card.shapes.clear()
        block = Block(t, np.array([t * 33_000_000]), frame[None])
        operator.update(CardBlock(block, card, card.put(block.pixels)))  # as a step before hands it on
    assert (card.waits - waits) / 100 <= 1 + 3 + 1.5  # one is the test's own
    assert card.shapes
    assert SHAPE not in card.shapes


CHAIN = """
[chain]
device = "{device}"
[record]
raw = {raw}
checkpoint_s = 0.05
[[step]]
kind = "motion"
[[step]]
kind = "extract"
params = {{ init_frames = 80, init_delay_frames = 20, window_frames = 60, neuron_sigma_px = 3.0, decay_s = 0.4 }}
"""


class Lost(HostCard):
    """A card that is lost once so many things were asked of it."""

    asked, after = 0, 1 << 60

    def check(self):
        self.asked += 1
        if self.asked > self.after:
            raise CardLost("the bus is gone")


def session_of(folder, movie, card, device="gpu", raw="false"):
    """A session of the chain, and what its events say of the processor."""
    blocks = [Block(n, np.arange(n, n + 4) * 33_000_000, movie[n : n + 4]) for n in range(0, FRAMES, 4)]
    source = Movie(blocks)
    source.spec = Spec(SHAPE, "uint16", INTERVAL_S)
    with using_card(card):
        engine = Engine(source, parse_config(CHAIN.format(device=device, raw=raw)), folder)
        engine.start()
        assert engine.wait(120)
    assert engine.error is None
    session = open_session(folder)
    assert not session.health["muted"]
    told = [event for event in session.events if event["event"] == "noted" and "processor" in event["said"]]
    return session.values("extract"), [(event["step"], event["said"]) for event in told]


def same_sessions(there, here):
    assert here["present"][-1].sum() >= 3
    for name, values in here.items():
        for column, array in values.items() if hasattr(values, "items") else [("", values)]:
            other = there[name][column] if column else there[name]
            if array.dtype.kind == "f":  # motion's shifts differ by some 1e-15 px
                np.testing.assert_allclose(other, array, rtol=1e-11, atol=1e-13, err_msg=f"{name} {column}")
            else:
                np.testing.assert_array_equal(other, array, err_msg=f"{name} {column}")


def test_a_chain_of_the_engine_runs_extract_behind_motion_on_the_card(scene, tmp_path):
    found, told = session_of(tmp_path / "gpu", scene[0], HostCard())
    assert "extract" not in dict(told)
    same_sessions(found, session_of(tmp_path / "cpu", scene[0], HostCard(), "cpu")[0])


@pytest.mark.parametrize("after", [pytest.param(300, marks=pytest.mark.slow), 2500])
def test_a_card_that_is_lost_amid_an_extraction_costs_no_value(scene, tmp_path, after):
    """Learning from the first frames, or later, perhaps on the thread that does what a frame leaves to do."""
    expected, _ = session_of(tmp_path / "cpu", scene[0], HostCard(), "cpu", raw="true")
    card = Lost()
    card.after = after
    found, told = session_of(tmp_path / "gpu", scene[0], card, raw="true")
    assert "the bus is gone" in dict(told)["extract"]
    same_sessions(found, expected)
