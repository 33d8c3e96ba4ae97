"""What was seen of a frame: the rectangle inside its rim of NaN."""

from .kernel import kernel

Window = tuple[int, int, int, int]  # top, bottom, left, right: the first row, one past the last; columns alike [px]


def inside(window: Window) -> tuple[slice, slice]:
    """Return the rows and columns of a window."""
    top, bottom, left, right = window
    return slice(top, bottom), slice(left, right)


@kernel
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
    return top, bottom, left, right


@kernel
def _any_seen(line):  # type: ignore[no-untyped-def]
    for i in range(len(line)):  # noqa: SIM110 - numba has no any()
        if line[i] == line[i]:
            return True
    return False
