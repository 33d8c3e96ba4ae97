"""Toys the pipeline's tests share: small operators, a source in memory, and how to put them together."""

import time
from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
import pytest
from msgspec import Meta

from streamfluo import (
    Block,
    Chain,
    ConfigError,
    Decided,
    Gives,
    Operator,
    Output,
    Params,
    SnapshotOperator,
    Source,
    Spec,
    Takes,
)
from streamfluo.core import registry
from streamfluo.core.loaded import plain_array
from streamfluo.core.registry import operators, register
from streamfluo.core.source import Gap, Series
from streamfluo.engine.config import parse_config

SPEC = Spec((4, 4), "u2", interval_s=0.1)
FRAMES = np.random.default_rng(2).integers(0, 1000, (400, 4, 4)).astype(np.uint16)


def block(start, stop):
    return Block(start, np.arange(start, stop) * 100, FRAMES[start:stop])


def bright_above(adu):
    """The steps of a chain that fires in frames whose pixels sum to more."""
    return f"""
[[step]]
kind = "moments"
[[step]]
kind = "trigger"
id = "bright"
params = {{ when = "moments.total_signal > {adu} ADU" }}
"""


def means(start, stop):
    return FRAMES[start:stop].mean((1, 2))


class Toy(Operator):
    """Nothing to carry."""

    def update(self, block, inputs={}):
        return Output(block.index)

    def state(self):
        return {}

    def restore(self, state):
        pass


class Level(Toy):
    """level: the mean of each frame, times a factor; the sum of all of them as a snapshot."""

    class Params(Params, frozen=True):
        former_names: ClassVar[Mapping[str, str]] = {"gain": "factor"}

        factor: Annotated[float, Meta(gt=0, le=1000)] = 1.0

    live: ClassVar[Mapping[str, float]] = {"factor": 2.0}
    gives = (
        Gives("level", "per_frame", ("t",), "ADU", "mean"),
        Gives("sum", "snapshot", (), "ADU", "sum of the levels"),
    )

    def __init__(self, params, spec, device="cpu"):
        super().__init__(params, spec, device)
        self.sum, self.gaps = 0.0, []

    def update(self, block, inputs={}):
        levels = block.pixels.mean((1, 2)) * self.params.factor
        for level in levels:
            self.sum += float(level)
        return Output(block.index, {"level": levels})

    def gap(self, first, count):
        self.gaps.append((first, count))

    def read(self, names=None, inputs={}):
        return {name: np.array(self.sum) for name in self.snapshot_names(names)}

    def state(self):
        return {"sum": self.sum}

    def restore(self, state):
        self.sum = state["sum"]


class Double(Toy):
    """twice: twice the level that an earlier step gave for the same frames."""

    needs = ("level",)
    gives = (Gives("twice", "per_frame", ("t",), "ADU", "2 × level"),)

    def update(self, block, inputs={}):
        assert len(inputs["level"]) == len(block)
        return Output(block.index, {"twice": inputs["level"] * 2})


class Inverse(Toy):
    """Hands on other frames: every pixel 1000 less."""

    def update(self, block, inputs={}):
        return Output(block.index, block=Block(block.index, block.times_ns, 1000 - block.pixels.astype(np.int16)))

    @property
    def out_spec(self):
        return self.spec.with_(dtype="int16")


class Late(Toy):
    """Holds every block back until the next one, the last until the end."""

    frame_axis = "own"

    def __init__(self, params, spec, device="cpu"):
        super().__init__(params, spec, device)
        self.waiting = None

    def update(self, block, inputs={}):
        before = self.waiting
        self.waiting = Block(block.index, block.times_ns, block.pixels.copy())
        return Output(block.index, held=True) if before is None else Output(before.index, block=before)

    def finish(self):
        return None if self.waiting is None else Output(self.waiting.index, block=self.waiting)


class Fragile(Level):
    """Raises when it sees a frame."""

    class Params(Params, frozen=True):
        at: int = 10
        factor: float = 1.0

    def update(self, block, inputs={}):
        if block.index <= self.params.at < block.stop:
            raise ZeroDivisionError("a toy that breaks")
        return super().update(block, inputs)


class Squared(SnapshotOperator):
    """squared: another step's sum, squared."""

    needs = ("sum",)
    gives = (Gives("squared", "snapshot", (), "ADU²", "sum²"),)

    def read(self, names=None, inputs={}):
        return {"squared": inputs["sum"] ** 2}


class Filed(Toy):
    """Takes an array, which a config may name by a file; its parameter was renamed."""

    class Params(Params, frozen=True):
        former_names: ClassVar[Mapping[str, str]] = {"mask": "weights"}

        weights: np.ndarray | None = None

    from_file = {"weights": plain_array}


