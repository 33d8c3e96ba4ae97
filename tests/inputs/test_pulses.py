"""Pulses on two clocks: matched with some missing and some of nobody, or said to be undetermined; never a guess."""

import numpy as np
import pytest

from streamfluo.session.pulses import match_pulses, pulse_clock
from streamfluo.session.shared_pulses import pulse_line

UTC = 1_790_000_000 * 10**9


def trains(seed, times_s, *, drift=50e-6, jitter_ms=1.0, missing=0.02, extra=0.0, offset_s=7.25):
    """Pulses at these times as two clocks recorded them, which pulse each one is (-1: of nobody), and the truth."""
    rng = np.random.default_rng(seed)
    both = []
    for rate, begin in ((1.0, UTC), (1 + drift, UTC + round(offset_s * 1e9))):
        kept = np.flatnonzero(rng.random(len(times_s)) >= missing)
        noise = rng.normal(0, jitter_ms * 1e6, len(kept)) if rate == 1.0 else 0.0
        at = times_s[kept] * 1e9 * rate + noise
        strays = rng.uniform(times_s[0], times_s[-1], rng.poisson(extra * len(times_s))) * 1e9
        at, names = np.append(at, strays), np.append(kept, np.full(len(strays), -1))
        order = np.argsort(at)
        both += [begin + np.rint(at[order]).astype(np.int64), names[order]]
    return both


def truth_of(ours_ns, drift=50e-6, offset_s=7.25):
    return UTC + offset_s * 1e9 + (ours_ns - UTC) * (1 + drift)


def irregular(seed, count, low_s=0.05, high_s=0.15):
    return np.cumsum(np.random.default_rng(seed + 10_000).uniform(low_s, high_s, count))


@pytest.mark.parametrize("drift", [50e-6, -50e-6])
def test_after_a_minute_two_clocks_agree_to_a_fifth_of_a_millisecond(drift):
    """With 1 ms of jitter and 2 % of the pulses missing on each side, at the pulses of a camera's 30 Hz."""
    for seed in range(9100, 9104):
        ours, ours_are, theirs, theirs_are = trains(seed, irregular(seed, 1800, 0.017, 0.05), drift=drift)
        match = match_pulses(ours, theirs)
        assert match.undetermined == ""
        assert (ours_are[match.ours] == theirs_are[match.theirs]).mean() > 0.995
        clock = pulse_clock(ours, theirs, match)
        assert np.abs(clock.theirs(ours) - truth_of(ours, drift)).max() < 0.2e6
        assert clock.error_ns < 0.07e6


def test_the_error_that_it_states_is_the_one_that_it_makes():
    found, stated = [], []
    for seed in range(9200, 9270):
        ours, _, theirs, _ = trains(seed, irregular(seed, 60, 0.3, 0.7), extra=0.02)
        clock = pulse_clock(ours, theirs, match_pulses(ours, theirs))
        found.append((clock.theirs(ours[:1]) - truth_of(ours[:1]))[0])
        stated.append(clock.error_ns)
    assert np.std(found) == pytest.approx(np.mean(stated), rel=0.25)


def by_hand(ours, theirs, tolerance_ns):
    """The textbook way: of all offsets that bring two pulses together, and clocks up to 100 ppm apart, that at which
    most pulses have another one within the tolerance."""
    best = (0, 0.0)
    for drift in np.arange(-100, 101, 25) * 1e-6:
        here = (ours - ours[0]) * (1 + drift)
        for offset in {float(t - h) for t in theirs for h in here[:40]}:
            near = np.abs(theirs[None, :] - (here[:, None] + offset)).min(1) <= tolerance_ns
            best = max(best, (int(near.sum()), offset))
    return best


def test_it_finds_what_a_search_of_all_offsets_finds():
    for seed in range(9300, 9302):
        ours, _, theirs, _ = trains(seed, irregular(seed, 45, 0.4, 1.2), missing=0.1, extra=0.1)
        count, offset = by_hand(ours, theirs, 5e6)
        match = match_pulses(ours, theirs)
        assert abs(len(match.ours) - count) <= 2
        clock = pulse_clock(ours, theirs, match)
        assert abs(clock.theirs(ours[:1])[0] - offset) < 10e6


def pauses(every_s, count, at, pause_s):
    times_s = np.arange(count) * every_s
    times_s[at:] += pause_s
    return times_s


def again(seed, count, times):
    pattern = irregular(seed, count, 0.5, 1.5)
    return np.concatenate([pattern + n * (pattern[-1] + 0.7) for n in range(times)])


AMBIGUOUS = {
    "even intervals": lambda seed: np.arange(300) * 0.1,
    "nearly even intervals": lambda seed: irregular(seed, 150, 0.495, 0.505),
    "even intervals and one pause": lambda seed: pauses(0.1, 200, 100, 5.03),
    "a pattern that is repeated": lambda seed: again(seed, 10, 20),
    "seven pulses": lambda seed: irregular(seed, 7, 0.5, 1.5),
    "faster than they can be told apart": lambda seed: irregular(seed, 900, 0.001, 0.01),
}


