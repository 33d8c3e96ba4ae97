"""Whitening and projection of frames on a card: one thread a pixel, one block of threads a footprint."""

# The operations of `whiten_rows`, in its order: the same bits. A pixel reads frame, mean, weight and, where
# it is NaN, the modes, and writes 2 bytes. `mode_columns` are its sums of a column, in its order.
WHITENING = """
KERNEL whiten_frame(
    const PIXEL* frame, long long height, long long width, const float* mean, const float* weight, const float* modes,
    long long count, float mode_0, float mode_1, float mode_2, float mode_3, const float* binned, long long rows,
    long long columns, float scale, short* stored, float* kept)
{
    ITEMS(i, height * width) {
        const int y = (int)i / (int)width, x = (int)i % (int)width;  // of 32 bits: long ones take several times as long
        const long long last_row = rows < 2 ? 0 : rows - 2;
        const long long last_column = columns < 2 ? 0 : columns - 2;
        const double v = fmin(fmax((y + 0.5) * rows / height - 0.5, 0.0), rows - 1.0);
        const double u = fmin(fmax((x + 0.5) * columns / width - 0.5, 0.0), columns - 1.0);
        const long long j = (long long)v < last_row ? (long long)v : last_row;
        const long long c = (long long)u < last_column ? (long long)u : last_column;
        const float below = (float)(v - j), after = (float)(u - c);
        const float* one = binned + j * columns + c;
        const float* other = binned + (j + 1 < rows ? j + 1 : rows - 1) * columns + c;
        const long long next = columns > 1 ? 1 : 0;
        const float up = (1.0f - after) * one[0] + after * one[next];
        const float down = (1.0f - after) * other[0] + after * other[next];
        float z = ((float)frame[i] - ((1.0f - below) * up + below * down) - mean[i]) * weight[i];
        if (z != z) {
            const float expected[4] = {mode_0, mode_1, mode_2, mode_3};
            z = 0;
            for (long long m = 0; m < count; ++m) z += expected[m] * modes[m * height * width + i];
        } else {
            z = z > LIMIT ? (float)LIMIT : z;
            z = z < -LIMIT ? -(float)LIMIT : z;
        }
        if (y % ROWS == 0) kept[y / ROWS * width + x] = z;
        z *= scale;
        z = z < 32767.0f ? z : 32767.0f;
        z = z > -32767.0f ? z : -32767.0f;
        stored[i] = (short)rintf(z);
    }
}

KERNEL mode_columns(
    const float* kept, long long height, long long width, const float* modes, long long count, float* sums)
{
    ITEMS(i, count * width) {
        const float* mode = modes + i / width * height * width;
        const long long x = i % width;
        const long long n = (height + ROWS - 1) / ROWS;
        float sum = 0;
        for (long long y = 0; y < n; y += 8) {
            float some[8];  // read together: each addition waits for the one before
            for (int r = 0; r < 8; ++r)
                some[r] = y + r < n ? kept[(y + r) * width + x] * mode[(y + r) * ROWS * width + x] : 0;
            for (int r = 0; r < 8; ++r) sum += some[r];
        }
        sums[i] = sum;
    }
}
"""

# Products with stored frames, each of a footprint's box: of `listed` pairs of a row and a slot, else of all rows with
# one slot. Behind them the sums of `mode_columns`, of those that are asked for.
PROJECTION = """
KERNEL project_boxes(
    const short* frames, long long height, long long width, const float* box, const int* origin, long long box_height,
    long long box_width, long long pairs, long long listed, const int* pair, long long slot, const float* columns,
    long long modes, double scale, double* products)
{
    BLOCKS(b, pairs + modes) {
        SHARED double part[THREADS];
        const long long k = listed && b < pairs ? pair[2 * b] : b, size = box_height * box_width;
        const short* frame = frames + (listed && b < pairs ? pair[2 * b + 1] : slot) * height * width;
        EACH(t) {
            double sum = 0;
            if (b < pairs) {
                const short* corner = frame + origin[2 * k] * width + origin[2 * k + 1];
                for (int i = t; i < (int)size; i += THREADS)
                    sum += box[k * size + i] * (float)corner[i / (int)box_width * width + i % (int)box_width];
            } else {
                for (long long x = t; x < width; x += THREADS) sum += columns[(b - pairs) * width + x];
            }
            part[t] = sum;
        }
        for (int half = THREADS / 2; half; half /= 2) {
            EACH(t) { if (t < half) part[t] += part[t + half]; }
        }
        EACH(t) { if (t == 0) products[b] = b < pairs ? part[0] * scale : part[0]; }
    }
}
"""
