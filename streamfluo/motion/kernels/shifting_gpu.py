"""Frames on a card resampled at a rigid shift, compared, high-passed, and their hot pixels replaced: the formulas of
shifting.py, highpass.py and hot_pixels.py."""

SHIFTING = """
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

// Means over 2 · radius + 1 pixels along lines; `beside`: from a line to the next, `step`: along one.
KERNEL box(
    long long lines, long long length, long long beside, long long step, long long radius, const float* image,
    float* blurred)
{
    ITEMS(line, lines) {
        const float* own = image + line * beside;
        double total = 0;
        const double size = 1.0 / (2 * radius + 1);
        for (long long k = -radius; k <= radius; ++k) total += own[near(k, length) * step];
        for (long long k = 0; k < length; ++k) {
            blurred[line * beside + k * step] = (float)(total * size);
            total += own[near(k + radius + 1, length) * step] - own[near(k - radius, length) * step];
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
