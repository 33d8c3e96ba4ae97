"""Who takes frames of a data endpoint: how far each one is, and how much may wait for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .connections import NOBODY

IN_FLIGHT_BYTES = 64 << 20  # to one consumer
BUDGET_BYTES = 256 << 20  # to all of them
LEAST_FRAMES = 2  # a series' start and calibration go the same way
_REST_S, _LONGEST_REST_S = 0.01, 0.64


@dataclass
class Consumer:
    """One subscriber: the next seq it gets, how many frames it can take, how far its end has come."""

    cursor: int
    credit: int
    heard_at: float
    descriptor: int = NOBODY  # of its connection
    end_sent: bool = False
    end_acknowledged: bool = False
    left: bool = False
    gone: bool = False
    full: bool = False  # it has not read what was sent last
    rests_until: float = 0.0
    _rest_s: float = _REST_S

    def served(self, now: float, sent: bool) -> None:
        """Note whether there was room for what it was sent: who does not read is asked ever less often, since each
        frame it might take is read from disk again."""
        self.full = not sent
        if sent:
            self._rest_s = _REST_S
        else:
            self.rests_until = now + self._rest_s
            self._rest_s = min(2 * self._rest_s, _LONGEST_REST_S)


def fair_share(consumers: Iterable[Consumer], frame_nbytes: int) -> int:
    """Return how many frames may wait for each consumer, so that all of them together keep to the budget."""
    present = sum(not (c.gone or c.left) for c in consumers)
    nbytes = min(IN_FLIGHT_BYTES, BUDGET_BYTES // max(1, present))
    return max(LEAST_FRAMES, min(1000, nbytes // frame_nbytes))


def places(frame_nbytes: int, at_most: int) -> int:
    """Return how many consumers the budget has room for."""
    return max(1, min(at_most, BUDGET_BYTES // (LEAST_FRAMES * frame_nbytes)))
