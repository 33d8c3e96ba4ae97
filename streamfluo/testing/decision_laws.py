"""Laws of decisions: what people decide about an operator's results begins at a frame and is part of its state."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import combinations
from typing import Any

from ..core.decision import UNDO, Decision, Polygon
from ..core.errors import ConfigError
from .laws import law
from .subject import Arrays, Subject, copied, same, through_a_file

AT = (20, 43, 75)  # within a cell of the grid, in a gap, later
NOBODY = (1 << 40) + 1  # no operator has results of so many ids
OUTSIDE = ((1e5, 1e5), (1e5, 2e5), (2e5, 2e5))  # of any frame


def decided(operator: Any, outputs: Sequence[Arrays], frame: int, verb: str) -> Decision | None:
    """Carry out a decision about the first of its results that the verb is for; None where it is for none of them."""
    ids = sorted({i for arrays in outputs if "ids" in arrays for i in arrays["ids"].tolist()})
    needs = operator.takes[verb].needs
    drawn: tuple[Polygon, ...] = ()
    tries = [pair for size in (1, 2) for pair in combinations(ids[:4], size)] if needs == "ids" else [()]
    if needs == "polygons":
        drawn = (_box(operator.spec.shape, 0.2), _box(operator.spec.shape, 0.6))
    for chosen in tries:
        asked = Decision(frame, "law", verb, tuple(map(int, chosen)), "anna", "why", polygons=drawn)
        with suppress(ConfigError):
            found = operator.decide(asked)
            before = copied(operator.state())
            operator.decide(asked)
            same(copied(operator.state()), before, f"{verb}: a decision that is not carried out changes the state")
            found.make()
            assert found.decision.number > 0, f"{verb}: a decision has a number once it is taken"
            decision: Decision = found.decision
            return decision
    return None


def _box(shape: tuple[int, int], at: float) -> Polygon:
    """A rectangle that begins at this part of the frame and is a third as large."""
    top, left, bottom, right = (round(share * side) for share in (at, at + 1 / 3) for side in shape)
    return ((top, left), (top, right), (bottom, right), (bottom, left))


def run(subject: Subject, verb: str, sizes: Sequence[int], through: bool = False) -> tuple[Arrays, int]:
    """What comes of a decision that is taken, taken back and taken again, and how many of these were taken.

    With `through` another operator goes on from the state behind each.
    """
    operator, outputs, taken, start = subject.make(), list[Arrays](), 0, 0
    for at, what in zip(AT, (verb, UNDO, verb), strict=True):
        outputs += subject.feed(operator, subject.blocks(sizes, start, at))
        start = at
        made = decided(operator, outputs, at, what) if what in operator.takes else None
        taken += made is not None
        if made is not None:
            before = copied(operator.state())
            operator.decide(made).make()
            same(copied(operator.state()), before, f"{what}: made again it is made twice")
        if through:
            state, operator = through_a_file(operator.state()), subject.make()
            operator.restore(state)
    outputs += subject.feed(operator, subject.blocks(sizes, start))
    return subject.results(operator, outputs), taken


def compared(subject: Subject, what: str, sizes: Sequence[int], through: bool = False) -> None:
    """Raise AssertionError unless decisions of each verb give what they do in whole blocks, no state between."""
    nothing = False
    for verb, of in subject.make().takes.items():
        if nothing and of.needs == "ids":
            continue
        expected = run(subject, verb, (32,))
        nothing = not len(expected[0].get("ids", ()))  # to decide about
        found = run(subject, verb, sizes, through)
        assert found[1] == expected[1], f"{verb}: {what} it is not taken"
        same(found[0], expected[0], f"{verb}: {what} the results differ")


@law
def a_decision_begins_at_its_frame(subject: Subject) -> None:
    """Whatever blocks the frames before and after it come in, a decision gives the same bits."""
    compared(subject, "in other blocks", (5, 31, 2))


@law
def decisions_are_part_of_the_state(subject: Subject) -> None:
    """An operator that goes on from a state behind a decision gives the bits of the one that took it."""
    compared(subject, "from a state behind it", (32,), through=True)


@law
def what_cannot_be_decided_changes_nothing(subject: Subject) -> None:
    """A decision about what there is not is refused by ConfigError, and nothing changes."""
    operator = subject.make()
    subject.feed(operator, subject.blocks(stop=AT[1]) if operator.takes else [])
    for verb, of in operator.takes.items():
        before = copied(operator.state())
        ids, drawn = (NOBODY,) if of.needs == "ids" else (), (OUTSIDE,) if of.needs == "polygons" else ()
        asked = Decision(AT[1], "law", verb, ids, undo_of=NOBODY * (verb == UNDO), polygons=drawn)
        if of.needs != "nothing" or verb == UNDO:
            try:
                operator.decide(asked)
            except ConfigError:
                same(copied(operator.state()), before, f"{verb}: a decision that was refused changed the state")
            else:
                raise AssertionError(
                    f"{verb}: a decision about id {NOBODY} or a place outside the frame, which there is not, is taken"
                )


ON_DECISIONS = (
    "a_decision_begins_at_its_frame", "decisions_are_part_of_the_state", "what_cannot_be_decided_changes_nothing",
)  # fmt: skip
