"""`matched_filter` and `detection` on a card: one thread a pixel, rows first, then columns; then the maxima in order.

Sums are added in the order of the processor, with the products that it fuses, so that both find the same spots.
"""

from .fits import LEAST_LIGHT
from .matched_filter import STRIP, WORD_PX
from .noise import TILE_PX
from .thresholds import SHARE_FIRST, SHARE_STEP, SHARES, TABLE_FIRST, TABLE_LENGTH, TABLE_STEP

NUMBERS = f"""
#define LEAST {LEAST_LIGHT}
#define STRIP {STRIP}
#define TILE {TILE_PX}
#define WORD {WORD_PX}
#define LENGTH {TABLE_LENGTH}
#define SHARES {SHARES}
#define TABLE_FIRST {TABLE_FIRST}
#define TABLE_STEP {TABLE_STEP}
#define SHARE_FIRST {SHARE_FIRST}
#define SHARE_STEP {SHARE_STEP}
"""

# What of a frame is seen; the electrons of a pixel, of one beside or above it where it is not finite (see _fill_gaps).
ELECTRONS = (
    NUMBERS
    + """
struct Field { long long height, width; int top, bottom, left, right; };
struct Map { const float* values; int rows; };  // (y, x) or (1, x)

DEVICE float at_pixel(Map map, long long y, long long x, long long width)
{
    return map.values[(y % map.rows) * width + x];
}

DEVICE bool is_finite(float e) { return fabsf(e) < INFINITY; }

DEVICE float raw_electrons(const PIXEL* frame, Field of, Map offset, Map gain, int y, int x)
{
    return ((float)frame[y * of.width + x] - at_pixel(offset, y, x, of.width)) * at_pixel(gain, y, x, of.width);
}

DEVICE float electrons_of(const PIXEL* frame, Field of, Map offset, Map gain, int y, int x)
{
    for (; y >= of.top; --y) {
        for (int k = x; k >= of.left; --k) {
            const float e = raw_electrons(frame, of, offset, gain, y, k);
            if (is_finite(e)) return e;
        }
        for (int k = x + 1; k < of.right; ++k) {
            const float e = raw_electrons(frame, of, offset, gain, y, k);
            if (is_finite(e)) return e;
        }
    }
    return 0;
}

DEVICE Field field_of(const int* windows, long long t, long long height, long long width)
{
    const int* seen = windows + 4 * t;
    const Field field = {height, width, seen[0], seen[1], seen[2], seen[3]};
    return field;
}

DEVICE int clamped(int at, int first, int stop) { return at < first ? first : at >= stop ? stop - 1 : at; }
"""
)

WINDOWS = """
KERNEL seen_rows(const PIXEL* frames, long long n, long long height, long long width, unsigned char* rows)
{
    BLOCKS(b, n * height) {
        SHARED int seen[THREADS];
        EACH(t) {
            seen[t] = 0;
            for (long long x = t; x < width; x += THREADS) {
                const PIXEL value = frames[b * width + x];
                if (value == value) seen[t] = 1;
            }
        }
        for (int half = THREADS / 2; half; half /= 2) {
            EACH(t) { if (t < half) seen[t] |= seen[t + half]; }
        }
        EACH(t) { if (t == 0) rows[b] = (unsigned char)seen[0]; }
    }
}

KERNEL seen_columns(const PIXEL* frames, long long n, long long height, long long width, unsigned char* columns)
{
    ITEMS(i, n * width) {
        const PIXEL* column = frames + (i / width) * height * width + i % width;
        unsigned char seen = 0;
        for (long long y = 0; y < height && !seen; ++y) {
            const PIXEL value = column[y * width];
            seen = value == value;
        }
        columns[i] = seen;
    }
}

KERNEL windows(
    const unsigned char* rows, const unsigned char* columns, long long n, long long height, long long width,
    int* windows)
{
    ITEMS(t, n) {
        int top = 0, bottom = (int)height, left = 0, right = (int)width;
        while (top < bottom && !rows[t * height + top]) ++top;
        while (bottom > top && !rows[t * height + bottom - 1]) --bottom;
        while (left < right && !columns[t * width + left]) ++left;
        while (right > left && !columns[t * width + right - 1]) --right;
        windows[4 * t] = top;
        windows[4 * t + 1] = bottom;
        windows[4 * t + 2] = left;
        windows[4 * t + 3] = bottom > top ? right : left;
    }
}
"""

