"""Contours of masks as polygons along pixel edges."""

from ...pixels.kernels.kernel import kernel


@kernel
def outline(mask, points):  # type: ignore[no-untyped-def]
    """Write the corners (y, x) of the contour of the first region of mask (h, w) to points (n, 2); return how many.

    Pixel centres are at integers, edges at half-integers. The polygon keeps the region to its right and is cut after
    n points.
    """
    height, width = mask.shape
    y = x = -1
    for j in range(height):
        for i in range(width):
            if mask[j, i]:
                y, x = j, i
                break
        if y >= 0:
            break
    if y < 0:
        return 0
    start_y, start_x = y, x  # corner (y, x) is the top left corner of pixel (y, x)
    direction, count = 0, 0  # 0 right, 1 down, 2 left, 3 up
    while count < len(points):
        points[count, 0], points[count, 1] = y - 0.5, x - 0.5
        count += 1
        while True:
            y += (direction == 1) - (direction == 3)
            x += (direction == 0) - (direction == 2)
            if y == start_y and x == start_x:
                return count
            ahead_left = _inside(mask, y - (direction in (0, 3)), x - (direction in (2, 3)))
            ahead_right = _inside(mask, y - (direction in (2, 3)), x - (direction in (1, 2)))
            if ahead_left and ahead_right:
                direction = (direction + 3) % 4
                break
            if not ahead_right:
                direction = (direction + 1) % 4
                break
    return count


@kernel
def _inside(mask, y, x):  # type: ignore[no-untyped-def]
    return 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x]
