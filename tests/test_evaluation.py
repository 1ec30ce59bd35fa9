"""Metrics equal to scikit-learn's, intervals that hold the truth as often as they say, degenerate input."""
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from mlsys import core, formats, training
from mlsys.evaluation.comparison import gains
from mlsys.evaluation.confidence import reliability
from mlsys.evaluation.decisions import precision_at, promise_state, promise_table
from mlsys.evaluation.metrics import METRICS, STEPS, Ranking, average_precision, bin_edges, measure
from mlsys.evaluation.predictions import (
    Measures,
    Predictions,
    best_unit,
    columns_of,
    measure_parts,
    resampling_groups,
    resampling_units,
)
from mlsys.evaluation.resampling import Estimate, Resamples, no_resamples, resample
from mlsys.evaluation.slices import MAX_SLICES, slice_column, slice_labels
from mlsys.training.scores import auc, step_auc

K = {m: i for i, m in enumerate(METRICS)}
# scores with many ties, labels, weights; both classes occur
rows = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1), st.integers(1, 4)), min_size=2,
                max_size=60).filter(
    lambda r: len({y for _, y, _ in r}) == 2)


def columns(drawn):
    p, y, w = (np.array(c, float) for c in zip(*drawn, strict=True))
    return y, p / 12, w


@examples(max_examples=200, deadline=None)
@given(rows)
def test_ranks_equal_scikit_learn_with_ties_and_weights(drawn):
    y, p, w = columns(drawn)
    assert np.isclose(auc(y, p), roc_auc_score(y, p))
    assert np.isclose(auc(y, p, w), roc_auc_score(y, p, sample_weight=w))
    assert np.isclose(average_precision(y, p), average_precision_score(y, p))
    assert np.isclose(average_precision(y, p, w), average_precision_score(y, p, sample_weight=w))


@examples(max_examples=200, deadline=None)
@given(rows)
def test_auc_has_the_properties_of_a_rank(drawn):
    y, p, w = columns(drawn)
    a = auc(y, p, w)
    assert 0 <= a <= 1 and 0 <= average_precision(y, p, w) <= 1 + 1e-12
    # only the order counts
    assert np.isclose(auc(y, np.exp(3 * p) - 7, w), a) and np.isclose(auc(y, p ** 3, w), a)
    assert np.isclose(auc(y, -p, w), 1 - a) and np.isclose(auc(1 - y, p, w), 1 - a)
    assert np.isclose(auc(y, p, 5 * w), a)
    assert np.isclose(auc(np.repeat(y, w.astype(int)), np.repeat(p, w.astype(int))), a)


