"""Thresholds, wishes, slices, fairness, behaviour, policies: properties, parity, bad input."""
import itertools
import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import confusion_matrix, precision_score, recall_score
from statsmodels.stats.multitest import multipletests

from mlsys import core, formats, training
from mlsys.evaluation.behaviour import Behaviour, adding, check_behaviours, is_missing
from mlsys.evaluation.comparison import best_column, human_baseline, human_labels, numeric_column, rule_scores
from mlsys.evaluation.decisions import ThresholdRule, card_rules, decision_rates, walk_forward
from mlsys.evaluation.objectives import combine, fit_weighted, pareto, top_share
from mlsys.evaluation.policies import (
    ACTIONS,
    Policy,
    band,
    entropy,
    load_policy,
    policy,
    question,
    queue_lengths,
    value_of_asking,
    values_of,
)
from mlsys.evaluation.predictions import Predictions
from mlsys.evaluation.resampling import no_resamples, resample
from mlsys.evaluation.slices import Candidate, diverse, fairness, slice_gaps, worst_slices
from mlsys.training.calibration import log_odds
from mlsys.training.features import NO_TIME, Rows
from mlsys.training.network import probabilities
from mlsys.training.scores import auc

rows = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1)), min_size=4,
                max_size=50).filter(lambda r: len({y for _, y in r}) == 2)


def columns(drawn):
    p, y = (np.array(c, float) for c in zip(*drawn, strict=True))
    return y, p / 12


def of(y, alarm):
    return {k: v.value for k, v in decision_rates(y, alarm, no_resamples(len(y)))._asdict().items()}


@examples(max_examples=200, deadline=None)
@given(rows, st.floats(0, 1))
def test_what_decisions_are_worth_equals_scikit_learn(drawn, threshold):
    y, p = columns(drawn)
    alarm = p >= threshold
    d, (tn, fp, fn, tp) = of(y, alarm), confusion_matrix(y, alarm, labels=[0, 1]).ravel()
    assert np.isclose(d["recall"], recall_score(y, alarm))
    assert np.isclose(d["false_alarm_rate"], fp / (fp + tn))
    assert np.allclose([d["false_alarms"], d["misses"], d["right"]],
                       [fp / len(y), fn / len(y), (tp + tn) / len(y)])
    assert np.isclose(d["precision"],
                      precision_score(y, alarm)) if alarm.any() else math.isnan(d["precision"])


@examples(max_examples=200, deadline=None)
@given(rows, st.floats(0.1, 10), st.floats(0.1, 10))
def test_the_cheapest_threshold_is_the_cheapest_of_all(drawn, false_alarm, miss):
    y, p = columns(drawn)
    rule = ThresholdRule("cost", false_alarm=false_alarm, miss=miss)

    def cost(t):
        return (false_alarm * ((p >= t) & (y == 0)) + miss * ((p < t) & (y == 1))).mean()
    assert np.isclose(cost(rule.threshold(y, p)), min(cost(t) for t in [*p, math.inf]))
    assert np.isclose(rule.quantity(decision_rates(y, p >= rule.threshold(y, p), no_resamples(len(y)))).value,
                      cost(rule.threshold(y, p)))


@examples(max_examples=200, deadline=None)
@given(rows, st.floats(0.01, 1))
def test_a_budget_of_alarms_is_used_up_and_never_exceeded(drawn, level):
    y, p = columns(drawn)
    t = ThresholdRule("alarms", level).threshold(y, p)
    assert (p >= t).sum() <= level * len(y)
    lower = p[p < t]
    assert not len(lower) or (p >= lower.max()).sum() > level * len(y)  # one step lower would be too many


def test_a_calibrated_score_alarms_from_the_ratio_of_the_costs():
    rng = np.random.default_rng(0)
    p = rng.random(200_000)
    y = (rng.random(200_000) < p).astype(float)
    assert abs(ThresholdRule("cost", false_alarm=1, miss=3).threshold(y, p) - 0.25) < 0.03


