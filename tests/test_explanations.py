"""Explanations and estimates without labels: closed forms, published games, scikit-learn, known worlds."""
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.inspection import partial_dependence as their_dependence
from sklearn.inspection import permutation_importance as their_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from mlsys.evaluation.explanations import (
    coalition_values,
    coalitions,
    deletion_curve,
    dependence_curve,
    feature_groups,
    in_words,
    permutation_importance,
    shapley,
    value_text,
)
from mlsys.evaluation.resampling import no_resamples, resample
from mlsys.evaluation.unlabelled import (
    effective_rows,
    estimate_by_confidence,
    estimate_by_weights,
    shift_weights,
)


def matrix(raw):
    return np.column_stack([v[:, 0] for v in raw.values()])


def raw_of(x):
    return {c: x[:, i:i + 1] for i, c in enumerate("abcdefgh"[:x.shape[1]])}


@examples(max_examples=100, deadline=None)
@given(st.integers(1, 5), st.integers(0, 1000))
def test_shapley_is_the_mean_over_all_orders(m, seed):
    worth = np.random.default_rng(seed).normal(size=2**m)
    slow = np.zeros(m)
    for order in itertools.permutations(range(m)):
        at = 0
        for j in order:
            slow[j] += worth[at | 1 << j] - worth[at]
            at |= 1 << j
    assert np.allclose(shapley(worth), slow / math.factorial(m))


def test_published_games():
    "Shapley and Shubik 1954: the Security Council, 5 with a veto and 6 without: 0.1974 each, 0.0022 each."
    inside = coalitions(11)
    passes = inside[:, :5].all(1) & (inside.sum(1) >= 7)
    power = shapley(passes.astype(float))
    assert np.allclose(power[:5], 76 / 385) and np.allclose(power[5:], 1 / 462)
    costs = np.array([1.0, 2, 4])  # the airport game (Littlechild and Owen 1973)
    worth = np.array([max(costs[s], default=0.0) for s in coalitions(3)])
    assert np.allclose(shapley(worth), [1 / 3, 1 / 3 + 1 / 2, 1 / 3 + 1 / 2 + 2])


def test_shapley_of_a_model_with_interactions_by_hand():
    "f = a b with a background at zero: the product is shared equally, an unused player gets nothing."
    row, background = {c: np.array([[v]])
                       for c, v in (("a", 3.0), ("b", 2.0), ("c", 9.0))}, {c: np.zeros((4, 1)) for c in "abc"}
    worth = coalition_values(lambda r: r["a"][:, 0] * r["b"][:, 0], row, background, [["a"], ["b"], ["c"]],
                             coalitions(3))
    assert np.allclose(shapley(worth), [3, 3, 0])
    together = coalition_values(lambda r: r["a"][:, 0] * r["b"][:, 0], row, background, [["a", "b"], ["c"]],
                                coalitions(2))
    assert np.allclose(shapley(together), [6, 0])


def test_deletion_prefers_the_true_order():
    row, background = {c: np.array([[1.0]]) for c in "abc"}, {c: np.zeros((2, 1)) for c in "abc"}
    def predict(r): return 4 * r["a"][:, 0] + 2 * r["b"][:, 0] + r["c"][:, 0]
    def left(*order):
        return deletion_curve(predict, row, background, ["a", "b", "c"], np.array(order)).tolist()
    assert left(0, 1, 2) == [7, 3, 1, 0] and left(2, 0, 1) == [7, 6, 2, 0]


class Model(RegressorMixin, BaseEstimator):
    "A fitted model of three columns."
    def fit(self, x, y):
        self.is_fitted_ = True
        return self

    def predict(self, x):
        return 1 / (1 + np.exp(-(2 * x[:, 0] - x[:, 1] + 0.5 * x[:, 0] * x[:, 1])))


@pytest.fixture(scope="module")
def world():
    x = np.random.default_rng(0).normal(size=(4000, 3))
    y = (np.random.default_rng(1).random(4000) < Model().predict(x)).astype(float)
    return x, y, Model().fit(x, y)


def test_importance_equals_scikit_learn(world):
    x, y, model = world
    theirs = their_importance(model, x, y, scoring=lambda m, a, b: roc_auc_score(b, m.predict(a)),
                              n_repeats=20, random_state=0)
    players = {c: [c] for c in "abc"}
    ours = [permutation_importance(lambda r: model.predict(matrix(r)), raw_of(x), y, players,
                                   no_resamples(4000), seed).fall
            for seed in range(20)]
    for i, c in enumerate("abc"):
        mean, error = np.mean([f[c] for f in ours]), np.std([f[c] for f in ours]) / 20**0.5
        allowed = 4 * math.hypot(error, theirs.importances_std[i] / 20**0.5)
        assert abs(mean - theirs.importances_mean[i]) < allowed + 1e-12
    assert ours[0].index.tolist() == ["a", "b", "c"] and ours[0]["c"] == 0


def test_importance_has_intervals_that_hold_other_samples(world):
    "The fall measured on new rows lies within the interval (a little wider: both sides are samples)."
    x, y, model = world
    group, fresh = np.arange(4000), np.random.default_rng(5).normal(size=(4000, 3))
    other = (np.random.default_rng(6).random(4000) < Model().predict(fresh)).astype(float)
    drawn = resample(group, np.zeros(4000), 200)

    def fall(x, y):
        return permutation_importance(lambda r: model.predict(matrix(r)), raw_of(x), y, {"a": ["a"]},
                                      drawn).iloc[0]
    t, again = fall(x, y), fall(fresh, other)
    width = t.high - t.low
    assert 0 < width < 0.1 and t.low - width / 2 < again.fall < t.high + width / 2