@examples(max_examples=100, deadline=None)
@given(rows, st.floats(0, 1))
def test_measures_of_drawn_groups_equal_scikit_learn_on_repeated_rows(drawn, threshold):
    "A group that was drawn k times must count like its rows repeated k times, for every metric."
    y, p, w = columns(drawn)
    group = np.arange(len(y)) % max(len(y) // 2, 1)
    times = w[:group.max() + 1]
    edges = bin_edges(p)
    got = measure(y, p, threshold, edges, Resamples(group, times[None])).draws[:, 0]
    again = np.repeat(np.arange(len(y)), times[group].astype(int))
    y, p = y[again], p[again]
    alarm = p >= threshold
    assert np.isclose(got[K["log_loss"]], log_loss(y, np.clip(p, 1e-15, 1 - 1e-15), labels=[0, 1]), atol=1e-6)
    assert np.isclose(got[K["brier"]], brier_score_loss(y, p, pos_label=1))
    assert np.isclose(got[K["recall"]], recall_score(y, alarm))
    assert np.isclose(got[K["auc"]], roc_auc_score(y, p))
    if alarm.any():
        assert np.isclose(got[K["precision"]], precision_score(y, alarm))
    else:
        assert math.isnan(got[K["precision"]])
    at = np.searchsorted(edges, p, side="right")
    assert np.isclose(got[K["ece"]], sum(abs((p - y)[at == b].sum()) for b in set(at)) / len(y))
    assert np.isclose(got[K["alarms"]], alarm.mean()) and np.isclose(got[K["positives"]], y.mean())


def test_merged_steps_move_a_resample_by_less_than_they_say():
    "Many scores are merged into 4,096 steps for the resamples; the estimate is exact."
    rng = np.random.default_rng(0)
    y = (rng.random(30_000) < 0.2).astype(float)
    p = 1 / (1 + np.exp(-rng.normal(y - 1)))
    group = np.arange(30_000) // 1000
    drawn = resample(group, np.zeros(30_000), 20)
    got = measure(y, p, 0.5, bin_edges(p), drawn)
    assert np.isclose(got.value[K["auc"]], roc_auc_score(y, p))
    assert np.isclose(got.value[K["average_precision"]], average_precision_score(y, p))
    for redrawn, times in zip(got.draws.T, drawn.draws, strict=True):
        assert abs(redrawn[K["auc"]] - roc_auc_score(y, p, sample_weight=times[group])) < 0.5 / STEPS
        assert abs(redrawn[K["average_precision"]]
                   - average_precision_score(y, p, sample_weight=times[group])) < 1e-3


def test_reliability_equals_scikit_learn():
    from sklearn.calibration import calibration_curve
    rng = np.random.default_rng(0)
    p = rng.random(2000)
    y = (rng.random(2000) < p**2).astype(float)
    ours = reliability(y, p, Resamples(np.arange(2000), np.ones((3, 2000))))
    true, said = calibration_curve(y, p, n_bins=10, strategy="quantile")
    assert np.allclose(ours.true, true) and np.allclose(ours.said, said)
    ece = measure(y, p, 0.5, bin_edges(p), no_resamples(2000)).value[K["ece"]]
    assert np.isclose(ece, (abs(true - said) * ours.rows).sum() / 2000)


def test_degenerate_rows_are_undefined_and_do_not_crash():
    p = np.linspace(0, 1, 20)

    def of(y, p, at=0.5):
        return dict(zip(METRICS, measure(y, p, at, bin_edges(p), no_resamples(len(y))).value, strict=True))
    only_no, only_yes, same = of(np.zeros(20), p), of(np.ones(20), p), of(np.arange(20) % 2.0,
                                                                          np.full(20, 0.3))
    assert math.isnan(only_no["auc"])
    assert math.isnan(only_no["recall"]) and only_no["precision"] == 0 and only_no["positives"] == 0
    assert math.isnan(only_yes["auc"]) and only_yes["average_precision"] == 1
    assert same["auc"] == 0.5 and np.isclose(same["average_precision"], 0.5) and np.isclose(same["ece"], 0.2)
    assert math.isnan(same["precision"]) and same["recall"] == 0  # no alarm at all
    certain = of(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert np.isfinite(certain["log_loss"])  # certain and wrong is bad, not infinite
    empty = measure(np.zeros(0), np.zeros(0), 0.5, np.array([0.5]), no_resamples(0))
    assert np.isnan(empty.value).all() and np.isnan(empty.draws).all()
    undefined = Estimate(math.nan, np.full(5, math.nan))
    assert undefined.text() == "undefined" and promise_state(undefined, 0.5) == "undefined"


def test_a_period_of_one_class_is_left_out_of_the_mean():
    rng = np.random.default_rng(0)
    y = np.r_[rng.integers(0, 2, 300), np.zeros(100)].astype(float)
    p = np.clip(rng.random(400) * 0.5 + y * 0.3, 0, 1)
    period = np.array(["a"] * 150 + ["b"] * 150 + ["c"] * 100)
    a = Predictions(np.arange(400), period, y, {"network": p})
    measured = measure_parts(a, period, {"network": 0.5}, resample(np.arange(400) // 10, period, 50))
    area = measured.of("auc", "network")
    assert measured.parts == ("a", "b", "c")
    assert np.isnan(area.draws[2]).all() and np.isfinite(area.draws[:2]).all()
    expected = np.mean([roc_auc_score(y[period == v], p[period == v]) for v in "ab"])
    assert math.isnan(area.value[2])
    assert np.isclose(measured.mean().of("auc", "network", "all").value, expected)
    table = measured.table("period")
    assert table[(table.period == "c") & (table.metric == "auc")].filter(["value", "low",
                                                                          "high"]).isna().all(axis=None)
    s = core.Settings(data=core.Data(target="y"))
    assert promise_table(measured, "network", s, 0.3).iloc[2, 4] == "undefined"


def predictions(**change):
    n = 40
    table = {"_row": np.arange(n), "month": np.repeat(["01", "02"], n // 2), "y": np.arange(n) % 2.0,
             "rate": np.full(n, 0.5, "float32"),
             "network": np.linspace(0, 1, n, dtype="float32"), "role": ["test"] * n}
    return pa.table(table | change)


@pytest.mark.parametrize("change, sentence", [
    ({"network": np.array([np.nan] * 3 + [0.5] * 37, "float32")},
     "predictions of 'network': 3 of 40 test rows hold no probability"),
    ({"rate": np.array([1.5] * 2 + [0.5] * 38, "float32")}, "predictions of 'rate': 2 of 40"),
    ({"network": np.array([np.inf] + [0.5] * 39, "float32")}, "predictions of 'network': 1 of 40"),
    ({"y": np.r_[np.nan, np.ones(39)]}, "1 of 40 test rows have a label other than 0 and 1"),
    ({"role": ["valid"] * 40}, "no test rows"),
])
def test_scores_that_are_no_probabilities_are_refused(change, sentence):
    with core.refused(sentence):
        Predictions.from_table(predictions(**change), "month")


def test_resamples_draw_whole_groups_within_periods():
    period = np.repeat(["a", "b"], [300, 100])
    group = np.r_[np.arange(300) // 10, 30 + np.arange(100) // 10]
    w = resample(group, period, 200, seed=3).draws
    assert w.shape == (200, 40) and (w[:, :30].sum(1) == 30).all() and (w[:, 30:].sum(1) == 10).all()
    assert np.array_equal(w, resample(group, period, 200, seed=3).draws)
    assert not np.array_equal(w, resample(group, period, 200, seed=4).draws)
    assert np.isclose(w.mean(), 1) and np.isclose(w[:, :30].var(), 29 / 30, atol=0.05)


def world(rng, days, each):
    "Days with an effect of their own, a part of which the model sees."
    day = np.repeat(np.arange(days), each)
    seen, hidden, x = rng.normal(size=days)[day], rng.normal(size=days)[day], rng.normal(size=len(day))
    y = rng.random(len(day)) < 1 / (1 + np.exp(1.3 - 0.7 * x - 0.8 * seen - 0.8 * hidden))
    return y.astype(float), 1 / (1 + np.exp(-0.7 * x - 0.8 * seen)), day


def redrawn(y, p, drawn):
    "The interval of an AUC, by the exact ranking."
    return Estimate(auc(y, p), step_auc(*Ranking(y, p, drawn.group).steps(drawn.draws.T))).interval()


def test_intervals_from_days_hold_the_truth_and_those_from_rows_do_not():
    "30 days of 100 rows, the truth from 100,000 days: days hold it in some 90 %, rows in 60 %."
    rng = np.random.default_rng(1)
    truth = auc(*world(rng, 100_000, 10)[:2])
    held = {"days": 0, "rows": 0}
    for _ in range(200):
        y, p, day = world(rng, 30, 100)
        for unit, group in (("days", day), ("rows", np.arange(len(day)))):
            low, high = redrawn(y, p,
                                resample(group, np.zeros(len(day)), 200, seed=int(rng.integers(1 << 30))))
            held[unit] += low <= truth <= high
    assert 170 <= held["days"] <= 198 and held["rows"] < 140, held


def test_intervals_of_independent_rows_hold_the_truth():
    "Where rows are independent, drawing rows is right: 95 % within the noise of 200 trials."
    rng, held = np.random.default_rng(2), 0
    n = 400
    truth = 0.7602499  # two normals one apart: the normal distribution function at 1 / sqrt(2)
    for _ in range(200):
        y = (rng.random(n) < 0.3).astype(float)
        p = rng.normal(size=n) + y
        low, high = redrawn(y, p, resample(np.arange(n), np.zeros(n), 300, seed=int(rng.integers(1 << 30))))
        held += low <= truth <= high
    assert 182 <= held <= 198, held


def test_merging_rows_into_random_groups_does_not_change_the_interval(tmp_path):
    rng = np.random.default_rng(0)
    n = 12_000
    y = (rng.random(n) < 0.3).astype(float)
    p = np.clip(0.3 + 0.2 * rng.normal(size=n) + 0.1 * y, 0, 1)

    def width(group):
        low, high = redrawn(y, p, resample(group, np.zeros(n), 400))
        return high - low
    merged = rng.permutation(n) % 2000
    assert abs(width(merged) / width(np.arange(n)) - 1) < 0.15


def test_gains_are_paired_and_know_which_way_is_better():
    values = np.zeros((1, 2, len(METRICS), 4))
    values[0, 1, K["auc"]], values[0, 1, K["log_loss"]] = [0.2, 0.1, 0.3, 0.2], -0.1
    total = Measures(("all",), ("rate", "network"), Estimate(values[..., 0], values[..., 1:]))
    gain = gains(total, "network", "auc")["rate"]
    assert np.isclose(gain.value, 0.2) and np.allclose(gain.draws, [0.1, 0.3, 0.2])
    assert gains(total, "network", "log_loss")["rate"].value > 0


def test_precision_at_another_share_of_positives():
    "Same hits per positive and same false alarms per negative, counted in a world with that share."
    assert np.isclose(precision_at(0.6, 0.6 * 0.2 + 0.1 * 0.8, 0.2, 0.5), 0.3 / (0.3 + 0.05))


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    "Half a year of words, numbers and days, some of them bad for all."
    rng = np.random.default_rng(0)
    n, home = 4000, tmp_path_factory.mktemp("timed")
    hour = np.sort(rng.integers(0, 180 * 24, n))
    storm = (rng.random(181) < 0.15)[(hour + 5) // 24]
    x = rng.normal(size=n)
    y = rng.random(n) < 1 / (1 + np.exp(1.5 - x - 2 * storm))
    table = pa.table({"when": np.datetime64("2024-01-01", "us") + hour.astype("timedelta64[h]"), "x": x,
                      "who": [f"p{i}" for i in rng.integers(0, 300, n)],
                      "color": rng.choice(["red", "green", None], n),
                      "flag": rng.random(n) < 0.5, "y": np.where(y, "yes", "no")})
    pq.write_table(table, home / "mine.parquet")
    return core.load_settings(home / "none.ini", source=str(home / "mine.parquet"), target="y", time="when",
                              entity="who",
                              build=str(home / "build"))


def test_groups_and_slices_of_a_table_with_time(timed):
    data = formats.dataset(timed)
    a = Predictions.from_table(training.predictions_of(timed), data.key)
    assert resampling_units(data) == ["day", "hour", "entity", "row"] and best_unit(data, a) == "day"
    more = columns_of(data, a, ["when", "x", data.target])
    assert np.array_equal(data.labels(more), a.y)  # the very rows, in their order
    for unit in resampling_units(data):
        group = resampling_groups(data, a, unit)
        assert group.min() == 0 and len(np.unique(group)) == group.max() + 1
        pairs = set(zip(group, a.period, strict=True))
        assert len(pairs) == group.max() + 1  # no group in two periods
    assert slice_column(data, a) == "color"
    assert set(slice_labels(more["x"])) > set() and len(set(slice_labels(more["x"]))) == 4
    found = columns_of(data, a, ["color", "who", "flag", "when"])
    assert set(slice_labels(found["color"])) == {"red", "green", "(missing)"}
    assert set(slice_labels(found["flag"])) == {"true", "false"}
    assert len(set(slice_labels(found["who"]))) == MAX_SLICES + 1
    assert len(set(slice_labels(found["when"]))) == 4
    with core.refused("did you mean 'day'"):
        resampling_groups(data, a, "days")
    with core.refused("did you mean 'color'"):
        slice_column(data, a, "colour")


def run_chapter(path, tmp_path, monkeypatch, **parameters):
    import papermill

    from mlsys import pipeline
    monkeypatch.chdir(tmp_path)
    papermill.execute_notebook(str(pipeline.chapters()["08_evaluation"]), str(tmp_path / "out.ipynb"),
                               dict(source=str(path), **parameters),
                               progress_bar=False, kernel_name="python3")
    folder, = (tmp_path / "build" / "alone").iterdir()
    return core.read_json(folder / "evaluation" / "metrics.json"), folder / "evaluation"


def test_the_chapter_on_numbers_without_time(cancer, tmp_path, monkeypatch):
    result, folder = run_chapter(cancer, tmp_path, monkeypatch, target="target")
    n = result["numbers"]
    assert n["auc_low"] <= n["auc"] <= n["auc_high"] and n["auc"] > 0.97
    assert n["resampled"] == "row" and result["verdict"].startswith("useful")
    table = pq.read_table(folder / "by_period.parquet").to_pandas()
    known = table.dropna()
    assert set(table.metric) == set(METRICS) and (known.low <= known.high).all()


def test_the_chapter_on_words_and_missing_values_by_a_column_of_numbers(credit, tmp_path, monkeypatch):
    result, folder = run_chapter(credit, tmp_path, monkeypatch, target="Status", slice_by="Age", sample=1500,
                                 replicates=100)
    assert 0.5 < result["numbers"]["auc"] < 1
    assert pq.read_table(folder / "by_slice.parquet").to_pandas()["Age"].nunique() == 4
