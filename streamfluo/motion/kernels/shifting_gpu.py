"""Frames on a card resampled at a rigid shift or a displacement field, compared, high-passed, and their hot pixels
replaced: the formulas of shifting.py, warping.py, highpass.py and hot_pixels.py."""

SEGMENT = 128  # pixels of a line

SHIFTING = (
    f"""
#define SEGMENT {SEGMENT}
"""
    + """
DEVICE long long near(long long at, long long count) { return at < 0 ? 0 : at < count ? at : count - 1; }

// weights (12): along y, then along x; shift_y, shift_x: the integer shifts below: see `shift_frame`.
KERNEL shift_frame(
    long long height, long long width, const PIXEL* frame, long long shift_y, long long shift_x, float y0, float y1,
    float y2, float y3, float y4, float y5, float x0, float x1, float x2, float x3, float x4, float x5, float* shifted)
{
    const long long across = (width + THREADS - 1) / THREADS;
    BLOCKS(b, height * across) {
        SHARED float column[THREADS + 5];
        const long long y = b / across, first = b % across * THREADS;
        EACH(t) {
            for (int k = t; k < THREADS + 5; k += THREADS) {
                const long long x = near(first + k + shift_x - 2, width);
                float p[6];
                for (int n = 0; n < 6; ++n) p[n] = (float)frame[near(y + shift_y - 2 + n, height) * width + x];
                column[k] = (p[0] * y0 + p[1] * y1) + (p[2] * y2 + p[3] * y3) + (p[4] * y4 + p[5] * y5);
            }
        }
        EACH(t) {
            const float* p = column + t;
            if (first + t < width)
                shifted[y * width + first + t] = (p[0] * x0 + p[1] * x1) + (p[2] * x2 + p[3] * x3)
                    + (p[4] * x4 + p[5] * x5);
        }
    }
}

DEVICE void four_weights(float t, const float* outer, float* weights)
{
    const float *even_of = outer, *odd_of = outer + 3;
    const float square = t * t;
    const float even = (even_of[2] * square + even_of[1]) * square + even_of[0];
    const float odd = ((odd_of[2] * square + odd_of[1]) * square + odd_of[0]) * t;
    const float middle = 0.5f - even, slope = t - 3.0f * odd;
    weights[0] = even - odd;
    weights[1] = middle - slope;
    weights[2] = middle + slope;
    weights[3] = even + odd;
}

// See `warp_frame`; basis_y (py, y), basis_x (px, x), PATCHES_X = px; outer (2, 3): FOUR_OUTER; reach (4, blocks): the
// least and the largest integer shift along y, then along x.
KERNEL warp_frame(
    long long height, long long width, const PIXEL* frame, long long patches_y, const float* patches,
    const float* basis_y, const float* basis_x, const float* outer, float* warped, int* reach)
{
    const long long across = (width + THREADS - 1) / THREADS, count = height * across;
    BLOCKS(b, count) {
        SHARED float along[2 * (PATCHES_X + 4)];
        SHARED int part[4 * THREADS];
        const long long y = b / across, first = b % across * THREADS;
        EACH(t) {
            for (int k = t; k < 2 * (PATCHES_X + 4); k += THREADS) {
                const int q = k / 2;
                float sum = 0;
                for (long long p = 0; p < patches_y && q < PATCHES_X; ++p)
                    sum += basis_y[p * height + y] * patches[(p * PATCHES_X + q) * 2 + k % 2];
                along[k] = sum;
            }
        }
        EACH(t) {
            const long long x = first + t < width ? first + t : width - 1;
            int below[2];
            float beyond[2];
            for (int axis = 0; axis < 2; ++axis) {
                float shift = 0;
                for (int q = 0; q < PATCHES_X; q += 5) {
                    float a[5];
                    for (int k = 0; k < 5; ++k)
                        a[k] = basis_x[near(q + k, PATCHES_X) * width + x]
                            * (q + k < PATCHES_X ? along[2 * (q + k) + axis] : 0);
                    shift += (a[0] + a[1]) + (a[2] + a[3]) + a[4];
                }
                const float floor_ = floorf(shift);
                below[axis] = (int)floor_;
                beyond[axis] = (shift - floor_) - 0.5f;
                part[2 * axis * THREADS + t] = part[(2 * axis + 1) * THREADS + t] = below[axis];
            }
            float v[4], w[4], rows[4];
            four_weights(beyond[0], outer, v);
            four_weights(beyond[1], outer, w);
            const long long at = x + below[1];
            const bool inner = at >= 1 && at < width - 2;
            for (int k = 0; k < 4; ++k) {
                const PIXEL* row = frame + near(y + below[0] + k - 1, height) * width;
                float p[4];
                for (int j = 0; j < 4; ++j) p[j] = (float)row[near(at + j - 1, width)] * w[j];
                rows[k] = inner ? (p[0] + p[1]) + (p[2] + p[3]) : ((0 + p[0]) + p[1]) + p[2] + p[3];
                rows[k] = rows[k] * v[k];
            }
            const float inside = (rows[0] + rows[1]) + (rows[2] + rows[3]);
            if (first + t < width)
                warped[y * width + x] = inner ? inside : ((0 + rows[0]) + rows[1]) + rows[2] + rows[3];
        }
        for (int half = THREADS / 2; half; half /= 2) {
            EACH(t) {
                for (int k = 0; k < 4 && t < half; ++k) {
                    int *own = part + k * THREADS + t, other = own[half];
                    *own = (k % 2 ? other > *own : other < *own) ? other : *own;
                }
            }
        }
        EACH(t) { if (t < 4) reach[t * count + b] = part[t * THREADS]; }
    }
}

KERNEL unseen_rim(
    long long height, long long width, long long top, long long bottom, long long left, long long right, float* image)
{
    ITEMS(i, height * width) {
        const long long y = i / width, x = i % width;
        if (y < top || y >= bottom || x < left || x >= right) image[i] = NAN;
    }
}

// See `correlation_sums` (6, x) and `coefficient`: a thread has a column of the window, then a sum of all columns.
KERNEL correlate(
    long long width, long long top, long long bottom, long long left, long long right, long long stride,
    const float* corrected, const float* image, float* columns)
{
    ITEMS(x, right - left) {
        float s[6] = {0, 0, 0, 0, 0, 0};
        const float level = image[top * width + left];
        for (long long y = top; y < bottom; y += stride) {
            const long long i = y * width + left + x;
            const float p = corrected[i] - level, q = image[i] - level, both = p + q;
            const float u = both == both ? p : 0, v = both == both ? q : 0;
            s[0] += u;
            s[1] += v;
            s[2] += u * u;
            s[3] += v * v;
            s[4] += u * v;
            s[5] += both == both ? 1.0f : 0.0f;
        }
        for (int k = 0; k < 6; ++k) columns[k * (right - left) + x] = s[k];
    }
}

KERNEL coefficient(long long count, const float* columns, long long at, double* found)
{
    BLOCKS(b, 1) {
        SHARED double s[6];
        EACH(t) {
            if (t < 6) {
                double total = 0;
                for (long long x = 0; x < count; ++x) total += columns[t * count + x];
                s[t] = total;
            }
        }
        EACH(t) {
            const double n = s[5], size = (s[2] - s[0] * s[0] / n) * (s[3] - s[1] * s[1] / n);
            if (t == 0) found[at] = n > 0 && size > 0 ? (s[4] - s[0] * s[1] / n) / sqrt(size) : NAN;
        }
    }
}

// An image and the same with NaN as 0.
KERNEL begin_blur(long long n, const PIXEL* frame, float* image, float* known)
{
    ITEMS(i, n) {
        image[i] = (float)frame[i];
        known[i] = image[i] == image[i] ? image[i] : 0;
    }
}

// Means over 2 · radius + 1 pixels along lines; `beside`: from a line to the next, `step`: along one. A thread has
// SEGMENT pixels: one that had a whole line would take 2048 steps one after the other.
KERNEL box(
    long long lines, long long length, long long beside, long long step, long long radius, const float* image,
    float* blurred)
{
    ITEMS(n, lines * ((length + SEGMENT - 1) / SEGMENT)) {
        const long long line = n % lines, first = n / lines * SEGMENT;
        const float* own = image + line * beside;
        double total = 0;
        const double size = 1.0 / (2 * radius + 1);
        for (long long k = first - radius; k <= first + radius; ++k) total += own[near(k, length) * step];
        for (long long k = first; k < first + SEGMENT && k < length; ++k) {
            blurred[line * beside + k * step] = (float)(total * size);
            total += (double)own[near(k + radius + 1, length) * step] - own[near(k - radius, length) * step];
        }
    }
}

KERNEL subtract(long long n, const float* blurred, float* image)
{
    ITEMS(i, n) image[i] -= blurred[i];
}

// Each pixel `at` (n) becomes the median of its neighbours (8, n); in between two, in the type of the frame.
KERNEL repair(long long n, const PIXEL* frame, const long long* at, const long long* neighbours, PIXEL* repaired)
{
    ITEMS(i, n) {
        MIDDLE near_by[8];
        bool known = true;
        for (int k = 0; k < 8; ++k) {
            const MIDDLE value = (MIDDLE)frame[neighbours[k * n + i]];
            known = known && value == value;
            int place = k;
            for (; place > 0 && near_by[place - 1] > value; --place) near_by[place] = near_by[place - 1];
            near_by[place] = value;
        }
        repaired[at[i]] = known ? (PIXEL)((near_by[3] + near_by[4]) / 2) : (PIXEL)(MIDDLE)NAN;
    }
}
"""
)
