"""The ring's background on a card: one thread a bin, its sums in the order of the processor's."""

# The operations of `bin_deviation_rows`, `subtract_binned_modes`, `ring_sum`, `update_ring` and `smooth`: the same
# bits.
RING_REGRESSION = """
DEVICE float five(const float* at, long long place, long long length, long long step)
{
    const float weight = 0.2f;
    const float b1 = place > 0 ? at[-step] : 0, a1 = place + 1 < length ? at[step] : 0;
    const float b2 = place > 1 ? at[-2 * step] : 0, a2 = place + 2 < length ? at[2 * step] : 0;
    return (weight * at[0] + weight * (b1 + a1)) + weight * (b2 + a2);
}

KERNEL bin_frame(
    const PIXEL* frame, long long height, long long width, const float* mean, const float* weight,
    const unsigned char* whole, long long rows, long long columns, const float* cells, const float* known,
    float* binned)
{
    ITEMS(i, rows * columns) {
        const long long j = i / columns, c = i % columns, left = c * width / columns, right = (c + 1) * width / columns;
        const long long top = j * height / rows, bottom = (j + 1) * height / rows, n = (bottom - top) * (right - left);
        double total = 0, of_known = 0;
        long long seen = 0;
        for (long long x = left; x < right; ++x) {
            float sum = 0;
            for (long long y = top; y < bottom; ++y) sum += (float)frame[y * width + x] - mean[y * width + x];
            total += sum;
        }
        if (!whole[i] || total != total) {
            for (long long y = top; y < bottom; ++y) {
                for (long long x = left; x < right; ++x) {
                    const float d = (float)frame[y * width + x] - mean[y * width + x];
                    if (d == d && weight[y * width + x] > 0) {
                        of_known += d;
                        seen += 1;
                    }
                }
            }
            total = of_known;
        } else {
            seen = n;
        }
        binned[i] = ((float)(total / (seen > 1 ? seen : 1)) - cells[i]) * known[i];
    }
}

KERNEL bin_columns(
    const float* binned, long long rows, long long columns, const float* modes, long long count, float* sums)
{
    ITEMS(i, count * columns) {
        const float* mode = modes + i / columns * rows * columns;
        const long long x = i % columns;
        float sum = 0;
        for (long long j = 0; j < rows; j += 8) {
            float some[8];  // read together: each addition waits for the one before
            for (int r = 0; r < 8; ++r)
                some[r] = j + r < rows ? mode[(j + r) * columns + x] * binned[(j + r) * columns + x] : 0;
            for (int r = 0; r < 8; ++r) sum += some[r];
        }
        sums[i] = sum;
    }
}

KERNEL fit_modes(const float* sums, long long columns, long long count, const double* inverse, float* amounts)
{
    BLOCKS(b, 1) {
        SHARED double products[THREADS];
        EACH(t) {
            double sum = 0;
            if (t < count)
                for (long long x = 0; x < columns; ++x) sum += sums[t * columns + x];
            products[t] = sum;
        }
        EACH(t) {
            if (t < count) {
                double amount = 0;
                for (long long m = 0; m < count; ++m) amount += inverse[t * count + m] * products[m];
                amounts[t] = (float)-amount;
            }
        }
    }
}

KERNEL subtract_modes(
    float* binned, long long bins, const float* modes, long long count, const float* amounts)
{
    ITEMS(i, bins) {
        float left = binned[i];
        for (long long m = 0; m < count; ++m) left += modes[m * bins + i] * amounts[m];
        binned[i] = left;
    }
}

KERNEL regress_on_ring(
    const float* binned, long long rows, long long columns, double inside, double outside, const float* known,
    const float* counts, double memory, const float* slope, double* product, double* square, float* background)
{
    ITEMS(i, rows * columns) {
        const long long j = i / columns, c = i % columns, reach = (long long)outside;
        float sum = 0;
        for (long long y = j > reach ? j - reach : 0; y <= j + reach && y < rows; ++y) {
            const long long dy = y > j ? y - j : j - y;
            const double hole = inside * inside - (double)(dy * dy);
            const long long last = (long long)sqrt(outside * outside - (double)(dy * dy));
            float run = 0;
            for (long long dx = hole > 0 ? (long long)ceil(sqrt(hole)) : 0; dx <= last; ++dx) {
                if (c + dx < columns) run += binned[y * columns + c + dx];
                if (dx && c >= dx) run += binned[y * columns + c - dx];
            }
            sum += run;
        }
        const float mean = sum / (counts[i] > 1 ? counts[i] : 1.0f);
        background[i] = slope[i] * mean;
        product[i] = memory * product[i] + binned[i] * mean;
        square[i] = memory * square[i] + known[i] * (double)mean * mean;
    }
}

KERNEL take_nearest(const float* background, const int* nearest, long long bins, float* out)
{
    ITEMS(i, bins) { out[i] = background[nearest[i]]; }
}

KERNEL smooth_rows(const double* product, const double* square, long long rows, long long columns, float* out)
{
    ITEMS(i, rows * columns) {
        const long long c = i % columns, bins = rows * columns;
        float near[2][5];
        for (int d = 0; d < 5; ++d) {
            const bool there = c + d >= 2 && c + d - 2 < columns;
            near[0][d] = there ? (float)product[i + d - 2] : 0;
            near[1][d] = there ? (float)square[i + d - 2] : 0;
        }
        out[i] = five(near[0] + 2, 2, 5, 1);
        out[bins + i] = five(near[1] + 2, 2, 5, 1);
    }
}

KERNEL slopes_of(const float* smoothed, long long rows, long long columns, float* slope)
{
    ITEMS(i, rows * columns) {
        const float product = five(smoothed + i, i / columns, rows, columns);
        const float square = five(smoothed + rows * columns + i, i / columns, rows, columns);
        const float ratio = square > 0 ? product / square : 0;
        slope[i] = ratio < 0 ? 0 : ratio;
    }
}
"""

# What the host asks of frames before they are processed: every so many pixels, and which bins are known, seven a pixel.
LOOKING = """
KERNEL look_at_frames(
    const PIXEL* frames, long long n, long long height, long long width, long long step, const float* weight,
    long long rows, long long columns, PIXEL* found)
{
    const long long across = (width + step - 1) / step, samples = (height + step - 1) / step * across;
    const long long words = (rows * columns + 6) / 7;
    ITEMS(i, n * (samples + words)) {
        const long long at = i % (samples + words);
        const PIXEL* frame = frames + i / (samples + words) * height * width;
        if (at < samples) {
            found[i] = frame[at / across * step * width + at % across * step];
            continue;
        }
        int word = 0;
        for (int bit = 0; bit < 7; ++bit) {
            const long long bin = (at - samples) * 7 + bit;
            if (bin >= rows * columns) continue;
            const long long j = bin / columns, c = bin % columns;
            const long long top = j * height / rows, bottom = (j + 1) * height / rows;
            const long long left = c * width / columns, right = (c + 1) * width / columns;
            long long known = 0;
            for (long long y = top; y < bottom; ++y)
                for (long long x = left; x < right; ++x)
                    known += frame[y * width + x] == frame[y * width + x] && weight[y * width + x] > 0;
            if ((float)((double)known / ((bottom - top) * (right - left))) >= 0.5f) word |= 1 << bit;
        }
        found[i] = (PIXEL)word;
    }
}
"""
