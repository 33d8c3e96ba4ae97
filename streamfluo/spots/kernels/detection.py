"""Spot detection in a frame: a matched filter, and its local maxima above a threshold of stated false-alarm rate.

The statistic is q = (G − B) ∗ e over electrons e, G a Gaussian of the PSF's σ and B a wide box. In a pixel with the
background λ (the box's mean) its variance is (Σ G² − 1/|B|) · (v + F λ), v the read variance, F the excess noise; its
tail is skewed where λ is small, which a saddle-point approximation corrects (`thresholds`). Where the noise is not
known, or the offset puts the background below zero, it is measured in tiles (`noise`).
"""

import math

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from ...pixels.kernels.seen import seen_window
from .matched_filter import BACKGROUND, BAND, FILTERED, PAIRS, WORD_PX, Search, filter_frame
from .noise import TILE_PX, highest, light_below_zero, mark_above, measured_limits, threshold
from .thresholds import TABLE_LENGTH, box_reach, gaussian_weights, squares_along, thresholds

LEAST_BACKGROUND = 1e-3  # electrons
MAX_RATE = 0.01  # of false alarms a pixel: beyond, maxima crowd each other
CANDIDATE_COLUMNS, PIXELS_A_SPOT = 7, 16  # of the memory for candidates: denser ones cannot be resolved


@kernel(error_model="numpy")
def detect_spots(frames, sensor, search):  # type: ignore[no-untyped-def]
    """Return the candidates (n, 7) of frames (t, y, x), one frame after another, and their number in each (t,)."""
    counts = np.empty(len(frames), np.int64)
    candidates = np.empty((256 * len(frames), CANDIDATE_COLUMNS))
    n = 0
    for t in range(len(frames)):
        counts[t] = min(detect(frames[t], sensor, search), len(search.candidates))
        if n + counts[t] > len(candidates):
            more = np.empty((2 * (n + counts[t]), CANDIDATE_COLUMNS))
            copy_rows(candidates, n, more, 0)
            candidates = more
        copy_rows(search.candidates, counts[t], candidates, n)
        n += counts[t]
    return candidates[:n], counts


@kernel
def copy_rows(rows, count, out, first):  # type: ignore[no-untyped-def]
    """Write the first rows (n, columns) into out (m, columns) from `first` on."""
    for k in range(count):
        for c in range(rows.shape[1]):
            out[first + k, c] = rows[k, c]


