"""Whether a figure of a rig drifts, has stepped, or is outside its limits: rank tests, so that no single day decides.

Days count, not sessions: five of one morning share a sample and a mood of the laser. A drift is Mann and Kendall's test
(Mann 1945) with the slope of Theil and Sen (Sen 1968), a step Pettitt's (1979); where residuals of neighbouring days
agree, both are told fewer days than there are, by (1 − ρ)/(1 + ρ) (Yue and Wang 2004). What is certain and yet smaller
than the scatter of a day warns of nothing. That something changed is told by the tests, which of the two it was by
least squares: a line that fits better than the best step is a drift, a step is better by 2 of the Bayesian information
criterion (Schwarz 1978; Kass and Raftery 1995: positive evidence), of what lies between it is said that it changed.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

MIN_DAYS = 10
# With these at most 0.5 % of steady figures warn at a look, 1.5 % where neighbouring days' noise correlates by 0.5.
# Pettitt's p is an upper bound: below 19 days no step reaches it.
ALPHA_DRIFT, ALPHA_STEP = 1e-3, 3e-3
LEAST_SIGMA = 1.0  # of change over the whole time, in the scatter of a day
LIMIT_SIGMA = 4.0  # of a single day
STEP_EVIDENCE = 2.0  # difference of BIC; a step has one parameter more than a line, its day
WILD_SIGMA = 3.0  # days farther from what is fitted count as so far, for which of both it was
MAD = 1.4826  # of a Gaussian: σ over the median absolute deviation
MEAN = 1.2533  # of a Gaussian: σ over the mean absolute deviation
MONTH_DAYS = 30.44
Verdict = Literal["steady", "drift", "step", "changed", "outside", "undetermined"]


class Trend(NamedTuple):
    """What became of a figure: `change` of a drift a month, else in all, relative where `relative`, else in units.

    day (n,) since the first [days], value (n,) the median of each; `low` and `high` are the limits of a day around
    `middle`, the fit at each day (n,); `at` is the day of a step; `p` of the test that decided.
    """

    verdict: Verdict
    day: np.ndarray
    value: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray
    change: float = float("nan")
    relative: bool = False
    at: float = float("nan")
    p: float = float("nan")
    rho: float = 0.0


class _Fit(NamedTuple):
    """A model of days: its values (n,), how much it changes, p, the residuals' scatter."""

    fitted: np.ndarray
    change: float
    p: float
    at: float = float("nan")

    def scatter(self, y: np.ndarray) -> float:
        return _scatter(y - self.fitted)


def trend_of(time_s: np.ndarray, values: np.ndarray) -> Trend:
    """Return the trend of a figure (sessions,) over times [s], in any order; what is not finite is left out."""
    known = np.isfinite(time_s) & np.isfinite(values)
    day, value = _by_day(np.asarray(time_s, float)[known], np.asarray(values, float)[known])
    relative = bool(len(value)) and bool((value > 0).all())
    y = np.log(value) if relative else value
    if len(day) < MIN_DAYS:
        nothing = np.full(len(day), np.nan)
        return Trend("undetermined", day, value, nothing, nothing, nothing, relative=relative)
    steady = _Fit(np.full(len(y), np.median(y)), 0.0, 1.0)
    drift, step = _drift(day, y), _step(day, y)
    nearer = min((drift, step), key=lambda fit: float(np.abs(y - fit.fitted).sum()))
    rho = _autocorrelation(y - nearer.fitted)
    drift, step = (fit._replace(p=_fewer_days(fit.p, rho)) for fit in (drift, step))
    tested = ((drift, ALPHA_DRIFT), (step, ALPHA_STEP))
    certain = [fit for fit, alpha in tested if fit.p < alpha and abs(fit.change) >= LEAST_SIGMA * fit.scatter(y)]
    kind = _kind(day, y, nearer, rho) if certain else "steady"
    fit = {"steady": steady, "drift": drift, "step": step, "changed": step if nearer.at == step.at else drift}[kind]
    reach = LIMIT_SIGMA * (1 + 4 / len(y)) * fit.scatter(y)  # the scatter itself is known to 1/√n
    outside = abs(y[-1] - fit.fitted[-1]) > max(reach, 1e-9 * abs(fit.fitted[-1]))
    verdict: Verdict = "outside" if kind == "steady" and outside else kind
    back = np.exp if relative else np.asarray
    change = fit.change
    if verdict == "drift":
        change /= max((day[-1] - day[0]) / MONTH_DAYS, 1e-9)
    elif verdict == "outside":
        change = float(y[-1] - fit.fitted[-1])
    return Trend(
        verdict, day, value, back(fit.fitted), back(fit.fitted - reach), back(fit.fitted + reach),
        float(np.expm1(change)) if relative else float(change), relative,
        fit.at if kind == "step" else float("nan"), min((one.p for one in certain), default=1.0), rho,
    )  # fmt: skip


