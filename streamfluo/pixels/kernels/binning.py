"""Sums over squares of pixels."""

from .kernel import kernel


@kernel
def add_binned(frames, side, total):  # type: ignore[no-untyped-def]
    """Add every frame, binned side × side, to `total`: frames (n, y, x), total (y // side, x // side).

    Rows and columns that do not fill a square are left out. Frames are added one after the other, so float results
    do not depend on how frames are split over calls.
    """
    rows, columns = total.shape
    for f in range(len(frames)):
        for y in range(rows):
            for x in range(columns):
                part = total[y, x]
                for dy in range(side):
                    for dx in range(side):
                        part += frames[f, y * side + dy, x * side + dx]
                total[y, x] = part