@pytest.mark.parametrize("bad, sentence", [
    (dict(kind="precison"), "did you mean 'precision'"),
    (dict(kind="recall", level=0), "level 0 must lie above 0"),
    (dict(kind="alarms", level=1.5), "level 1.5"),
    (dict(kind="cost", false_alarm=-1), "costs must be above 0")])
def test_rules_that_make_no_sense_are_refused(bad, sentence):
    with core.refused(sentence):
        ThresholdRule(**bad)


def test_states_of_all_four_rules():
    n = 40
    y, group = np.arange(n) % 4 == 0, np.arange(n) // 4
    drawn = resample(group, np.zeros(n), 100)
    always, never, exact = (decision_rates(y.astype(float), a, drawn)
                            for a in (np.ones(n, bool), np.zeros(n, bool), y))
    assert ThresholdRule("recall", 0.9).state(always) == "kept"
    assert ThresholdRule("recall", 0.9).state(never) == "broken"
    assert ThresholdRule("precision", 0.5).state(always) == "broken"
    assert ThresholdRule("precision", 0.5).state(never) == "undefined"
    assert ThresholdRule("alarms", 0.3).state(exact) == "kept"
    assert ThresholdRule("alarms", 0.3).state(always) == "broken"
    assert ThresholdRule("cost", false_alarm=1, miss=2).state(exact) == "kept"
    assert ThresholdRule("cost", false_alarm=1, miss=2).state(always) == "broken"


def test_the_card_names_rules():
    s = core.Settings(data=core.Data(target="y"), inference=core.Inference(rows_per_day=1000),
                      metrics=core.Metrics(goal="precision", at_least=0.7, cost_false_alarm=1, cost_miss=4,
                                           alarms_per_day=50))
    assert card_rules(s) == [ThresholdRule("precision", 0.7), ThresholdRule("cost", miss=4.0),
                             ThresholdRule("alarms", 0.05)]
    assert card_rules(core.Settings(data=core.Data(target="y"))) == [ThresholdRule("recall", 0.5)]


def two_periods(flip=False):
    rng = np.random.default_rng(0)
    p = rng.random(4000)
    y = (rng.random(4000) < p).astype(float)
    period = np.repeat(["a", "b", "c", "d"], 1000)
    return Predictions(np.arange(4000), period, y, {"network": p})


def test_a_threshold_is_chosen_before_the_period_it_is_verified_on():
    a = two_periods()
    valid, test = (a.take(m) for m in (a.period == "a", a.period != "a"))
    group = np.arange(3000) // 50
    drawn = resample(group, test.period, 50)
    t = walk_forward(ThresholdRule("recall", 0.8), valid, test, "network", drawn)
    assert t.threshold["b"] == ThresholdRule("recall", 0.8).threshold(valid.y, valid.scores["network"])
    assert t.threshold["c"] == ThresholdRule("recall", 0.8).threshold(test.y[:1000],
                                                                      test.scores["network"][:1000])
    # the future changes no choice
    changed = Predictions(test.row, test.period, np.where(test.period == "d", 1 - test.y, test.y),
                          test.scores)
    assert walk_forward(ThresholdRule("recall", 0.8), valid, changed, "network",
                        drawn).threshold.equals(t.threshold)
    # a month with one class
    single = Predictions(test.row, test.period, np.where(test.period == "b", 0.0, test.y), test.scores)
    s = walk_forward(ThresholdRule("recall", 0.8), valid, single, "network", drawn)
    assert s.state["b"] == "undefined"
    assert s.threshold["c"] == s.threshold["b"] and s.state["c"] != "undefined"


@pytest.mark.parametrize("weights, sentence",
                         [((0.5, 0.6), "must sum to 1"), ((1.5, -0.5), "none below 0"),
                          ((1.0,), "2 are needed"),
                                               ((math.nan, 1.0), "none below 0")])
