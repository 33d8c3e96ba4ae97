"""What a frame lacks of the template, on a card: the formulas and sums of misfit.py."""

from .blocks_gpu import PLACES, SIDE, TOGETHER

MISFIT = (
    SIDE
    + TOGETHER
    + PLACES
    + """
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
