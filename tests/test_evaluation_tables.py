"""Every kind of table gives the same answer, and a model sees its own kind of table with its own types."""
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlsys import core
from mlsys.evaluation import (
    Predictions,
    partial_dependence,
    permutation_importance,
    shapley_values,
    worst_slices,
)
from mlsys.evaluation.behaviour import probe
from mlsys.evaluation.explanations import feature_groups
from mlsys.evaluation.slices import slice_labels

N = 600


@pytest.fixture(scope="module")
def frame():
    "Words, numbers, a category, a nullable number, a flag, a time with its zone; with an index of its own."
    rng = np.random.default_rng(0)
    return pd.DataFrame({
        "word": rng.choice(["red", "green", "blue"], N), "x": rng.normal(size=N),
        "kind": pd.Categorical(rng.choice(["a", "b"], N)),
        "count": pd.array(np.where(rng.random(N) < 0.1, None, rng.integers(0, 9, N)), "Int64"),
        "flag": rng.random(N) < 0.5,
        "when": pd.date_range("2024-01-01", periods=N, freq="h", tz="Europe/Berlin")},
        index=np.arange(N)[::-1])


def kinds(frame, tmp_path):
    "The same rows as everything that a person may have."
    table = pa.Table.from_pandas(frame, preserve_index=False)
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path)
    return {"pandas": frame, "arrow types": frame.convert_dtypes(dtype_backend="pyarrow"),
            "polars": pl.from_arrow(table),
            "lazy": pl.from_arrow(table).lazy(), "arrow": table, "reader": table.to_reader(100),
            "path": str(path),
            "relation": duckdb.from_arrow(table), "mapping": {c: table[c] for c in table.column_names}}


def test_slices_of_every_kind_of_table(frame, tmp_path):
    gap = 0.5 * (frame.word == "red").to_numpy() + np.random.default_rng(1).normal(scale=0.3, size=N)
    expected = worst_slices(frame, gap)
    assert expected.confirmed.any() and "word = red" in expected.index[0]
    for kind, table in kinds(frame, tmp_path).items():
        found = worst_slices(table, gap, columns=["word", "x", "kind", "flag"])
        pd.testing.assert_frame_equal(found, worst_slices(frame, gap, columns=["word", "x", "kind", "flag"]),
                                      obj=kind)


@pytest.mark.parametrize("column", ["word", "kind", "count", "flag", "when"])
def test_slices_of_a_column_are_the_same_in_every_library(frame, column):
    expected = slice_labels(frame[column])
    assert np.array_equal(slice_labels(pa.array(frame[column], from_pandas=True)), expected)
    assert np.array_equal(slice_labels(pl.from_pandas(frame[[column]])[column]), expected)


def score(table):
    "A model of any library's frames."
    if isinstance(table, pl.LazyFrame):
        table = table.collect()
    x, word = (np.asarray(table[c]) for c in ("x", "word"))
    return 1 / (1 + np.exp(-x.astype(float) - (word == "red")))


def test_explanations_of_every_kind_of_table(frame, tmp_path):
    y = (np.random.default_rng(2).random(N) < score(frame)).astype(float)
    importance = permutation_importance(score, frame, y)
    curve = partial_dependence(score, frame, ["x"], steps=5)
    assert importance.index[0] in ("x", "word") and importance.loc["flag", "fall"] == 0
    for kind, table in kinds(frame, tmp_path).items():
        if kind not in ("reader", "path", "relation"):
            pd.testing.assert_frame_equal(permutation_importance(score, table, y), importance, obj=kind)
    for kind, table in kinds(frame, tmp_path).items():
        pd.testing.assert_frame_equal(partial_dependence(score, table, ["x"], steps=5), curve, obj=kind)


def test_contributions_of_every_kind_of_table(frame, tmp_path):
    rows, background = kinds(frame.iloc[:3], tmp_path), frame.iloc[10:30]
    others = kinds(background, tmp_path / "..")
    expected = shapley_values(score, frame.iloc[:3], background)
    assert np.allclose(expected.values.sum(1), score(frame.iloc[:3]) - score(background).mean())
    for kind in rows:
        if kind != "path":
            assert np.allclose(shapley_values(score, rows[kind], others[kind]).values, expected.values), kind


def test_a_model_sees_its_own_kind_with_its_own_types(frame):
    seen = []

    def looks(table):
        seen.append(table)
        return np.full(len(table), 0.5)
    given = probe(looks, frame)
    given.predict(given.raw | {"x": given.raw["x"][::-1]})
    assert seen[0].dtypes.equals(frame.dtypes) and seen[0].x.tolist() == frame.x.tolist()[::-1]
    assert seen[0].drop(columns="x").equals(frame.drop(columns="x").reset_index(drop=True))
    given = probe(looks, pl.from_pandas(frame))
    given.predict(given.raw)
    assert isinstance(seen[1], pl.DataFrame) and seen[1].schema == pl.from_pandas(frame).schema


def test_groups_of_columns_read_every_type(frame):
    groups = feature_groups(frame, score(frame))
    assert sorted(sum(groups.values(), [])) == sorted(frame.columns)


def test_names_that_are_no_text_are_one_sentence():
    numbered = pd.DataFrame(np.zeros((4, 2)))
    for call in (lambda: worst_slices(numbered, np.zeros(4)),
                 lambda: permutation_importance(score, numbered, np.zeros(4)),
                 lambda: partial_dependence(score, numbered, [0]),
                 lambda: shapley_values(score, numbered, numbered),
                 lambda: Predictions.from_table(numbered, "month")):
        with core.refused("column 1 is named 0, which is not text"):
            call()


def test_predictions_from_every_kind_of_table(tmp_path):
    said = pd.DataFrame({"_row": np.arange(8), "month": ["01"] * 4 + ["02"] * 4, "y": np.arange(8) % 2.0,
                         "role": "test",
                         "network": np.linspace(0, 1, 8, dtype="float32")}, index=list("abcdefgh"))
    for kind, table in kinds(said, tmp_path).items():
        a = Predictions.from_table(table, "month")
        assert a.period.tolist() == said.month.tolist()
        assert np.array_equal(a.scores["network"], said.network), kind