def test_weights_that_do_not_sum_are_refused(weights, sentence):
    with core.refused(sentence):
        combine(np.zeros((2, 3)), weights)


@examples(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(points):
    front = pareto(points)
    assert front.any()
    for i, q in enumerate(points):
        beaten = any(a >= q[0] and b >= q[1] and (a, b) != q for a, b in points)
        assert front[i] == (not beaten)


def test_a_combined_loss_is_least_at_the_combined_mean():
    "Cross entropies are linear in their truths: a weighted loss aims at the weighted mean."
    rng = np.random.default_rng(0)
    n = 6000
    x = rng.normal(size=(n, 2)).astype(np.float32)
    q = np.column_stack([1 / (1 + np.exp(-2 * x[:, 0])), 1 / (1 + np.exp(-2 * x[:, 1]))])
    truths = (rng.random((n, 2)) < q).astype(float)
    number = dict(low=-9, high=9, center=0, scale=1, flag=False)
    features = training.Features({}, {"a": number, "b": number})
    ready = Rows({}, np.zeros((n, 1), np.int64), x, truths[:, 0])
    s = core.Settings(data=core.Data(target="y"))
    first, second, both = (probabilities(fit_weighted(ready, truths, w, features, s, epochs=10),
                                                  ready)
                           for w in ((1, 0), (0, 1), (0.3, 0.7)))
    mixed = combine([first, second], (0.3, 0.7))
    assert abs(first - q[:, 0]).mean() < 0.05
    assert abs(both - q @ [0.3, 0.7]).mean() < 0.05 and abs(both - mixed).mean() < 0.05
    again = fit_weighted(ready, truths, (1, 0), features, s, epochs=10)
    assert np.array_equal(probabilities(again, ready), first)  # the same bits
    assert np.allclose(top_share(mixed, truths, 1.0), 1)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    "A table whose rows two people have answered, one of them mostly right."
    home = tmp_path_factory.mktemp("desk")
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = np.where(x + rng.normal(size=400) > 0, "yes", "no")
    pd.DataFrame({"x": x, "y": y}).to_csv(home / "mine.csv", index=False)
    s = core.load_settings(home / "none.ini", source=str(home / "mine.csv"), target="y",
                           build=str(home / "build"))
    s = s.model_copy(update=dict(home=home))
    folder = s.home / "labels" / "mine"
    folder.mkdir(parents=True)
    said = [dict(row=i, label=y[i], annotator="a")
            for i in range(150)] + [dict(row=i, label="no", annotator="b") for i in range(100)]
    noise = ["", "[1]", '{"row": "x", "label": "yes"}', '{"row": 3, "label": "maybe", "annotator": "c"}',
             '{"label": "yes"}', '{"row": 200, "la']
    (folder / "a.jsonl").write_text("\n".join([*map(json.dumps, said), *noise]), encoding="utf-8")
    return s, y


def test_people_are_one_more_model(desk):
    s, y = desk
    data = formats.dataset(s)
    said = human_labels(s, data)
    assert len(said) == 250 and set(said.annotator) == {"a", "b"} and set(said.label) == {0.0, 1.0}
    a = Predictions(np.arange(400), np.full(400, "0"), (y == "yes").astype(float),
                    {"network": np.full(400, 0.5)})
    people = human_baseline(a, said)
    assert len(people) == 150 and np.array_equal(people.scores["a person"][100:], people.y[100:])
    # the mean of two people, one of whom always says no
    assert np.array_equal(people.scores["a person"][:100], people.y[:100] / 2)
    assert human_baseline(a, said[said.row < 20]) is None and human_baseline(a, said[:0]) is None


def test_rules_of_thumb(desk):
    s, _ = desk
    data = formats.dataset(s)
    a = Predictions.from_table(training.predictions_of(s), data.key, "valid")
    assert best_column(data, a) == "x"
    p = rule_scores(data, a, a, "x")
    assert ((p >= 0) & (p <= 1)).all() and auc(a.y, p) > 0.7
    with core.refused("is not a column"):
        numeric_column(data, a, "z")
    with core.refused("holds no numbers"):
        numeric_column(data, a, "y")


def test_gaps_of_slices_have_errors_that_are_robust_to_days():
    "Days share an effect: the statistic of a slice without a gap must still be a standard normal one."
    rng, z = np.random.default_rng(0), []
    day = np.repeat(np.arange(60), 50)
    for _ in range(300):
        gap = rng.normal(size=60)[day] + rng.normal(size=len(day))
        z.append(slice_gaps(gap, np.zeros(len(day), int), 1, day).z[0])
    assert stats.kstest(z, "norm").pvalue > 1e-3
    plain = [g.mean() / g.std() * len(day) ** 0.5
             for g in [rng.normal(size=60)[day] + rng.normal(size=len(day)) for _ in range(300)]]
    assert np.std(plain) > 3  # as if rows were independent: far too sure


def test_gaps_of_slices_equal_statsmodels():
    import statsmodels.api as sm
    rng = np.random.default_rng(1)
    day, code = np.repeat(np.arange(40), 25), rng.integers(0, 3, 1000)
    gap = rng.normal(size=40)[day] + rng.normal(size=1000)
    n, mean, z = slice_gaps(gap, code, 3, day)
    for k in range(3):
        mine = code == k
        fit = sm.OLS(gap[mine], np.ones(mine.sum())).fit(cov_type="cluster",
                                                         cov_kwds=dict(groups=day[mine],
                                                                       use_correction=False), use_t=False)
        g = len(set(day[mine]))
        t = fit.tvalues[0] * np.sqrt((g - 1) / g)
        assert n[k] == mine.sum() and np.isclose(mean[k], fit.params[0])
        assert np.isclose(z[k], np.sign(t) * stats.norm.isf(stats.t.sf(abs(t), g - 1)))


def world_of_slices(planted, seed=0):
    rng = np.random.default_rng(seed)
    n = 12_000
    table = pa.table({"color": rng.choice(["red", "green", "blue"], n), "size": rng.normal(size=n),
                      "noise": rng.choice(list("abcdef"), n)})
    group = np.arange(n) // 100
    bad = (np.array(table["color"]) == "red") & (np.array(table["size"]) > 0.7)
    return table, rng.normal(scale=0.4, size=n) + planted * bad, group < 60, group


def test_a_planted_pair_is_found_and_luck_is_not():
    table, gap, first, group = world_of_slices(0.3)
    worst = worst_slices(table, gap, first, group)
    top = worst.iloc[0]
    assert top.confirmed
    assert "color = red" in worst.index[0] and "size = 4" in worst.index[0] and top.gap > 0.2

    def confirms(table, *others):
        return worst_slices(table, *others).confirmed.any()
    lucky = sum(confirms(*world_of_slices(0.0, seed)) for seed in range(40))
    assert stats.binomtest(lucky, 40, 0.05, "greater").pvalue > 1e-3
    theirs = multipletests(worst.p, alpha=0.05, method="fdr_bh")[0]
    assert (worst.confirmed.to_numpy() == theirs).all()


def test_the_search_survives_tables_in_which_there_is_nothing_to_find():
    table = pa.table({"same": ["x"] * 50, "n": pa.array([None] * 50, pa.float64())})
    assert len(worst_slices(table, np.zeros(50), np.arange(50) < 25, np.arange(50))) == 0


def test_variants_of_one_slice_are_not_repeated():
    def found(*conditions): return Candidate(9, conditions, 50, 0.1, 50, 0.1, 3)
    chosen = diverse([*(found("a = 1", f"b = {i}") for i in range(10)), found("c = 1")], 20)
    assert [c.conditions for c in chosen] == [*[("a = 1", f"b = {i}") for i in range(3)], ("c = 1",)]


def test_gaps_between_groups_of_people():
    rng = np.random.default_rng(0)
    part = rng.choice(["f", "m", "x"], 6000, p=[0.45, 0.45, 0.1])
    y = (rng.random(6000) < 0.3).astype(float)
    # one group is alarmed more often, whatever the truth
    alarm = rng.random(6000) < np.where(part == "m", 0.6, 0.4)
    group = np.arange(6000) // 20
    t = fairness(y, alarm, part, resample(group, np.zeros(6000), 200)).set_index(["measure", "value"])
    assert np.isclose(t.here["recall", "m"], recall_score(y[part == "m"], alarm[part == "m"]))
    assert t.sure["alarms", "m"]
    assert abs(t.gap["alarms", "m"] - 0.2) < 0.05 and t.sure["false_alarm_rate", "m"]
    assert not t.sure["precision", "m"]
    assert t.low["alarms", "m"] < t.gap["alarms", "m"] < t.high["alarms", "m"]
    few = fairness(y, alarm, np.where(np.arange(6000) < 10, "tiny", part),
                   resample(group, np.zeros(6000), 20))
    assert "tiny" not in set(few.value)


def test_behaviour():
    def predict(raw):
        return 1 / (1 + np.exp(-raw["rain"][:, 0]))
    raw = {"rain": np.linspace(-2, 2, 21)[:, None], "name": np.array([["a"]] * 21, object)}
    table = check_behaviours(predict, raw, [Behaviour("more rain", adding("rain", 1.0), "up"),
                                  Behaviour("less rain", adding("rain", -1.0), "up"),
                                  Behaviour("another name",
                                            lambda r: r | {"name": np.full_like(r["name"], "b")}, "same")])
    assert table.fails.tolist() == [0, 1, 0]
    assert table.worst["less rain"] > 0.1 and (table.low <= table.fails).all()


scores = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@examples(max_examples=200, deadline=None)
@given(scores, st.floats(0.01, 0.99), st.floats(0, 0.9), st.sampled_from(ACTIONS))
def test_a_policy_decides_each_row_by_itself_and_travels_as_json(p, threshold, share, action):
    p = np.array(p)
    mine = Policy(threshold, *band(p, threshold, share), action)
    what = mine(p)
    again = Policy(**json.loads(json.dumps(mine.__dict__)))
    assert again == mine and (again(p) == what).all() and [mine(np.array([x]))[0] for x in p] == what.tolist()
    sure = ~np.isin(what, [action]) if action != "answer" else np.ones(len(p), bool)
    assert (what[sure] == np.where(p[sure] >= threshold, "yes", "no")).all()
    if action != "answer" and share:
        distance = abs(log_odds(p) - log_odds(threshold))
        # the unsure are the nearest
        assert distance[~sure].max(initial=0) <= distance[sure].min(initial=99) + 1e-6


def test_policies_on_disk(tmp_path):
    s = core.Settings(data=core.Data(target="y"),
                      metrics=core.Metrics(low_confidence="human", low_share=0.2, people=2, human_seconds=60))
    p = np.random.default_rng(0).random(1000)
    mine = policy(s, p, 0.5)
    assert mine.capacity == 960 and abs((mine(p) == "human").mean() - 0.2) < 0.01
    mine.save(tmp_path / "policy.json")
    assert load_policy(tmp_path / "policy.json") == mine
    assert (mine(p, room=7) == "human").sum() == 7 and (mine(p, room=0) == "human").sum() == 0
    for text, sentence in (("{", "no readable policy"), ('{"low": 1}', "no readable policy"),
                           ('{"threshold": 0.5, "low": 0.6, "high": 0.4}', "lies above")):
        (tmp_path / "bad.json").write_text(text)
        with core.refused(sentence):
            load_policy(tmp_path / "bad.json")
    for bad in ([math.nan], [1.2], [-0.1]):
        with core.refused("no probability between 0 and 1"):
            mine(bad)


@examples(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.integers(1, 50))
def test_a_queue_loses_nobody(handed, capacity):
    waits = queue_lengths(np.array(handed), capacity)
    done = np.cumsum(handed) - waits
    assert (waits >= 0).all()
    assert (np.diff(np.r_[0, done]) <= capacity).all() and (np.diff(np.r_[0, done]) >= 0).all()
    # nobody idles while somebody waits
    assert all(w == 0 or d == capacity for w, d in zip(waits, np.diff(np.r_[0, done]), strict=True))


def test_the_worth_of_asking_is_the_mutual_information():
    "Against the sum over the joint distribution, for a column with three values."
    p_of = np.array([0.1, 0.5, 0.9])
    tried = [0.0, 0.0, 1.0, 2.0]  # a half, a quarter, a quarter
    raw = {"c": np.array([[np.nan], [1.0]], np.float32), "d": np.array([["x"], [""]], object)}

    def predict(r):
        return np.where(np.isnan(r["c"][:, 0]), 0.5, p_of[np.nan_to_num(r["c"][:, 0]).astype(int)])
    value = value_of_asking(predict, raw, {"c": tried, "d": ["x", "y"]})
    joint = np.array([[q * (1 - p), q * p] for q, p in zip([0.5, 0.25, 0.25], p_of, strict=True)])
    ask = Policy(0.5, 0.4, 0.6, "ask", values={"c": tried})
    assert ask.questions(predict, raw, ask([0.5, 0.5])).tolist() == ["c", ""]
    assert ask.questions(predict, raw, ask([0.9, 0.1])).tolist() == ["", ""]
    outer = joint.sum(1, keepdims=True) * joint.sum(0)
    assert np.isclose(value.c[0], (joint * np.log2(joint / outer)).sum())
    assert value.c[1] == 0 and value.d[0] == 0
    assert question(value).tolist() == ["c", ""]
    assert question(pd.DataFrame(index=range(2))).tolist() == ["", ""]
    assert entropy(0.0) == 0
    assert entropy(0.5) == 1 and np.isclose(entropy(0.2), stats.entropy([0.2, 0.8], base=2))


def test_values_to_try_are_json_and_never_times():
    kinds = {"a": "number", "b": "string", "t": "time", "none": "number"}
    raw = {"a": np.array([[1.5], [np.nan]], np.float32), "b": np.array([["x"], [""]], object),
           "t": np.array([[5], [NO_TIME]]),
           "none": np.full((2, 1), np.nan, np.float32)}
    values = values_of(raw, kinds, 3)
    assert json.loads(json.dumps(values)) == {"a": [1.5] * 3, "b": ["x"] * 3}
    assert [is_missing(raw[c]).tolist() for c in raw] == [[False, True]] * 3 + [[True, True]]


def test_labels_that_never_arrive_are_said_so():
    said = np.full(4, 0.5, "float32")
    table = pa.table({"_row": np.arange(4), "month": ["01"] * 4, "y": np.full(4, np.nan), "network": said,
                      "role": ["test"] * 4})
    with core.refused("no label of the 4 test rows has arrived"):
        Predictions.from_table(table, "month")


def test_constant_scores_are_one_decision():
    y, p = np.arange(20) % 2.0, np.full(20, 0.3)
    for rule in (ThresholdRule("recall", 0.9), ThresholdRule("precision", 0.4),
                 ThresholdRule("cost", miss=3)):
        assert (p >= rule.threshold(y, p)).all()  # all or nothing, and here all
    assert ThresholdRule("alarms", 0.5).threshold(y, p) == math.inf  # half of them cannot be told apart
    assert len(list(itertools.chain(band(p, 0.3, 0.05)))) == 2
