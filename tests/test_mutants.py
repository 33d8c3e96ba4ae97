"""The laws have teeth: each planted fault breaks the law named beside it, and the sound operator does not."""

import gc

import pytest
from mutants import (
    BeginsAgainWhenChanged,
    BinsAcrossGaps,
    BinsFromTheFirstFrameOfABlock,
    ChangesWithTheNextBlock,
    CompilesWhenTheFirstGapComes,
    CountsItsReads,
    EmptiesThePartItAbsorbs,
    FlushesThePartItAbsorbs,
    FlushesWhenMergedWithNothing,
    FlushesWhenRead,
    ForgetsExtremesOnMerge,
    ForgetsItsChangesOnMerge,
    ForgetsItsPlaceOnMerge,
    ForgetsThePivotOnMerge,
    ForgetsTheTimeInItsState,
    ForgetsWaitingFramesInItsState,
    GivesAStateThatIsNotPlain,
    GivesATableItDoesNotDeclare,
    GivesAWindowOnItsMemoryAsState,
    GivesItsOwnMemoryAsState,
    GivesItsOwnMemoryToReaders,
    GivesItsPixelsAsValues,
    GivesMoreThanItDeclares,
    GivesReadersAWindowOnItsMemory,
    HandsOnWhatItDoesNotDeclare,
    IsNanForeverAfterAnUnseenFrame,
    KeepsItsReadingWhenChanged,
    KeepsPixelsItDoesNotOwn,
    KeepsTheStateItTakes,
    KeepsWhatItHadWhenRestored,
    LearnsFromInvalidFrames,
    LoadsAKernelWhenChanged,
    LoadsAKernelWhenTheFirstFrameComes,
    LosesWaitingFramesOnMerge,
    ReadsUnderWhatItIsChangedTo,
    ReadsWithOtherAxesThanDeclared,
    SaysItChanged,
    SaysItsFramesAreTheSame,
    SaysNothingOfItsSpec,
    SpreadsNan,
    SumsWhateverBlockComes,
    TakesAbsurdPixelsAsTheyAre,
    TakesNanForZero,
    TreatsLargePartsAnotherWay,
    UsesItsValuesAgain,
    WritesToItsPixels,
    WritesToPixelsItSawBefore,
)

from streamfluo import Spec
from streamfluo.core.params import build_params
from streamfluo.testing import LAWS, Subject

FLOAT, INTEGER = Spec((13, 17), "float32"), Spec((13, 17), "uint16")

