"""A Gauss–Newton step on a card: the formulas and sums of block_levels.py, projection.py and gauss_newton.py."""

from .agreement import AGREED_GAIN, AGREED_PX, CONTRADICTION_SIGMA
from .block_levels import LEAST_DIFFERENCES, LEVEL_STRIDE
from .blocks_gpu import LIGHT, PLACES, SIDE, TOGETHER
from .gauss_newton import BLOCK_SIGMA, ROUNDS
from .projection import REJECT_LIMITS

STEP = 12  # numbers that a step gives: δ_y, δ_x, gain, seen, fitting, H of the gain, and six sums of the blocks

NUMBERS = f"""
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

MEASURING = (
    NUMBERS
    + SIDE
    + TOGETHER
    + LIGHT
    + PLACES
    + """
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
                // one thread a sum, in the order of the blocks: of another order rounding grows from frame to frame
                double total = 0;
                for (long long i = 0; i < n && t < 14; ++i) {
                    const double seen = sums[5 * i + 3];
                    if (t < 2) total += sums[5 * i + 3 + t];
                    else if (t < 5) total += weights[i] * sums[5 * i + t - 2];
                    else total += weights[i] * seen * matrix[9 * i + t - 5];
                }
                if (t < 14) part[t * THREADS] = total;
            }
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
"""
)
