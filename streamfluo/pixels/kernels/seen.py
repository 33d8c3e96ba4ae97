"""What was seen of a frame: the rectangle inside its rim of NaN."""

from typing import NamedTuple

from numba import njit


class Window(NamedTuple):
    """A rectangle of a frame: its first row, one past its last, its first column, one past its last [px]."""

    top: int
    bottom: int
    left: int
    right: int


@njit(nogil=True, cache=True)
def seen_window(frame):  # type: ignore[no-untyped-def]
    """Return the Window of a frame (y, x) without the rows and columns at its border that are NaN throughout."""
    top, bottom, left, right = 0, frame.shape[0], 0, frame.shape[1]
    while top < bottom and not _any_seen(frame[top]):
        top += 1
    while bottom > top and not _any_seen(frame[bottom - 1]):
        bottom -= 1
    while left < right and not _any_seen(frame[top:bottom, left]):
        left += 1
    while right > left and not _any_seen(frame[top:bottom, right - 1]):
        right -= 1
    return Window(top, bottom, left, right)


@njit(nogil=True, cache=True)
def _any_seen(line):  # type: ignore[no-untyped-def]
    for i in range(len(line)):  # noqa: SIM110 - numba has no any()
        if line[i] == line[i]:
            return True
    return False
