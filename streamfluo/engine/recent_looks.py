"""Snapshots of one short axis as frames went by: what they were at each look, over the whole run."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np

from ..core import wire
from ..core.operator import Gives
from ..core.results import encode_arrays

MAX_LOOKS = 2000  # then every second one is let go
MAX_PLACES = 64  # of the axis
FRAMES = "frames"  # of the looks, in an answer


class RecentLooks:
    """Keeps the snapshots that were read for somebody. Callable from any thread."""

    def __init__(self, uid: str, gives: Mapping[str, Mapping[str, Gives]]) -> None:
        self._uid, self._gives = uid, gives
        self._looks: dict[tuple[str, str], list[tuple[int, np.ndarray]]] = {}
        self._every: dict[tuple[str, str], int] = {}  # so many looks are passed over after one that is kept
        self._passed: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def put(self, step: str, index: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep what snapshots were after a frame, of those of one axis; an interval with its number: low, it, high."""
        for name, array in arrays.items():
            of = self._gives.get(step, {}).get(name)
            number = arrays.get(of.dims[0]) if of is not None and of.dims else None
            if number is not None and number.ndim == 0 and array.shape == (2,):
                array = np.array([array[0], number[()], array[1]], float)
            if array.ndim != 1 or not 0 < len(array) <= MAX_PLACES or array.dtype.kind not in "biuf":
                continue
            key = step, name
            with self._lock:
                looks, every = self._looks.setdefault(key, []), self._every.setdefault(key, 0)
                if (looks and index <= looks[-1][0]) or (looks and self._passed.get(key, 0) < every):
                    self._passed[key] = self._passed.get(key, 0) + 1
                    continue
                looks.append((index, np.array(array, float)))
                self._passed[key] = 0
                if len(looks) >= MAX_LOOKS:
                    del looks[1::2]
                    self._every[key] = 2 * every + 1

    def answer(self, asked: wire.Past, nbytes: int) -> tuple[wire.Result, Sequence[np.ndarray]] | None:
        """Return the looks at the snapshot that is asked for, None where that is none; some of too many."""
        given = self._gives.get(asked.step, {}).get(asked.names[0]) if len(asked.names) == 1 else None
        if given is None or given.kind != "snapshot":
            return None
        with self._lock:
            looks = [look for look in self._looks.get((asked.step, given.name), ()) if look[0] < asked.before]
        looks = [look for look in looks if looks and look[1].shape == looks[-1][1].shape]
        row_nbytes = looks[0][1].nbytes + 8 if looks else 1
        looks = looks[:: -max(1, -(-len(looks) * row_nbytes // max(1, nbytes)))][::-1]
        arrays = {}
        if looks:
            arrays[given.name] = np.stack([values for _, values in looks])
            arrays[FRAMES] = np.array([index for index, _ in looks], np.int64)
        headers, parts = encode_arrays(arrays)
        message = wire.Result(
            series_uid=self._uid, step=asked.step, kind="snapshot", index=looks[-1][0] if looks else 0,
            count=len(looks), arrays=tuple(headers), before=asked.before,
        )  # fmt: skip
        return message, parts
