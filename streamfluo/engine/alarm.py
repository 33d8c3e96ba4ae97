"""What a person should hear of a daemon before frames are lost: said once in the log, and in status while it lasts."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from ..session.health import spelled_ms
from .daemon_config import DaemonConfig
from .disk_facts import disk_warnings
from .metrics import complaints

QUIET_S = 60.0  # a sentence that was gone for so long is said anew
MAX_SENTENCES = 32
_WORDS = {"disk_ms": "disk", "steps_ms": "steps"}

log = logging.getLogger("streamfluo")


class Alarm:
    """Says what is or will become trouble."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self._seen_s: dict[str, float] = {}

    def look(self, told: Mapping[str, Mapping[str, Any]], kept: Mapping[str, Any], config: DaemonConfig) -> None:
        """Take what sources and housekeeping told last."""
        now, limits = time.monotonic(), config.disks.disk
        found = complaints(told)
        for name, facts in told.items():
            found += disk_warnings(name, facts, limits)
        if kept.get("blocked"):
            found.append(f"housekeeping: {kept['blocked']}")
        if kept.get("refused_exports"):
            found.append(f"housekeeping: {kept['refused_exports']} sessions are not exported, or stay; see the log")
        self.sentences = found[:MAX_SENTENCES]
        self._seen_s = {topic: at for topic, at in self._seen_s.items() if now - at < QUIET_S}
        for sentence in self.sentences:
            topic = "".join(c for c in sentence if not c.isdigit())
            if topic not in self._seen_s:
                log.warning("%s", sentence)
            self._seen_s[topic] = now


def briefly(told: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what sources told as a status message may hold it: figures of steps and calls in a line each."""
    return {"sources": {name: _brief(facts) for name, facts in told.items()}}


def _brief(facts: Mapping[str, Any]) -> dict[str, Any]:
    brief = {key: value for key, value in facts.items() if key not in ("disk_calls", "disk_lately_ms", *_WORDS)}
    for key, word in _WORDS.items():
        lines = [f"{of}: {spelled_ms(figures)}" for of, figures in dict(facts.get(key) or {}).items() if figures]
        if lines:
            brief[word] = lines
    return brief