@pytest.mark.parametrize("what", AMBIGUOUS)
@pytest.mark.parametrize("missing", [0.0, 0.02, 0.2])
def test_what_fits_at_several_offsets_is_undetermined(what, missing):
    for seed in range(9400, 9402):
        ours, _, theirs, _ = trains(seed, AMBIGUOUS[what](seed), missing=missing, extra=missing)
        match = match_pulses(ours, theirs)
        assert match.undetermined
        assert len(match.ours) == len(match.theirs) == 0


def test_pulses_of_other_lines_and_of_clocks_that_were_set_are_undetermined():
    for seed in range(9410, 9412):
        ours, _, theirs, _ = trains(seed, irregular(seed, 600))
        _, _, others, _ = trains(seed, irregular(seed + 500, 600))
        assert match_pulses(ours, others).undetermined
        assert match_pulses(ours[400:], theirs[:300]).undetermined
        for at, by_ms in ((300, 300), (520, 40)):
            jumped = np.append(theirs[:at], theirs[at:] + by_ms * 10**6)
            assert "a clock was set" in match_pulses(ours, jumped).undetermined
        nothing = np.empty(0, np.int64)
        assert match_pulses(nothing, theirs).undetermined == "0 pulses, 8 or more are needed"
        assert match_pulses(ours, theirs, about=(-1e9, 1e9)).undetermined  # they are 7.25 s apart


def test_one_that_began_earlier_or_was_unplugged_for_a_while_is_matched():
    for seed in range(9420, 9422):
        ours, ours_are, theirs, theirs_are = trains(seed, irregular(seed, 900, 0.5, 1.5), missing=0.1, extra=0.1)
        for mine, other in ((slice(0, 500), slice(300, 900)), (slice(300, 800), slice(0, 500)), (slice(0, 900), None)):
            chosen = np.r_[0:250, 500:800] if other is None else np.r_[other]
            chosen = chosen[chosen < len(theirs)]
            match = match_pulses(ours[mine], theirs[chosen])
            assert match.undetermined == ""
            right = ours_are[mine][match.ours] == theirs_are[chosen][match.theirs]
            assert right.mean() > 0.97


def test_of_a_line_that_bounces_each_pulse_is_matched_once():
    for seed in range(9440, 9444):
        ours, ours_are, theirs, theirs_are = trains(seed, irregular(seed, 200, 0.3, 0.7), jitter_ms=0.2)
        bounced = np.sort(np.concatenate([ours, ours + 2_000_000]))
        for a, b in ((bounced, theirs), (theirs, bounced)):
            match = match_pulses(a, b)
            assert len(np.unique(match.ours)) == len(match.ours) == len(np.unique(match.theirs))
            assert np.intersect1d(ours_are, theirs_are).size - 2 <= len(match.ours) <= len(theirs)


def test_a_known_start_matches_even_intervals_and_one_that_is_not_true_is_seen_where_it_can_be():
    for seed in range(9430, 9434):
        times_s = np.arange(300) * 0.1
        ours, ours_are, theirs, theirs_are = trains(seed, times_s, missing=0.0)
        kept = np.sort(np.random.default_rng(seed).choice(np.arange(1, 300), 270, replace=False))
        theirs, theirs_are = theirs[np.append(0, kept)], theirs_are[np.append(0, kept)]
        match = match_pulses(ours, theirs, same_start=True)
        assert (ours_are[match.ours] == theirs_are[match.theirs]).all()
        assert len(match.ours) == 271
        ours, _, theirs, _ = trains(seed, irregular(seed, 300), missing=0.0)
        assert match_pulses(ours[3:], theirs, same_start=True).undetermined


def test_a_sampled_line_has_its_pulses_between_two_samples():
    t_ns = np.arange(0, 1000, 10)
    volts = np.zeros((100, 2))
    volts[20:25, 1], volts[60:62, 1] = 5.0, 3.0
    line = pulse_line(t_ns, volts, 1, 2.5)
    assert (line.t_ns.tolist(), line.half_ns) == ([195, 595], 5)
    assert pulse_line(t_ns, volts, 1, 4.0).t_ns.tolist() == [195]
    assert pulse_line(t_ns, volts, 0, 2.5).t_ns.tolist() == []
    assert pulse_line(t_ns, volts, 2).t_ns.tolist() == []
    kept = np.r_[0:18, 20:100]  # samples were lost as the first one began
    assert pulse_line(t_ns[kept], volts[kept], 1, 2.5).t_ns.tolist() == [595]
    counts = np.cumsum(np.arange(100) % 10 == 5)[:, None].astype(float)
    assert pulse_line(t_ns, counts).t_ns.tolist() == list(range(45, 1000, 100))
    order = np.random.default_rng(1).permutation(100)
    assert pulse_line(t_ns[order], counts[order]).t_ns.tolist() == list(range(45, 1000, 100))


def test_messages_and_texts_are_pulses_when_they_came():
    t_ns = np.array([5, 17, 90, 200])
    assert pulse_line(t_ns, np.array([[1.0], [2], [3], [4]])) == (pytest.approx([17, 90, 200]), 0)
    assert pulse_line(t_ns, np.array(["on", "on", "on", "on"])).t_ns.tolist() == t_ns.tolist()
    assert pulse_line(t_ns[:1], np.zeros((1, 1))).t_ns.tolist() == []
    assert pulse_line(t_ns, np.full((4, 1), np.nan)).t_ns.tolist() == []
