"""The values that a session has of a step, read for who asks for those before a frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np

from ..core import wire
from ..core.errors import SourceError, StreamfluoError
from ..core.operator import Gives
from ..core.step_values import StepValues
from ..session.reader import Session
from .past_message import past_message
from .written_values import of_frames

KEPT_BYTES = 64 << 20  # of the step that was asked for last: its file is read again for what is older


class RecordedValues:
    """Answers questions about the values of a session's steps, each record read when it is asked for."""

    def __init__(self, session: Session, gives: Mapping[str, Mapping[str, Gives]]) -> None:
        self._session, self._gives = session, gives
        self._step, self._before = "", 0
        self._kept: deque[StepValues] = deque()
        self._whole = False  # nothing of the step is older

    def page(self, asked: wire.Past, nbytes: int) -> tuple[wire.Result, Sequence[np.ndarray]]:
        """Return the newest values of frames before one. Raises SourceError for a step that is not there."""
        if asked.step not in self._gives:
            raise SourceError(f"no step {asked.step[:64]!r} gives values here")
        if not self._holds(asked):
            try:
                self._read(asked)
            except StreamfluoError as error:
                raise SourceError(f"{asked.step[:64]}: {str(error)[:300]}") from None
        gives, uid = self._gives[asked.step], self._session.series["uid"]
        return past_message(asked, reversed(self._kept), nbytes, gives, uid)

    def _holds(self, asked: wire.Past) -> bool:
        """Whether what is kept has the values just before a frame."""
        if asked.step != self._step or asked.before > self._before:
            return False
        return self._whole or bool(self._kept and self._kept[0].index < asked.before)

    def _read(self, asked: wire.Past) -> None:
        """Keep the last values of a step before a frame, as they were recorded."""
        self._step, self._before, self._whole = asked.step, asked.before, True
        self._kept.clear()
        nbytes = 0
        for record in self._session.each_record(asked.step) if asked.step in self._session.steps else ():
            if record.index >= asked.before or (values := of_frames(asked.step, record)) is None:
                continue
            self._kept.append(values)
            nbytes += self._kept[-1].nbytes
            while nbytes > KEPT_BYTES and len(self._kept) > 1:
                nbytes -= self._kept.popleft().nbytes
                self._whole = False
