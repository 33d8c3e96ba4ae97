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

# Powers as on the processor: eight frames at a time, then one by one, so that both give the same bits. Eight loads are
# under way before the first is used: of 1024 threads, at 56 registers, 16 kB a multiprocessor. The last step adds
# without error (TwoSum), so products must not be fused into additions.
# A cell of 32 frames of 2 bytes: 64 bytes a pixel read, 8 of the pivot, 32 · ORDERS of the sums: 200 at order 4, 6.3 a
# frame; (2 · ORDERS + 1) · 32 additions and products in float64.
POWERS = """
DEVICE double eight(const double* a)
{
    return ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]));
}

DEVICE void sum_powers(const PIXEL* frames, long long n, long long pixels, double pivot, double* total)
{
    for (int j = 0; j < ORDERS; ++j) total[j] = 0;
    long long f = 0;
    for (; f + 8 <= n; f += 8) {
        PIXEL x[8];
        for (int k = 0; k < 8; ++k) x[k] = frames[(f + k) * pixels];
        double d[8], e[8], q[8], part[8];
        for (int k = 0; k < 8; ++k) {
            d[k] = (double)x[k] - pivot;
            e[k] = d[k] * d[k];
            q[k] = e[k];
        }
        total[0] += eight(d);
        total[1] += eight(e);
        for (int j = 2; j < ORDERS; j += 2) {
            if (j > 2) for (int k = 0; k < 8; ++k) q[k] = q[k] * e[k];
            for (int k = 0; k < 8; ++k) part[k] = q[k] * d[k];
            total[j] += eight(part);
            for (int k = 0; k < 8; ++k) part[k] = q[k] * e[k];
            total[j + 1] += eight(part);
        }
    }
    for (; f < n; ++f) {
        const double d = (double)frames[f * pixels] - pivot, e = d * d;
        double q = 1;
        for (int j = 0; j < ORDERS; j += 2) {
            if (j) q = q * e;
            total[j] += q * d;
            total[j + 1] += q * e;
        }
    }
}

KERNEL add_powers(const PIXEL* frames, long long n, long long pixels, const double* pivot, double* sums)
{
    ITEMS(i, pixels) {
        double total[ORDERS];
        sum_powers(frames + i, n, pixels, pivot[i], total);
        double* high = sums + (i / 1024 * ORDERS * 2) * 1024 + i % 1024;
        for (int j = 0; j < ORDERS; ++j, high += 2048) {
            const double s = *high + total[j];
            const double b = s - *high;
            high[1024] += (*high - (s - b)) + (total[j] - b);
            *high = s;
        }
    }
}

KERNEL cell_powers(const PIXEL* frames, long long n, long long pixels, const double* pivot, double* totals)
{
    ITEMS(i, pixels) {
        double total[ORDERS];
        sum_powers(frames + i, n, pixels, pivot[i], total);
        for (int j = 0; j < ORDERS; ++j) totals[(i / 1024 * ORDERS + j) * 1024 + i % 1024] = total[j];
    }
}
"""
