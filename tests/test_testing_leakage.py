"""Columns that give the answer away, and labels that are probably wrong, in tables of every kind."""
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from testing_tables import KINDS, as_kind, shop

from mlsys import core, testing
from mlsys.testing import labels, leakage
from mlsys.testing.leakage import column_power


def leaky(n=4000, seed=0):
    r = np.random.default_rng(seed)
    y = (r.random(n) < 0.25).astype(float)
    lost = r.random(n) < 0.04
    y[lost] = np.nan
    answer = np.nan_to_num(y)
    return pa.table({
        "copy": np.where(answer == 1, "late", "fine"), "score": answer + r.normal(0, 0.1, n),
        "bent": np.abs(answer * 3 - 1.5 + r.normal(0, 1.5, n)),
        "after": pa.array(r.normal(size=n), mask=lost),
                     "half": pa.array(r.normal(size=n), mask=lost & (r.random(n) < 0.7)),
        "few": pa.array(r.normal(size=n), mask=lost & (r.random(n) < 0.2)),
                     "gaps": pa.array(r.normal(size=n), mask=r.random(n) < 0.04),
        "more_gaps": pa.array(r.normal(size=n), mask=lost | (r.random(n) < 0.04)),
                     "good": answer + r.normal(0, 1, n),
        "name": [f"n{i}" for i in r.integers(0, n, n)], "noise": r.normal(size=n), "id": np.arange(n),
                     "nothing": pa.nulls(n),
        "list": pa.array([[1]] * n), "outcome": pa.array(answer.astype(bool)),
    }), y


def test_leaks_are_found_and_the_innocent_are_not():
    table, y = leaky()
    found = testing.leaks(table, y)
    assert set(found) == {"copy", "score", "after", "half", "outcome"}
    assert "AUC" in found["copy"] and "known only afterwards" in found["after"]
    assert set(testing.leaks(table, y, too_good=1.1, afterwards=0.8)) == {"after"}


def test_leaks_of_small_and_odd_tables():
    table, y = leaky(30)
    assert "copy" not in testing.leaks(table, y)  # too few rows to be sure
    assert testing.leaks(table, np.full(30, np.nan)) == {} and testing.leaks(table, np.zeros(30)) == {}
    assert testing.leaks(table.select([]), y) == {}
    with core.refused("2 labels for 30 rows"):
        testing.leaks(table, [0, 1])


def test_the_auc_of_bins_is_the_auc():
    from sklearn.metrics import roc_auc_score
    r = np.random.default_rng(1)
    y, codes = (r.random(3000) < 0.3).astype(float), r.integers(0, 12, 3000)
    y[codes > 8] = 1
    fit = r.random(3000) < 0.5
    rate = np.array([(y[fit & (codes == c)].sum() + y[fit].mean()) / ((fit & (codes == c)).sum() + 1)
                     for c in range(12)])
    auc, error = leakage.auc_of_bins(codes, y, fit)
    assert auc == pytest.approx(roc_auc_score(y[~fit], rate[codes[~fit]])) and 0 < error < 0.02


def test_flipped_labels_are_suspects():
    from sklearn.datasets import load_breast_cancer
    from sklearn.metrics import precision_score, recall_score
    data = load_breast_cancer()
    order = np.random.default_rng(1).permutation(len(data.target))
    table, y = pa.table(dict(zip(map(str, data.feature_names), data.data[order].T, strict=True))), data.target[order].astype(float)
    told = labels.label_recall(table, y, share=0.05, seed=3)
    assert told.precision > 0.5 and told.recall > 0.8
    damaged, wrong = labels.flipped(y, 0.05, 3)
    found = testing.label_suspects(table, damaged, 3)
    guess = np.isin(np.arange(len(y)), found.row)
    assert told.precision == pytest.approx(precision_score(wrong, guess)) and told.recall == pytest.approx(recall_score(wrong, guess))
    assert found.quality.is_monotonic_increasing and np.array_equal(found.label, damaged[found.row])


def test_labels_of_odd_tables():
    table = shop(300)
    for y in (np.zeros(300), np.full(300, np.nan), np.r_[np.ones(5), np.full(295, np.nan)]):
        assert len(testing.label_suspects(table, y)) == 0
    with core.refused("2 labels for 300 rows"):
        testing.label_suspects(table, [0, 1])


# tables as people have them


@pytest.mark.parametrize("kind", KINDS)
def test_leaks_in_a_table_of_any_kind(kind, tmp_path):
    table, y = leaky(2000)
    plain = table.select(["copy", "score", "after", "noise", "id", "outcome"])
    expected = testing.leaks(plain, y)
    assert set(expected) == {"copy", "score", "after", "outcome"}
    assert testing.leaks(as_kind(kind, plain, tmp_path), y) == expected
    pd.testing.assert_frame_equal(column_power(as_kind(kind, plain, tmp_path), y), column_power(plain, y))


@pytest.mark.parametrize("kind", KINDS)
def test_suspects_in_a_table_of_any_kind(kind, tmp_path):
    table = shop(400, seed=5)
    y = (np.array(table["kind"]) == "car").astype(float)
    y[:5] = 1 - y[:5]
    found = testing.label_suspects(as_kind(kind, table, tmp_path), y)
    assert set(range(5)) <= set(found.row)
    pd.testing.assert_frame_equal(found, testing.label_suspects(table, y))


def test_labels_in_any_dress():
    y = np.array([1.0, 0, np.nan, 1])
    dresses = [y, y.tolist(), [1, 0, None, 1], [True, False, None, True], pd.Series(y, index=[9, 9, 2, 1]),
               pd.array([1, 0, None, 1], "Int64"),
               pd.Series([1, 0, None, 1], dtype="int64[pyarrow]"), pa.array([1, 0, None, 1]),
               pa.chunked_array([[1, 0], [None, 1]])]
    polars = pytest.importorskip("polars")
    for given in (*dresses, polars.Series([1, 0, None, 1])):
        np.testing.assert_array_equal(leakage.as_labels(given, 4), y)
    for wrong in ([-1, 1, 1, 1], [1, 2, 1, 1], ["yes", "no", "no", "no"], [0.5, 1, 1, 1]):
        with core.refused("a label is 1, 0 or missing"):
            leakage.as_labels(wrong, 4)


def test_a_column_whose_name_is_no_text():
    frame = pd.DataFrame({7: [1, 2], "b": [3, 4]})
    for call in (testing.leaks, column_power, testing.label_suspects):
        with core.refused("named 7"):
            call(frame, [0, 1])


def test_categoricals_and_time_zones_are_columns_like_others():
    r = np.random.default_rng(7)
    y = (r.random(1000) < 0.3).astype(float)
    when = pd.date_range("2024-01-01", periods=1000, freq="h", tz="Europe/Berlin")
    frame = pd.DataFrame({"grade": pd.Categorical(np.where(y == 1, "fail", "pass")), "when": when,
                          "none": pd.Categorical([None] * 1000)})
    assert set(testing.leaks(frame, y)) == {"grade"}
    assert len(testing.label_suspects(frame[["when"]], y)) < 1000


def test_the_standard_error_is_that_of_hanley_and_mcneil():
    assert leakage.auc_error(0.893, 51, 58) == pytest.approx(0.0325, abs=5e-4)  # the example of their paper