class Flagged(Toy):
    """flagged: the sum of the ids that people flagged, of 0 to 9, at each frame."""

    takes: ClassVar[Mapping[str, Takes]] = {"flag": Takes("ids", "counts them"), "undo": Takes("nothing", "not again")}
    gives = (Gives("flagged", "per_frame", ("t",), "", "sum of the ids"),)

    def __init__(self, params, spec, device="cpu"):
        super().__init__(params, spec, device)
        self.log = np.zeros(
            (0, 2), np.int64
        )  # number of the decision and id; an undo has that of its decision, negative

    def decide(self, decision):
        number = decision.number or int(abs(self.log[:, 0]).max(initial=0)) + 1
        rows = [[number, i] for i in decision.ids]
        undo_of = decision.undo_of
        if unknown := [i for i in decision.ids if i > 9]:
            raise ConfigError(f"no id {unknown[0]}")
        if decision.verb == "undo":
            standing = [n for n in self.log[:, 0] if n > 0]
            if not standing:
                raise ConfigError("nothing is to be taken back")
            undo_of = undo_of or int(standing[-1])
            rows = [[-number, undo_of]]

        def make():
            if number in abs(self.log[:, 0]):
                return
            if undo_of:
                self.log = self.log[self.log[:, 0] != undo_of]
            self.log = np.vstack([self.log, rows])

        said = "not any more" if undo_of else "flagged"
        return Decided(decision._replace(number=number, undo_of=undo_of), make, said)

    def update(self, block, inputs={}):
        total = self.log[self.log[:, 0] > 0, 1].sum()
        return Output(block.index, {"flagged": np.full(len(block), float(total))})

    def state(self):
        return {"log": self.log.copy()}

    def restore(self, state):
        self.log = state["log"].copy()


TOYS = (Level, Double, Inverse, Late, Fragile, Squared, Filed, Flagged)


@pytest.fixture(autouse=True, scope="module")
def toys():
    """The toys are registered while a module's tests run, and gone afterwards."""
    operators()
    before = dict(registry._operators)
    for toy in TOYS:
        register(f"toy-{toy.__name__.lower()}")(toy)
    yield
    registry._operators.clear()
    registry._operators.update(before)


def a(kind, **keys):
    """A step's table: a toy of that kind with these keys, spelled as in TOML."""
    return "\n".join([f"kind = 'toy-{kind}'", *(f"{name} = {value}" for name, value in keys.items())])


def config(*tables):
    return parse_config("\n".join(f"[[step]]\n{table}" for table in tables), "run.toml")


def chain(*tables, spec=SPEC):
    return Chain(config(*tables), spec)


LEVEL, DOUBLE, LATE, INVERSE, SQUARED = (a(k, id=f"'{k}'") for k in ("level", "double", "late", "inverse", "squared"))


BINNED = "kind = 'bin'\nparams = { bin_px = 1, bin_frames = 2 }"


def run(chain, runs):
    """step id → name → whole array, of all that blocks (start, stop) and the end give."""
    outputs = [out for r in runs for out in chain.push(block(*r))] + chain.finish()
    values = {}
    for step, out in outputs:
        for name, array in out.values.items():
            values.setdefault(step, {}).setdefault(name, []).append(array)
    return {step: {n: np.concatenate(parts) for n, parts in named.items()} for step, named in values.items()}


ONES = [block(n, n + 1) for n in range(200)]


class Movie(Source):
    """Items in memory as a source: blocks and gaps as they stand, `wait` seconds before each, `fails` at the end."""

    def __init__(self, items, uid="movie", seekable=False, wait=0.0, fails=None):
        self.items = items
        self.spec, self.series = SPEC, Series(uid, f"toy:{uid}", frames=None)
        self.seekable = seekable
        self.wait, self.fails = wait, fails
        self.stopped = self.told = False
        self.start, self.acknowledged = 0, []

    def blocks(self, max_frames=32):
        for item in self.items:
            if self.stopped:
                return
            time.sleep(self.wait)
            if isinstance(item, Gap):
                if item.first >= self.start:
                    yield item
            elif item.stop > self.start:
                yield item.cut(self.start, item.stop)
        if self.fails:
            raise self.fails

    def seek(self, index):
        self.start = index

    def interrupt(self):
        self.stopped = True

    def acknowledge(self, index):
        self.acknowledged.append(index)

    def finished(self):
        self.told = True


def same_of_steps(one, other):
    """Assert that the steps of two sessions left the same values, snapshots and indices."""
    for step in one.steps:
        for kind in ("values", "snapshot"):
            left, right = getattr(one, kind)(step), getattr(other, kind)(step)
            assert left.keys() == right.keys()
            for name, array in left.items():
                assert np.array_equal(array, right[name]), (step, kind, name)
        assert np.array_equal(one.index(step), other.index(step))
    return True
