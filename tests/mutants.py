"""Operators with one fault each, for tests that the laws have teeth."""

import numpy as np
from numba import njit

from streamfluo import Block, Gives, Operator, Output, Table
from streamfluo.core.unseen import seen_parts, valid_frames
from streamfluo.gain.gain import Gain
from streamfluo.pixels.bin import Bin
from streamfluo.pixels.kernels.binning import add_binned
from streamfluo.pixels.moments import Moments
from streamfluo.sofi.debleach import Debleach
from streamfluo.sofi.kernels.baseline import subtract_baseline


class GivesItsOwnMemoryAsState(Moments):
    def state(self):
        return {**super().state(), **self._pixels.arrays()}


class KeepsTheStateItTakes(Moments):
    def restore(self, state):
        super().restore(state)
        self._pixels._arrays["sum"] = state["sum"]


class GivesItsOwnMemoryToReaders(Moments):
    def read(self, names=None, inputs={}):
        return {**super().read(names), "min": self._pixels.arrays()["low"]}


class GivesReadersAWindowOnItsMemory(Moments):
    def read(self, names=None, inputs={}):
        window = self._pixels.arrays()["low"].view()
        window.flags.writeable = False
        return {**super().read(names), "min": window} if names is None or "min" in names else super().read(names)


class GivesAWindowOnItsMemoryAsState(Moments):
    def state(self):
        window = self._pixels.arrays()["low"].view()
        window.flags.writeable = False
        return {**super().state(), "low": window}


class KeepsWhatItHadWhenRestored(Moments):
    def restore(self, state):
        n = self._n
        super().restore(state)
        self._n += n


class GivesAStateThatIsNotPlain(Moments):
    def state(self):
        return {**super().state(), "spec": self.spec}


class CountsItsReads(Moments):
    _reads = 0

    def update(self, block, inputs={}):
        output = super().update(block)
        return Output(block.index, {"total_signal": output.values["total_signal"] + self._reads})

    def read(self, names=None, inputs={}):
        self._reads += 1
        return super().read(names)


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
            state = {
                **other.state(),
                "pivot": self._pixels.arrays()["pivot"].copy(),
            }  # the part's sums, as if about this one's pivot
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


class WritesToPixelsItSawBefore(Moments):
    _seen_before = None

    def update(self, block, inputs={}):
        if self._seen_before is not None:
            self._seen_before[0, 0, 0] = 0
        self._seen_before = block.pixels.base
        return super().update(block)


class KeepsPixelsItDoesNotOwn(Moments):
    _last = None

    def update(self, block, inputs={}):
        self._last = block.pixels
        return super().update(block)

    def read(self, names=None, inputs={}):
        snapshots = super().read(names)
        return (
            snapshots
            if self._last is None
            else {**snapshots, "min": np.minimum(self._pixels.arrays()["low"], self._last.min(0))}
        )


class GivesItsPixelsAsValues(Moments):
    gives = (*Moments.gives, Gives("corner", "per_frame", ("t",), "ADU", "the first pixel"))

    def update(self, block, inputs={}):
        values = super().update(block).values
        return Output(block.index, {**values, "corner": block.pixels[:, 0, 0]})


class LosesWaitingFramesOnMerge(Moments):
    def merge(self, other):
        before = self._seen
        super().merge(other)
        if before:
            list(self._grid.flush())


class ForgetsExtremesOnMerge(Moments):
    def merge(self, other):
        high = self._pixels.arrays()["high"].copy()
        seen = self._seen
        super().merge(other)
        if seen:
            self._pixels.arrays()["high"][...] = high


class EmptiesThePartItAbsorbs(Moments):
    def merge(self, other):
        super().merge(other)
        other._n = 0


class FlushesThePartItAbsorbs(Moments):
    def merge(self, other):
        super().merge(other)
        if self._n:
            other.gap(0, 0)


class ForgetsItsPlaceOnMerge(Moments):
    def merge(self, other):
        super().merge(other)
        self._grid._count = 0 if self._seen != other._seen else self._grid._count


class FlushesWhenMergedWithNothing(Moments):
    def merge(self, other):
        if not other._seen:
            self.gap(0, 0)
        super().merge(other)


