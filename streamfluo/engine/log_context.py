"""Of what a process's log lines speak: its source, and the session and series that it is at."""

from __future__ import annotations

import logging

_now: dict[str, str] = {}


def note(**facts: str) -> None:
    """Say of what lines speak from now on; "" is nothing."""
    _now.update(facts)


class Context(logging.Filter):
    """Gives each record what was noted, as `context`."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.context = {name: value for name, value in _now.items() if value}
        return True