def test_dependence_equals_scikit_learn(world):
    x, _, model = world
    theirs = their_dependence(model, x, [0], custom_values={0: np.array([-1.0, 0.0, 2.0])}, kind="average",
                              method="brute")["average"][0]
    ours = dependence_curve(lambda r: model.predict(matrix(r)), raw_of(x),
                            {"a": np.array([[-1.0], [0.0], [2.0]])})
    assert np.allclose(ours, theirs)


def test_families_put_relatives_together():
    rng = np.random.default_rng(0)
    hour = rng.integers(0, 24, 2000).astype(float)
    word = np.where(hour > 12, "late", "early").astype(object)
    when = hour.astype(np.int64) * 3600 + 86_400 * rng.integers(0, 300, 2000)
    raw = {"hour": hour[:, None], "minute": (hour * 60 + rng.integers(0, 60, 2000))[:, None],
           "word": word[:, None],
           "wind": rng.normal(size=(2000, 1)), "empty": np.full((2000, 1), np.nan), "when": when[:, None]}
    kin = feature_groups(raw, 0.1 + hour / 40)
    together = next(k for k in kin.values() if "hour" in k)
    assert set(together) == {"hour", "minute", "word", "when"}
    assert ["wind"] in kin.values() and sorted(sum(kin.values(), [])) == sorted(raw)
    assert feature_groups({"only": raw["wind"]}, hour) == {"only": ["only"]}


@pytest.mark.parametrize(("phi", "said", "part"), [
    ([0.2, -0.05], 0.35,
     "above the usual 20%. It is raised by a (20 points). It is lowered by b (5 points)."),
    ([-0.1, 0.001], 0.1, "below the usual 20%. It is lowered by a (10 points)."),
    ([0.0, 0.0], 0.2, "as usual (20%).")])
def test_sentences(phi, said, part):
    assert in_words(said, 0.2, phi, ["a", "b"], "x").endswith(part)


def test_values_value_text():
    row = {"n": np.array([[3.5]]), "w": np.array([["UA"]], object), "t": np.array([[3600]]),
           "gone": np.array([[np.nan]])}
    assert [value_text(row, c) for c in row] == ["n = 3.5", "w = UA", "t = Thu 01:00", "unknown gone"]
    assert value_text(row, "w", "the carrier {}") == "the carrier UA"


def test_an_estimate_from_confidence_is_the_truth_of_a_calibrated_world():
    rng = np.random.default_rng(0)
    for a, b in ((1, 3), (2, 2), (0.5, 1)):
        q = rng.beta(a, b, 100_000)
        y = (rng.random(100_000) < q).astype(float)
        e = estimate_by_confidence(q, q, 0.4)
        assert abs(e["auc"] - roc_auc_score(y, q)) < 0.006 and abs(e["precision"] - y[q >= 0.4].mean()) < 0.01
        assert abs(e["recall"] - y[q >= 0.4].sum() / y.sum()) < 0.01 and abs(e["positives"] - y.mean()) < 0.01


def test_an_estimate_from_confidence_counts_pairs():
    "Expected positive-negative pairs, by the double sum."
    q, p = np.array([0.2, 0.7, 0.5]), np.array([0.3, 0.9, 0.3])
    above = (p[:, None] > p) + (p[:, None] == p) / 2
    assert np.isclose(estimate_by_confidence(q, p, 0.5)["auc"],
                      (np.outer(q, 1 - q) * above).sum() / (q.sum() * (1 - q).sum()))


def test_weights_make_old_rows_look_like_new_ones():
    rng = np.random.default_rng(0)
    then, now = rng.normal(0, 1, (30_000, 2)), rng.normal([0.6, 0], 1, (30_000, 2))
    w = shift_weights(then, now)
    exact = np.exp(0.6 * then[:, 0] - 0.18)
    assert np.corrcoef(w, exact)[0, 1] > 0.98 and np.isclose(w.mean(), 1)
    def truth(x):
        return (np.random.default_rng(2).random(len(x)) < 1 / (1 + np.exp(-3 * x[:, 0]))).astype(float)
    p = 1 / (1 + np.exp(-3 * then[:, 0]))
    e, after = estimate_by_weights(truth(then), p, w, 0.5), truth(now)
    # the weights move the estimate to the new world
    assert abs(e["positives"] - after.mean()) < 0.02 and truth(then).mean() < after.mean() - 0.1
    assert np.isclose(estimate_by_weights(truth(then), p, np.ones(30_000), 0.5)["auc"],
                      roc_auc_score(truth(then), p))


def test_weights_of_an_unchanged_world_are_equal_and_those_of_another_are_few():
    rng = np.random.default_rng(0)
    assert effective_rows(shift_weights(rng.normal(size=(5000, 3)), rng.normal(size=(5000, 3)))) > 4900
    w = shift_weights(rng.normal(0, 1, (5000, 1)), rng.normal(6, 1, (5000, 1)))
    assert effective_rows(w) < 1000 and np.isfinite(w).all() and (w >= 0).all()
    assert np.allclose(shift_weights(np.ones((5, 1)), np.ones((9, 1))), 1)  # columns that never change


def test_neither_estimate_sees_that_the_relation_has_changed():
    "The limit that the chapter names: the same inputs, another truth."
    rng = np.random.default_rng(0)
    q = rng.beta(1, 3, 50_000)
    y = (rng.random(50_000) < q**2).astype(float)
    assert estimate_by_confidence(q, q, 0.3)["precision"] > y[q >= 0.3].mean() + 0.1
    model = LogisticRegression().fit(q[:, None], (rng.random(50_000) < q))
    assert abs(model.predict_proba(q[:, None])[:, 1].mean() - q.mean()) < 0.01
