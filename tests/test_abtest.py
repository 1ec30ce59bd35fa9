"""A/B tests: parity with other libraries, false alarms as promised, mergeable sums, bad batches refused."""
import copy
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy import integrate, stats
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from mlsys import core
from mlsys.evaluation.abtest import (
    Experiment,
    Moments,
    arms,
    log_mixture_ratio,
    sample_ratio_p,
    sample_size,
    sequence_half_width,
    simulate_looks,
    team_draft,
)

numbers = st.lists(st.floats(-1e3, 1e3), min_size=0, max_size=30)


@pytest.mark.parametrize("d", [0.01, 0.1, 0.5, -0.2])
@pytest.mark.parametrize("power", [0.6, 0.8, 0.95])
def test_sample_size_equals_statsmodels(d, power):
    theirs = NormalIndPower().solve_power(abs(d), power=power, alpha=0.05)
    assert abs(sample_size(3 * d, 3, power) - theirs) <= 1 + 1e-4 * theirs  # theirs counts the wrong tail too


def test_sample_size_finds_the_lift_as_often_as_it_says():
    n, rng = sample_size(0.3, 1), np.random.default_rng(0)
    a, b = rng.normal(size=(2000, n)), rng.normal(0.3, size=(2000, n))
    assert stats.binomtest(int((stats.ttest_ind(b, a, axis=1).pvalue < 0.05).sum()), 2000, 0.8).pvalue > 1e-3


@pytest.mark.parametrize("bad",
                         [dict(lift=0, sd=1), dict(lift=1, sd=0), dict(lift=1, sd=1, level=0),
                          dict(lift=1, sd=1, power=0.01)])
def test_sample_size_refuses(bad):
    with pytest.raises(core.BadInput):
        sample_size(**bad)


@pytest.mark.parametrize(("effect", "se", "tau"), [(0.0, 1.0, 0.5), (0.7, 0.3, 0.5), (-2.0, 0.4, 0.1)])
def test_evidence_is_the_mixture_that_it_names(effect, se, tau):
    "The closed form against the integral over effects ~ N(0, tau²)."
    over = integrate.quad(lambda d: stats.norm.pdf(effect, d, se) * stats.norm.pdf(d, 0, tau), -10 * tau,
                          10 * tau, points=[0, effect])[0]
    assert np.isclose(log_mixture_ratio(effect, se, tau), math.log(over / stats.norm.pdf(effect, 0, se)),
                      rtol=1e-6)


@examples(max_examples=100, deadline=None)
@given(st.floats(1e-3, 10), st.floats(1e-3, 10), st.floats(0.001, 0.5))
def test_interval_is_the_set_that_the_evidence_does_not_refuse(se, tau, level):
    w = sequence_half_width(se, tau, level)
    assert np.isclose(log_mixture_ratio(w, se, tau), -math.log(level), rtol=1e-6, atol=1e-9)
    assert w > stats.norm.isf(level / 2) * se  # never narrower than one look's


@examples(max_examples=200, deadline=None)
@given(numbers, numbers, numbers)
def test_moments_merge_in_any_order(a, b, c):
    x, y, z = (Moments.of(np.array(v)) for v in (a, b, c))
    whole = np.array([*a, *b, *c])
    for m in ((x + y) + z, x + (y + z), (z + x) + y):
        assert m.n == len(whole)
        if len(whole):
            assert np.isclose(m.mean, whole.mean(), atol=1e-9)
        if len(whole) > 1:
            assert np.isclose(m.se2, whole.var(ddof=1) / len(whole), rtol=1e-6, atol=1e-9)


def test_watch_equals_statsmodels_at_every_look():
    rng = np.random.default_rng(0)
    x, b, looks = rng.normal(size=500), rng.random((3, 500)) < 0.4, np.array([60, 200, 500])
    effect, se = simulate_looks(x, b, looks)
    for t in range(3):
        for j, n in enumerate(looks):
            one, two = x[:n][~b[t, :n]], x[:n][b[t, :n]]
            theirs = CompareMeans(DescrStatsW(two), DescrStatsW(one))
            assert np.isclose(effect[t, j], two.mean() - one.mean())
            assert np.isclose(se[t, j], theirs.std_meandiff_separatevar, rtol=1e-9)


