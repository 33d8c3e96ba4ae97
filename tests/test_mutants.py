"""The laws have teeth: each planted fault breaks the law named beside it, and the sound operator does not."""

import numpy as np
import pytest

from streamfluo import Output, Spec
from streamfluo.core.params import build_params
from streamfluo.operators.bin import Bin
from streamfluo.operators.moments import Moments
from streamfluo.testing import LAWS, Subject

FLOAT, INTEGER = Spec((13, 17), "float32"), Spec((13, 17), "uint16")


class GivesItsOwnMemoryAsState(Moments):
    def state(self):
        return {**super().state(), **self._arrays()}


class KeepsTheStateItTakes(Moments):
    def restore(self, state):
        super().restore(state)
        self._sum = state["sum"]


class GivesItsOwnMemoryToReaders(Moments):
    def read(self, names=None, inputs={}):
        return {**super().read(names), "min": self._low}


class ForgetsWaitingFramesInItsState(Moments):
    def state(self):
        return {**super().state(), "waiting": np.empty((0, *self.spec.shape), self.spec.dtype)}


class FlushesWhenRead(Moments):
    def read(self, names=None, inputs={}):
        self.gap(0, 0)
        return super().read(names)


class SumsWhateverBlockComes(Moments):
    def update(self, block, inputs={}):
        output = super().update(block)
        self.gap(0, 0)
        return output


class ForgetsThePivotOnMerge(Moments):
    def merge(self, other):
        if self._seen and other._seen:
            state = {**other.state(), "pivot": self._pivot.copy()}  # the part's sums, as if about this one's pivot
            other = Moments(other.params, other.spec)
            other.restore(state)
        super().merge(other)


class WritesToItsPixels(Moments):
    def update(self, block, inputs={}):
        output = super().update(block)
        base = block.pixels.base
        if base is not None and base.flags.writeable:
            base[0, 0, 0] = 0
        return output


class LosesWaitingFramesOnMerge(Moments):
    def merge(self, other):
        before = self._seen
        super().merge(other)
        if before:
            list(self._grid.flush())


class ForgetsExtremesOnMerge(Moments):
    def merge(self, other):
        high = self._high.copy()
        seen = self._seen
        super().merge(other)
        if seen:
            self._high[...] = high


class EmptiesThePartItAbsorbs(Moments):
    def merge(self, other):
        super().merge(other)
        other._n = 0


class GivesMoreThanItDeclares(Moments):
    def update(self, block, inputs={}):
        output = super().update(block)
        return Output(output.index, {**output.values, "surprise": np.zeros(len(block))})


class UsesItsValuesAgain(Moments):
    _reused = np.zeros(32)

    def update(self, block, inputs={}):
        self._reused[: len(block)] = super().update(block).values["total_signal"]
        return Output(block.index, {"total_signal": self._reused[: len(block)]})


class BinsAcrossGaps(Bin):
    def update(self, block, inputs={}):
        self._next_index = block.index
        return super().update(block)

    def gap(self, first, count):
        self._count = 0


class HandsOnWhatItDoesNotDeclare(Bin):
    gives = ()


class ForgetsTheTimeInItsState(Bin):
    def state(self):
        return {**super().state(), "time_ns": 0}


MUTANTS = [
    # fault, frames, parameters, the law that must catch it
    (GivesItsOwnMemoryAsState, INTEGER, {}, "state_is_a_copy"),
    (KeepsTheStateItTakes, INTEGER, {}, "state_is_a_copy"),
    (GivesItsOwnMemoryToReaders, INTEGER, {}, "read_is_pure"),
    (ForgetsWaitingFramesInItsState, INTEGER, {}, "resume_equals_unbroken"),
    (FlushesWhenRead, INTEGER, {}, "read_is_pure"),
    (SumsWhateverBlockComes, FLOAT, {}, "cuts_change_nothing"),
    (ForgetsThePivotOnMerge, INTEGER, {}, "parts_equal_whole"),
    (ForgetsThePivotOnMerge, FLOAT, {}, "parts_equal_whole"),
    (WritesToItsPixels, INTEGER, {}, "input_untouched"),
    (LosesWaitingFramesOnMerge, INTEGER, {}, "parts_equal_whole"),
    (ForgetsExtremesOnMerge, INTEGER, {}, "parts_equal_whole"),
    (EmptiesThePartItAbsorbs, INTEGER, {}, "empty_is_identity"),
    (GivesMoreThanItDeclares, INTEGER, {}, "what_is_given_is_declared"),
    (UsesItsValuesAgain, INTEGER, {}, "values_stay"),
    (BinsAcrossGaps, INTEGER, {"bin_frames": 5}, "cuts_change_nothing"),
    (HandsOnWhatItDoesNotDeclare, INTEGER, {}, "what_is_given_is_declared"),
    (ForgetsTheTimeInItsState, INTEGER, {"bin_frames": 5}, "resume_equals_unbroken"),
]


def subject(operator, spec, params):
    return Subject(lambda: operator(build_params(operator.Params, params, "mutant"), spec), spec)


@pytest.mark.parametrize(("mutant", "spec", "params", "law"), MUTANTS, ids=lambda v: getattr(v, "__name__", None))
def test_the_law_catches_the_fault_and_passes_the_sound_operator(mutant, spec, params, law):
    with pytest.raises(AssertionError):
        LAWS[law](subject(mutant, spec, params))
    LAWS[law](subject(mutant.__base__, spec, params))
