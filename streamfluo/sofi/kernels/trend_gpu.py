"""What a bleaching segment needs beside its sums, on a card: one thread a pixel, a cell's frames in turn."""

# Reads the frames twice, the second time from the cache: 64 bytes of a cell of 32 frames of 2 bytes, 32 of the sums.
TREND = """
KERNEL add_trend(
    const PIXEL* frames, long long n, long long pixels, const double* times, const double* pivot, double* trend,
    double* near)
{
    BLOCKS(b, (pixels + THREADS - 1) / THREADS) {
        SHARED double part[THREADS];
        EACH(t) {
            const long long i = (long long)b * THREADS + t;
            double sum = 0;
            if (i < pixels) {
                const bool has_next = i + 1 < pixels;
                const double here = pivot[i], there = has_next ? pivot[i + 1] : 0;
                double total = trend[i];
                for (long long f = 0; f < n; ++f) {
                    const double d = (double)frames[f * pixels + i] - here;
                    total += times[f] * d;
                    const double both = has_next ? d * ((double)frames[f * pixels + i + 1] - there) : 0;
                    sum += both == both ? both : 0;
                }
                trend[i] = total;
            }
            part[t] = sum;
        }
        for (int half = THREADS / 2; half; half /= 2) {
            EACH(t) { if (t < half) part[t] += part[t + half]; }
        }
        EACH(t) { if (t == 0) near[b] = part[0]; }
    }
}
"""
