"""Whitening and projection of frames on a card: one thread a pixel, one block of threads a footprint."""

# The operations of `whiten_rows`, in its order: the same bits. A pixel reads frame, mean, weight and, where
# it is NaN, the modes, and writes 2 bytes. `mode_columns` are its sums of a column, in its order.
WHITENING = """
KERNEL whiten_frame(
    const PIXEL* frame, long long height, long long width, const float* mean, const float* weight, const float* modes,
    long long count, float mode_0, float mode_1, float mode_2, float mode_3, const float* binned, long long rows,
    long long columns, const int* bins, const float* parts, float scale, short* stored, float* kept)
{
    ITEMS(i, height * width) {
        const int y = (int)i / (int)width, x = (int)i % (int)width;  // of 32 bits: long ones take several times as long
        const int j = bins[y], c = bins[height + x];
        const float below = parts[y], after = parts[height + x];
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

# Products with stored frames: of `listed` pairs of a footprint and a slot, else of all with one slot. Behind them the
# totals of `mode_columns`, of the modes that are asked for. The sums of `project`, four for each product, or with one
# lane that of `project_past`, in their order: what is a last bit here is a footprint's pixel a hundred frames later.
PROJECTION = """
KERNEL project_lists(
    const short* frames, long long height, long long width, const int* index, const float* value, const int* counts,
    long long room, long long pairs, long long listed, const int* pair, long long slot, int lanes, const float* columns,
    long long modes, double scale, double* products)
{
    BLOCKS(b, (pairs + modes + THREADS / 4 - 1) / (THREADS / 4)) {
        SHARED double part[THREADS];
        EACH(t) {
            const long long p = b * (long long)(THREADS / 4) + t / 4;
            const int lane = t % 4;
            double sum = 0;
            if (p < pairs) {
                const long long k = listed ? pair[2 * p] : p;
                const short* frame = frames + (listed ? pair[2 * p + 1] : slot) * height * width;
                const int* at = index + k * room;
                const float* amount = value + k * room;
                const int n = counts[k], whole = n - n % lanes;
                if (lane < lanes)
                    for (int i = lane; i < whole; i += lanes) sum += amount[i] * (float)frame[at[i]];
                if (lane == 0)
                    for (int i = whole; i < n; ++i) sum += amount[i] * (float)frame[at[i]];
            } else if (p < pairs + modes && lane == 0) {
                for (long long x = 0; x < width; ++x) sum += columns[(p - pairs) * width + x];
            }
            part[t] = sum;
        }
        EACH(t) {
            const long long p = b * (long long)(THREADS / 4) + t / 4;
            if (t % 4 == 0 && p < pairs + modes) {
                const double total = (part[t] + part[t + 1]) + (part[t + 2] + part[t + 3]);
                products[p] = p < pairs ? total * scale : total;
            }
        }
    }
}
"""
