"""Inputs: what else happens while frames come: a stimulus, a wheel, a lick, each sample with its time."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from .errors import WireError

MAX_COLUMNS, MAX_TEXT = 256, 1000
INPUTS = "inputs"  # in the `user` of a frame: the newest sample of each when it arrived, by name


class Sample(NamedTuple):
    """One sample: when, on this machine's monotonic clock [ns], and its numbers or its text.

    Of one that is a frame's own, `frame` is its index, and the time is the frame's since the series began. Of a stream
    with a clock of its own `own_ns` is the time by that [ns], which began at 0 when `t_ns` says, or at another number.
    """

    t_ns: int
    value: tuple[float, ...] | str
    frame: int = -1
    own_ns: int | None = None


class Input(ABC):
    """A stream of samples, opened by its URI before frames flow.

    `refused` counts messages that were no samples, by why. Raises ConfigError for what it cannot be, or where a library
    is missing.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.refused: Counter[str] = Counter()

    @abstractmethod
    def read(self, wait_s: float) -> list[Sample]:
        """Return what came, waiting for something; nothing after `wait_s`. Raises OSError where it is lost."""

    def close(self) -> None:  # noqa: B027 - some have nothing to give back
        """Give back what it holds."""

    def sampled(self, text: bytes) -> list[Sample]:
        """Return a message that came now as a sample; none for one that is refused."""
        try:
            return [Sample(time.monotonic_ns(), value_of(text))]
        except WireError as error:
            self.refused[error.kind] += 1
            return []


def value_of(message: bytes) -> tuple[float, ...] | str:
    """Return the numbers of a message (JSON, or separated by commas, semicolons or space), or its text.

    Raises WireError for one that is neither, or too long.
    """
    if len(message) > 32 * MAX_COLUMNS:
        raise WireError("too long", f"a sample of {len(message)} bytes")
    try:
        text = message.decode().strip("\0\r\n\t ")
    except UnicodeDecodeError:
        raise WireError("not text", "a sample that is not utf-8") from None
    try:
        found = json.loads(text)
        numbers = found if isinstance(found, list) else [found]
        return _numbers(numbers)
    except (ValueError, RecursionError):
        pass
    try:
        return _numbers(text.replace(",", " ").replace(";", " ").split())
    except ValueError:
        pass
    if not text or len(text) > MAX_TEXT:
        raise WireError("too long" if text else "empty", f"a text of {len(text)} characters")
    return text


def _numbers(found: Sequence[object]) -> tuple[float, ...]:
    if not 0 < len(found) <= MAX_COLUMNS or not all(isinstance(one, int | float | str) for one in found):
        raise ValueError
    return tuple(float(one) for one in found)  # type: ignore[arg-type]
