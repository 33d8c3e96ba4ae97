"""Inputs in the viewer: one that no step `input` takes into the chain is shown as if one did; texts as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.block import Block
from ..core.input import INPUTS
from ..core.operator import Gives
from ..core.plane import in_plane
from ..core.step_values import StepValues, sized
from ..session.inputs import RecordedInputs

KIND = "input"  # of steps that take inputs into the chain
VALUE = Gives("value", "per_frame", ("t", "column"), "", "the newest sample, NaN where there was none")
TEXTS = Gives("texts", "table", ("frame", "input", "text"), "", "what inputs said, from which frame on")


def unshown(names: Iterable[str], steps: Mapping[str, tuple[str, Mapping[str, object]]]) -> dict[str, str]:
    """Return what the inputs that no step shows are called beside the steps; these have kind and parameters."""
    shown = {params.get("name", KIND) for kind, params in steps.values() if kind == KIND}
    return {name: name if name not in steps else f"{name} (input)" for name in names if name not in shown}


def texts_step(taken: Iterable[str]) -> str:
    """Return what the texts of all inputs are called, beside steps and inputs that have names."""
    return TEXTS.name if TEXTS.name not in {*taken} else f"{TEXTS.name} (inputs)"


class ShownInputs:
    """The inputs of a run by the name that they are shown by, and their newest sample at each frame.

    What is shown has as many columns as the first sample. Texts have no height to be drawn at: where the newest one of
    one of `names` is another than in the frame before, it is a row of a table.
    """

    def __init__(self, called: Mapping[str, str], planes: Sequence[str], names: Sequence[str] = ()) -> None:
        self._called, self._names, self._first = dict(called), tuple(names), planes[0]
        self._widths: dict[str, int] = {}
        self._texts: dict[str, str] = {}
        self._texts_step = texts_step(called.values())
        self.steps = {in_plane(plane, step): VALUE for plane in planes for step in called.values()}
        if names:
            self.steps[self._texts_step] = TEXTS

    def values(self, plane: str, block: Block) -> Iterator[StepValues]:
        """Yield the newest sample of each input at the frames of a block; nothing of one that has not come yet."""
        said = [facts.get(INPUTS) if (facts := block.user.get(n)) else None for n in range(block.index, block.stop)]
        for name, step in self._called.items():
            rows = [one.get(name) if isinstance(one, Mapping) else None for one in said]
            rows = [row if _is_numbers(row) else None for row in rows]
            if name not in self._widths and not any(rows):
                continue
            width = self._widths.setdefault(name, len(next(row for row in rows if row)) if any(rows) else 0)
            value = np.full((len(rows), width), np.nan)
            for n, row in enumerate(rows):
                if row is not None:
                    value[n, : len(row)] = row[:width]
            arrays = {VALUE.name: value}
            yield StepValues(in_plane(plane, step), block.index, len(rows), arrays, sized(arrays))
        if plane == self._first and (new := self._new_texts(block.index, said)):
            arrays = rows_of_texts(new)
            yield StepValues(self._texts_step, block.index, 0, arrays, sized(arrays))

    def _new_texts(self, index: int, said: Sequence[Any]) -> list[tuple[int, str, str]]:
        new = []
        for n, one in enumerate(said):
            for name in self._names if isinstance(one, Mapping) else ():
                text = one.get(name)
                if isinstance(text, str) and text != self._texts.get(name):
                    self._texts[name] = text
                    new.append((index + n, name, text))
        return new


def recorded_texts(inputs: RecordedInputs) -> dict[str, np.ndarray]:
    """Return what the inputs of a session said as columns, each text with the first frame that came when it had.

    Of what every frame says for itself those are told that are others than before.
    """
    rows = []
    for name, one in inputs.by_name.items():
        texts = one.value.tolist() if one.is_text else []
        for n, (t_ns, text) in enumerate(zip(one.t_ns.tolist() if texts else [], texts, strict=True)):
            if one.frame is None or n == 0 or text != texts[n - 1]:
                rows.append((int(t_ns), name, str(text)))
    if not rows or not len(inputs.index):
        return {}
    rows.sort(key=lambda row: row[0])
    at = np.searchsorted(inputs.t_ns, [t_ns for t_ns, _, _ in rows]).clip(0, len(inputs.index) - 1)
    return rows_of_texts([(int(inputs.index[n]), name, text) for n, (_, name, text) in zip(at, rows, strict=True)])


def rows_of_texts(rows: Sequence[tuple[int, str, str]]) -> dict[str, np.ndarray]:
    """Return rows (frame, input, text) as the columns of their table."""
    frames, names, texts = zip(*rows, strict=True)
    columns = {"frame": np.array(frames, np.int64), "input": np.array(names, str), "text": np.array(texts, str)}
    return {f"{TEXTS.name}/{name}": column for name, column in columns.items()}


def _is_numbers(row: object) -> bool:
    return isinstance(row, list | tuple) and len(row) > 0 and all(isinstance(one, int | float) for one in row)