@part(error_model="numpy")
def detect(frame, sensor, search):  # type: ignore[no-untyped-def]
    """Write the spots of a frame (y, x) to search.candidates; return their number, which may exceed the memory."""
    window = seen_window(frame)
    top, bottom, left, right = window
    if bottom <= top or right <= left:
        return 0  # nothing of the frame was seen
    along_y, along_x, share = _squares_in(window, search)
    middle = along_y[(bottom - top) // 2] * along_x[(right - left) // 2]  # the smallest of all
    least = np.float32(search.table[0, TABLE_LENGTH] ** 2 * (middle - share))
    filter_frame(frame, window, sensor, least, search)
    return find_maxima(frame, window, sensor, (along_y, along_x, share), search)


@part(error_model="numpy")
def _squares_in(window, search):  # type: ignore[no-untyped-def]
    """Return search.squares for a Window, whose rim repeats its border as the field's border is repeated."""
    along_y, along_x, share = search.squares
    top, bottom, left, right = window
    height, width = bottom - top, right - left
    if height == len(along_y) and width == len(along_x):
        return along_y, along_x, share
    return _between_borders(along_y, height), _between_borders(along_x, width), share


@kernel(error_model="numpy")
def _between_borders(squares, length):  # type: ignore[no-untyped-def]
    shorter = np.empty(length)
    for k in range(length):
        shorter[k] = squares[min(k, length - 1 - k)]
    return shorter


@part(error_model="numpy")
def find_maxima(frame, window, sensor, squares, search):  # type: ignore[no-untyped-def]
    """Write the local maxima of search.filtered above the threshold into search.candidates, row by row.

    squares: of `_squares_in`. Return their number, which may exceed the memory. Columns: y, x in the frame, q, λ, the
    offsets along y and x of the maximum of a parabola through the neighbours, and the q of a spot of one electron.
    Pixels that are NaN are none.
    """
    variance, poisson, table, candidates = sensor.variance, sensor.poisson, search.table, search.candidates
    q, background = search.filtered[FILTERED], search.filtered[BACKGROUND]
    marks, words = search.marks, search.words
    top, bottom, first, last = window
    height, width = bottom - top, last - first
    along_y, along_x, share = squares
    measured = sensor.measured or light_below_zero(
        background[:height, :width], variance[top * (len(variance) > 1) :, first:last], share
    )
    limits = np.empty((0, 0))
    if measured:
        pad = (search.electrons.shape[1] - frame.shape[1]) // 2
        electrons = search.electrons[:height, pad : pad + width]
        limits = measured_limits(electrons, search, along_y[height // 2] * along_x[width // 2] - share)
    count = 0
    for y in range(1, height - 1):
        if measured:
            mark_above(q[y, :width], limits[y // TILE_PX], marks[y])
        for word in range((width + WORD_PX - 1) // WORD_PX):
            if words[y, word] == 0:
                continue
            for x in range(max(1, WORD_PX * word), min(WORD_PX * (word + 1), width - 1)):
                value = q[y, x]
                # the local maximum before its threshold, whose logarithm takes longer
                if marks[y, x] == 0 or not value > 0 or not highest(q, y, x):
                    continue
                if measured:
                    limit = limits[y // TILE_PX, x // TILE_PX]
                else:
                    shot = poisson * max(background[y, x], LEAST_BACKGROUND)
                    all_light = shot + variance[(top + y) % len(variance), first + x]
                    wanted = threshold(table, math.log(all_light**3 / (poisson * shot**2)), shot / all_light)
                    limit = wanted * wanted * ((along_y[y] * along_x[x] - share) * all_light)
                if value * value < limit or math.isnan(frame[top + y, first + x]):
                    continue
                if count < len(candidates):
                    row = candidates[count]
                    row[0], row[1], row[2], row[3] = top + y, first + x, value, background[y, x]
                    row[4] = parabola_maximum(q[y - 1, x], value, q[y + 1, x])
                    row[5] = parabola_maximum(q[y, x - 1], value, q[y, x + 1])
                    row[6] = along_y[y] * along_x[x] - share
                count += 1
    return count


@kernel(error_model="numpy")
def parabola_maximum(before, top, after):  # type: ignore[no-untyped-def]
    """Return the position, −1/2 to 1/2, of the maximum of a parabola through three values, the middle one highest."""
    bend = 2 * top - before - after
    return 0.5 * (after - before) / bend if bend > 0 else 0.0


def search_table(shape: tuple[int, int], sigma_px: float, false_alarms: float, excess_noise: float = 1.0) -> np.ndarray:
    """Return the thresholds for this mean number of false alarms in a frame (y, x)."""
    return thresholds(sigma_px, min(false_alarms / (shape[0] * shape[1]), MAX_RATE), excess_noise)


def new_search(shape: tuple[int, int], sigma_px: float, false_alarms: float, excess_noise: float = 1.0) -> Search:
    """Return the Search for spots of this σ in frames (y, x), with this mean number of false alarms a frame."""
    height, width = shape
    weights, reach = gaussian_weights(sigma_px), box_reach(sigma_px)
    squares = squares_along(weights, height), squares_along(weights, width), 1 / (2 * reach + 1) ** 2
    weights = np.pad(weights, (0, -(len(weights) - 1) % PAIRS))
    pad = max(reach + 1, len(weights))
    electrons = np.zeros((height, width + 2 * pad), np.float32)
    rows = np.zeros((5, 1 << (2 * (pad + BAND)).bit_length(), width + 2 * pad), np.float32)
    filtered = np.zeros((2, height, width), np.float32)
    marks = np.zeros((height, WORD_PX * -(-width // WORD_PX)), np.uint8)
    table = search_table(shape, sigma_px, false_alarms, excess_noise)
    candidates = np.empty((height * width // PIXELS_A_SPOT + 1, CANDIDATE_COLUMNS))
    return Search(weights, reach, electrons, rows, filtered, marks, marks.view(np.uint64), squares, table, candidates)