def _by_day(time_s: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The days there are, since the first, and the median of each."""
    days = np.floor(time_s / 86400.0)
    each, where = np.unique(days, return_inverse=True)
    medians = np.array([np.median(values[where == n]) for n in range(len(each))])
    return each - each[0] if len(each) else each, medians


def _drift(day: np.ndarray, y: np.ndarray) -> _Fit:
    from scipy.stats import kendalltau, theilslopes  # which other commands need not wait for

    slope, intercept = (float(part) for part in theilslopes(y, day)[:2])
    p = float(kendalltau(day, y).pvalue) if np.ptp(y) > 0 else 1.0
    return _Fit(intercept + slope * day, slope * float(np.ptp(day)), p)


def _step(day: np.ndarray, y: np.ndarray) -> _Fit:
    """Pettitt: the place where ranks before and behind differ most, and p ≈ 2 exp(−6 K²/(n³ + n²))."""
    from scipy.stats import rankdata

    n = len(y)
    sums = 2 * np.cumsum(rankdata(y))[:-1] - np.arange(1, n) * (n + 1)
    at = int(np.argmax(np.abs(sums))) + 1
    before, behind = float(np.median(y[:at])), float(np.median(y[at:]))
    p = min(1.0, 2 * float(np.exp(-6 * float(sums[at - 1]) ** 2 / (n**3 + n**2))))
    return _Fit(np.where(np.arange(n) < at, before, behind), behind - before, p, float(day[at]))


def _kind(day: np.ndarray, y: np.ndarray, nearer: _Fit, rho: float) -> Literal["drift", "step", "changed"]:
    """Which of both a change was; days whose noise agrees count less."""
    reach = WILD_SIGMA * nearer.scatter(y)
    y = np.clip(y, nearer.fitted - reach, nearer.fitted + reach)
    n = len(y)
    centred, of_days = y - y.mean(), day - day.mean()
    line = centred @ centred - (of_days @ centred) ** 2 / (of_days @ of_days)
    first = np.arange(2, n - 1)  # two days at least on each side
    sums = np.cumsum(centred)[first - 1]
    step = float((centred @ centred - sums**2 * n / (first * (n - first))).min())
    least = 1e-12 * float(centred @ centred)
    better = n * (1 - rho) / (1 + rho) * np.log(max(line, least) / max(step, least))  # twice the log likelihood ratio
    return "drift" if better < 0 else "step" if better > np.log(n) + STEP_EVIDENCE else "changed"


def _autocorrelation(residual: np.ndarray) -> float:
    """Of neighbouring days, by ranks, without the bias of −1/n a fit leaves; 0 where it is not seen."""
    from scipy.stats import rankdata

    ranks = rankdata(residual) - (len(residual) + 1) / 2
    power = float(ranks @ ranks)
    if power == 0:
        return 0.0
    rho = float(ranks[:-1] @ ranks[1:]) / power + 1 / len(ranks)
    return float(np.clip(rho, 0.0, 0.9))


def _fewer_days(p: float, rho: float) -> float:
    """The p of a two-sided test of which the variance is (1 + ρ)/(1 − ρ) of what it assumes."""
    from scipy.special import log_ndtr, ndtri_exp

    if not 0 < p < 1 or rho == 0:
        return p
    z = float(ndtri_exp(np.log(p / 2)))
    return float(2 * np.exp(log_ndtr(z * np.sqrt((1 - rho) / (1 + rho)))))


def _scatter(residual: np.ndarray) -> float:
    size = np.abs(residual - np.median(residual))
    found = MAD * float(np.median(size))
    return found if found > 0 else MEAN * float(np.mean(size))  # more than half of the days are alike
