"""How a run fares, in words for somebody who only looks: one line, green, amber or red."""

from __future__ import annotations

from collections import deque
from typing import Any, Literal

from ..viewer.model import Model

Tone = Literal["green", "amber", "red"]
RECENT_S = 60.0
LATE_S = 1.0  # of frames waiting: the chain does not keep up
MAX_TROUBLES = 6
MAX_LINE = 300


class Fares:
    """Tells how a run fares; remembers when frames were lost."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._lost: deque[tuple[float, int]] = deque()  # when, how many by then
        self._series = -1

    def look(self, now_s: float) -> None:
        """Take note of what is lost by now."""
        if self._model.series != self._series:
            self._series = self._model.series
            self._lost.clear()
        lost = self._model.health.lost
        if not self._lost or self._lost[-1][1] != lost:
            self._lost.append((now_s, lost))
        while len(self._lost) > 1 and now_s - self._lost[1][0] > RECENT_S:
            self._lost.popleft()

    def tell(self, now_s: float) -> dict[str, Any]:
        """Return tone, state, one line, and what is wrong, in words."""
        self.look(now_s)
        tone, state, line = self._now(now_s)
        troubles = self._troubles()
        if troubles and tone == "green":
            tone = "red" if self._model.health.muted or self._model.denied else "amber"
        return {"tone": tone, "state": state, "line": line, "troubles": [t[:MAX_LINE] for t in troubles[:MAX_TROUBLES]]}

    def _now(self, now_s: float) -> tuple[Tone, str, str]:
        model, health = self._model, self._model.health
        if model.link == "connecting":
            return "amber", "waiting", f"nobody answers yet at {model.uri}"
        if model.link == "lost":
            return "red", "no answer", f"for {model.lost_for_s(now_s):.0f} s; what you see is old. It goes on by itself"
        if model.link == "ended":
            reason = model.ended or health.state or "ended"
            tone: Tone = "green" if reason == "finished" and not health.lost else "amber"
            return tone, reason, f"{_frames(health.frames_out)} in all, {_lost(health.lost)}"
        return self._running(now_s)

    def _running(self, now_s: float) -> tuple[Tone, str, str]:
        health = self._model.health
        state = health.state or "live"
        arriving, done = health.rates()
        said = [f"{arriving:.0f} frames a second"]
        recent = health.lost - self._lost[0][1] if now_s - self._lost[0][0] > 0 else 0
        late = done > 0 and health.waiting > LATE_S * max(arriving, done)
        if late:
            said.append(f"{health.waiting} wait for the chain")
        if recent > 0:
            split = health.lost_split()
            return "red", state, f"{said[0]}; {_frames(recent)} lost in the last minute (in all {split})"
        said.append(_lost(health.lost))
        return "amber" if late or health.lost else "green", state, ", ".join(said)

    def _troubles(self) -> list[str]:
        model, health = self._model, self._model.health
        found = [f"{model.uri}: {model.denied}"] if model.denied else []
        found += [f"the step {step} failed and was taken out: {why}" for step, why in health.muted.items()]
        found += [f"{who} waits: {why}" for who, why in health.stalled.items()]
        return found + [f"{step} is doubtful: {doubt}" for step, doubt in health.doubtful.items()]


def _frames(count: int) -> str:
    return f"{count:,} frame{'' if count == 1 else 's'}".replace(",", "\u202f")


def _lost(count: int) -> str:
    return f"{_frames(count)} lost" if count else "none lost"