# WEIGHTS of the Gaussian from its centre on; REACH of the box; WAYS = 2 REACH pixels are added up by halves.
FILTER = (
    ELECTRONS
    + """
KERNEL filter_rows(
    const PIXEL* frames, long long n, long long height, long long width, const int* windows,
    const float* offset, long long offset_rows, const float* gain, long long gain_rows, const float* weights,
    float* electrons, float* smooth, float* boxed)
{
    const long long pieces = (width + THREADS - 1) / THREADS;
    BLOCKS(b, n * height * pieces) {
        SHARED float line[THREADS + 2 * REACH + 2 * WEIGHTS];
        SHARED float one[THREADS + 2 * REACH], other[THREADS + 2 * REACH];
        const long long row = b / pieces, f = row / height, first = b % pieces * THREADS;
        const int y = (int)(row % height);
        const Field of = field_of(windows, f, height, width);
        const PIXEL* frame = frames + f * height * width;
        const Map offsets = {offset, (int)offset_rows}, gains = {gain, (int)gain_rows};
        const int before = REACH > WEIGHTS ? REACH : WEIGHTS;
        if (y >= of.top && y < of.bottom && first + THREADS > of.left && first < of.right) {
            EACH(t) {
                for (int i = t; i < THREADS + 2 * before; i += THREADS)
                    line[i] = electrons_of(
                        frame, of, offsets, gains, y, clamped((int)first - before + i, of.left, of.right));
            }
            EACH(t) {
                for (int i = t; i < THREADS + 2 * REACH - 1; i += THREADS)
                    one[i] = line[before - REACH + i] + line[before - REACH + i + 1];
            }
            float *from = one, *to = other;
            for (int span = 2; span < 2 * REACH; span *= 2) {
                EACH(t) {
                    for (int i = t; i < THREADS + 2 * REACH - 2 * span + 1; i += THREADS)
                        to[i] = from[i] + from[i + span];
                }
                float* swapped = from;
                from = to;
                to = swapped;
            }
            EACH(t) {
                const long long x = first + t;
                if (x >= of.left && x < of.right) {
                    float total = weights[1] * (line[before + t - 1] + line[before + t + 1]);
                    total = fmaf(weights[0], line[before + t], total);
                    for (int k = 2; k < WEIGHTS; ++k)
                        total = fmaf(weights[k], line[before + t - k] + line[before + t + k], total);
                    const long long i = row * width + x;
                    electrons[i] = line[before + t];
                    smooth[i] = total;
                    boxed[i] = (from[t] + line[before + t + REACH]) * (1.0f / (2 * REACH + 1));
                }
            }
        }
    }
}

KERNEL filter_columns(
    const float* smooth, const float* boxed, long long n, long long height, long long width, const int* windows,
    const float* weights, float* q, float* background)
{
    const long long strips = (height + STRIP - 1) / STRIP;
    ITEMS(item, n * strips * width) {
        const long long x = item % width, strip = item / width % strips, f = item / (width * strips);
        const Field of = field_of(windows, f, height, width);
        const int first = of.top + (int)strip * STRIP;
        const int stop = first + STRIP < of.bottom ? first + STRIP : of.bottom;
        if (x < of.left || x >= of.right || first >= stop) continue;
        const float* smooth_column = smooth + f * height * width + x;
        const float* box_column = boxed + f * height * width + x;
        float column = 0;
        for (int y = first - REACH; y < first + REACH; ++y)
            column += box_column[clamped(y, of.top, of.bottom) * width];
        for (int y = first; y < stop; ++y) {
            float total = 0;
            for (int k = 1; k < WEIGHTS; ++k) {
                const int above = y - k < of.top ? of.top : y - k, below = y + k >= of.bottom ? of.bottom - 1 : y + k;
                const float both = smooth_column[above * width] + smooth_column[below * width];
                total = k > 1 ? fmaf(weights[k], both, total)
                    : fmaf(weights[0], smooth_column[y * width], weights[1] * both);
            }
            const float sum = column + box_column[clamped(y + REACH, of.top, of.bottom) * width];
            const float level = sum * (1.0f / (2 * REACH + 1));
            const long long i = (f * height + y) * width + x;
            background[i] = level;
            q[i] = total - level;
            column = sum - box_column[clamped(y - REACH, of.top, of.bottom) * width];
        }
    }
}
"""
)

