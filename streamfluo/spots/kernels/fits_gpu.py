"""`fits` on a card: one group of THREADS threads a spot, each with some pixels of its crop.

A thread adds up its pixels, column by column as on the processor; one thread for each of the sums adds up what the
threads have, in their order. The few equations are solved by each thread for itself, in registers. Float64 as there.
"""

from .fits import (
    DAMP,
    DAMP_LESS,
    DAMP_MORE,
    EXACT,
    FARTHEST_PX,
    LEAST_FREE,
    LEAST_LIGHT,
    LEAST_PART,
    NARROWEST_PX,
    SMALL_STEP,
    STEPS,
    TOTALS,
    UNDAMPED,
    WIDEN,
    WIDEST,
)

NUMBERS = f"""
#define LEAST_LIGHT {LEAST_LIGHT}
#define STEPS {STEPS}
#define EXACT {EXACT}
#define SMALL_STEP {SMALL_STEP}
#define FARTHEST_PX {FARTHEST_PX}
#define WIDEN {WIDEN}
#define LEAST_PART {LEAST_PART}
#define NARROWEST_PX {NARROWEST_PX}
#define WIDEST {WIDEST}
#define LEAST_FREE {LEAST_FREE}
#define DAMP {DAMP}
#define DAMP_MORE {DAMP_MORE}
#define DAMP_LESS {DAMP_LESS}
#define UNDAMPED {UNDAMPED}
#define TOTALS {TOTALS}
#define STRIDE (THREADS + 1)
"""

