"""A Gauss–Newton step on a card, and what a frame lacks of the template: the formulas and sums of block_levels.py,
projection.py, gauss_newton.py and misfit.py.

A thread has a column of a row of blocks, as loops of the processor have; sums over all blocks are those of one block of
threads, in pairs.
"""

from .agreement import AGREED_GAIN, AGREED_PX, CONTRADICTION_SIGMA
from .block_levels import LEAST_DIFFERENCES, LEVEL_STRIDE
from .frame_rows import BLOCK_PX
from .gauss_newton import BLOCK_SIGMA, ROUNDS
from .projection import REJECT_LIMITS

STEP = 12  # numbers that a step gives: δ_y, δ_x, gain, seen, fitting, H of the gain, and six sums of the blocks

NUMBERS = f"""
#define SIDE {BLOCK_PX}
#define HALF {(BLOCK_PX - 1) / 2}f
#define STEP {STEP}
#define LEVEL_STRIDE {LEVEL_STRIDE}
#define LEAST_DIFFERENCES {LEAST_DIFFERENCES}
#define REJECT_LIMITS {float(REJECT_LIMITS)}f
#define ROUNDS {ROUNDS}
#define BLOCK_SIGMA2 {BLOCK_SIGMA**2}
#define CONTRADICTION2 {CONTRADICTION_SIGMA**2}
#define AGREED_PX {AGREED_PX}
#define AGREED_GAIN {AGREED_GAIN}
"""

# Sums of what each thread of a block has, and the value of a rank among values without NaN: bit by bit, by how many
# lie below. What is read behind a barrier is written again behind another one only.
TOGETHER = """
template <class Number> DEVICE void add_up(Number* part, int count)
{
    for (int half = THREADS / 2; half; half /= 2) {
        EACH(t) {
            if (t < half)
                for (int k = 0; k < count; ++k) part[k * THREADS + t] += part[k * THREADS + t + half];
        }
    }
}

DEVICE unsigned int key_of(float value)
{
    union { float number; unsigned int bits; } both;
    both.number = value;
    return both.bits & 0x80000000u ? ~both.bits : both.bits | 0x80000000u;
}

template <class Values> DEVICE int known_of(const Values& value, long long n, int* part)
{
    EACH(t) {
        part[t] = 0;
        for (long long k = t; k < n; k += THREADS) {
            const float v = value(k);
            part[t] += v == v;
        }
    }
    add_up(part, 1);
    const int found = part[0];
    EACH(t) {}
    return found;
}

template <class Values> DEVICE float of_rank(const Values& value, long long n, int rank, int* part)
{
    unsigned int found = 0;
    for (int bit = 31; bit >= 0; --bit) {
        const unsigned int tried = found | 1u << bit;
        EACH(t) {
            part[t] = 0;
            for (long long k = t; k < n; k += THREADS) {
                const float v = value(k);
                part[t] += v == v && key_of(v) < tried;
            }
        }
        add_up(part, 1);
        const int below = part[0];
        EACH(t) {}
        if (below <= rank) found = tried;
    }
    union { unsigned int bits; float number; } both;
    both.bits = found & 0x80000000u ? found & 0x7fffffffu : ~found;
    return both.number;
}
"""

# levels (by, bx) of the blocks, and slopes (2,) of the frame's light: see block_levels.py, frame_rows.py.
LIGHT = """
DEVICE float rise(float slope, long long at) { return slope * ((float)(at % SIDE) - HALF); }

DEVICE float level_at(const float* levels, const float* slopes, float common, long long by, long long bx, long long n)
{
    const float here = levels[by * n + bx];
    if (here == here) return here;
    return common + (float)SIDE * (slopes[0] * (float)by + slopes[1] * (float)bx);
}
"""