# Where the noise was measured (measured[f]) `limits` has the q² of its tiles; else that follows from the background.
MAXIMA = """
DEVICE bool highest(const float* q, long long i, long long width)
{
    const float value = q[i];
    bool top = q[i - 1] < value && value >= q[i + 1];
    for (int k = -1; k < 2; ++k) top = top && q[i - width + k] < value && value >= q[i + width + k];
    return top;
}

DEVICE double threshold(const double* table, double at, double share)
{
    const double most = LENGTH - 1.000001, lowest = SHARES - 1.000001;
    double along = (at - TABLE_FIRST) / TABLE_STEP, down = (share - SHARE_FIRST) / SHARE_STEP;
    along = along > 0 ? along < most ? along : most : 0;
    down = down > 0 ? down < lowest ? down : lowest : 0;
    const int k = (int)along, j = (int)down;
    const double* upper = table + j * (LENGTH + 1) + k;
    const double* lower = upper + LENGTH + 1;
    const double a = upper[0] + (along - k) * (upper[1] - upper[0]);
    const double b = lower[0] + (along - k) * (lower[1] - lower[0]);
    return a + (down - j) * (b - a);
}

// Of all pixels of an axis, or of those between a rim that is not seen: the borders' are at both ends of these.
DEVICE double squares_at(const double* squares, int k, int count, long long length, bool whole)
{
    return squares[whole || k < count - 1 - k ? k : count - 1 - k];
}

DEVICE double parabola_maximum(float before, float top, float after)
{
    const double bend = 2.0 * top - before - after;
    return bend > 0 ? 0.5 * (after - before) / bend : 0.0;
}
"""
FIND = (
    ELECTRONS
    + MAXIMA
    + """
KERNEL mark_maxima(
    const PIXEL* frames, long long n, long long height, long long width, const int* windows, const float* q,
    const float* background, const float* variance, long long variance_rows, const double* along_y,
    const double* along_x, double share, double poisson, const double* table, const int* measured,
    const double* limits, unsigned char* marks, int* counts)
{
    const long long words = (width + WORD - 1) / WORD * WORD, tiles_x = (width + TILE - 1) / TILE;
    const long long tiles = (height + TILE - 1) / TILE * tiles_x;
    BLOCKS(b, n * height) {
        SHARED int part[THREADS];
        const long long f = b / height;
        const int y = (int)(b % height);
        const Field of = field_of(windows, f, height, width);
        const int rows = of.bottom - of.top, columns = of.right - of.left;
        const bool whole = rows == height && columns == width;
        const bool inner = y > of.top && y < of.bottom - 1;
        const Map dark = {variance, (int)variance_rows};
        EACH(t) {
            part[t] = 0;
            for (long long x = t; x < words; x += THREADS) {
                unsigned char mark = 0;
                const long long i = b * width + x;
                if (inner && x > of.left && x < of.right - 1 && q[i] > 0 && highest(q, i, width)) {
                    const double squared = q[i] * q[i];
                    double limit;
                    if (measured[f]) {
                        limit = limits[f * tiles + (y - of.top) / TILE * tiles_x + (x - of.left) / TILE];
                        mark = q[i] * q[i] >= (float)limit;
                    } else {
                        const double middle = squares_at(along_y, rows / 2, rows, height, whole)
                            * squares_at(along_x, columns / 2, columns, width, whole);
                        const double lowest = table[LENGTH];
                        const float least = (float)(lowest * lowest * (middle - share));
                        const float dark_noise = at_pixel(dark, y, x, width);
                        const float light = background[i] > 0 ? background[i] : 0;
                        mark = q[i] * q[i] > least * (light + dark_noise);
                        if (mark) {
                            const double shot = poisson * (background[i] > LEAST ? background[i] : LEAST);
                            const double all = shot + dark_noise;
                            const double wanted =
                                threshold(table, log(all * all * all / (poisson * (shot * shot))), shot / all);
                            const double response = squares_at(along_y, y - of.top, rows, height, whole)
                                * squares_at(along_x, (int)x - of.left, columns, width, whole) - share;
                            limit = wanted * wanted * (response * all);
                        }
                    }
                    const PIXEL pixel = frames[i];
                    mark = mark && !(squared < limit) && pixel == pixel;
                }
                marks[b * words + x] = mark;
                part[t] += mark;
            }
        }
        for (int half = THREADS / 2; half; half /= 2) {
            EACH(t) { if (t < half) part[t] += part[t + half]; }
        }
        EACH(t) { if (t == 0) counts[b] = part[0]; }
    }
}

// Where each row's maxima begin among those of its frame, and how many the frame has, at most `most`.
KERNEL row_places(const int* counts, long long n, long long height, long long most, int* places, int* of_frames)
{
    BLOCKS(f, n) {
        SHARED int part[THREADS];
        const long long each = (height + THREADS - 1) / THREADS;
        EACH(t) {
            part[t] = 0;
            for (long long y = t * each; y < (t + 1) * each && y < height; ++y) part[t] += counts[f * height + y];
        }
        EACH(t) {
            int before = 0;
            for (int k = 0; k < t; ++k) before += part[k];
            for (long long y = t * each; y < (t + 1) * each && y < height; ++y) {
                places[f * height + y] = before;
                before += counts[f * height + y];
            }
            if (t == THREADS - 1) of_frames[f] = before < most ? before : (int)most;
        }
    }
}

// A row of CANDIDATES columns for each, with the initial values of its fit: see find_maxima and initial_values.
KERNEL write_maxima(
    long long n, long long height, long long width, const int* windows, const float* q, const float* background,
    const double* along_y, const double* along_x, double share, double poisson, double sigma_y, double sigma_x,
    const unsigned char* marks, const int* counts, const int* places, const int* of_frames, int* candidates,
    double* parameters)
{
    const long long words = (width + WORD - 1) / WORD * WORD;
    BLOCKS(b, n * height) {
        const long long f = b / height;
        const int y = (int)(b % height);
        const Field of = field_of(windows, f, height, width);
        const int rows = of.bottom - of.top, columns = of.right - of.left;
        const bool whole = rows == height && columns == width;
        if (counts[b]) {
            long long base = 0;
            for (long long k = 0; k < f; ++k) base += of_frames[k];
            EACH(t) {
                for (long long x = t; x < width; x += THREADS) {
                    if (!marks[b * words + x]) continue;
                    int rank = places[b];
                    const unsigned long long* eight = (const unsigned long long*)(marks + b * words);
                    for (long long w = 0; w < x / 8; ++w)  // bytes of 0 and 1: their sum ends in the uppermost
                        rank += (int)((eight[w] * 0x0101010101010101ull) >> 56);
                    for (long long k = x / 8 * 8; k < x; ++k) rank += marks[b * words + k];
                    if (rank >= of_frames[f]) continue;
                    const long long i = b * width + x, at = base + rank;
                    const float value = q[i];
                    const double response = squares_at(along_y, y - of.top, rows, height, whole)
                        * squares_at(along_x, (int)x - of.left, columns, width, whole) - share;
                    int* candidate = candidates + 4 * at;
                    candidate[0] = y;
                    candidate[1] = (int)x;
                    candidate[2] = (int)f;
                    candidate[3] = rank;
                    double* p = parameters + 6 * at;
                    p[0] = y + parabola_maximum(q[i - width], value, q[i + width]);
                    p[1] = x + parabola_maximum(q[i - 1], value, q[i + 1]);
                    p[2] = value / response;
                    p[3] = background[i] - p[2] * share;
                    p[4] = sigma_y;
                    p[5] = sigma_x;
                    if (poisson > 0) {
                        p[2] = p[2] > 1.0 ? p[2] : 1.0;
                        p[3] = p[3] > LEAST ? p[3] : LEAST;
                    }
                }
            }
        }
    }
}
"""
)
