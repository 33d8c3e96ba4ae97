"""Curation: cells that people draw and remove while frames come, and take back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..core.decision import UNDO, Decided, Decision, Entry, Takes, spelled, to_undo
from ..core.errors import ConfigError, StateError
from ..core.operator import Table
from ..core.state import State, require_int
from ..pixels.region_masks import region_masks

TAKES = {
    "add": Takes("polygons", "follows what was drawn, each polygon as a cell with an id of its own"),
    "remove": Takes("ids", "removes cells; they give no values any more, and their ids are not used again"),
    UNDO: Takes("nothing", "takes back the last decision that stands, or the one of a number"),
}
VERBS = tuple(TAKES)
SAYS = {"add": "added", "remove": "removed"}
SAME = 0.8  # of the union of two masks that they share: one cell drawn twice
_TOLD = {"frame": np.int64, "id": np.int64, "decision": np.str_, "by": np.str_, "note": np.str_, "number": np.int64}
_LOG = ("number", "verb", "id", "undone")  # a row for each cell of a decision; of an undo the number that it took back


class Curation:
    """Whose K cells are: `ids` (K,) int64, which of them were drawn, and which are removed (K,) bool each.

    A removed cell is followed on, unseen, so that taking that back has it as it would be without the removal.
    """

    def __init__(self, count: int) -> None:
        self._log = np.zeros((0, len(_LOG)), np.int64)
        self._rows: list[tuple[int, int, str, str, str, int]] = []
        self.set_anew(count)

    def set_anew(self, count: int) -> None:
        """There are `count` other cells now, with ids from 0 on; no decision about those before stands any more."""
        self.ids, self.drawn, self.removed = np.arange(count), np.zeros(count, bool), np.zeros(count, bool)
        self._next_id = count
        self._log[:, 3] = 1

    @property
    def shown(self) -> np.ndarray:
        """The rows of the cells that are there."""
        return np.flatnonzero(~self.removed)

    def append(self, count: int, drawn: bool) -> None:
        """So many cells more, with the next ids."""
        self.ids = np.append(self.ids, self._next_id + np.arange(count))
        self.drawn = np.append(self.drawn, np.full(count, drawn))
        self.removed = np.append(self.removed, np.zeros(count, bool))
        self._next_id += count

    def decide(self, masks: np.ndarray, decision: Decision, add: Callable[[np.ndarray], None]) -> Decided:
        """Return what carries out a decision about cells of masks (K, y, x); `add` follows more of them.

        Raises ConfigError for what cannot be done.
        """
        entries, where = self._entries(), f"step {decision.step!r}"
        if decision.number in entries:
            return Decided(decision, lambda: None, f"decision {decision.number} is made already")
        if not decision.number:
            decision = decision._replace(number=max(entries, default=0) + 1)
        if decision.verb == UNDO:
            return self._undo(decision, entries)
        if decision.verb == "remove":
            for i in decision.ids:
                self._check(i, entries, where)

            def remove() -> None:
                self._hide(decision.ids, True)
                self._note(decision, decision.ids, SAYS["remove"])

            return Decided(decision, remove, f"decision {decision.number}: remove {spelled(decision.ids)}")
        drawn = region_masks([list(map(list, polygon)) for polygon in decision.polygons], masks.shape[1:], where)
        for n, mask in enumerate(drawn):
            for k in self.shown:
                if _are_one(mask, masks[k]):
                    raise ConfigError(f"{where}: what was drawn is cell {self.ids[k]}, which is followed already")
            for other in range(n):
                if _are_one(mask, drawn[other]):
                    raise ConfigError(f"{where}: polygons {other} and {n} are one cell, drawn twice; draw it once")
        first = self._next_id

        def make() -> None:
            ids = tuple(range(self._next_id, self._next_id + len(drawn)))
            self.append(len(drawn), True)
            add(drawn)
            self._note(decision, ids, SAYS["add"])

        said = spelled(range(first, first + len(drawn)))
        return Decided(decision, make, f"decision {decision.number}: add {said}")

    def _undo(self, decision: Decision, entries: dict[int, Entry]) -> Decided:
        entry = to_undo(decision, entries)
        number = entry.number
        decision = decision._replace(undo_of=number)

        def make() -> None:
            self._hide(entry.ids, entry.verb == "add")
            self._log[self._log[:, 0] == number, 3] = 1
            self._note(decision, (), "")
            self._log = np.vstack((self._log, [decision.number, VERBS.index(UNDO), number, 0]))
            for i in entry.ids:
                self._tell(decision, i, "")

        return Decided(decision, make, f"decision {decision.number}: undo {entry}")

    def _check(self, i: int, entries: dict[int, Entry], where: str) -> None:
        if not (self.ids == i).any():
            raise ConfigError(f"{where}: no cell {i}; the newest is {self.ids.max(initial=-1)}")
        if self.removed[self.ids == i].any():
            by = [e for e in entries.values() if e.verb == "remove" and i in e.ids and not e.undone]
            raise ConfigError(f"{where}: cell {i} is removed" + (f", by decision {by[-1].number}" if by else ""))

    def _hide(self, ids: tuple[int, ...], removed: bool) -> None:
        self.removed[np.isin(self.ids, ids)] = removed

    def _note(self, decision: Decision, ids: tuple[int, ...], said: str) -> None:
        verb = VERBS.index(decision.verb)
        self._log = np.vstack((self._log, *([decision.number, verb, i, 0] for i in ids)))
        for i in ids:
            self._tell(decision, i, said)

    def _tell(self, decision: Decision, i: int, said: str) -> None:
        self._rows.append((decision.frame, i, said, decision.author, decision.note, decision.number))

    def _entries(self) -> dict[int, Entry]:
        found: dict[int, Entry] = {}
        for number, verb, i, undone in self._log.tolist():
            before = found[number].ids if number in found else ()
            found[number] = Entry(number, VERBS[verb], (*before, i), bool(undone))
        return found

    def given(self) -> Table:
        """Return what was decided since it was asked last, a row for each cell."""
        rows, self._rows = self._columns(), []
        return Table(rows)

    def _columns(self) -> dict[str, np.ndarray]:
        columns = list(zip(*self._rows, strict=True)) or [()] * len(_TOLD)
        return {name: np.array(column, kind) for (name, kind), column in zip(_TOLD.items(), columns, strict=True)}

    def state(self) -> State:
        """Return all carried values as state entries."""
        told = {f"told_{name}": column for name, column in self._columns().items()}
        cells = {"cell_ids": self.ids.copy(), "cell_drawn": self.drawn.copy(), "cell_removed": self.removed.copy()}
        return {**cells, "next_id": self._next_id, "decisions": self._log.copy(), **told}

    def restore(self, state: State, count: int, where: str) -> None:
        """Take over what `state` returned of `count` cells. Raises StateError."""
        ids, drawn, removed, log = (
            np.asarray(state.get(name)) for name in ("cell_ids", "cell_drawn", "cell_removed", "decisions")
        )
        next_id = require_int(state, "next_id", where)
        sound = (
            all(one.shape == (count,) for one in (ids, drawn, removed)) and ids.dtype == np.int64
            and drawn.dtype == removed.dtype == np.bool_ and log.dtype == np.int64 and log.shape[1:] == (len(_LOG),)
        )  # fmt: skip
        if not sound or len(np.unique(ids)) < count or (count and not 0 <= ids.min() <= ids.max() < next_id):
            raise StateError(f"{where}: state 'cell_ids' must be distinct, of {count} cells; the state was damaged")
        if len(log) and not (log[:, 1].min() >= 0 and log[:, 1].max() < len(VERBS)):
            raise StateError(f"{where}: state 'decisions' has verbs that there are not; the state was damaged")
        told = [np.asarray(state.get(f"told_{name}")) for name in _TOLD]
        if len({column.shape for column in told}) > 1 or told[0].ndim != 1:
            raise StateError(f"{where}: state 'told' must be columns of one length; the state was damaged")
        self.ids, self.drawn, self.removed, self._log = ids.copy(), drawn.copy(), removed.copy(), log.copy()
        self._next_id = next_id
        self._rows = list(zip(*(column.tolist() for column in told), strict=True))


def _are_one(mask: np.ndarray, other: np.ndarray) -> bool:
    return bool((mask & other).sum() > SAME * (mask | other).sum())
