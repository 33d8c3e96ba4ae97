"""Rows of the tables that `extract` gives, until they are given."""

from __future__ import annotations

import numpy as np

from ...core.errors import StateError
from ...core.operator import Table
from ...core.state import State
from ..extracted_components import MEASURES
from .settled_traces import COLUMNS, concatenated

_TEXTS = {"frame": int, "id": int, "event": "U1", "reason": "U1"}
_DECISIONS = {"frame": int, "id": int, "decision": "U1", "by": "U1", "note": "U1", "number": int}
_EMPTY = {
    "settled": Table({name: np.empty(0, kind) for name, kind in COLUMNS.items()}),
    "quality": Table({"frame": np.empty(0, np.int64), **{name: np.empty(0, kind) for name, kind in MEASURES.items()}}),
    "merged": Table({name: np.empty(0, np.int64) for name in ("frame", "id", "into")}),
    "events": Table({name: np.empty(0, kind) for name, kind in _TEXTS.items()}),
    "decisions": Table({name: np.empty(0, kind) for name, kind in _DECISIONS.items()}),
}

_TYPED = ("settled", "quality")  # whose rows have their types already


class Tables:
    """Rows of `settled`, `quality`, `merged`, `events` and `decisions` that wait to be given."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Table]] = {name: [] for name in _EMPTY}

    def add(self, name: str, rows: Table) -> None:
        """Add rows to a table."""
        self._rows[name].append(rows)

    def add_event(self, frame: int, component: int, event: str, reason: str) -> None:
        """Add what happened to a component (its id) at a frame."""
        self.add("events", Table({"frame": [frame], "id": [component], "event": [event], "reason": [reason]}))

    def add_merged(self, frame: int, component: int, into: int) -> None:
        """Add that from the next frame on a component's cell (its id) is that of another one."""
        self.add("merged", Table({"frame": [frame], "id": [component], "into": [into]}))

    def add_piece(self, frame: int, component: int, into: int) -> None:
        """Add that from the next frame on a component (its id) is a piece of another one: they carry one signal."""
        self.add_event(frame, component, "merged", f"the same signal as {into}")
        self.add_merged(frame, component, into)

    def give(self) -> dict[str, Table]:
        """Return the rows of each table since the last call."""
        if not any(self._rows.values()):
            return dict(_EMPTY)
        tables = self._waiting()
        self._rows = {name: [] for name in _EMPTY}
        return tables

    def state(self) -> State:
        """Return all carried values as state entries."""
        return {_key(name, column): table[column].copy() for name, table in self._waiting().items() for column in table}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        self._rows = {name: [self._of_state(state, name)] for name in _EMPTY}

    def _waiting(self) -> dict[str, Table]:
        return {name: _joined(name, rows) for name, rows in self._rows.items()}

    def _of_state(self, state: State, name: str) -> Table:
        columns = {column: np.asarray(state.get(_key(name, column))) for column in _EMPTY[name]}
        shapes = {array.shape for array in columns.values()}
        kinds = all(array.dtype.kind == _EMPTY[name][column].dtype.kind for column, array in columns.items())
        if len(shapes) > 1 or len(next(iter(shapes))) != 1 or not kinds:
            raise StateError(f"extract: state 'rows_{name}' must be columns of one length; the state was damaged")
        return Table({column: array.astype(_type(name, column), copy=True) for column, array in columns.items()})


def _joined(name: str, rows: list[Table]) -> Table:
    if not rows:
        return _EMPTY[name]
    return rows[0] if len(rows) == 1 and name in _TYPED else concatenated([_EMPTY[name], *rows])


def _key(name: str, column: str) -> str:
    return f"rows_{name}_{column}"


def _type(name: str, column: str) -> np.dtype:
    kind = _EMPTY[name][column].dtype
    return np.dtype(str) if kind.kind == "U" else kind
