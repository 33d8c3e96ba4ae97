"""`frames` on a card: a group of threads measures a spot in each round, behind the neighbours that the processor
measures before it, so that both take the same steps."""

from .fits import FIXED_WIDTH, MLE, ONE_WIDTH, PHASOR
from .frames import COLUMNS, REACH_SIGMA, ROUNDS, UNEXPLAINED
from .measuring_gpu import MEASURING

SEEN = COLUMNS  # one more column: whether the pixel at the spot's place is seen
NUMBERS = f"""
#define COLUMNS {COLUMNS + 1}
#define ROUNDS {ROUNDS}
#define UNEXPLAINED {UNEXPLAINED}
#define REACH_SIGMA {REACH_SIGMA}
#define MLE {MLE}
#define PHASOR {PHASOR}
#define FIXED_WIDTH {FIXED_WIDTH}
#define ONE_WIDTH {ONE_WIDTH}
"""

# candidates (n, 4): row and column of the maximum, its frame, its number there; parameters (n, 6) in the frame.
# done (n): how many rounds each has behind it.
MEASURE = (
    MEASURING
    + NUMBERS
    + """
DEVICE double width_of(double magnitude, double photons, double turn)
{
    if (!(0 < magnitude && magnitude < photons)) return NARROWEST_PX;
    const double squared = 2 * log(photons / magnitude) / (turn * turn) - 1.0 / 12;
    return fmin(larger(sqrt(larger(squared, 0.0)), NARROWEST_PX), WIDEST * SIDE);
}

DEVICE double around(double angle, double turn)
{
    const double at = fmod(angle / turn, (double)SIDE);
    return at < 0 ? at + SIDE : at;
}

// Position and widths of the first Fourier coefficients; whether the position lies in the crop: see phasor.
DEVICE bool phasor_position(
    const Crop& crop, const double* ellipse, double* at, double* rim, const Scratch& scratch)
{
    int count;
    const double b = border_median(crop, rim, scratch, &count), turn = 2 * 3.141592653589793 / SIDE;
    EACH(t) {
        double s[5] = {0, 0, 0, 0, 0};
        for (int i = t; i < SIDE * SIDE; i += THREADS) {
            const double d = crop.electrons[i];
            s[0] += d * cos(turn * (i / SIDE));
            s[1] += d * sin(turn * (i / SIDE));
            s[2] += d * cos(turn * (i % SIDE));
            s[3] += d * sin(turn * (i % SIDE));
            s[4] += d;
        }
        for (int k = 0; k < 5; ++k) scratch.part[k * STRIDE + t] = s[k];
    }
    add_up(scratch.part, 5, scratch.totals);
    const double* s = scratch.totals;
    at[0] = around(atan2(s[1], s[0]), turn);
    at[1] = around(atan2(s[3], s[2]), turn);
    at[2] = s[4] - SIDE * SIDE * b;
    at[3] = b;
    at[4] = width_of(hypot(s[1], s[0]), at[2], turn);
    at[5] = width_of(hypot(s[3], s[2]), at[2], turn);
    if (FREE == FIXED_WIDTH) {
        at[4] = ellipse[0];
        at[5] = ellipse[1];
    } else if (FREE == ONE_WIDTH) {
        at[4] = at[5] = sqrt(at[4] * at[5]);
    }
    return -0.5 <= at[0] && at[0] < SIDE - 0.5 && -0.5 <= at[1] && at[1] < SIDE - 0.5;
}

// Subtract the spots within `reach` of spot k from its crop; how many they are.
DEVICE int subtract_neighbours(
    const int* candidates, const volatile double* parameters, const volatile int* done, long long n, long long k,
    int round, int top, int left, double reach, const Crop& crop, double* lines, double* image)
{
    const int *own = candidates + 4 * k;
    int near = 0;
    for (int step = -1; step < 2; step += 2)
        for (long long j = k + step; 0 <= j && j < n; j += step) {
            const int* other = candidates + 4 * j;
            if (other[2] != own[2] || abs(other[0] - own[0]) > reach) break;
            if (abs(other[1] - own[1]) > reach) continue;
            const int before = step < 0 ? round + 1 : round;
            AWAIT(done[j] >= before);
            const volatile double* p = parameters + 6 * j;
            const double at[6] = {p[0] - top, p[1] - left, 0, 0, p[4], p[5]}, photons = p[2];
            gaussian_image(at, lines, image);
            subtract_spot(crop, image, photons);
            near += 1;
        }
    return near;
}

KERNEL measure_spots(
    const PIXEL* frames, long long height, long long width, const float* offset, long long offset_rows,
    const float* gain, long long gain_rows, const float* variance, long long variance_rows, double saturation,
    double poisson, double sigma_y, double sigma_x, const int* candidates, long long n, double* parameters, int* done,
    double* rows, double* scratch_images, int* next)
{
    TICKETS(item, ROUNDS * n, next) {
        IMAGES(scratch_images)
        SHARED double part[TOTALS * STRIDE], totals[2 * TOTALS], edges[6 * (SIDE + 1)], profiles[6 * SIDE];
        SHARED double rim[RIM + 2];
        const int round = (int)(item / n);
        const long long k = item % n;
        double* row = rows + k * COLUMNS;
        const int* own = candidates + 4 * k;
        const double ellipse[3] = {sigma_y, sigma_x, 0};
        if (round) AWAIT(((const volatile int*)done)[k] >= 1);
        if (round && !((int)((const volatile double*)row)[COLUMNS - 2] & CROWDED)) continue;
        const Crop crop = {electrons, dark, poisson};
        const Scratch scratch = {part, totals, edges, profiles};
        const Sensor sensor = {{offset, (int)offset_rows}, {gain, (int)gain_rows}, {variance, (int)variance_rows},
                               saturation};
        const int top = own[0] - SIDE / 2, left = own[1] - SIDE / 2;
        const PIXEL* frame = frames + own[2] * height * width;
        int seen;
        int flags = cut(frame, height, width, top, left, sensor, crop, scratch, &seen);
        const double reach = SIDE / 2.0 + REACH_SIGMA * larger(sigma_y, sigma_x);
        if (round) AWAIT(((const volatile int*)done)[k] >= round);
        if (subtract_neighbours(candidates, parameters, done, n, k, round, top, left, reach, crop, profiles, image))
            flags |= CROWDED;
        double at[6], errors[6], chi2 = NAN;
        for (int p = 0; p < 6; ++p) {
            at[p] = ((const volatile double*)parameters)[6 * k + p];
            errors[p] = NAN;
        }
        at[0] -= top;
        at[1] -= left;
        bool converged = true;
        if (FIT == MLE) {
            double start[6];
            for (int p = 0; p < 6; ++p) start[p] = at[p];
            converged = fit_spot<FREE>(crop, seen, at, errors, scratch, &chi2);
            int fitted = FREE;
            if (!converged && FREE != FIXED_WIDTH) {
                for (int p = 0; p < 4; ++p) at[p] = start[p];
                at[4] = sigma_y;
                at[5] = sigma_x;
                converged = fit_spot<FIXED_WIDTH>(crop, seen, at, errors, scratch, &chi2);
                fitted = FIXED_WIDTH;
                flags |= WIDTH_KEPT;
            }
            chi2 /= seen - fitted;
        } else if (FIT == PHASOR) {
            converged = phasor_position(crop, ellipse, at, rim, scratch);
        }
        if (FIT != MLE || METHOD != LIKELIEST) {
            double b = at[3];
            int count;
            if (METHOD == LIKELIEST) b = NAN;
            else if (FIT != MLE) b = border_median(crop, rim, scratch, &count);
            if (METHOD != BORDER) gaussian_image(at, profiles, psf);
            const Integral found = integrate(crop, psf, b, rim, scratch);
            at[2] = found.n;
            errors[2] = found.error;
            at[3] = found.b;
            chi2 = found.chi2;
        }
        if (!(chi2 < UNEXPLAINED && !MEASURED) && light_left(crop, at, profiles, image, scratch)) flags |= LEFT_OVER;
        if (poisson > 0 && at[3] < -SURE * errors[3]) {
            flags |= BELOW_ZERO;
            for (int p = 0; p < 6; ++p) errors[p] = NAN;
        }
        if (MEASURED) chi2 = NAN;
        if (!converged) flags |= NOT_CONVERGED;
        EACH(t) {
            if (t == 0) {
                at[0] += top;
                at[1] += left;
                for (int p = 0; p < 6; ++p) ((volatile double*)parameters)[6 * k + p] = at[p];
                const double near_y = rint(at[0]), near_x = rint(at[1]);
                const bool inside = 0 <= near_y && near_y < height && 0 <= near_x && near_x < width;
                const PIXEL pixel = inside ? frame[(long long)near_y * width + (long long)near_x] : 0;
                const double values[COLUMNS] = {
                    (double)own[2], (double)own[3], at[0], at[1], at[4], at[5], at[2], errors[2], at[3], chi2,
                    errors[0], errors[1], (double)flags, (double)(inside && pixel == pixel)};
                for (int p = 0; p < COLUMNS; ++p) ((volatile double*)row)[p] = values[p];
                TELL(done + k, round + 1);
            }
        }
    }
}
"""
)
