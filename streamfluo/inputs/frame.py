"""What each frame's metadata says, as an input: a TTL line that the camera records, a stage's position."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from ..core.block import Block
from ..core.errors import ConfigError, WireError
from ..core.input import MAX_COLUMNS, Input, Sample, value_of


class FrameValues(Input):
    """`frame:KEY`: what a frame's `user` says under KEY, `KEY.KEY` of a map in it; one sample a frame, at its time.

    Numbers, lists of them, texts that spell numbers, and texts. A frame without it has no sample, and is counted.
    """

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._key = uri.partition(":")[2]
        if not self._key:
            raise ConfigError(f"{uri}: write frame:KEY, of what a frame's metadata says")
        self._put: deque[Sample] = deque()

    def put(self, block: Block) -> None:
        """Note the samples of frames; waits for nothing."""
        for index, t_ns in enumerate(block.times_ns.tolist(), block.index):
            user = block.user.get(index, {})
            value, found = self.value(user), _found(user, self._key)
            if value is not None:
                self._put.append(Sample(t_ns, value, frame=index))
            else:
                self.refused["not in the frame" if found is None else "neither numbers nor text"] += 1

    def value(self, user: Mapping[str, Any]) -> tuple[float, ...] | str | None:
        """Return the sample of a frame of which this is said; None where there is none."""
        found = _found(user, self._key)
        try:
            if isinstance(found, str):
                return value_of(found.encode())
            numbers = found if isinstance(found, list | tuple) else [found]
            if 0 < len(numbers) <= MAX_COLUMNS and all(isinstance(one, int | float) for one in numbers):
                return tuple(float(one) for one in numbers)
        except (WireError, OverflowError):
            pass
        return None

    def read(self, wait_s: float) -> list[Sample]:
        if not self._put:
            time.sleep(wait_s)
        return [self._put.popleft() for _ in range(len(self._put))]


def _found(user: Mapping[str, Any], key: str) -> Any:
    """What is said under a key, or, by its part before a dot, in a map there."""
    if key in user:
        return user[key]
    first, dot, rest = key.partition(".")
    inner = user.get(first)
    return _found(inner, rest) if dot and isinstance(inner, Mapping) else None
