"""Values and snapshots that were recomputed, against those of the session: equal to the bit, or where they differ.

Of a session that was made on a card, within the largest tolerance of its steps' twins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, cast

import numpy as np

from ..core.registry import operator_of
from ..core.step_values import IDS
from ..session.reader import Session
from ..session.values import StepRecords, read_values
from .findings import Finding


@dataclass
class Values:
    """Values of a step as `read_values` takes them, and the frames (t,) of each record."""

    arrays: list[dict[str, np.ndarray]] = field(default_factory=list)
    index: list[np.ndarray] = field(default_factory=list)
    damaged: list[Any] = field(default_factory=list)


Part = Literal["head", "tail", "whole"]
Unequal = Callable[[str, np.ndarray, np.ndarray, "np.ndarray | None"], Iterator[Finding]]


def differing_values(session: Session, values: Mapping[str, Values], part: Part) -> Iterator[Finding]:
    """Yield which values are not those that the session has of these frames.

    Rows of a table are its first ones of a `head`, its last of a `tail`, and all of the `whole`.
    """
    unequal = partial(_unequal, _tolerance(session))
    for step, kept in values.items():
        gives = session.steps[step].gives
        again, had = read_values(cast(StepRecords, kept), gives), session.values(step)
        index = np.concatenate([np.empty(0, np.int64), *kept.index])
        theirs = session.index(step)
        mask = np.isin(theirs, index)
        if len(index) and not len(theirs):
            continue
        common = np.isin(index, theirs)  # frames of which the session has no values are incomplete, which is said
        if not np.array_equal(theirs[mask], index[common]):
            yield Finding("not reproducible", step, f"values of {len(index)} frames, the session has {mask.sum()}")
            continue
        for name, array in again.items():
            if name == IDS:
                continue
            if isinstance(array, dict):
                rows = had.get(name, {})
                if session.state != "finished":  # its last rows were never written
                    array = {column: of[: len(rows.get(column, of))] for column, of in array.items()}
                yield from _differing_table(unequal, f"{step}.{name}", array, rows, part)
                continue
            expected = had.get(name)
            if expected is None or len(expected) != len(mask):
                yield Finding("not reproducible", f"{step}.{name}", "not in the session")
                continue
            expected = expected[mask]
            if IDS in again and IDS in had and expected.ndim > 1 and _is_by_id(gives, name):
                places = {int(one): n for n, one in enumerate(had[IDS].tolist())}
                mine = [places.get(int(one), -1) for one in again[IDS].tolist()]
                if -1 in mine:
                    yield Finding("not reproducible", f"{step}.{name}", "other ids than the session has")
                    continue
                expected = expected[:, mine]
            yield from unequal(f"{step}.{name}", array[common], expected, index[common])


def _is_by_id(gives: Any, name: str) -> bool:
    return any(given.name == name and given.kind == "by_id" for given in gives)


def _differing_table(
    unequal: Unequal, where: str, again: Mapping[str, Any], had: Mapping[str, Any], part: Part
) -> Iterator[Finding]:
    for column, array in again.items():
        expected = had.get(column)
        if expected is None:
            yield Finding("not reproducible", f"{where}.{column}", "not in the session")
            continue
        rows = {"head": slice(len(array)), "tail": slice(max(0, len(expected) - len(array)), None)}.get(
            part, slice(None)
        )
        yield from unequal(f"{where}.{column}", np.asarray(array), np.asarray(expected[rows]), None)


def differing_snapshots(session: Session, snapshots: Mapping[str, Mapping[str, np.ndarray]]) -> Iterator[Finding]:
    """Yield which snapshots, by step and name, are not those of the session."""
    unequal = partial(_unequal, _tolerance(session))
    for step, again in snapshots.items():
        had = session.snapshot(step)
        for name in sorted(had.keys() | again.keys()):
            if name not in had or name not in again:
                where = "the session" if name not in had else "what was recomputed"
                yield Finding("not reproducible", f"{step}.{name}", f"a snapshot that is not in {where}")
            else:
                yield from unequal(f"{step}.{name}", np.asarray(again[name]), had[name], None)


def _tolerance(session: Session) -> float:
    """By how much of an array's largest value what was recomputed on the processor may differ; 0 where all was."""
    kinds = [operator_of(step.kind) for step in session.steps.values() if step.device]
    return max((kind.twin_tolerance for kind in kinds if kind is not None), default=0.0)


def _unequal(
    tolerance: float, where: str, again: np.ndarray, had: np.ndarray, index: np.ndarray | None
) -> Iterator[Finding]:
    if again.shape != had.shape or again.dtype != had.dtype:
        said = f"{again.shape} {again.dtype}, the session has {had.shape} {had.dtype}"
        yield Finding("not reproducible", where, said)
        return
    if again.tobytes() == np.ascontiguousarray(had).tobytes():
        return
    if again.dtype.kind not in "fciub":
        yield Finding("not reproducible", where, "other texts")
        return
    with np.errstate(invalid="ignore", over="ignore"):
        other = ~((again == had) | (np.isnan(again) & np.isnan(had) if again.dtype.kind in "fc" else False))
        off = (
            np.abs(again.astype(np.float64) - had.astype(np.float64))
            if again.dtype.kind != "c"
            else np.abs(again - had)
        )
    if tolerance and again.dtype.kind in "fc":
        other &= ~(off <= tolerance * np.abs(had[np.isfinite(had)]).max(initial=0))
    count = int(other.sum())
    if not count:  # zeros of another sign, NaN of other bits
        return
    largest = float(np.nanmax(np.where(other, off, 0), initial=0))
    frame = (
        f", first at frame {index[np.flatnonzero(other.reshape(len(other), -1).any(1))[0]]}"
        if index is not None
        else ""
    )
    yield Finding("not reproducible", where, f"{count} of {other.size} numbers differ, by {largest:.3g} at most{frame}")
