"""Curation: people accept, reject and merge components while frames come, and take it back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ...core.decision import UNDO, Decided, Decision, Entry, Takes, spelled, to_undo
from ...core.errors import ConfigError, StateError
from ...core.operator import Table
from ...core.state import State
from ..extracted_components import MERGED, SPLIT
from .columns import Columns, Field
from .components import ACCEPTED, REJECTED, Components
from .extraction import Extraction
from .merging import fields_of_parts, keep, merge, part_again, row_of, shared_footprint
from .pieces import split

TAKES = {
    "accept": Takes("ids", "accepts components whatever the measures of their quality say"),
    "reject": Takes("ids", "rejects components; they keep their fluorescence in the demixing, and give no values"),
    "merge": Takes("ids", "makes one of components that are one cell, the one with the lowest id"),
    UNDO: Takes("nothing", "takes back the last decision that stands, or the one of a number"),
    "split": Takes("ids", "takes apart what was merged as pieces of one signal; they are not merged again"),
}
VERBS = tuple(TAKES)
SAYS = ("", "accepted", "rejected")  # by verdict
VERDICTS = {"accept": ACCEPTED, "reject": REJECTED}
# A row for each id of a decision, with what it was before; of an undo one with the number that it took back.
LOG: Mapping[str, Field] = {
    "number": ((), np.int64), "verb": ((), np.int64), "undone": ((), np.bool_), "id": ((), np.int64),
    "into": ((), np.int64), "verdict": ((), np.int8), "accepted": ((), np.bool_), "seeded": ((), np.bool_),
}  # fmt: skip


class Curation:
    """The decisions about the components of an extraction, with what is needed to take them back."""

    def __init__(self, of_components: Mapping[str, Field]) -> None:
        self._log, self._parts = Columns(LOG, 8), Columns(fields_of_parts(of_components), 4)

    def decide(self, extraction: Extraction, decision: Decision) -> Decided:
        """Return what carries out a decision. Raises ConfigError for one that cannot be."""
        entries = self._entries()
        if decision.number in entries:
            return Decided(decision, lambda: None, f"decision {decision.number} is made already")
        if not decision.number:
            decision = decision._replace(number=max(entries, default=0) + 1)
        if decision.verb == UNDO:
            return self._undo(extraction, decision, entries)
        rows = [self._row(extraction.cells, decision, i) for i in decision.ids]
        works = {"merge": self._merge, "split": self._split}
        work = works.get(decision.verb, self._judge)(extraction, decision, rows)
        return Decided(decision, work, f"decision {decision.number}: {decision.verb} {spelled(decision.ids)}")

    def _judge(self, extraction: Extraction, decision: Decision, rows: list[int]) -> Callable[[], None]:
        """What accepts or rejects components."""
        cells, verdict = extraction.cells, VERDICTS[decision.verb]
        for i, k in zip(decision.ids, rows, strict=True):
            if cells.verdict[k] == verdict:
                raise ConfigError(f"{_where(decision)}: component {i} is {SAYS[verdict]} by hand already")

        def make() -> None:
            for k in rows:
                self._note(cells, decision, k)
                cells.verdict[k], cells.accepted[k] = verdict, verdict == ACCEPTED
                cells.seeded[k] = True  # a rejected one that was removed would be found again
                tell(extraction, decision, int(cells.id[k]), SAYS[verdict])

        return make

    def _merge(self, extraction: Extraction, decision: Decision, rows: list[int]) -> Callable[[], None]:
        """What makes one component of several, the one with the lowest id."""
        cells, where = extraction.cells, _where(decision)
        if len(rows) < 2:
            raise ConfigError(f"{where}: merge which ones? name two ids or more")
        for i, k in zip(decision.ids, rows, strict=True):
            if cells.verdict[k] == REJECTED:
                raise ConfigError(f"{where}: component {i} is rejected; accept it, or undo that, before it is merged")
        whole, *parts = sorted(rows, key=lambda k: int(cells.id[k]))
        changes = shared_footprint(cells, whole, parts, where)

        def make() -> None:
            into, last, before = int(cells.id[whole]), extraction.next_index - 1, cells.verdict[whole]
            for k in (whole, *parts):
                self._note(cells, decision, k, into)
                keep(self._parts, cells, k, decision.number)
            merge(cells, extraction.background, into, changes)
            verdict = cells.verdict[row_of(cells, into)]
            if verdict != before:  # of a part that was accepted by hand
                tell(extraction, decision, into, SAYS[verdict], event=False)
            for i in changes:
                extraction.tables.add_event(last, i, "gone", f"the same cell as {into}, {_by(decision)}")
                extraction.tables.add_merged(last, i, into)
                tell(extraction, decision, i, f"{MERGED}{into}", event=False)

        return make

    def _split(self, extraction: Extraction, decision: Decision, rows: list[int]) -> Callable[[], None]:
        """What takes components apart whose pieces were merged for their one signal."""
        cells = extraction.cells
        for i in decision.ids:
            if not (cells["whole"] == i).any():
                raise ConfigError(f"{_where(decision)}: component {i} has no pieces")

        def make() -> None:
            for i in decision.ids:
                for k in np.flatnonzero((cells["whole"] == i) | (cells["id"] == i)).tolist():
                    self._note(cells, decision, k)
                for k in split(cells, i):
                    tell(extraction, decision, int(cells.id[k]), f"{SPLIT}{i}")

        return make

    def _undo(self, extraction: Extraction, decision: Decision, entries: Mapping[int, Entry]) -> Decided:
        """What takes a decision back: what it was about is again what it was before."""
        cells, entry = extraction.cells, to_undo(decision, entries)
        number = entry.number
        for i in entry.ids if entry.verb != "merge" else (entry.into,):
            self._row(cells, decision, i)
        decision = decision._replace(undo_of=number)

        def make() -> None:
            if entry.verb == "merge":
                part_again(extraction, self._parts, number, entry.into)
            rows = np.flatnonzero(self._log["number"] == number)
            for row in rows:
                k = row_of(cells, self._log.id[row])
                if entry.verb == "split":  # their signals say again whether they are one
                    cells.apart[k] = False
                    tell(extraction, decision, int(cells.id[k]), "")
                    continue
                goes_on = entry.verb == "merge" and cells.id[k] == entry.into
                is_same = goes_on and cells.verdict[k] == self._log.verdict[row]
                for name in ("verdict", "accepted", "seeded"):
                    getattr(cells, name)[k] = getattr(self._log, name)[row]
                if not is_same:
                    tell(extraction, decision, int(cells.id[k]), SAYS[cells.verdict[k]])
            self._log.undone[rows] = True
            self._log.append(number=decision.number, verb=VERBS.index(UNDO), id=number, into=-1)

        return Decided(decision, make, f"decision {decision.number}: undo {entry}")

    def _row(self, cells: Components, decision: Decision, i: int) -> int:
        """The row of a component. Raises ConfigError for one there is not."""
        found = np.flatnonzero(cells["id"] == i)
        if len(found):
            return int(found[0])
        where, told = _where(decision), "none is known yet"
        if i < cells.next_id:
            merged = [
                e for e in self._entries().values() if e.into >= 0 and i in e.ids and i != e.into and not e.undone
            ]
            how = f": it was merged into {merged[-1].into} by decision {merged[-1].number}" if merged else ""
            raise ConfigError(f"{where}: component {i} is gone{how}")
        if cells.count:
            told = f"the newest is {cells['id'].max()}"
        raise ConfigError(f"{where}: no component {i}; {told}")

    def _note(self, cells: Components, decision: Decision, k: int, into: int = -1) -> None:
        """Note a decision about row k, before anything is changed."""
        before = {name: getattr(cells, name)[k] for name in ("id", "verdict", "accepted", "seeded")}
        self._log.append(number=decision.number, verb=VERBS.index(decision.verb), into=into, **before)

    def _entries(self) -> dict[int, Entry]:
        """The decisions that were carried out, by number."""
        found: dict[int, Entry] = {}
        log = self._log
        for row, number in enumerate(log["number"].tolist()):
            before = found[number].ids if number in found else ()
            verb, into, undone = VERBS[log.verb[row]], int(log.into[row]), bool(log.undone[row])
            found[number] = Entry(number, verb, (*before, int(log.id[row])), undone, into)
        return found

    def state(self) -> State:
        """Return all carried values as state entries."""
        return {**self._log.state("curation_"), **self._parts.state("merged_")}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        self._log.restore(state, "curation_", "extract")
        self._parts.restore(state, "merged_", "extract")
        verbs, verdicts = self._log["verb"], self._log["verdict"]
        known = {*self._log["number"][verbs == VERBS.index("merge")].tolist()} if len(verbs) else set()
        sound = ((verbs >= 0) & (verbs < len(VERBS))).all() and ((verdicts >= 0) & (verdicts < len(SAYS))).all()
        if not sound or not {*self._parts["number"].tolist()} <= known:
            raise StateError("extract: state 'curation' is of decisions that there are not; the state was damaged")


def tell(extraction: Extraction, decision: Decision, i: int, what: str, event: bool = True) -> None:
    """Give what a decision made of a component as a row of the table `decisions`, and mostly as an event."""
    row = {"frame": [decision.frame], "id": [i], "decision": [what], "by": [decision.author], "note": [decision.note]}
    extraction.tables.add("decisions", Table({**row, "number": [decision.number]}))
    if event:
        extraction.tables.add_event(extraction.next_index - 1, i, what or "undone", _by(decision))


def _by(decision: Decision) -> str:
    by = f"by {decision.author}" if decision.author else "by hand"
    return f"{by}: {decision.note}" if decision.note else by


def _where(decision: Decision) -> str:
    return f"step {decision.step!r}"
