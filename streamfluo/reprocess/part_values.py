"""The values of a part on disk: those of its own frames, among what a chain gave before and behind them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from ..core.errors import SourceError
from ..core.freezable import Freezable
from ..core.step_values import IDS, StepValues, sized
from ..engine.chain import Chain
from ..engine.flow import StepResult
from ..session.record_file import Damage, mapped
from ..session.values import ValuesWriter, each_record


class PartValues:
    """Writes what the steps of a part give, into a file of a step each in `folder`.

    Of a step that learned from a sample the values of frames `first` to `stop` - 1 alone, and no rows of the tables
    that tell of the sample.
    """

    def __init__(self, folder: Path, series_uid: str, chain: Chain, span: tuple[int, int]) -> None:
        self._span = span
        self._writers = {step.id: ValuesWriter(_path(folder, n), series_uid) for n, step in enumerate(chain.steps)}
        self._without = {
            step.id: step.operator.of_sample for step in chain.steps if isinstance(step.operator, Freezable)
        }

    def add(self, results: Iterable[StepResult], whole: bool) -> None:
        """Take what steps gave; `whole`: for frames of the part, else only rows of tables are kept, of steps that
        learned: others have seen no frame but the part's."""
        for result in results:
            values = result.values
            if values is not None and result.step in self._without:
                values = rows_within(values, self._span, self._without[result.step], whole)
            elif not whole:
                continue
            if values is not None:
                self._writers[result.step].add(values)
                self._writers[result.step].flush_if_due()

    def close(self) -> None:
        """Write what waits. Raises OSError."""
        for writer in self._writers.values():
            writer.close()


def rows_within(
    values: StepValues, span: tuple[int, int], without: Collection[str] = (), whole: bool = True
) -> StepValues | None:
    """Return values with the rows of tables that speak of frames first ≤ frame < stop, None where nothing is left.

    without: tables of which none is kept; `whole` False: values of frames are not kept either.
    """
    first, stop = span
    arrays: dict[str, np.ndarray] = {}
    for name, array in values.arrays.items():
        table, slash, _ = name.partition("/")
        if slash and table not in without:
            frame = values.arrays[f"{table}/frame"]
            arrays[name] = array[(frame >= first) & (frame < stop)]
        elif not slash and whole:
            arrays[name] = array
        elif not slash and name != IDS:
            arrays[name] = array[:0]
        elif not slash:
            arrays[name] = array
    if not whole and not any("/" in name and len(array) for name, array in arrays.items()):
        return None
    frames, index = (values.frames, values.index) if whole else (0, min(max(values.index, first), stop))
    return StepValues(values.step, index, frames, arrays, sized(arrays))


def tables_alone(values: StepValues, tables: Collection[str]) -> StepValues | None:
    """Return values with the rows of some tables alone, None where there are none."""
    arrays = {name: array for name, array in values.arrays.items() if name.partition("/")[0] in tables and "/" in name}
    if not any(map(len, arrays.values())):
        return None
    return StepValues(values.step, values.index, 0, arrays, sized(arrays))


def written_values(folder: Path, series_uid: str, chain: Chain) -> Iterator[StepValues]:
    """Yield what a part has written, step after step. Raises SourceError where it is damaged."""
    for n, step in enumerate(chain.steps):
        with mapped(_path(folder, n)) as data:
            for found in each_record(_path(folder, n), series_uid, data):
                if isinstance(found, Damage):
                    raise SourceError(f"what a worker left of step {step.id!r} cannot be read: {found}")
                yield StepValues(step.id, found.index, found.frames, _copied(found.arrays), sized(found.arrays))


def _copied(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays that live on when the file is closed."""
    return {name: array.copy() for name, array in arrays.items()}


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number}.sfv"
