"""Means of a frame over the bins of the ring's background, on a card: one thread a bin."""

# The additions of `bin_deviation_rows`, in its order: the same bits.
BIN_DEVIATION = """
KERNEL bin_deviation(
    const PIXEL* frame, long long height, long long width, const float* mean, const float* weight,
    const unsigned char* whole, long long rows, long long columns, float* out, float* seen)
{
    ITEMS(i, rows * columns) {
        const long long j = i / columns, c = i % columns, left = c * width / columns, right = (c + 1) * width / columns;
        const long long top = j * height / rows, bottom = (j + 1) * height / rows, n = (bottom - top) * (right - left);
        double total = 0;
        for (long long x = left; x < right; ++x) {
            float sum = 0;
            for (long long y = top; y < bottom; ++y) sum += (float)frame[y * width + x] - mean[y * width + x];
            total += sum;
        }
        if (whole[i] && total == total) {
            out[i] = (float)(total / n);
            seen[i] = 1;
            continue;
        }
        long long known = 0;
        total = 0;
        for (long long y = top; y < bottom; ++y) {
            for (long long x = left; x < right; ++x) {
                const float d = (float)frame[y * width + x] - mean[y * width + x];
                if (d == d && weight[y * width + x] > 0) {
                    total += d;
                    known += 1;
                }
            }
        }
        out[i] = (float)(total / (known > 1 ? known : 1));
        seen[i] = (float)((double)known / n);
    }
}
"""
