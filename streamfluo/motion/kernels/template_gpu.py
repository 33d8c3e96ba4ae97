"""The template on a card: its noise, its mean, and what is computed of it in advance, by the formulas and sums of
shifting.py and template_images.py."""

from .blocks_gpu import LIGHT, SIDE, TOGETHER
from .template_images import CLIP_PX, CLIP_SIGMA, MOST_STEPS, SECANT

MOST_RADIUS = 6  # of the smoothing kernels

TEMPLATE = (
    SIDE
    + TOGETHER
    + LIGHT
    + f"""
#define CLIP_VARIANCE {CLIP_SIGMA**2}
#define CLIP_PX {CLIP_PX}f
#define MOST_STEPS {float(MOST_STEPS)}f
#define SECANT {{ {", ".join(f"(float){value!r}" for value in SECANT)} }}
#define REACH ({MOST_RADIUS} + 1)
#define WIDE (SIDE + 2 * REACH)
"""
    + """
// The median level (1,) of the blocks that were seen, less the slopes: see `common_level`.
KERNEL common_level(long long blocks_y, long long blocks_x, const float* levels, const float* slopes, float* common)
{
    BLOCKS(b, 1) {
        SHARED int part[THREADS];
        const long long count = (blocks_y + 1) / 2 * blocks_x;
        auto level = [=](long long k) {
            const long long by = k / blocks_x * 2, bx = k % blocks_x;
            return levels[by * blocks_x + bx] - (float)SIDE * (slopes[0] * (float)by + slopes[1] * (float)bx);
        };
        const int known = known_of(level, count, part);
        float found = 0;
        if (known) found = of_rank(level, count, known / 2, part);
        EACH(t) { if (t == 0) common[0] = found; }
    }
}

// Rows of blocks `row`, row + 1, …, as many as `count`; behind the last comes the first: see `update_noise`.
KERNEL update_noise(
    long long height, long long width, long long row, long long count, const float* registered, const float* image,
    const float* limit, float gain, const float* levels, const float* slopes, double size, double rate,
    double* variance, double* intensity)
{
    const long long blocks_x = (width + SIDE - 1) / SIDE, blocks_y = (height + SIDE - 1) / SIDE;
    const long long across = (width + THREADS - 1) / THREADS;
    BLOCKS(b, count * across) {
        SHARED double columns[4 * THREADS];
        const long long by = (row + b / across) % blocks_y, first = b % across * THREADS;
        EACH(t) {
            const long long x = first + t, end = (by + 1) * SIDE < height ? (by + 1) * SIDE : height;
            double s[4] = {0, 0, 0, 0};
            if (x < width) {
                const float level = level_at(levels, slopes, 0, by, x / SIDE, blocks_x) + rise(slopes[1], x);
                for (long long y = by * SIDE; y < end; ++y) {
                    const long long i = y * width + x;
                    const float e = registered[i] - gain * image[i] - (level + rise(slopes[0], y));
                    if (!(fabsf(e) <= limit[by * width + x])) continue;
                    s[0] += 1;
                    s[1] += e;
                    s[2] += (double)e * e;
                    s[3] += image[i];
                }
            }
            for (int k = 0; k < 4; ++k) columns[k * THREADS + t] = s[k];
        }
        EACH(t) {
            const long long bx = first / SIDE + t;
            if (t < THREADS / SIDE && bx < blocks_x) {
                double s[4] = {0, 0, 0, 0};
                for (int k = 0; k < 4; ++k)
                    for (int x = 0; x < SIDE; ++x) s[k] += columns[k * THREADS + t * SIDE + x];
                const long long at = by * blocks_x + bx;
                if (s[0] > 1) {
                    variance[at] += rate * (size * (s[2] - s[1] * s[1] / s[0]) / (s[0] - 1) - variance[at]);
                    intensity[at] = s[3] / s[0];
                }
            }
        }
    }
}

// See `update_template`; rows and columns count this frame.
KERNEL update_template(
    long long height, long long width, long long top, long long bottom, long long left, long long right,
    const float* registered, const float* pixels, const float* limit, float gain, const float* levels,
    const float* slopes, const float* common, const long long* rows, const long long* columns, long long memory,
    float mean_rate, long long frozen, float* image, float* mean)
{
    const long long blocks_x = (width + SIDE - 1) / SIDE;
    ITEMS(n, (bottom - top) * (right - left)) {
        const long long y = top + n / (right - left), x = left + n % (right - left), i = y * width + x;
        const float d = (pixels[i] - mean[i]) * mean_rate;
        mean[i] += d == d ? d : 0;
        if (frozen) continue;
        const long long by = y / SIDE, bx = x / SIDE;
        const float level = level_at(levels, slopes, common[0], by, bx, blocks_x) + rise(slopes[1], x);
        const float beyond = levels[by * blocks_x + bx] - common[0]
            - (float)SIDE * (slopes[0] * (float)by + slopes[1] * (float)bx);
        const long long in_row = rows[y] < memory ? rows[y] : memory, seen = columns[x] > 1 ? columns[x] : 1;
        const float rate_y = (float)(1 / (gain * (double)in_row));
        const float rate_x = (float)(1 / (gain * (double)(seen < memory ? seen : memory)));
        const float e = registered[i] - gain * image[i] - (level + rise(slopes[0], y));
        const float size = fabsf(e) > 1e-20f ? fabsf(e) : 1e-20f;
        const float q = limit[by * width + x] / size < 1 ? limit[by * width + x] / size : 1.0f;
        const float moved = (e * (q * q * q) + (beyond == beyond ? beyond : 0)) * (rate_y > rate_x ? rate_y : rate_x);
        image[i] += moved == moved ? moved : 0;
    }
}

DEVICE long long within(long long at, long long first, long long stop)
{
    return at < first ? first : at < stop - 1 ? at : stop - 1;
}

// A row `by` of blocks: see `build_images`. A thread has a pixel, or the first ones a column each.
KERNEL build_images(
    long long height, long long width, long long by, long long top, long long bottom, long long left, long long right,
    const float* image, const float* smoothing, long long radius, double constant, double slope, double least,
    long long by_block, const double* variances, const long long* rows, const long long* columns, long long most,
    double slopes_share, double intensity_share, signed char* steps, float* scale, float* limit, double* matrix,
    double* noise_bias)
{
    const long long blocks_x = (width + SIDE - 1) / SIDE;
    BLOCKS(bx, blocks_x) {
        SHARED float wide[(SIDE + 2) * WIDE], smooth[(SIDE + 2) * (SIDE + 2)];
        SHARED float slopes[3 * SIDE * SIDE], images[3 * SIDE * SIDE], weight[SIDE * SIDE], sums[2 * SIDE], unit[3];
        SHARED double products[9 * SIDE], bias[SIDE];
        const long long y0 = by * SIDE, x0 = (long long)bx * SIDE;
        const int count = (int)(height - y0 < SIDE ? height - y0 : SIDE);
        const int across = (int)(width - x0 < SIDE ? width - x0 : SIDE);
        const float secant[3] = SECANT;
        EACH(t) {
            for (int n = t; n < (count + 2) * WIDE; n += THREADS) {
                const long long here = y0 - 1 + n / WIDE, x = within(x0 - REACH + n % WIDE, left, right);
                float sum = 0;
                sum += image[within(here, top, bottom) * width + x] * smoothing[radius];
                for (int k = 0; k < radius; ++k)
                    sum += image[within(here - radius + k, top, bottom) * width + x] * smoothing[k]
                        + image[within(here + radius - k, top, bottom) * width + x] * smoothing[k];
                wide[n] = sum;
            }
        }
        EACH(t) {
            for (int n = t; n < (count + 2) * (SIDE + 2); n += THREADS) {
                const float* middle = wide + n / (SIDE + 2) * WIDE + REACH - 1 + n % (SIDE + 2);
                float sum = 0;
                sum += middle[0] * smoothing[radius];
                for (int k = 0; k < radius; ++k)
                    sum += middle[k - radius] * smoothing[k] + middle[radius - k] * smoothing[k];
                smooth[n] = sum;
            }
            for (int n = t; n < count * SIDE; n += THREADS) {
                const long long y = y0 + n / SIDE, x = x0 + n % SIDE;
                float s[2] = {0, 0};
                for (int k = 0; k < 3 && x < width; ++k) {
                    const long long below = y + k + 1 < bottom - 1 ? y + k + 1 : bottom - 1;
                    const long long above = y - k - 1 > top ? y - k - 1 : top;
                    s[0] += image[below * width + x] * secant[k] + image[above * width + x] * -secant[k];
                    s[1] += image[y * width + within(x + k + 1, left, right)] * secant[k]
                        + image[y * width + within(x - k - 1, left, right)] * -secant[k];
                }
                slopes[n] = s[0];
                slopes[SIDE * SIDE + n] = s[1];
                slopes[2 * SIDE * SIDE + n] = x < width ? image[y * width + x] : 0;
            }
        }
        EACH(t) {
            for (int n = t; n < count * SIDE; n += THREADS) {
                const long long y = y0 + n / SIDE, x = x0 + n % SIDE;
                const float* here = smooth + (n / SIDE + 1) * (SIDE + 2) + n % SIDE + 1;
                const double known = variances[by * blocks_x + bx];
                const float a = (float)(by_block ? (known > constant / 10 ? known : constant / 10) : constant);
                const float b = (float)(by_block ? 0 : slope), c = (float)(by_block ? 0 : least);
                images[n] = (here[SIDE + 2] - here[-(SIDE + 2)]) * 0.5f;
                images[SIDE * SIDE + n] = (here[1] - here[-1]) * 0.5f;
                images[2 * SIDE * SIDE + n] = here[0];
                const float variance = a + b * here[0];
                weight[n] = variance > c ? variance : c;
                if (x >= width) weight[n] = 0;
            }
        }
        EACH(t) {
            if (t < across) {
                float bound = 0, steepest = 0;
                for (int i = 0; i < count; ++i) {
                    const int n = i * SIDE + t;
                    const float steep = fabsf(slopes[n]) + fabsf(slopes[SIDE * SIDE + n]);
                    bound += weight[n] * (float)(CLIP_VARIANCE / count);
                    steepest = steep > steepest ? steep : steepest;
                }
                limit[by * width + x0 + t] = sqrtf(bound) + CLIP_PX * steepest;
            }
        }
        EACH(t) {
            for (int n = t; n < count * SIDE; n += THREADS) {
                const long long y = y0 + n / SIDE, x = x0 + n % SIDE;
                const bool inside = y >= top && y < bottom && x >= left && x < right;
                weight[n] = inside ? 1.0f / weight[n] : 0;
            }
        }
        for (int j = 0; j < 3; ++j) {
            float* own = images + j * SIDE * SIDE;
            EACH(t) {
                if (t < SIDE) {
                    float total = 0, weights = 0;
                    for (int i = 0; i < count; ++i) {
                        total += own[i * SIDE + t] * weight[i * SIDE + t];
                        weights += weight[i * SIDE + t];
                    }
                    sums[t] = total;
                    sums[SIDE + t] = weights;
                }
            }
            EACH(t) {
                float total = 0, weights = 0;
                for (int x = 0; x < across; ++x) {
                    total += sums[x];
                    weights += sums[SIDE + x];
                }
                const float mean = total / (weights > 1e-30f ? weights : 1e-30f);
                for (int n = t; n < count * SIDE; n += THREADS) {
                    own[n] = (own[n] - mean) * weight[n];
                    if (j == 2) slopes[2 * SIDE * SIDE + n] -= mean;
                }
            }
        }
        EACH(t) {
            if (t < 3) {
                float largest = 1e-28f;
                for (int n = 0; n < count * SIDE; ++n) {
                    const float size = n % SIDE < across ? fabsf(images[t * SIDE * SIDE + n]) : 0;
                    largest = size > largest ? size : largest;
                }
                unit[t] = largest / MOST_STEPS;
                scale[(by * blocks_x + bx) * 3 + t] = unit[t];
            }
        }
        EACH(t) {
            if (t < 3 * SIDE && t % SIDE < across) {
                const int j = t / SIDE, x = t % SIDE;
                float rest = 0;
                for (int i = 0; i < count; ++i) {
                    float* own = images + j * SIDE * SIDE + i * SIDE + x;
                    const bool known = *own != 0;
                    const float wanted = *own / unit[j] + rest;
                    float taken = rintf(wanted);
                    taken = taken < MOST_STEPS ? taken : MOST_STEPS;
                    taken = taken > -MOST_STEPS ? taken : -MOST_STEPS;
                    taken = known ? taken : 0;
                    rest = known ? wanted - taken : 0;
                    steps[(j * height + y0 + i) * width + x0 + x] = (signed char)taken;
                    *own = unit[j] * taken;
                }
            }
        }
        EACH(t) {
            if (t < 9 * SIDE && t % SIDE < across) {
                const float *own = images + t / SIDE / 3 * SIDE * SIDE, *other = slopes + t / SIDE % 3 * SIDE * SIDE;
                float total = 0;
                for (int i = 0; i < count; ++i) total += own[i * SIDE + t % SIDE] * other[i * SIDE + t % SIDE];
                products[t] = total;
            }
            if (t >= 9 * SIDE && t < 10 * SIDE) {
                const long long x = x0 + t - 9 * SIDE;
                double total = 0;
                if (x >= left && x < right && x < width) {
                    const long long seen = columns[x] < most ? columns[x] : most;
                    const double inverse_x = 1 / (double)(seen > 1 ? seen : 1);
                    for (long long y = y0 > top ? y0 : top; y < y0 + count && y < bottom; ++y) {
                        const long long in_row = rows[y] < most ? rows[y] : most;
                        const double inverse_y = 1 / (double)(in_row > 1 ? in_row : 1);
                        total += inverse_y > inverse_x ? inverse_y : inverse_x;
                    }
                }
                bias[t - 9 * SIDE] = total;
            }
        }
        EACH(t) {
            if (t < 9) {
                double total = 0, of_noise = 0;
                for (int x = 0; x < across; ++x) {
                    total += products[t * SIDE + x];
                    of_noise += bias[x];
                }
                if (t == 0 || t == 4) total -= slopes_share * of_noise;
                if (t == 8) {
                    noise_bias[by * blocks_x + bx] = intensity_share * of_noise;
                    total -= intensity_share * of_noise;
                }
                matrix[(by * blocks_x + bx) * 9 + t] = total;
            }
        }
    }
}

// The sums (10,) of the blocks' normal matrices, and of what the template's noise adds to them.
KERNEL totals(long long n, const double* matrix, const double* noise_bias, double* found)
{
    BLOCKS(b, 1) {
        SHARED double part[10 * THREADS];
        EACH(t) {
            double s[10] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
            for (long long i = t; i < n; i += THREADS) {
                for (int k = 0; k < 9; ++k) s[k] += matrix[9 * i + k];
                s[9] += noise_bias[i];
            }
            for (int k = 0; k < 10; ++k) part[k * THREADS + t] = s[k];
        }
        add_up(part, 10);
        EACH(t) {
            if (t == 0)
                for (int k = 0; k < 10; ++k) found[k] = part[k * THREADS];
        }
    }
}
"""
)