def test_interval_holds_the_truth_at_all_looks():
    "Coverage over whole lives, for outcomes far from normal: rare hits."
    rng, true, misses = np.random.default_rng(1), 0.02, 0
    for _ in range(400):
        b = rng.random(6000) < 0.5
        x = (rng.random(6000) < np.where(b, 0.10 + true, 0.10)).astype(float)
        effect, se = simulate_looks(x, b[None], np.arange(300, 6001, 100))
        misses += bool((abs(effect - true) > sequence_half_width(se, 0.02)).any())
    assert stats.binomtest(misses, 400, 0.05, "greater").pvalue > 1e-3


def test_ratio_check_is_quiet_when_watched_and_hears_a_loss():
    rng, cries = np.random.default_rng(0), 0
    for _ in range(300):
        b = np.cumsum(rng.random(20_000) < 0.3)[499::500]
        cries += min(sample_ratio_p(500 * (i + 1) - int(n), int(n), 0.3) for i, n in enumerate(b)) < 0.05
    assert stats.binomtest(cries, 300, 0.05, "greater").pvalue > 1e-3
    assert sample_ratio_p(52_000, 48_000) < 1e-6
    assert sample_ratio_p(48_000, 52_000) < 1e-6 and sample_ratio_p(10**9, 10**9) == 1


def test_arms_are_stable_even_and_unrelated():
    assert arms(["anna", "ben", "cleo", "dora"],
                "tea").tolist() == arms(np.array(["anna", "ben", "cleo", "dora"], object), "tea").tolist()
    # 7 and "7" are one customer
    assert arms([1, 2, 3, 4, 5, 6], "tea").tolist() == arms(["1", "2", "3", "4", "5", "6"], "tea").tolist()
    for share in (0.1, 0.5, 0.9):
        hits = [int(arms(range(5000), f"e{i}", share).sum()) for i in range(40)]
        assert stats.chisquare([sum(hits), 200_000 - sum(hits)],
                               [200_000 * share, 200_000 * (1 - share)]).pvalue > 1e-4
    for share in (0, 1, -1, math.nan):
        with pytest.raises(core.BadInput, match="between 0 and 1"):
            arms([1], "x", share)


def run(a, b, n=4000, seed=0, **more):
    "An experiment with hits of shares a and b."
    e, rng = Experiment("x", "hit", 0.05, **more), np.random.default_rng(seed)
    for start in range(0, n, 100):
        units = np.arange(start, start + 100)
        mine = arms(units, "x")
        hit = (rng.random(100) < np.where(mine, b, a)).astype(float)
        e = e.observe(units, {"hit": hit, "calm": 1 - 0.5 * hit if more.get("guardrails") else hit},
                      times=units)
    return e


def test_verdicts():
    assert run(0.2, 0.4).analyse().verdict == "take B"
    assert run(0.4, 0.2).analyse().verdict == "keep A"
    assert run(0.3, 0.3).analyse().verdict == "go on"
    hurt = run(0.2, 0.5, guardrails={"calm": 0.02}).analyse()
    assert hurt.verdict == "keep A" and "calm" in hurt.why
    unsure = run(0.2, 0.5, n=600, guardrails={"calm": 0.15}).analyse()
    assert unsure.verdict == "go on" and "not yet known" in unsure.why
    assert Experiment("empty", "hit", 0.1).analyse().verdict == "go on"


def test_a_bad_batch_changes_nothing():
    e = run(0.2, 0.3, n=500)
    for what, batch in {"missing": dict(outcomes={"hti": np.ones(2)}),
                        "did you mean": dict(outcomes={"hti": np.ones(2)}),
                        "not a number": dict(outcomes={"hit": np.array([1, np.inf])}),
                        "values for": dict(outcomes={"hit": np.ones(3)}),
                        "sort by time": dict(outcomes={"hit": np.ones(2)}, times=[1, 2])}.items():
        before = copy.deepcopy(e)
        with pytest.raises(core.BadInput, match=what):
            e.observe([7, 8], **batch)
        assert e == before
    assert e.observe([], {"hit": np.ones(0)}, times=[]) == before


@examples(max_examples=100, deadline=None)
@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 99))
def test_team_draft_is_fair_and_complete(n, k, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.random(n), rng.random(n)
    rows, team = team_draft(a, b, k, rng)
    assert len(rows) == len(set(rows.tolist())) == min(k, n)
    assert abs((team == 0).sum() - (team == 1).sum()) <= 1
    best = {0: int(np.argmax(a)), 1: int(np.argmax(b))}
    assert rows[0] == best[team[0]]  # the first captain gets the best row of its list
