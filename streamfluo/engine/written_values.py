"""The values that a run has written by now, read while it goes on by who asks for those of long ago."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import numpy as np

from ..core.step_values import IDS, StepValues, sized
from ..session.values import ValuesRecord, ValuesWriter, records_before

log = logging.getLogger("streamfluo")

TABLE = "/"  # in the name of a table's column


class WrittenValues:
    """Reads what the `writers` of a session's steps have written; it waits for none of them."""

    def __init__(self, writers: Mapping[str, ValuesWriter]) -> None:
        self._writers = writers

    def before(self, step: str, frame: int) -> Iterator[StepValues]:
        """Yield a step's values per frame from before a frame, the newest first, as far as the disk gives them."""
        if (writer := self._writers.get(step)) is None:
            return
        try:
            for record in records_before(writer, frame):
                if (values := of_frames(step, record)) is not None:
                    yield values
        except OSError as error:
            log.warning("%s: values of before %d cannot be read: %s", writer.path, frame, error.strerror or error)


def of_frames(step: str, record: ValuesRecord) -> StepValues | None:
    """Return a record's values per frame, a copy; None where it has tables alone."""
    arrays = {name: np.array(a) for name, a in record.arrays.items() if TABLE not in name}
    if not record.frames or not arrays.keys() - {IDS}:
        return None
    return StepValues(step, record.index, record.frames, arrays, sized(arrays))
