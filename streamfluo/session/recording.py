"""Recording: what is written of a run, and what happens when the disk does not take it."""

from __future__ import annotations

import errno
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from ..core.block import Block
from ..core.source import Gap
from ..core.step_values import StepValues
from .checkpoint import Checkpoint
from .step_frames import StepFrames
from .writer import SessionWriter

log = logging.getLogger("streamfluo")

RETRY_S = 0.5
SKIPPED = "skipped"  # the reason of what the journal was not given
# a full disk, a quota, a drive that comes back, and files that others hold open, here or on the whole machine
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE}
_WHAT_TO_DO = {
    errno.EIO: "look after the drive",
    errno.EMFILE: "close some of the programs that are connected to this one, or raise ulimit -n",
    errno.ENFILE: "close other programs: the whole machine has no more open files to give",
}


class Recording:
    """Writes a session from the journal's and the values' thread; a disk that refuses is asked again until it takes it.

    Meanwhile frames wait in the ring, then with the source: nothing is acknowledged before it is written. Once the ring
    is nearly `full`, `when_full` says whether they wait, are given up and noted as unrecorded (skip), so that the chain
    goes on, or the run ends (stop). What happens is told by `tell`. `stalled` says which thread waits for the disk, and
    why. `passed_over` are frames that the journal's thread was not given, because its disk did not answer, and gaps.
    """

    def __init__(
        self,
        session: SessionWriter,
        full: Callable[[], bool],
        when_full: Literal["wait", "skip", "stop"],
        tell: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self.stalled: dict[str, str] = {}
        self.passed_over: deque[Gap] = deque()
        self._unrecorded = 0
        self._session, self._full, self._when_full, self._tell = session, full, when_full, tell
        self._given_up = threading.Event()

    @property
    def folder(self) -> Path:
        """The session's folder."""
        return self._session.folder

    def frames(self, block: Block) -> None:
        """Write raw frames that are not written yet. Raises OSError once nobody waits for the disk any more."""
        journal = self._session.journal
        assert journal is not None

        plane = journal.plane(block)

        def write() -> None:
            if block.stop > journal.reached[plane]:
                journal.append(block.cut(max(block.index, journal.reached[plane]), block.stop))

        if not self._patiently("journal", write, self._when_full == "skip"):
            first = max(block.index, journal.reached[plane])
            self.skipped(Gap(first, block.stop - first, "", plane))

    def skipped(self, frames: Gap) -> None:
        """Note frames that are processed and not written."""
        self._unrecorded += frames.count
        of = {"plane": frames.plane} if frames.plane else {}
        self._tell({"event": "unrecorded", "first": frames.first, "count": frames.count, **of})

    @property
    def unrecorded(self) -> int:
        """How many frames were processed and not written."""
        return self._unrecorded + sum(gap.count for gap in list(self.passed_over) if gap.reason == SKIPPED)

    def values(self, values: StepValues) -> None:
        """Write a step's values. Raises OSError once nobody waits for the disk any more."""
        writer = self._session.values[values.step]
        writer.add(values)
        self._patiently("values", writer.flush_if_due)

    def step_frames(self, frames: StepFrames) -> None:
        """Write frames that a step handed on. Raises OSError once nobody waits for the disk any more."""
        writer = self._session.step_frames[frames.step]

        def write() -> None:
            writer.add(frames.block)
            writer.flush_if_due()

        self._patiently("values", write)

    def flush_values(self) -> None:
        """Write all values that wait. Raises OSError once nobody waits for the disk any more."""
        for writer in self._session.values.values():
            self._patiently("values", writer.flush)

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write where the chain stands; a disk without room for it does without."""
        try:
            self._session.save_checkpoint(checkpoint)
        except OSError as error:
            log.warning("checkpoint not written: %s; the journal has every frame", error.strerror or error)

    def give_up(self) -> None:
        """Wait for the disk no longer."""
        self._given_up.set()

    def _patiently(self, job: str, write: Callable[[], None], may_skip: bool = False) -> bool:
        """Do it, again and again while the disk refuses. False if it was skipped."""
        while True:
            try:
                write()
            except OSError as error:
                if error.errno not in _PASSING or self._given_up.is_set():
                    raise
                self._refused(job, error)
                if self._full() and self._when_full == "stop":
                    raise
                if self._full() and may_skip:
                    return False
                self._given_up.wait(RETRY_S)
            else:
                if self.stalled.pop(job, None):
                    log.warning("%s: the disk takes data again", job)
                    self._tell({"event": "disk takes data again", "job": job})
                return True

    def _refused(self, job: str, error: OSError) -> None:
        reason = error.strerror or str(error)
        if job not in self.stalled:
            what_to_do = _WHAT_TO_DO.get(error.errno or 0, "free some space")
            log.warning("%s: %s; frames wait in memory and with the source: %s", job, reason, what_to_do)
            self._tell({"event": "disk refuses", "job": job, "error": reason})
        self.stalled[job] = reason