# WIDE: a power of two of columns that threads begin with, at most THREADS; SIDE: of the crop.
FITS = (
    NUMBERS
    + """
struct Crop { double *electrons, *variance; double poisson; };  // (SIDE, SIDE); infinite variance: not seen
// part (TOTALS, STRIDE), totals (2, TOTALS), edges (6, SIDE + 1), profiles (6, SIDE)
struct Scratch { double *part, *totals, *edges, *profiles; };

DEVICE double larger(double a, double b) { return a > b ? a : b; }

// Add up `count` sums of the threads, in their order.
DEVICE void add_up(double* part, int count, double* totals)
{
    EACH(t) {
        for (int k = t; k < count; k += THREADS) {
            double total = 0;
            for (int i = 0; i < THREADS; ++i) total += part[k * STRIDE + i];
            totals[k] = total;
        }
    }
}

template <int FREE_> DEVICE void normal_sums(const Crop& crop, const double* at, const Scratch& scratch, double* totals)
{
    const double n = at[2], b = at[3];
    profile_derivatives(at, scratch.edges, scratch.profiles);
    const double *down = scratch.profiles, *across = scratch.profiles + 3 * SIDE;
    EACH(t) {
        double s[TOTALS];
        for (int k = 0; k < TOTALS; ++k) s[k] = 0;
        for (int x = t % WIDE; x < SIDE; x += WIDE) {
            double w1 = 0, e1 = 0, f1 = 0, k1 = 0, ee = 0, ef = 0, ek = 0, ff = 0, fk = 0, kk = 0;
            double r1 = 0, re = 0, rf = 0, rk = 0, rr = 0;
            const double p = across[x], q = across[SIDE + x], u = across[2 * SIDE + x];
            for (int y = t / WIDE; y < SIDE; y += THREADS / WIDE) {
                const double e = down[y], f = down[SIDE + y], k = down[2 * SIDE + y];
                const double m = n * e * p + b;
                const double w = 1 / (crop.variance[y * SIDE + x] + crop.poisson * larger(m, LEAST_LIGHT));
                const double residual = crop.electrons[y * SIDE + x] - m, r = residual * w;
                w1 += w;
                e1 += e * w;
                f1 += f * w;
                ee += e * e * w;
                ef += e * f * w;
                ff += f * f * w;
                r1 += r;
                re += e * r;
                rf += f * r;
                rr += r * residual;
                if (FREE_ > 4) {
                    k1 += k * w;
                    ek += e * k * w;
                    fk += f * k * w;
                    kk += k * k * w;
                    rk += k * r;
                }
            }
            const double pp = p * p, pq = p * q, pu = p * u;
            s[0] += ff * pp;
            s[1] += ef * pq;
            s[2] += ee * (q * q);
            s[3] += ef * pp;
            s[4] += ee * pq;
            s[5] += ee * pp;
            s[6] += f1 * p;
            s[7] += e1 * q;
            s[8] += e1 * p;
            s[9] += w1;
            s[21] += rf * p;
            s[22] += re * q;
            s[23] += re * p;
            s[24] += r1;
            s[27] += rr;
            if (FREE_ > 4) {
                s[10] += fk * pp;
                s[11] += ek * pq;
                s[12] += ek * pp;
                s[13] += k1 * p;
                s[14] += ef * pu;
                s[15] += ee * (q * u);
                s[16] += ee * pu;
                s[17] += e1 * u;
                s[18] += kk * pp;
                s[19] += ek * pu;
                s[20] += ee * (u * u);
                s[25] += rk * p;
                s[26] += re * u;
            }
        }
        for (int k = 0; k < TOTALS; ++k) scratch.part[k * STRIDE + t] = s[k];
    }
    add_up(scratch.part, TOTALS, totals);
}

// Of the sums the Fisher information h (its lower half) and the score g: see normal_equations.
template <int FREE_> DEVICE void information(const double* s, double n, double h[6][6])
{
    h[0][0] = n * n * s[0];
    h[1][0] = n * n * s[1];
    h[1][1] = n * n * s[2];
    h[2][0] = n * s[3];
    h[2][1] = n * s[4];
    h[2][2] = s[5];
    h[3][0] = n * s[6];
    h[3][1] = n * s[7];
    h[3][2] = s[8];
    h[3][3] = s[9];
    if (FREE_ == 5) {
        h[4][0] = n * n * (s[10] + s[14]);
        h[4][1] = n * n * (s[11] + s[15]);
        h[4][2] = n * (s[12] + s[16]);
        h[4][3] = n * (s[13] + s[17]);
        h[4][4] = n * n * (s[18] + 2 * s[19] + s[20]);
    }
    if (FREE_ == 6) {
        h[4][0] = n * n * s[10];
        h[4][1] = n * n * s[11];
        h[4][2] = n * s[12];
        h[4][3] = n * s[13];
        h[4][4] = n * n * s[18];
        h[5][0] = n * n * s[14];
        h[5][1] = n * n * s[15];
        h[5][2] = n * s[16];
        h[5][3] = n * s[17];
        h[5][4] = n * n * s[19];
        h[5][5] = n * n * s[20];
    }
}

template <int FREE_> DEVICE void score(const double* s, double n, double g[6])
{
    g[0] = n * s[21];
    g[1] = n * s[22];
    g[2] = s[23];
    g[3] = s[24];
    if (FREE_ == 5) g[4] = n * (s[25] + s[26]);
    if (FREE_ == 6) {
        g[4] = n * s[25];
        g[5] = n * s[26];
    }
}

template <int FREE_> DEVICE bool factorise(const double* sums, double n, double damp, double low[6][6])
{
    double h[6][6];
    information<FREE_>(sums, n, h);
    #pragma unroll
    for (int i = 0; i < FREE_; ++i) {
        #pragma unroll
        for (int j = 0; j <= i; ++j) {
            double total = i == j ? h[i][i] * (1 + damp) : h[i][j];
            #pragma unroll
            for (int k = 0; k < j; ++k) total -= low[i][k] * low[j][k];
            if (i == j) {
                if (!(total > 0)) return false;
                low[i][i] = 1 / sqrt(total);
            } else {
                low[i][j] = total * low[j][j];
            }
        }
    }
    return true;
}

template <int FREE_> DEVICE void solve(const double low[6][6], const double g[6], double step[6])
{
    #pragma unroll
    for (int i = 0; i < FREE_; ++i) {
        double total = g[i];
        #pragma unroll
        for (int k = 0; k < i; ++k) total -= low[i][k] * step[k];
        step[i] = total * low[i][i];
    }
    #pragma unroll
    for (int i = FREE_ - 1; i >= 0; --i) {
        double total = step[i];
        #pragma unroll
        for (int k = i + 1; k < FREE_; ++k) total -= low[k][i] * step[k];
        step[i] = total * low[i][i];
    }
}

// The roots of the diagonal of (low lowT)^-1, or with `middle` of lowT^-1 middle low^-1 (its lower half, by rows).
template <int FREE_> DEVICE void errors_of(const double low[6][6], const double* middle, double errors[6])
{
    #pragma unroll
    for (int c = 0; c < 6; ++c) errors[c] = NAN;
    #pragma unroll
    for (int c = 0; c < FREE_; ++c) {
        double column[6];
        column[c] = low[c][c];
        #pragma unroll
        for (int i = c + 1; i < FREE_; ++i) {
            double total = 0;
            #pragma unroll
            for (int k = c; k < i; ++k) total -= low[i][k] * column[k];
            column[i] = total * low[i][i];
        }
        double squares = 0;
        #pragma unroll
        for (int i = c; i < FREE_; ++i) {
            squares += (middle ? middle[i * (i + 1) / 2 + i] : 1.0) * (column[i] * column[i]);
            #pragma unroll
            for (int k = c; k < i; ++k)
                if (middle) squares += 2 * middle[i * (i + 1) / 2 + k] * column[i] * column[k];
        }
        errors[c] = sqrt(squares);
    }
}

// Sums (FREE (FREE + 1) / 2) of w2 r2 / (1 - leverage) z zT, z = low^-1 dm: see errors_of_residuals.
template <int FREE_>
DEVICE void residual_sums(
    const Crop& crop, const double* at, const double low[6][6], const Scratch& scratch, double* totals)
{
    profile_derivatives(at, scratch.edges, scratch.profiles);
    const double *down = scratch.profiles, *across = scratch.profiles + 3 * SIDE, n = at[2];
    EACH(t) {
        double middle[21];
        for (int k = 0; k < 21; ++k) middle[k] = 0;
        for (int i = t; i < SIDE * SIDE; i += THREADS) {
            const int y = i / SIDE, x = i % SIDE;
            if (!(crop.variance[i] < INFINITY)) continue;
            const double m = n * down[y] * across[x] + at[3];
            const double w = 1 / (crop.variance[i] + crop.poisson * larger(m, LEAST_LIGHT));
            double z[6] = {n * down[SIDE + y] * across[x], n * down[y] * across[SIDE + x], down[y] * across[x], 1.0,
                           n * down[2 * SIDE + y] * across[x], n * down[y] * across[2 * SIDE + x]};
            if (FREE_ == 5) z[4] += z[5];
            double leverage = 0;
            #pragma unroll
            for (int c = 0; c < FREE_; ++c) {
                double total = z[c];
                #pragma unroll
                for (int k = 0; k < c; ++k) total -= low[c][k] * z[k];
                z[c] = total * low[c][c];
                leverage += w * z[c] * z[c];
            }
            const double pull = w * (crop.electrons[i] - m), weight = pull * pull / larger(1 - leverage, LEAST_FREE);
            #pragma unroll
            for (int c = 0; c < FREE_; ++c) {
                #pragma unroll
                for (int k = 0; k <= c; ++k) middle[c * (c + 1) / 2 + k] += weight * z[c] * z[k];
            }
        }
        #pragma unroll
        for (int k = 0; k < 21; ++k) scratch.part[k * STRIDE + t] = middle[k];
    }
    add_up(scratch.part, 21, totals);
}

template <int FREE_> DEVICE double part_of_step(const double* at, const double* step)
{
    double part = FARTHEST_PX / larger(FARTHEST_PX, larger(fabs(step[0]), fabs(step[1])));
    if (step[2] < (LEAST_PART - 1) * at[2]) part = fmin(part, (LEAST_PART - 1) * at[2] / step[2]);
    #pragma unroll
    for (int k = 4; k < FREE_; ++k) {
        if (step[k] > (WIDEN - 1) * at[k]) part = fmin(part, (WIDEN - 1) * at[k] / step[k]);
        else if (step[k] < (1 / WIDEN - 1) * at[k]) part = fmin(part, (1 / WIDEN - 1) * at[k] / step[k]);
    }
    return part;
}

template <int FREE_> DEVICE void take(const double* at, double part, const double* step, double* trial)
{
    #pragma unroll
    for (int k = 0; k < 6; ++k) trial[k] = k < FREE_ ? at[k] + part * step[k] : at[k];
    if (FREE_ == 5) trial[5] = trial[4];
}

template <int FREE_> DEVICE bool within(const double* at)
{
    bool inside = -0.5 <= at[0] && at[0] < SIDE - 0.5 && -0.5 <= at[1] && at[1] < SIDE - 0.5;
    #pragma unroll
    for (int k = 4; k < FREE_; ++k) inside = inside && NARROWEST_PX <= at[k] && at[k] <= WIDEST * SIDE;
    return inside;
}

// Fit a crop from `at` on; chi2 and whether it converged. `seen`: of its pixels.
template <int FREE_>
DEVICE bool fit_spot(
    const Crop& crop, int seen, double at[6], double errors[6], const Scratch& scratch, double* chi2_found)
{
    double low[6][6], step[6], trial[6], g[6];
    int current = 0;
    normal_sums<FREE_>(crop, at, scratch, scratch.totals);
    double chi2 = scratch.totals[27], damp = 0;
    const double first = chi2;
    double n = at[2];  // where the sums are of
    bool converged = false;
    for (int round = 0; round < STEPS; ++round) {
        const double* sums = scratch.totals + current * TOTALS;
        if (!factorise<FREE_>(sums, n, damp, low)) {
            damp = larger(DAMP, damp * DAMP_MORE);
            continue;
        }
        score<FREE_>(sums, n, g);
        solve<FREE_>(low, g, step);
        double rise = 0;
        #pragma unroll
        for (int k = 0; k < FREE_; ++k) rise += g[k] * step[k];
        const double unit = crop.poisson > 0 ? 1.0 : larger(chi2, EXACT * first) / seen;
        if (rise <= SMALL_STEP * unit && damp < 1) {
            take<FREE_>(at, 1.0, step, at);
            converged = true;
            break;
        }
        const double part = part_of_step<FREE_>(at, step);
        take<FREE_>(at, part, step, trial);
        if (!within<FREE_>(trial)) break;
        double* tried = scratch.totals + (1 - current) * TOTALS;
        normal_sums<FREE_>(crop, trial, scratch, tried);
        score<FREE_>(tried, trial[2], g);
        double rise_after = 0;
        #pragma unroll
        for (int k = 0; k < FREE_; ++k) rise_after += g[k] * step[k];
        if (!(rise_after >= -rise)) {
            damp = larger(DAMP, damp * DAMP_MORE);
            continue;
        }
        #pragma unroll
        for (int k = 0; k < 6; ++k) at[k] = trial[k];
        chi2 = tried[27];
        n = at[2];
        current = 1 - current;
        damp = damp > UNDAMPED ? damp * DAMP_LESS : 0.0;
    }
    *chi2_found = chi2;
    if (!(converged && damp == 0)) {
        if (!factorise<FREE_>(scratch.totals + current * TOTALS, n, 0.0, low)) {
            #pragma unroll
            for (int k = 0; k < 6; ++k) errors[k] = NAN;
            return converged;
        }
    }
    if (MEASURED) {
        residual_sums<FREE_>(crop, at, low, scratch, scratch.totals + (1 - current) * TOTALS);
        errors_of<FREE_>(low, scratch.totals + (1 - current) * TOTALS, errors);
    } else {
        errors_of<FREE_>(low, 0, errors);
    }
    if (FREE_ == 5) errors[5] = errors[4];
    return converged;
}
"""
)
