"""`power_sums` on a card, where sums stay while frames come: one thread a pixel, a cell's frames in turn."""

# Sums of a cell as on the processor: four frames at a time, then those that are left.
PIXEL_SUMS = """
DEVICE SUM seen_or_zero(SUM d) { return d == d ? d : 0; }

KERNEL accumulate(
    const PIXEL* frames, long long n, long long pixels, const PIVOT* pivot, SUM* total, SUM* squares, PIXEL* low,
    PIXEL* high, long long* unseen)
{
    ITEMS(i, pixels) {
        SUM sum = 0, sum_squares = 0;
        PIXEL lo = low[i], hi = high[i];
        const SUM middle = pivot[i];
        long long f = 0, missing = 0;
        for (; f < n; f += 4) {
            const int some = n - f < 4 ? (int)(n - f) : 4;
            SUM d[4] = {0, 0, 0, 0};
            for (int k = 0; k < some; ++k) {
                const PIXEL x = frames[(f + k) * pixels + i];
                d[k] = seen_or_zero((SUM)x - middle);
                lo = x < lo ? x : lo;
                hi = x > hi ? x : hi;
                missing += x != x;
            }
            if (some == 4) {
                sum += (d[0] + d[1]) + (d[2] + d[3]);
                sum_squares += (d[0] * d[0] + d[1] * d[1]) + (d[2] * d[2] + d[3] * d[3]);
            } else {
                for (int k = 0; k < some; ++k) {
                    sum += d[k];
                    sum_squares += d[k] * d[k];
                }
            }
        }
        total[i] += sum;
        squares[i] += sum_squares;
        low[i] = lo;
        high[i] = hi;
        if (COUNTED) unseen[i] += missing;
    }
}
"""

FRAME_TOTALS = """
KERNEL tile_totals(const PIXEL* frames, long long n, long long pixels, long long tiles, TOTAL* totals)
{
    BLOCKS(b, n * tiles) {
        SHARED TOTAL part[THREADS];
        const long long f = b / tiles, first = b % tiles * TILE;
        const long long stop = first + TILE < pixels ? first + TILE : pixels;
        EACH(t) {
            TOTAL sum = 0;
            for (long long i = first + t; i < stop; i += THREADS) {
                const PIXEL x = frames[f * pixels + i];
                sum += x == x ? (TOTAL)x : 0;
            }
            part[t] = sum;
        }
        for (int half = THREADS / 2; half; half /= 2) {
            EACH(t) { if (t < half) part[t] += part[t + half]; }
        }
        EACH(t) { if (t == 0) totals[b] = part[0]; }
    }
}

KERNEL frame_totals(const TOTAL* of_tiles, long long n, long long tiles, double* totals)
{
    ITEMS(f, n) {
        TOTAL sum = 0;
        for (long long tile = 0; tile < tiles; ++tile) sum += of_tiles[f * tiles + tile];
        totals[f] = (double)sum;
    }
}
"""
TILE_PX = 65536

# The last step adds without error (TwoSum), so products must not be fused into additions.
POWERS = """
KERNEL add_powers(
    const PIXEL* frames, long long n, long long pixels, const double* pivot, double* sums)
{
    ITEMS(i, pixels) {
        const long long tile = i / 1024, lane = i % 1024;
        double total[ORDERS];
        for (int j = 0; j < ORDERS; ++j) total[j] = 0;
        for (long long f = 0; f < n; ++f) {
            const double d = (double)frames[f * pixels + i] - pivot[i];
            double power = 1;
            for (int j = 0; j < ORDERS; ++j) {
                power *= d;
                total[j] += power;
            }
        }
        for (int j = 0; j < ORDERS; ++j) {
            double* high = sums + ((tile * ORDERS + j) * 2) * 1024 + lane;
            double* low = high + 1024;
            const double s = *high + total[j];
            const double b = s - *high;
            *low += (*high - (s - b)) + (total[j] - b);
            *high = s;
        }
    }
}
"""
