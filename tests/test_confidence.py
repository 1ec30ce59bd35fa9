"""Calibration and conformal sets: parity with scikit-learn and MAPIE, the promise where it is a theorem."""
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy import optimize, special, stats
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from mlsys import core
from mlsys.evaluation.confidence import (
    adaptive_limits,
    answer_sets,
    choose_calibrator,
    conformal_limit,
    nonconformity,
)
from mlsys.evaluation.metrics import row_losses
from mlsys.training.calibration import CALIBRATORS, Calibrator, fit_calibrator, log_odds

scores = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=2, max_size=60)


def world(n, scale=1.0, shift=0.0, seed=0):
    "Truth drawn with probability q; the model says what a false scale and shift make of q."
    rng = np.random.default_rng(seed)
    q = special.expit(rng.normal(-1, 1.5, n))
    return (rng.random(n) < q).astype(float), special.expit((special.logit(q) - shift) / scale), q


class Said(ClassifierMixin, BaseEstimator):
    "A fitted classifier whose single feature is its probability."
    def fit(self, x, y):
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, x):
        return np.column_stack([1 - x[:, 0], x[:, 0]])

    def predict(self, x):
        return (x[:, 0] > 0.5).astype(int)


def test_platt_and_temperature_find_the_curve_that_was_planted():
    y, p, _ = world(200_000, scale=0.5, shift=0.7)
    platt, temperature = fit_calibrator("platt", y, p), fit_calibrator("temperature",
                                                                       *world(200_000, scale=0.5)[:2])
    assert np.allclose((platt.scale, platt.shift), (0.5, 0.7), atol=0.02)
    assert np.isclose(temperature.scale, 0.5, atol=0.02)
    best = optimize.minimize(lambda a: row_losses(y, special.expit(a[0] * log_odds(p) + a[1])).mean(),
                             [1, 0]).x
    assert np.allclose((platt.scale, platt.shift), best, atol=1e-3)


def test_platt_and_isotonic_equal_scikit_learn():
    y, p, _ = world(3000, 0.6, 0.3)
    theirs = LogisticRegression(C=np.inf).fit(log_odds(p)[:, None],
                                              y).predict_proba(log_odds(p)[:, None])[:, 1]
    assert np.allclose(fit_calibrator("platt", y, p)(p), theirs)
    edge = 1 / 3002
    theirs = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip").fit(p, y)
    grid = np.linspace(0, 1, 999)
    assert np.allclose(fit_calibrator("isotonic", y, p)(grid), theirs.predict(grid))


@examples(max_examples=150, deadline=None)
@given(scores, st.sampled_from(CALIBRATORS))
def test_every_curve_gives_probabilities_and_survives_anything(rows, kind):
    p, y = (np.array(c, float) for c in zip(*rows, strict=True))
    curve = fit_calibrator(kind, y, p)
    out = curve(np.linspace(0, 1, 50))
    assert ((out >= 0) & (out <= 1)).all()
    if kind == "isotonic":
        assert (np.diff(out) >= -1e-12).all()
    again = Calibrator(**curve.__dict__)
    assert np.array_equal(again(p), curve(p))


def test_the_choice_prefers_no_curve_where_none_is_needed_and_one_where_it_is():
    y, p, _ = world(20_000)
    assert choose_calibrator(y, p).losses["none"] <= min(choose_calibrator(y, p).losses.values()) + 1e-3
    y, p, _ = world(20_000, scale=0.3, shift=1.0)
    kind, losses = choose_calibrator(y, p).calibrator.kind, choose_calibrator(y, p).losses
    assert kind in ("platt", "isotonic") and losses[kind] < losses["none"] - 0.1
    assert fit_calibrator("platt", np.ones(5), np.full(5, 0.5)).kind == "none"  # one class teaches no curve
    with pytest.raises(core.BadInput, match="did you mean 'platt'"):
        fit_calibrator("plat", y, p)


def test_sets_equal_mapie():
    mapie = pytest.importorskip("mapie.classification")
    y, p, _ = world(4000, 0.7, 0.2)
    for coverage in (0.6, 0.8, 0.9, 0.97):
        theirs = mapie.SplitConformalClassifier(Said().fit(None, None), confidence_level=coverage,
                                                conformity_score="lac", prefit=True)
        theirs.conformalize(p[:2000, None], y[:2000].astype(int))
        sets = theirs.predict_set(p[2000:, None])[1][:, :, 0]
        ours = answer_sets(p[2000:], conformal_limit(nonconformity(y[:2000], p[:2000]), coverage))
        assert (ours == sets).mean() > 0.9995 and ours.any(1).mean() == sets.any(1).mean()


@pytest.mark.parametrize("n", [9, 20, 199])
def test_the_promise_is_kept_and_not_overdone(n):
    "Coverage over many draws is between 1 - a and 1 - a + 1 / (n + 1), whatever the model."
    rng, hits, asked = np.random.default_rng(n), 0, 0.8
    for _ in range(2000):
        s = rng.exponential(size=n + 1)
        hits += s[-1] <= conformal_limit(s[:-1], asked)
    test = stats.binomtest(int(hits), 2000, min(1, math.ceil((n + 1) * asked) / (n + 1)))
    assert test.pvalue > 1e-3


def test_limits_at_the_ends():
    assert conformal_limit(np.zeros(0), 0.5) == math.inf and conformal_limit(np.ones(3), 1.0) == math.inf
    assert conformal_limit(np.ones(3), 1.5) == math.inf and conformal_limit(np.ones(3), -0.2) == -math.inf
    assert answer_sets([0.2], math.inf).all() and not answer_sets([0.2], -math.inf).any()


@pytest.mark.parametrize("jump", [0.0, 2.0, -2.0])
def test_adaptive_sets_keep_the_long_run_when_the_world_jumps(jump):
    y0, p0, _ = world(2000, seed=1)
    y, p, q = world(60_000, seed=2)
    late = np.arange(60_000) > 20_000
    y = np.where(late, np.random.default_rng(3).random(60_000) < special.expit(special.logit(q) + jump),
                 y).astype(float)
    limits = adaptive_limits(nonconformity(y0, p0), y, p, np.arange(60_000) // 100, 0.9)
    assert abs((nonconformity(y, p) <= limits).mean() - 0.9) < 0.01
    if jump > 0:
        assert abs((nonconformity(y, p) <= conformal_limit(nonconformity(y0, p0), 0.9)).mean() - 0.9) > 0.02


def test_adaptive_limits_do_not_look_ahead():
    y0, p0, _ = world(500, seed=1)
    y, p, _ = world(1000, seed=2)
    rounds = np.arange(1000) // 50
    a = adaptive_limits(nonconformity(y0, p0), y, p, rounds, 0.9)
    changed = np.where(rounds >= 10, 1 - y, y)
    b = adaptive_limits(nonconformity(y0, p0), changed, p, rounds, 0.9)
    assert (a[rounds <= 10] == b[rounds <= 10]).all() and (a != b).any()
    shuffled = np.random.default_rng(0).permutation(1000)  # rows may come in any order; rounds say when
    assert (adaptive_limits(nonconformity(y0, p0), y[shuffled], p[shuffled], rounds[shuffled],
                            0.9) == a[shuffled]).all()