MEASURING = (
    NUMBERS
    + TOGETHER
    + LIGHT
    + """
#define PLACES \\
    long long height, long long width, long long seen_top, long long seen_bottom, long long seen_left, \\
    long long seen_right, long long top, long long bottom, long long left, long long right, const int* shifts
#define IN_BLOCKS \\
    const long long blocks_x = (width + SIDE - 1) / SIDE, blocks_y = (height + SIDE - 1) / SIDE; \\
    const long long across = (width + THREADS - 1) / THREADS
#define SHIFT_OF(bx) \
    const int* shift = shifts + 2 * (by * blocks_x + least(bx, blocks_x - 1)); \
    const long long dy = shift[0], dx = shift[1]
#define TAKEN(y, x) ((x) >= left && (x) < right && (y) + dy >= seen_top && (y) + dy < seen_bottom \\
    && (x) + dx >= seen_left && (x) + dx < seen_right ? (float)frame[((y) + dy) * width + (x) + dx] : NAN)

DEVICE long long most(long long a, long long b) { return a > b ? a : b; }
DEVICE long long least(long long a, long long b) { return a < b ? a : b; }

DEVICE float pairs(float* values)
{
    for (int n = SIDE / 2; n; n /= 2)
        for (int k = 0; k < n; ++k) values[k] = values[2 * k] + values[2 * k + 1];
    return values[0];
}

KERNEL block_levels(
    PLACES, const PIXEL* frame, const float* image, const float* limit, float gain, float* levels)
{
    IN_BLOCKS;
    BLOCKS(b, blocks_y * across) {
        SHARED float means[THREADS];
        const long long by = b / across, first = b % across * THREADS;
        EACH(t) {
            const long long x = first + t;
            SHIFT_OF(x / SIDE);
            float number = 0, total = 0;
            for (long long y = most(by * SIDE, top); x < width && y < least(least((by + 1) * SIDE, height), bottom);
                 y += LEVEL_STRIDE) {
                const float difference = TAKEN(y, x) - gain * image[y * width + x];
                number += difference == difference ? 1 : 0;
                total += difference == difference ? difference : 0;
            }
            means[t] = number > 0 ? total / number : NAN;
        }
        EACH(t) {
            const long long bx = first / SIDE + t;
            if (t < THREADS / SIDE && bx < blocks_x) {
                const float* mean = means + t * SIDE;
                float sums[SIDE], low = INFINITY, high = -INFINITY;
                int count = 0;
                for (int k = 0; k < SIDE; ++k) {
                    const bool known = mean[k] == mean[k];
                    count += known;
                    sums[k] = known ? mean[k] : 0;
                    low = known && mean[k] < low ? mean[k] : low;
                    high = known && mean[k] > high ? mean[k] : high;
                }
                float level = count ? pairs(sums) / (float)count : NAN;
                if (high - low > limit[by * width + bx * SIDE]) {
                    for (int k = 0; k < SIDE; ++k) {
                        int rank = 0;
                        if (!(mean[k] == mean[k])) continue;
                        for (int n = 0; n < SIDE; ++n) rank += mean[n] < mean[k] || (mean[n] == mean[k] && n < k);
                        if (rank == count / 2) level = mean[k];
                    }
                }
                levels[by * blocks_x + bx] = level;
            }
        }
    }
}

KERNEL light_slopes(long long blocks_y, long long blocks_x, const float* levels, float* slopes)
{
    BLOCKS(axis, 2) {
        SHARED int part[THREADS];
        const long long columns = axis ? blocks_x - 1 : blocks_x, rows = axis ? blocks_y : blocks_y - 1;
        const long long step = axis ? 1 : blocks_x, count = (rows + 1) / 2 * columns;
        auto difference = [=](long long k) {
            const float* here = levels + k / columns * 2 * blocks_x + k % columns;
            return here[step] - here[0];
        };
        const int known = known_of(difference, count, part);
        float slope = 0;
        if (known >= LEAST_DIFFERENCES) slope = of_rank(difference, count, known / 2, part) / (float)SIDE;
        EACH(t) { if (t == 0) slopes[axis] = slope; }
    }
}

KERNEL project(
    PLACES, const PIXEL* frame, const float* image, const signed char* steps, const float* scale, const float* limit,
    float gain, const float* levels, const float* slopes, float reach, double* sums)
{
    IN_BLOCKS;
    BLOCKS(b, blocks_y * across) {
        SHARED float columns[5 * THREADS];
        const long long by = b / across, first = b % across * THREADS, size = height * width;
        const long long begin = most(by * SIDE, top), end = least(least((by + 1) * SIDE, height), bottom);
        EACH(t) {
            const long long x = first + t;
            SHIFT_OF(x / SIDE);
            float s[5] = {0, 0, 0, 0, 0};
            if (x < width) {
                const float level = level_at(levels, slopes, 0, by, x / SIDE, blocks_x) + rise(slopes[1], x);
                const float most_ = reach * limit[by * width + x];
                for (long long y = begin; y < end; y += 2) {
                    const long long z = y + 1 < end ? y + 1 : end - 1, i = y * width + x, j = z * width + x;
                    float e = TAKEN(y, x) - gain * image[i] - (level + rise(slopes[0], y));
                    float g = (y + 1 < end ? TAKEN(y + 1, x) : NAN) - gain * image[j] - (level + rise(slopes[0], z));
                    const bool fits_y = fabsf(e) < REJECT_LIMITS * most_, fits_z = fabsf(g) < REJECT_LIMITS * most_;
                    e = fits_y ? (e < -most_ ? -most_ : e > most_ ? most_ : e) : 0;
                    g = fits_z ? (g < -most_ ? -most_ : g > most_ ? most_ : g) : 0;
                    for (int k = 0; k < 3; ++k)
                        s[k] += (float)steps[k * size + i] * e + (float)steps[k * size + j] * g;
                    s[3] += e + g;
                    s[4] += (fits_y ? 1.0f : 0.0f) + (fits_z ? 1.0f : 0.0f);
                }
            }
            for (int k = 0; k < 5; ++k) columns[k * THREADS + t] = s[k];
        }
        EACH(t) {
            if (t < 5 * (THREADS / SIDE)) pairs(columns + t * SIDE);
        }
        EACH(t) {
            const long long bx = first / SIDE + t;
            if (t < THREADS / SIDE && bx < blocks_x) {
                SHIFT_OF(bx);
                const long long p = most(bx * SIDE, left), q = least((bx + 1) * SIDE, right);
                const long long a = most(begin, seen_top - dy), c = least(end, seen_bottom - dy);
                const long long u = most(p, seen_left - dx), v = least(q, seen_right - dx);
                const long long pixels = most(0, end - begin) * most(0, q - p);
                const long long inside = most(0, c - a) * most(0, v - u);
                double* out = sums + (by * blocks_x + bx) * 5;
                const float* unit = scale + (by * blocks_x + bx) * 3;
                const float rest = columns[3 * THREADS + t * SIDE];
                for (int k = 0; k < 3; ++k) out[k] = columns[k * THREADS + t * SIDE] * unit[k];
                out[3] = (double)columns[4 * THREADS + t * SIDE] / (double)most(pixels, 1);
                out[4] = (double)inside / (double)most(pixels, 1);
                for (int k = 0; k < 3 && 0 < inside && inside < pixels; ++k) {
                    long long total = 0;
                    for (long long y = a; y < c; ++y)
                        for (long long x = u; x < v; ++x) total += steps[k * size + y * width + x];
                    out[k] -= (double)unit[k] * (double)total * (double)rest / (double)inside;
                }
            }
        }
    }
}

DEVICE double determinant(const double* m)
{
    return m[0] * (m[4] * m[8] - m[5] * m[7]) - m[1] * (m[3] * m[8] - m[5] * m[6])
        + m[2] * (m[3] * m[7] - m[4] * m[6]);
}

DEVICE double unexplained(const double* sums, const double* matrix, const double* step, int j, double* own)
{
    double rest = sums[j];
    for (int k = 0; k < 3; ++k) rest -= sums[3] * matrix[3 * j + k] * step[k];
    *own = sums[3] * matrix[4 * j];
    return rest;
}

// found (STEP): δ_y, δ_x, gain, seen, fitting, H of the gain; then what `agreement` and `deficit` add up.
KERNEL solve(
    long long n, double* sums, const double* matrix, const double* noise_bias, double gain, double usual,
    double* weights, double* found)
{
    BLOCKS(b, 1) {
        SHARED double part[14 * THREADS], step[3], better[1];
        SHARED int singular[1];
        EACH(t) {
            for (long long i = t; i < n; i += THREADS) {
                sums[5 * i + 2] += sums[5 * i + 3] * gain * noise_bias[i];
                weights[i] = 1;
            }
            if (t == 0) singular[0] = 0;
        }
        for (int round = 0; round < ROUNDS; ++round) {
            EACH(t) {
                double s[14] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
                for (long long i = t; i < n; i += THREADS) {
                    double w = weights[i];
                    s[0] += sums[5 * i + 3];
                    s[1] += sums[5 * i + 4];
                    for (int k = 0; k < 3; ++k) s[2 + k] += w * sums[5 * i + k];
                    w *= sums[5 * i + 3];
                    for (int k = 0; k < 9; ++k) s[5 + k] += w * matrix[9 * i + k];
                }
                for (int k = 0; k < 14; ++k) part[k * THREADS + t] = s[k];
            }
            add_up(part, 14);
            EACH(t) {
                if (t == 0) {
                    double h[9], replaced[9];
                    for (int k = 0; k < 9; ++k) h[k] = part[(5 + k) * THREADS];
                    const double all = determinant(h);
                    singular[0] = !(fabs(all) > 0);
                    for (int k = 0; k < 3 && !singular[0]; ++k) {
                        for (int i = 0; i < 9; ++i) replaced[i] = i % 3 == k ? part[(2 + i / 3) * THREADS] : h[i];
                        step[k] = determinant(replaced) / all;
                    }
                    better[0] = gain + step[2];
                    const double size = -(better[0] > 0.1 ? better[0] : 0.1);
                    found[0] = singular[0] ? NAN : step[0] / size;
                    found[1] = singular[0] ? NAN : step[1] / size;
                    found[2] = singular[0] ? NAN : better[0];
                    found[3] = part[THREADS];
                    found[4] = part[0];
                    found[5] = h[8];
                }
            }
            if (singular[0] || round == ROUNDS - 1) break;
            EACH(t) {
                for (long long i = t; i < n; i += THREADS) {
                    double weight = 1;
                    for (int j = 0; j < 2; ++j) {
                        double own;
                        const double rest = unexplained(sums + 5 * i, matrix + 9 * i, step, j, &own);
                        if (own > 0 && rest * rest > BLOCK_SIGMA2 * own) {
                            const double lower = BLOCK_SIGMA2 * own / (rest * rest);
                            weight = lower < weight ? lower : weight;
                        }
                    }
                    weights[i] = weight;
                }
            }
        }
        EACH(t) {
            double s[5] = {0, 0, 0, 0, 0};
            const double lesser = usual < better[0] ? usual : better[0];
            for (long long i = t; i < n && !singular[0]; i += THREADS) {
                bool able = false, contradicts = false;
                double own, rest;
                for (int j = 0; j < 3; ++j) {
                    rest = unexplained(sums + 5 * i, matrix + 9 * i, step, j, &own);
                    const double bound = (j < 2 ? lesser * AGREED_PX : better[0] - AGREED_GAIN * lesser) * own;
                    if (own > 0 && bound > 0 && bound * bound > CONTRADICTION2 * own) {
                        able = true;
                        contradicts = contradicts || (j == 2 ? -rest > bound : fabs(rest) > bound);
                    }
                }
                s[0] += able ? sums[5 * i + 4] : 0;
                s[1] += contradicts ? sums[5 * i + 4] : 0;
                if (own > 0) {
                    const double low = rest + (better[0] - lesser) * own;
                    if (low < 0) s[2] += low * low / (own + sums[5 * i + 3] * noise_bias[i]);
                    s[3] += own;
                    s[4] += 1;
                }
            }
            for (int k = 0; k < 5; ++k) part[k * THREADS + t] = s[k];
        }
        add_up(part, 5);
        EACH(t) {
            if (t == 0)
                for (int k = 0; k < 5; ++k) found[6 + k] = part[k * THREADS];
        }
    }
}

// The mean (1,) of the levels that are known.
KERNEL mean_level(long long n, const float* levels, float* mean)
{
    BLOCKS(b, 1) {
        SHARED double part[2 * THREADS];
        EACH(t) {
            part[t] = part[THREADS + t] = 0;
            for (long long i = t; i < n; i += THREADS) {
                const bool known = levels[i] == levels[i];
                part[t] += known ? levels[i] : 0;
                part[THREADS + t] += known;
            }
        }
        add_up(part, 2);
        EACH(t) {
            if (t == 0) mean[0] = (float)(part[0] / (part[THREADS] > 1 ? part[THREADS] : 1));
        }
    }
}

struct Between { long long first, second; float part; };

DEVICE Between between(long long at, long long count)
{
    const float place = ((float)at + 0.5f) / (float)SIDE - 0.5f;
    const long long first = most(0, least((long long)floorf(place), count - 2));
    const Between found = {first, least(first + 1, count - 1), place - (float)first};
    return found;
}

DEVICE float level_between(
    const float* levels, float mean, Between rows, long long x, long long blocks_x)
{
    const long long last = blocks_x - 1, bx = most(0, least((x - SIDE / 2) / SIDE, most(last, 1) - 1));
    float ends[2];
    for (int k = 0; k < 2; ++k) {
        const long long at = least(bx + k, last);
        float above = levels[rows.first * blocks_x + at], below = levels[rows.second * blocks_x + at];
        above = above == above ? above : mean;
        below = below == below ? below : mean;
        ends[k] = above + rows.part * (below - above);
    }
    const long long begin = bx > 0 ? bx * SIDE + SIDE / 2 : 0;
    const float at = (float)((double)(begin - bx * SIDE - SIDE / 2 + 0.5) / SIDE);
    return ends[0] + (at + (float)(x - begin) * (1.0f / SIDE)) * (ends[1] - ends[0]);
}

// sums (by, bx, 4): see `add_misfit`; a row in `stride` of the window is looked at.
KERNEL misfit(
    PLACES, const PIXEL* frame, const float* image, float gain, const float* levels, const float* mean,
    const float* fraction, long long stride, double* sums)
{
    IN_BLOCKS;
    BLOCKS(b, blocks_y * across) {
        SHARED float columns[4 * THREADS];
        const long long by = b / across, origin = b % across * THREADS;
        const long long before = most(0, by * SIDE - top);
        EACH(t) {
            const long long x = origin + t;
            float s[4] = {0, 0, 0, 0};
            for (long long y = top + (before + stride - 1) / stride * stride;
                 y < least(bottom, (by + 1) * SIDE) && x < width - 1; y += stride) {
                const Between rows = between(y, blocks_y);
                const float* here = image + y * width;
                const float* above = image + most(y - 1, top) * width;
                const float* below = image + least(y + 1, bottom - 1) * width;
                float e[2];
                for (int k = 0; k < 2; ++k) {
                    const long long i = x + k, bx = i / SIDE, block = by * blocks_x + bx;
                    e[k] = NAN;
                    SHIFT_OF(bx);
                    const bool begins = bx == 0 || shift[-2] != dy || shift[-1] != dx;
                    const bool ends = bx >= blocks_x - 1 || shift[2] != dy || shift[3] != dx;
                    const long long p = most(most(begins ? bx * SIDE : 0, left), seen_left - dx);
                    const long long q = least(least(ends ? (bx + 1) * SIDE : width, right), seen_right - dx);
                    if (i == 0 || i >= width - 1 || i <= p || i >= q - 1) continue;
                    const float part_y = fraction[block], part_x = fraction[blocks_y * blocks_x + block];
                    const float moved = part_y * (below[i] - above[i]) + part_x * (here[i + 1] - here[i - 1]);
                    e[k] = TAKEN(y, i) - gain * here[i] - level_between(levels, mean[0], rows, i, blocks_x)
                        + 0.5f * gain * moved;
                }
                const float both = e[0] + e[1];
                if (!(both == both)) continue;
                const float low = e[0] < 0 ? e[0] : 0, beside = e[1] < 0 ? e[1] : 0;
                s[0] += low * beside;
                s[1] += low * low;
                s[2] += low;
                s[3] += 1;
            }
            for (int k = 0; k < 4; ++k) columns[k * THREADS + t] = s[k];
        }
        EACH(t) {
            const long long bx = origin / SIDE + t;
            if (t < THREADS / SIDE && bx < blocks_x) {
                for (int k = 0; k < 4; ++k) {
                    float total = 0;
                    for (int x = 0; x < SIDE; ++x) total += columns[k * THREADS + t * SIDE + x];
                    sums[(by * blocks_x + bx) * 4 + k] = total;
                }
            }
        }
    }
}

// found (4): what `missing_structure` adds up, and the template's contrast where the frame fits.
KERNEL lacking(
    long long n, const double* sums, const double* noise, const double* projections, const double* matrix,
    double* found)
{
    BLOCKS(b, 1) {
        SHARED double part[4 * THREADS];
        EACH(t) {
            double s[4] = {0, 0, 0, 0};
            for (long long i = t; i < n; i += THREADS) {
                const double product = sums[4 * i], square = sums[4 * i + 1], total = sums[4 * i + 2];
                const double count = sums[4 * i + 3];
                if (count > 1) {
                    const double scatter = square - total * total / count;
                    const double unit = noise[i] > 1e-12 ? noise[i] : 1e-12;
                    s[0] += (product - total * total / count + scatter / (count - 1)) / unit;
                    s[1] += scatter / unit * (scatter / unit) / count;
                    s[2] += count;
                }
                s[3] += projections[5 * i + 3] * matrix[9 * i + 8];
            }
            for (int k = 0; k < 4; ++k) part[k * THREADS + t] = s[k];
        }
        add_up(part, 4);
        EACH(t) {
            if (t == 0)
                for (int k = 0; k < 4; ++k) found[k] = part[k * THREADS];
        }
    }
}
"""
)
