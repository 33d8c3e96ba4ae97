"""Streams of the Lab Streaming Layer. A door to pylsl."""

from __future__ import annotations

import time

from ..core.errors import ConfigError
from ..core.input import MAX_TEXT, Input, Sample

FIND_S, CORRECT_S, MAX_AT_ONCE = 5.0, 5.0, 1024


class LslInput(Input):
    """`lsl:NAME`: numbers or markers, at the times that their sender gave them, on this machine's clock by LSL's own
    correction, asked for every five seconds."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        try:
            import pylsl
        except (ImportError, RuntimeError) as error:
            why = "" if isinstance(error, ImportError) else f" and liblsl ({str(error).splitlines()[0][:80]})"
            raise ConfigError(f'{uri}: needs pylsl{why}; install it with pip install "streamfluo[devices]"') from None
        name = uri.partition(":")[2]
        found = pylsl.resolve_byprop("name", name, timeout=FIND_S) if name else ()
        if not found:
            raise ConfigError(f"{uri}: no stream {name!r} on the Lab Streaming Layer within {FIND_S:g} s")
        self._clock = pylsl.local_clock
        self._inlet = pylsl.StreamInlet(found[0], max_buflen=60, recover=True)
        self._inlet.open_stream(timeout=FIND_S)
        self._correction_s, self._corrected_s = 0.0, float("-inf")

    def read(self, wait_s: float) -> list[Sample]:
        values, times_s = self._inlet.pull_chunk(timeout=wait_s, max_samples=MAX_AT_ONCE)
        if not times_s:
            return []
        if time.monotonic() - self._corrected_s > CORRECT_S:
            self._correction_s, self._corrected_s = self._inlet.time_correction(timeout=FIND_S), time.monotonic()
        now_ns, now_s = time.monotonic_ns(), self._clock()
        return [
            Sample(now_ns - round((now_s - t_s - self._correction_s) * 1e9), _value(value))
            for value, t_s in zip(values, times_s, strict=True)
        ]

    def close(self) -> None:
        self._inlet.close_stream()


def _value(sample: list[float | str]) -> tuple[float, ...] | str:
    if any(isinstance(one, str) for one in sample):
        return " ".join(map(str, sample))[:MAX_TEXT]
    return tuple(float(one) for one in sample)
