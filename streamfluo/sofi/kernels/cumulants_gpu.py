"""Central moments, cumulants and their standard errors of power sums on a card: one thread a pixel.

The steps of `cumulants.py`, in their order. Read when somebody looks: 16 · ORDERS bytes a pixel and more where frames
wait, 8 written.
"""

CUMULANTS = """
DEVICE void two_sum(double a, double b, double* s, double* e)
{
    *s = a + b;
    const double t = *s - a;
    *e = (a - (*s - t)) + (b - t);
}

DEVICE void shift_pixel(double* high, double* low, int order, double n, double c)
{
    double a[ORDERS + 1], b[ORDERS + 1];
    a[0] = n;
    b[0] = 0;
    for (int j = 0; j < order; ++j) {
        a[j + 1] = high[j];
        b[j + 1] = low[j];
    }
    for (int k = 0; k < order; ++k) {
        for (int j = 0; j < order - k; ++j) {
            const double split = 134217729.0 * a[j], upper = split - (split - a[j]);
            double s, e;
            two_sum(a[j + 1], -c * upper, &s, &e);
            e += b[j + 1] - (c * (a[j] - upper) + c * b[j]);
            two_sum(s, e, a + j, b + j);
        }
        high[k] = a[0];
        low[k] = b[0];
    }
}

DEVICE void sums_of(
    const double* sums, const double* waiting, long long powers, int order, long long i, double* high, double* low)
{
    for (int j = 0; j < order; ++j) {
        const double* own = sums + ((i / 1024 * ORDERS + j) * 2) * 1024 + i % 1024;
        high[j] = own[0];
        low[j] = own[1024];
        if (powers) {
            double s, e;
            two_sum(high[j], waiting[(i / 1024 * powers + j) * 1024 + i % 1024], &s, &e);
            high[j] = s;
            low[j] += e;
        }
    }
}

DEVICE void centre(double* high, double* low, double n, int order, double* m)
{
    const double offset = (high[0] + low[0]) / n;
    if (offset * offset > 0.5 * (high[1] + low[1]) / n) shift_pixel(high, low, order, n, (double)(float)offset);
    double a[ORDERS + 1];
    a[0] = 1;
    for (int k = 1; k <= order; ++k) a[k] = (high[k - 1] + low[k - 1]) / n;
    const double d = a[1];
    for (int k = 0; k < order; ++k) {
        for (int j = 0; j < order - k; ++j) a[j] = a[j + 1] - d * a[j];
        m[k + 1] = a[0];
    }
    m[1] = offset;
}

DEVICE double binomial(int n, int k)
{
    long long c = 1;
    for (int j = 1; j <= k; ++j) c = c * (n - j + 1) / j;
    return (double)c;
}

DEVICE void cumulants_of(const double* m, int order, double* k)
{
    for (int n = 2; n <= order; ++n) {
        k[n] = m[n];
        for (int j = 2; j < n - 1; ++j) k[n] -= binomial(n - 1, j) * k[n - j] * m[j];
    }
}

KERNEL read_moments(
    const double* pivot, const double* sums, const double* waiting, long long powers, double n, long long pixels,
    long long order, long long as_cumulants, double* out)
{
    ITEMS(i, pixels) {
        const int least = order < 2 ? 2 : (int)order;
        double high[ORDERS], low[ORDERS], m[ORDERS + 1], k[ORDERS + 1];
        sums_of(sums, waiting, powers, least, i, high, low);
        centre(high, low, n, least, m);
        if (order == 1) out[i] = pivot[i] + m[1];
        else if (as_cumulants) {
            cumulants_of(m, least, k);
            out[i] = k[order];
        } else out[i] = m[order];
    }
}

DEVICE void influence(const double* m, int order, double* c)
{
    double k[ORDERS + 1], p[ORDERS + 1][ORDERS + 1];
    cumulants_of(m, order, k);
    for (int n = 0; n <= order; ++n)
        for (int r = 0; r <= order; ++r) p[n][r] = 0;
    p[1][1] = 1;
    for (int n = 2; n <= order; ++n) {
        p[n][n] = 1;
        for (int j = 1; j < n; ++j) {
            const double factor = binomial(n - 1, j);
            if (j >= 2)
                for (int r = 1; r <= n - j; ++r) p[n][r] -= factor * m[j] * p[n - j][r];
            if (n - j >= 2) p[n][j] -= factor * k[n - j];
        }
    }
    for (int r = 0; r <= order; ++r) c[r] = 0;
    for (int r = 1; r <= order; ++r) {
        c[r] = p[order][r];
        if (r >= 2) c[0] -= p[order][r] * m[r];
    }
    for (int step = 0; step < order; ++step)
        for (int r = order - 1; r >= step; --r) c[r] -= m[1] * c[r + 1];
}

KERNEL find_influence(
    const double* sums, const double* waiting, long long powers, double n, long long pixels, long long order, double* c,
    double* plain)
{
    ITEMS(i, pixels) {
        const int least = order < 2 ? 2 : (int)order;
        double high[ORDERS], low[ORDERS], m[ORDERS + 1], of_pixel[ORDERS + 1];
        sums_of(sums, waiting, powers, least, i, high, low);
        for (int j = 0; j < least; ++j) plain[(i / 1024 * ORDERS + j) * 1024 + i % 1024] = high[j] + low[j];
        centre(high, low, n, least, m);
        influence(m, (int)order, of_pixel);
        for (int r = 0; r <= order; ++r) c[r * pixels + i] = of_pixel[r];
    }
}

KERNEL add_batch(
    const double* c, const double* now, const double* before, long long first, double frames, long long pixels,
    long long order, double* squares)
{
    ITEMS(i, pixels) {
        double moved = c[i] * frames;
        for (int j = 0; j < order; ++j) {
            const long long at = (i / 1024 * ORDERS + j) * 1024 + i % 1024;
            moved += c[(j + 1) * pixels + i] * (now[at] - (first ? 0 : before[at]));
        }
        squares[i] += moved * moved;
    }
}

KERNEL changes(
    const double* sums, const double* waiting, long long powers, double n, const double* mark, double mark_n,
    long long pixels, long long order, double* parts)
{
    BLOCKS(b, (pixels + THREADS - 1) / THREADS) {
        SHARED double part[2 * (ORDERS - 1)][THREADS];
        EACH(t) {
            const long long i = (long long)b * THREADS + t;
            double high[ORDERS], low[ORDERS], m[ORDERS + 1], now[ORDERS + 1], then[ORDERS + 1];
            for (int j = 0; j < 2 * (ORDERS - 1); ++j) part[j][t] = 0;
            if (i < pixels) {
                sums_of(sums, waiting, powers, (int)order, i, high, low);
                centre(high, low, n, (int)order, m);
                cumulants_of(m, (int)order, now);
                for (int j = 0; j < order; ++j) {
                    high[j] = mark[(i / 1024 * ORDERS + j) * 1024 + i % 1024];
                    low[j] = 0;
                }
                centre(high, low, mark_n, (int)order, m);
                cumulants_of(m, (int)order, then);
                for (int j = 2; j <= order; ++j) {
                    const double d = now[j] - then[j], change = d * d, square = now[j] * now[j];
                    part[2 * (j - 2)][t] = change == change ? change : 0;
                    part[2 * (j - 2) + 1][t] = square == square ? square : 0;
                }
            }
        }
        for (int half = THREADS / 2; half; half /= 2) {
            EACH(t) {
                if (t < half)
                    for (int j = 0; j < 2 * (ORDERS - 1); ++j) part[j][t] += part[j][t + half];
            }
        }
        EACH(t) { if (t < 2 * (ORDERS - 1)) parts[b * 2 * (ORDERS - 1) + t] = part[t][0]; }
    }
}
"""
