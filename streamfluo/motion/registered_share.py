"""Whether too few frames can be registered, said in a sentence."""

from __future__ import annotations

from ..core.state import State, require_int

WINDOW_FRAMES = 200
FEW, ENOUGH = 0.9, 0.95  # of the frames of a window: doubt begins below the first, and ends at the second


class RegisteredShare:
    """Counts usable frames and those registered, 200 at a time; `doubt` says where fewer than nine tenths were."""

    def __init__(self) -> None:
        self._seen, self._registered = -WINDOW_FRAMES, 0  # a dim recording may take the first ones to begin
        self._first, self._few = 0, -1  # the first window in doubt: its end, and how many were registered in it

    def add(self, index: int, registered: bool) -> None:
        """Count the frame of this index."""
        self._seen += 1
        self._registered += registered and self._seen > 0
        if self._seen < WINDOW_FRAMES:
            return
        share = self._registered / WINDOW_FRAMES
        if share < FEW and self._few < 0:
            self._first, self._few = index, self._registered
        elif share >= ENOUGH:
            self._few = -1
        self._seen = self._registered = 0

    def doubt(self, period_px: float) -> str:
        """Return the sentence, "" where enough frames are registered; period_px: of a template that repeats, else 0."""
        if self._few < 0:
            return ""
        said = f"{self._few} of the {WINDOW_FRAMES} frames up to frame {self._first} could be registered"
        if period_px > 0:
            return (
                f"{said}, the shift of the others is known up to a period of {period_px:.1f} px and they are not "
                "valid: the template looks the same there; state a max_shift_px below half of it if tissue moves less"
            )
        return (
            f"{said}, the others are handed on at the last shift and are not valid: frames too dim, tissue that moves "
            "beyond max_shift_px, or another scene; one-photon recordings need highpass_sigma_px"
        )

    def state(self) -> State:
        """Return what it carries, as entries of a state."""
        return {
            "window_seen": self._seen, "window_registered": self._registered,
            "doubt_from": self._first, "doubt_registered": self._few,
        }  # fmt: skip

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        names = ("window_seen", "window_registered", "doubt_from", "doubt_registered")
        self._seen, self._registered, self._first, self._few = (require_int(state, name, "motion") for name in names)
