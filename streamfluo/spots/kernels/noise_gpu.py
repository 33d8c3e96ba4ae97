"""`noise` on a card: which frames need it, tiles' medians and cumulants, and the rounds of leaving out spots.

Each frame stops its rounds for itself; what is launched for one that has stopped returns at once.
"""

from .detection_gpu import ELECTRONS, MAXIMA
from .noise import BELOW, EVERY_PX, FOURTH, LEAST_PIXELS, SECOND, SURE, THIRD, TINY, TO_SIGMA

NUMBERS = f"""
#define EVERY {EVERY_PX}
#define BELOW {BELOW}
#define TO_SIGMA {TO_SIGMA}
#define LEAST_PIXELS {LEAST_PIXELS}
#define SURE {SURE}
#define SECOND {SECOND!r}
#define THIRD {THIRD!r}
#define FOURTH {FOURTH!r}
#define TINY {TINY}
#define SAMPLES ((TILE / EVERY + 1) * (TILE / EVERY + 1))
"""

# measured[f]: whether a frame's limits follow from itself: always, or where its background lies below zero.
# state (n, 3): whether rounds go on, how many maxima the last one found, and the one before.
NOISE = (
    NUMBERS
    + ELECTRONS
    + MAXIMA
    + """
struct Tile { int top, bottom, left, right; bool there; };

DEVICE Tile tile_of(Field of, long long tile, long long tiles_x)
{
    const int rows = of.bottom - of.top, columns = of.right - of.left;
    const int i = (int)(tile / tiles_x), j = (int)(tile % tiles_x);
    const int bottom = (i + 1) * TILE < rows ? (i + 1) * TILE : rows;
    const int right = (j + 1) * TILE < columns ? (j + 1) * TILE : columns;
    const Tile found = {
        of.top + (bottom > TILE ? bottom - TILE : 0), of.top + bottom, of.left + (right > TILE ? right - TILE : 0),
        of.left + right, i * TILE < rows && j * TILE < columns};
    return found;
}

DEVICE double median_near(const double* single, Field of, long long tile, long long tiles_x)
{
    double near[9];
    int count = 0;
    const int i = (int)(tile / tiles_x), j = (int)(tile % tiles_x);
    const int last_i = (of.bottom - of.top - 1) / TILE, last_j = (of.right - of.left - 1) / TILE;
    for (int k = i > 0 ? i - 1 : 0; k <= i + 1 && k <= last_i; ++k)
        for (int n = j > 0 ? j - 1 : 0; n <= j + 1 && n <= last_j; ++n) {
            const double value = single[k * tiles_x + n];
            if (!(value == value)) continue;
            int place = count++;
            for (; place > 0 && near[place - 1] > value; --place) near[place] = near[place - 1];
            near[place] = value;
        }
    if (!count) return NAN;
    return count % 2 ? near[count / 2] : (near[count / 2 - 1] + near[count / 2]) / 2;
}

KERNEL begin_noise(
    long long n, long long height, long long width, const int* windows, const float* background,
    const float* variance, long long variance_rows, double share, int* measured, int* state)
{
    BLOCKS(f, n) {
        SHARED int below[THREADS], count[THREADS];
        const Field of = field_of(windows, f, height, width);
        const Map dark = {variance, (int)variance_rows};
        const long long columns = (of.right - of.left + 7) / 8, rows = (of.bottom - of.top + 7) / 8;
        EACH(t) {
            below[t] = count[t] = 0;
            for (long long k = t; k < rows * columns; k += THREADS) {
                const int y = of.top + (int)(k / columns) * 8, x = of.left + (int)(k % columns) * 8;
                const double noise = at_pixel(dark, y, x, width);
                below[t] += background[(f * height + y) * width + x] < -BELOW * sqrt(noise * share);
                count[t] += 1;
            }
        }
        for (int half = THREADS / 2; half; half /= 2) {
            EACH(t) {
                if (t < half) {
                    below[t] += below[t + half];
                    count[t] += count[t + half];
                }
            }
        }
        EACH(t) {
            if (t == 0) {
                measured[f] = MEASURED || 2 * below[0] > count[0];
                state[3 * f] = measured[f] && of.bottom > of.top && of.right > of.left;
                state[3 * f + 1] = state[3 * f + 2] = -1;
            }
        }
    }
}

// The median of |q| of every third pixel of a tile, as σ.
KERNEL tile_medians(
    long long n, long long height, long long width, const int* windows, const float* q, const int* state,
    double* medians)
{
    const long long tiles_x = (width + TILE - 1) / TILE, tiles = (height + TILE - 1) / TILE * tiles_x;
    BLOCKS(b, n * tiles) {
        SHARED float sizes[SAMPLES], middle[2];
        const long long f = b / tiles;
        const Field of = field_of(windows, f, height, width);
        const Tile at = tile_of(of, b % tiles, tiles_x);
        if (state[3 * f] && at.there) {
            const int columns = (at.right - at.left + EVERY - 1) / EVERY;
            const int count = (at.bottom - at.top + EVERY - 1) / EVERY * columns;
            EACH(t) {
                for (int k = t; k < count; k += THREADS)
                    sizes[k] = fabsf(
                        q[(f * height + at.top + k / columns * EVERY) * width + at.left + k % columns * EVERY]);
            }
            EACH(t) {
                for (int k = t; k < count; k += THREADS) {
                    int rank = 0;
                    for (int other = 0; other < count; ++other)
                        rank += sizes[other] < sizes[k] || (sizes[other] == sizes[k] && other < k);
                    if (rank == (count - 1) / 2) middle[0] = sizes[k];
                    if (rank == count / 2) middle[1] = sizes[k];
                }
            }
            EACH(t) { if (t == 0) medians[b] = TO_SIGMA * (((double)middle[0] + middle[1]) / 2); }
        }
    }
}

// Variance, skewness² and excess kurtosis (n, 3, tiles) of pixels that are not taken: see pixel_cumulants.
KERNEL tile_cumulants(
    long long n, long long height, long long width, const int* windows, const float* electrons,
    const unsigned char* taken, const int* state, double* single)
{
    const long long tiles_x = (width + TILE - 1) / TILE, tiles = (height + TILE - 1) / TILE * tiles_x;
    BLOCKS(b, n * tiles) {
        SHARED double part[5 * THREADS];
        const long long f = b / tiles;
        const Field of = field_of(windows, f, height, width);
        const Tile at = tile_of(of, b % tiles, tiles_x);
        if (state[3 * f] && at.there) {
            const int columns = at.right - at.left - 2, rows = at.bottom - at.top - 2;
            EACH(t) {
                double s[5] = {0, 0, 0, 0, 0};
                for (int k = t; rows > 0 && columns > 0 && k < rows * columns; k += THREADS) {
                    const long long i = (f * height + at.top + 1 + k / columns) * width + at.left + 1 + k % columns;
                    if (taken[i]) continue;
                    const double around = (double)electrons[i - width] + electrons[i + width] + electrons[i - 1]
                        + electrons[i + 1];
                    const double d = electrons[i] - 0.25 * around;
                    s[0] += 1;
                    s[1] += d;
                    s[2] += d * d;
                    s[3] += d * d * d;
                    s[4] += d * d * d * d;
                }
                for (int k = 0; k < 5; ++k) part[k * THREADS + t] = s[k];
            }
            for (int half = THREADS / 2; half; half /= 2) {
                EACH(t) {
                    if (t < half) {
                        for (int k = 0; k < 5; ++k) part[k * THREADS + t] += part[k * THREADS + t + half];
                    }
                }
            }
            EACH(t) {
                if (t == 0) {
                    const double count = part[0];
                    double* out = single + f * 3 * tiles + b % tiles;
                    const double unknown = count >= LEAST_PIXELS ? 0.0 : NAN;
                    out[0] = out[tiles] = out[2 * tiles] = unknown;
                    if (count >= LEAST_PIXELS) {
                        const double mean = part[THREADS] / count, second = part[2 * THREADS] / count;
                        const double third = part[3 * THREADS] / count, fourth = part[4 * THREADS] / count;
                        const double v = second - mean * mean;
                        if (v > 0) {
                            double skew = (third - 3 * mean * second + 2 * (mean * mean * mean)) / pow(v, 1.5);
                            double peak = (fourth - 4 * mean * third + 6 * (mean * mean) * second
                                - 3 * (mean * mean * (mean * mean))) / (v * v) - 3;
                            skew -= SURE * sqrt(6 / count);
                            skew = skew > 0 ? skew : 0;
                            peak -= SURE * sqrt(24 / count);
                            out[0] = v / SECOND;
                            out[tiles] = skew * skew * (SECOND * SECOND * SECOND) / (THIRD * THIRD);
                            out[2 * tiles] = (peak > 0 ? peak : 0) * (SECOND * SECOND) / FOURTH;
                        }
                    }
                }
            }
        }
    }
}

KERNEL tile_limits(
    long long n, long long height, long long width, const int* windows, const double* medians, const double* single,
    const double* along_y, const double* along_x, double share, const double* table, const int* state, double* limits)
{
    const long long tiles_x = (width + TILE - 1) / TILE, tiles = (height + TILE - 1) / TILE * tiles_x;
    ITEMS(b, n * tiles) {
        const long long f = b / tiles;
        const Field of = field_of(windows, f, height, width);
        if (!state[3 * f] || !tile_of(of, b % tiles, tiles_x).there) continue;
        const int rows = of.bottom - of.top, columns = of.right - of.left;
        const bool whole = rows == height && columns == width;
        const double response = squares_at(along_y, rows / 2, rows, height, whole)
            * squares_at(along_x, columns / 2, columns, width, whole) - share;
        const double level = table[LENGTH] * median_near(medians + f * tiles, of, b % tiles, tiles_x);
        double near[3];
        for (int k = 0; k < 3; ++k) near[k] = median_near(single + (f * 3 + k) * tiles, of, b % tiles, tiles_x);
        double limit = level * level;
        if (near[0] > 0) {
            double sparse = near[1] > near[2] ? near[1] : near[2];
            sparse = sparse > TINY ? sparse : TINY;
            const double wanted = threshold(table, -log(sparse), 1.0), other = wanted * wanted * response * near[0];
            limit = limit > other ? limit : other;
        }
        limits[b] = limit;
    }
}

// Take pixels within `reach` of the maxima beyond the limits; how many of these a row has.
KERNEL leave_out(
    long long n, long long height, long long width, const int* windows, const float* q, const double* limits,
    long long reach, const int* state, unsigned char* taken, int* counts)
{
    const long long tiles_x = (width + TILE - 1) / TILE, tiles = (height + TILE - 1) / TILE * tiles_x;
    BLOCKS(b, n * height) {
        SHARED int part[THREADS];
        const long long f = b / height;
        const int y = (int)(b % height);
        const Field of = field_of(windows, f, height, width);
        const bool inner = y > of.top && y < of.bottom - 1;
        if (state[3 * f]) {
            EACH(t) {
                part[t] = 0;
                for (long long x = of.left + 1 + t; inner && x < of.right - 1; x += THREADS) {
                    const long long i = b * width + x;
                    const float limit = (float)limits[
                        f * tiles + (y - of.top) / TILE * tiles_x + (x - of.left) / TILE];
                    if (!(q[i] > 0 && q[i] * q[i] >= limit && highest(q, i, width))) continue;
                    part[t] += 1;
                    for (long long j = y - reach; j <= y + reach; ++j)
                        for (long long k = x - reach; k <= x + reach; ++k)
                            if (j >= of.top && j < of.bottom && k >= of.left && k < of.right)
                                taken[(f * height + j) * width + k] = 1;
                }
            }
            for (int half = THREADS / 2; half; half /= 2) {
                EACH(t) { if (t < half) part[t] += part[t + half]; }
            }
            EACH(t) { if (t == 0) counts[b] = part[0]; }
        }
    }
}

KERNEL end_round(long long n, long long height, const int* counts, int* state)
{
    BLOCKS(f, n) {
        SHARED int part[THREADS];
        EACH(t) {
            part[t] = 0;
            for (long long y = t; y < height; y += THREADS) part[t] += counts[f * height + y];
        }
        for (int half = THREADS / 2; half; half /= 2) {
            EACH(t) { if (t < half) part[t] += part[t + half]; }
        }
        EACH(t) {
            if (t == 0 && state[3 * f]) {
                state[3 * f + 2] = state[3 * f + 1];
                state[3 * f + 1] = part[0];
                state[3 * f] = part[0] != state[3 * f + 2] && part[0] != 0;
            }
        }
    }
}
"""
)
