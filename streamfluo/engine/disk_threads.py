"""The two threads that write: ring buffer → journal, and the chain's values → session."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress

from ..core.source import Gap
from ..session.checkpoint import Checkpoint
from ..session.recording import SKIPPED, Recording
from ..session.step_frames import StepFrames
from .parts import Handed, Parts

ROOM_S = 2.0  # how often the disk is asked what it has left
SAFE_S = 0.25  # values are flushed so often at least where their frames wait to be acknowledged


def write_journal(parts: Parts) -> None:
    """Write raw frames; they are acknowledged once written."""
    recording, position = parts.recording, parts.position
    assert recording is not None
    room = _Room(parts)
    while items := parts.ring.take_all("journal"):
        for item in items:
            if isinstance(item, Gap):
                parts.tell_gap(item)
                continue
            plane = parts.plane(item)
            if item.stop > position.resumed_at[plane]:
                recording.frames(item)
                position.written[plane] = item.stop
            parts.accounts.count("journal", item)
        _note_passed_over(parts, recording)
        room.ask()
        if parts.publisher is not None:
            parts.publisher.wake()
    _note_passed_over(parts, recording)


class _Room:
    """Asks the disk what it has left, by a thread that writes: a disk that hangs may hold up whoever asks."""

    def __init__(self, parts: Parts) -> None:
        self._health, self._recording, self._asked_s = parts.accounts.health, parts.recording, -ROOM_S

    def ask(self) -> None:
        """Ask, if it is time."""
        if self._recording is not None and time.monotonic() - self._asked_s >= ROOM_S:
            self._asked_s = time.monotonic()
            with suppress(OSError):
                self._health.disk_free_bytes = shutil.disk_usage(self._recording.folder).free


def _note_passed_over(parts: Parts, recording: Recording) -> None:
    """Tell of the frames and gaps that this thread was not given while its disk did not answer."""
    while recording.passed_over:
        gap = recording.passed_over[0]
        if gap.reason == SKIPPED:
            recording.skipped(gap)
            parts.accounts.health.edges["journal"].frames += gap.count
        else:
            parts.tell_gap(gap)
        recording.passed_over.popleft()


def write_values(parts: Parts) -> None:
    """Write values and checkpoints; without a journal frames are acknowledged once their values are written."""
    edge, recording, flushed = parts.accounts.health.edges["values"], parts.recording, 0.0
    room = _Room(parts)
    while (item := parts.values.get()) is not None:
        if isinstance(item, Handed):
            if recording is not None and time.monotonic() - flushed < SAFE_S:
                continue
            if recording is not None:
                recording.flush_values()
            flushed = time.monotonic()
            parts.position.written[item.plane] = item.next_index
            continue
        edge.blocks += 1
        if recording is None:
            continue
        if isinstance(item, Checkpoint):
            recording.checkpoint(item)
        elif isinstance(item, StepFrames):
            recording.step_frames(item)
            if not parts.has_journal:
                room.ask()
            parts.accounts.count("frames", item.block)
        else:
            recording.values(item)