class TreatsLargePartsAnotherWay(Moments):
    def merge(self, other):
        if other._seen > 60:
            self._pixels.arrays()["sum"][...] += 1
        super().merge(other)


class CompilesWhenTheFirstGapComes(Moments):
    def __init__(self, params, spec, device="cpu"):
        super().__init__(params, spec, device)
        self._late = njit(lambda count: count + 1)

    def gap(self, first, count):
        self._late(count)
        super().gap(first, count)


class LoadsAKernelWhenTheFirstFrameComes(Moments):
    def update(self, block, inputs={}):
        add_binned(block.pixels, 2, np.zeros((2, 2), np.complex64))
        return super().update(block)


class GivesMoreThanItDeclares(Moments):
    def update(self, block, inputs={}):
        output = super().update(block)
        return Output(output.index, {**output.values, "surprise": np.zeros(len(block))})


class GivesATableItDoesNotDeclare(Moments):
    def update(self, block, inputs={}):
        output = super().update(block)
        return Output(output.index, {**output.values, "events": Table({"frame": [block.index]})})


class ReadsWithOtherAxesThanDeclared(Moments):
    def read(self, names=None, inputs={}):
        return {name: np.atleast_1d(array) for name, array in super().read(names).items()}


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


class SaysNothingOfItsSpec(Bin):
    out_spec = Operator.out_spec


class SaysItsFramesAreTheSame(Bin):
    def __init__(self, params, spec, device="cpu"):
        super().__init__(params, spec, device)
        self.frame_axis = "same"


class BinsFromTheFirstFrameOfABlock(Bin):
    def update(self, block, inputs={}):
        shift = block.index % self.params.bin_frames if not self._count else 0
        return super().update(Block(block.index - shift, block.times_ns, block.pixels))


class ForgetsTheTimeInItsState(Bin):
    def state(self):
        return {**super().state(), "time_ns": 0}


class TakesNanForZero(Moments):
    def update(self, block, inputs={}):
        return super().update(Block(block.index, block.times_ns, np.nan_to_num(block.pixels)), inputs)


class SpreadsNan(Moments):
    def update(self, block, inputs={}):
        super().update(block, inputs)
        return Output(block.index, {"total_signal": block.pixels.sum((1, 2)).astype(float)})


class TakesAbsurdPixelsAsTheyAre(Moments):
    def update(self, block, inputs={}):
        for part in seen_parts(block, inputs):
            for cell in self._pushed(part):
                self._add(cell)
        return Output(block.index, {"total_signal": self._pixels.signal(block.pixels)})


class IsNanForeverAfterAnUnseenFrame(Moments):
    _lost = False

    def update(self, block, inputs={}):
        self._lost = self._lost or not valid_frames(block, inputs).all()
        output = super().update(block, inputs)
        return Output(block.index, {"total_signal": output.values["total_signal"] * (np.nan if self._lost else 1)})


class LearnsFromInvalidFrames(Moments):
    def update(self, block, inputs={}):
        return super().update(block)


class SaysItChanged(Gain):
    def change(self, params):
        pass


class ChangesWithTheNextBlock(Debleach):
    _next = None

    def change(self, params):
        self._next, self.params = params, params

    def update(self, block, inputs={}):
        if self._next is not None:
            self.params = type(self).Params()
        output = super().update(block, inputs)
        self.params, self._next = self._next or self.params, None
        return output


class BeginsAgainWhenChanged(Debleach):
    def change(self, params):
        super().change(params)
        self._n = 0


class ReadsUnderWhatItIsChangedTo(Gain):
    def reader(self, names=None, inputs={}):
        return lambda: self.read(names)


class KeepsItsReadingWhenChanged(Gain):
    def change(self, params):
        self.params = params


class ForgetsItsChangesOnMerge(Gain):
    def merge(self, other):
        super().merge(other)
        self.params = type(self).Params()


class LoadsAKernelWhenChanged(Debleach):
    def change(self, params):
        super().change(params)
        subtract_baseline(
            np.empty((0, 2, 2), np.int64), np.empty(0), 0.0, np.zeros((2, 2, 2)), np.empty((0, 2, 2), np.float32)
        )
