"""The laws of decisions have teeth: a planted fault breaks the law named beside it, the sound operator does not."""

import numpy as np
import pytest

from streamfluo import ConfigError, Decided, Gives, Operator, Output, Spec, Takes
from streamfluo.core.params import Params
from streamfluo.testing import LAWS, Subject
from streamfluo.testing.decision_laws import ON_DECISIONS


class Weighed(Operator):
    """The mean of each frame under three ids, doubled for each time that people weighed one."""

    kind = "weighed"
    takes = {"weigh": Takes("ids", "doubles it"), "undo": Takes("nothing", "halves it again")}
    gives = (Gives("traces", "by_id", ("t", "id"), "ADU", "mean, weighed"),)

    def __init__(self, params, spec, device="cpu"):
        super().__init__(params, spec, device)
        self.log = np.zeros((0, 2), np.int64)  # number of the decision, id

    def update(self, block, inputs={}):
        weights = 2.0 ** (self.log[:, 1:] == np.arange(3)).sum(0)
        return Output(block.index, {"ids": np.arange(3), "traces": block.pixels.mean((1, 2))[:, None] * weights})

    def refuse(self, decision):
        if any(i > 2 for i in decision.ids):
            raise ConfigError("there are three")
        if decision.verb == "undo" and (decision.undo_of or 1) not in self.log[:, 0]:
            raise ConfigError("nothing is undone")

    def decide(self, decision):
        number = decision.number or int(self.log[:, 0].max(initial=0)) + 1
        made = lambda: None  # noqa: E731
        if decision.number and (decision.number in self.log[:, 0] or decision.verb == "undo"):
            return Decided(decision, made)
        self.refuse(decision)
        return Decided(decision._replace(number=number), lambda: self.carry_out(decision, number))

    def carry_out(self, decision, number):
        if decision.verb == "undo":
            number_of = decision.undo_of or self.log[-1, 0]
            self.log = self.log[self.log[:, 0] != number_of]
        self.log = np.vstack([self.log, *([[number, i]] for i in decision.ids)])

    def state(self):
        return {"log": self.log.copy()}

    def restore(self, state):
        self.log = np.array(state["log"])


class DecidesWhenItIsAsked(Weighed):
    def decide(self, decision):
        decided = super().decide(decision)
        decided.make()
        return decided._replace(make=lambda: None)


class DecidesWithTheNextBlock(Weighed):
    waiting = ()

    def carry_out(self, decision, number):
        self.waiting = (*self.waiting, (decision, number))

    def update(self, block, inputs={}):
        out = super().update(block, inputs)
        for decision, number in self.waiting:
            super().carry_out(decision, number)
        self.waiting = ()
        return out


class ForgetsWhatWasDecidedInItsState(Weighed):
    def restore(self, state):
        pass


class TakesWhatThereIsNot(Weighed):
    def refuse(self, decision):
        pass


class DecidesTwice(Weighed):
    def decide(self, decision):
        return super().decide(decision._replace(number=0))


MUTANTS = [
    (DecidesWhenItIsAsked, "a_decision_begins_at_its_frame", "that is not carried out changes the state"),
    (DecidesWithTheNextBlock, "a_decision_begins_at_its_frame", "in other blocks the results differ"),
    (ForgetsWhatWasDecidedInItsState, "decisions_are_part_of_the_state", "from a state"),
    (TakesWhatThereIsNot, "what_cannot_be_decided_changes_nothing", "which there is not, is taken"),
    (DecidesTwice, "a_decision_begins_at_its_frame", "made again it is made twice"),
]


def broken(law, kind):
    """What of a law an operator breaks; "" where it keeps it."""
    try:
        LAWS[law](Subject(lambda spec: kind(Params(), spec), Spec((5, 7), "uint16")))
    except AssertionError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("law", ON_DECISIONS)
def test_the_sound_operator_keeps_each_law(law):
    assert broken(law, Weighed) == ""


@pytest.mark.parametrize(("mutant", "law", "reason"), MUTANTS, ids=lambda v: getattr(v, "__name__", None))
def test_a_planted_fault_breaks_its_law(mutant, law, reason):
    assert reason in broken(law, mutant)