MUTANTS = [
    # fault, frames, parameters, the law that must catch it
    (GivesItsOwnMemoryAsState, INTEGER, {}, "state_is_a_copy"),
    (KeepsTheStateItTakes, INTEGER, {}, "state_is_a_copy"),
    (GivesItsOwnMemoryToReaders, INTEGER, {}, "read_is_pure"),
    (GivesReadersAWindowOnItsMemory, INTEGER, {}, "read_is_pure"),
    (GivesAWindowOnItsMemoryAsState, INTEGER, {}, "state_is_a_copy"),
    (KeepsWhatItHadWhenRestored, INTEGER, {}, "state_is_a_copy"),
    (GivesAStateThatIsNotPlain, INTEGER, {}, "state_is_a_copy"),
    (CountsItsReads, INTEGER, {}, "read_is_pure"),
    (ForgetsWaitingFramesInItsState, INTEGER, {}, "resume_equals_unbroken"),
    (FlushesWhenRead, INTEGER, {}, "read_is_pure"),
    (SumsWhateverBlockComes, FLOAT, {}, "cuts_change_nothing"),
    (ForgetsThePivotOnMerge, INTEGER, {}, "parts_equal_whole"),
    (ForgetsThePivotOnMerge, FLOAT, {}, "parts_equal_whole"),
    (WritesToItsPixels, INTEGER, {}, "input_untouched"),
    (WritesToPixelsItSawBefore, INTEGER, {}, "input_untouched"),
    (KeepsPixelsItDoesNotOwn, INTEGER, {}, "pixels_are_borrowed"),
    (GivesItsPixelsAsValues, INTEGER, {}, "pixels_are_borrowed"),
    (LosesWaitingFramesOnMerge, INTEGER, {}, "parts_equal_whole"),
    (ForgetsExtremesOnMerge, INTEGER, {}, "parts_equal_whole"),
    (EmptiesThePartItAbsorbs, INTEGER, {}, "empty_is_identity"),
    (FlushesThePartItAbsorbs, INTEGER, {}, "parts_equal_whole"),
    (ForgetsItsPlaceOnMerge, INTEGER, {}, "parts_equal_whole"),
    (FlushesWhenMergedWithNothing, FLOAT, {}, "empty_is_identity"),
    (TreatsLargePartsAnotherWay, INTEGER, {}, "merging_is_associative"),
    (CompilesWhenTheFirstGapComes, INTEGER, {}, "nothing_compiles_later"),
    (LoadsAKernelWhenTheFirstFrameComes, INTEGER, {}, "nothing_compiles_later"),
    (GivesMoreThanItDeclares, INTEGER, {}, "what_is_given_is_declared"),
    (GivesATableItDoesNotDeclare, INTEGER, {}, "what_is_given_is_declared"),
    (ReadsWithOtherAxesThanDeclared, INTEGER, {}, "what_is_given_is_declared"),
    (SaysNothingOfItsSpec, INTEGER, {}, "what_is_given_is_declared"),
    (SaysItsFramesAreTheSame, INTEGER, {"bin_frames": 5}, "what_is_given_is_declared"),
    (UsesItsValuesAgain, INTEGER, {}, "values_stay"),
    (BinsFromTheFirstFrameOfABlock, INTEGER, {"bin_frames": 5}, "cuts_change_nothing"),
    (BinsAcrossGaps, INTEGER, {"bin_frames": 5}, "cuts_change_nothing"),
    (HandsOnWhatItDoesNotDeclare, INTEGER, {}, "what_is_given_is_declared"),
    (ForgetsTheTimeInItsState, INTEGER, {"bin_frames": 5}, "resume_equals_unbroken"),
    (TakesNanForZero, FLOAT, {}, "unseen_pixels_are_unknown"),
    (SpreadsNan, FLOAT, {}, "unseen_pixels_are_unknown"),
    (TakesAbsurdPixelsAsTheyAre, FLOAT, {}, "absurd_pixels_are_unseen"),
    (IsNanForeverAfterAnUnseenFrame, FLOAT, {}, "odd_frames_pass"),
    (LearnsFromInvalidFrames, INTEGER, {}, "invalid_frames_teach_nothing"),
    (SaysItChanged, INTEGER, {}, "changed_is_as_built"),
    (ChangesWithTheNextBlock, INTEGER, {}, "a_change_begins_at_its_frame"),
    (BeginsAgainWhenChanged, INTEGER, {}, "changed_is_as_built"),
    (BeginsAgainWhenChanged, INTEGER, {}, "changed_back_is_unchanged"),
    (ReadsUnderWhatItIsChangedTo, INTEGER, {}, "changed_back_is_unchanged"),
    (KeepsItsReadingWhenChanged, INTEGER, {}, "changed_is_as_built"),
    (ForgetsItsChangesOnMerge, INTEGER, {}, "parts_merge_across_a_change"),
    (LoadsAKernelWhenChanged, INTEGER, {}, "changes_compile_nothing"),
]


@pytest.fixture(autouse=True, scope="module")
def frozen_again():
    """The laws look among all objects, which is why these are not frozen then (conftest.py)."""
    yield
    gc.freeze()


def subject(operator, spec, params):
    return Subject(lambda spec: operator(build_params(operator.Params, params, "mutant"), spec), spec)


@pytest.mark.parametrize(("mutant", "spec", "params", "law"), MUTANTS, ids=lambda v: getattr(v, "__name__", None))
def test_the_law_catches_the_fault_and_passes_the_sound_operator(mutant, spec, params, law):
    with pytest.raises(AssertionError, match=f"breaks {law}: "):
        LAWS[law](subject(mutant, spec, params))
    LAWS[law](subject(mutant.__base__, spec, params))
