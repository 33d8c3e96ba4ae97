"""The thread that watches the calls to the disk: which one is slow, which does not come back, and what follows."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ..session.recording import SKIPPED
from .parts import Parts

LOOK_S = 0.05
SAY_S = 60.0  # a slow disk is said so often

log = logging.getLogger("streamfluo")


def watch_disk(parts: Parts, ended: threading.Event, give_up: Callable[[str], None]) -> None:
    """Look after the calls of a run's session until it has `ended`; what is said is kept in memory until the disk
    takes it. `give_up` ends the run without its disk."""
    session, recording, record = parts.session, parts.recording, parts.config.record
    assert session is not None
    assert recording is not None
    slow_said_s = -SAY_S
    while not ended.wait(LOOK_S):
        lasting = session.calls.lasting(record.blocked_s)
        _tell_changes(parts, lasting)
        if lasting and parts.ring.full:
            if record.when_full == "stop":
                give_up("; ".join(parts.blocked.values()))
                return
            if record.when_full == "skip" and any(call.startswith("journal") for call in lasting):
                recording.passed_over += parts.ring.pass_over("journal", SKIPPED)
        call, elapsed_s = session.calls.slowest_lately_s()
        if record.slow_s < elapsed_s < record.blocked_s and time.monotonic() - slow_said_s >= SAY_S:
            slow_said_s = time.monotonic()
            log.warning("slow disk: %s takes %.1f s; slow_s is %g", call, elapsed_s, record.slow_s)
            parts.tell({"event": "disk slow", "call": call, "elapsed_s": round(elapsed_s, 3)})


def _tell_changes(parts: Parts, lasting: dict[str, float]) -> None:
    for call in lasting.keys() - parts.blocked.keys():
        log.warning("%s has not come back for %.0f s; frames wait in memory", call, lasting[call])
        parts.tell({"event": "disk call hangs", "call": call, "elapsed_s": round(lasting[call], 3)})
    for call in parts.blocked.keys() - lasting.keys():
        log.warning("%s came back", call)
        parts.tell({"event": "disk call came back", "call": call})
    parts.blocked = {call: f"{call} has not come back for {elapsed_s:.0f} s" for call, elapsed_s in lasting.items()}
