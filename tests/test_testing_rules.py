"""Every rule says the same about a column, about a value and in a file; faces take what people have and give it back."""
import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from mlsys import core, testing
from mlsys.testing.columns import Column, Columns
from mlsys.testing.conditions import ConditionalDependency
from mlsys.testing.relations import RELATIONS, Clock, DependentRequired, Order
from mlsys.testing.rules import RULES, ColumnRules, Look, check_column, learn_column, plain
from mlsys.testing.suite import Suite

quick = examples(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

whole = st.integers(-100, 100)
numbers = st.one_of(whole, st.floats(-100, 100), whole.map(lambda i: i * 0.25),
                    st.sampled_from([1.15078 * 7, 0.1 + 0.2]))
texts = st.text("abYZ09 -éß", max_size=5)
times = st.datetimes(min_value=pd.Timestamp("1950-01-01"), max_value=pd.Timestamp("2100-01-01"))
VALUES = dict(number=numbers, text=texts, time=times, boolean=st.booleans(), other=st.none())
SECONDS = st.floats(-1e9, 4e9)
PARAMETERS = {  # what a suite may say under the key of each rule, per kind
    "required": lambda kind: st.just(True), "whole": lambda kind: st.just(True),
              "type": lambda kind: st.just(kind),
    "min": lambda kind: SECONDS if kind == "time" else numbers,
              "max": lambda kind: SECONDS if kind == "time" else numbers,
    # no time in microseconds lies exactly at the tolerance of these steps, where roundings decide
    "step": lambda kind: st.sampled_from([1.15078, 7.00003] if kind == "time"
                                         else [0.01, 0.25, 1.15078, 3.0, 3600.0]),
    "values": lambda kind: st.lists(texts.filter(bool) if kind == "text" else numbers.map(float), max_size=6,
                                    unique=True),
    "shapes": lambda kind: st.lists(st.sampled_from(["A9", "a", "Aa", "9", "a-9", "é"]), min_size=1,
                                    max_size=3, unique=True),
}
REGISTERED = [(rule, kind) for rule in RULES for kind in rule.kinds if kind != "other"]
each_rule = pytest.mark.parametrize("rule, kind", REGISTERED,
                                    ids=lambda x: x if isinstance(x, str) else x.__name__)


@each_rule
@quick
@given(st.data())
def test_a_rule_says_the_same_about_a_column_and_about_each_value(rule, kind, data):
    r = rule(data.draw(PARAMETERS[rule.key](kind)), kind)
    values = data.draw(st.lists(VALUES[kind], min_size=1, max_size=12))
    types = dict(number=pa.float64(), text=pa.string(), time=pa.timestamp("us"), boolean=pa.bool_())
    array = pa.array(values, types[kind])
    for column in (Column(array, kind), Column(array.dictionary_encode() if kind == "text"
                                               else array.slice(0), kind)):
        broken = r.broken(column)
        broken = np.zeros(len(values), bool) if broken is None else broken
        assert broken.tolist() == [not r.keeps(v) for v in values]
    if kind == "number" and r.sure(Look(array)):
        assert not broken.any()
    assert r.words and all(plain(v, kind) or v == "" for v in values)


@each_rule
@quick
@given(st.data())
def test_a_rule_is_the_same_after_a_file(rule, kind, data):
    value = data.draw(PARAMETERS[rule.key](kind))
    rules = ColumnRules(**{"type": kind, rule.key: value})
    suite = Suite(columns=dict(x=rules))
    again = Suite(**json.loads(json.dumps(suite.model_dump(exclude_defaults=True))))
    assert again == suite and again.columns["x"].rules == rules.rules
    assert value is None or rule(value, kind) in rules.rules


@each_rule
def test_a_rule_that_is_learned_is_kept(rule, kind):
    rng = np.random.default_rng(0)
    made = dict(number=rng.integers(0, 90, 2000) * 0.25, text=rng.choice(["red", "green"], 2000),
                boolean=rng.random(2000) < 0.5,
                time=np.datetime64("2020-01-01", "us")
                + rng.integers(0, 10**6, 2000).astype("timedelta64[s]"))
    column = pa.array(made[kind])
    rules = learn_column(column)
    assert not check_column("x", rules, Columns(pa.table(dict(x=column)), dict(x=kind))).violations
    assert rule.key in ColumnRules.model_fields


@each_rule
@quick
@given(st.data())
def test_pandera_finds_what_a_rule_finds(rule, kind, data):
    pytest.importorskip("pandera")
    import pandera.pandas
    value = data.draw(PARAMETERS[rule.key](kind))
    rules = ColumnRules(**{"type": kind, rule.key: value})
    values = data.draw(st.lists(VALUES[kind], min_size=1, max_size=8))
    table = pa.table(dict(x=pa.array(values)))
    broken = {row for v in check_column("x", rules, Columns(table, dict(x=kind))).violations
              for row in v.rows}
    schema = pandera.pandas.DataFrameSchema(dict(x=rules.pandera()))
    try:
        schema.validate(table.to_pandas(), lazy=True)
        found = set()
    except pandera.errors.SchemaErrors as e:
        found = set(e.failure_cases["index"].dropna().astype(int))
    assert found == broken


# dependencies between columns


DEPENDENCIES = [
    (Order(columns=("a", "b"), within=5.0), dict(a="number", b="number")),
                (Order(columns=("a", "b")), dict(a="time", b="time")),
    (Clock(columns=("a", "b"), offsets=[4, 5]), dict(a="time", b="number")),
    (DependentRequired(columns=("a", "b")), dict(a="text", b="number")),
    (ConditionalDependency(given=["a"], column="b", cases={"x": [1, 9], "y": [], "é": [3, 3]}),
     dict(a="text", b="number")),
    (ConditionalDependency(given=["a", "b"], column="c", required=True,
                           cases={"x | 1": ["p"], "x | 2": [], "y | 1": ["p", "q"]}),
     dict(a="text", b="number", c="text")),
]
CELLS = dict(number=st.one_of(st.none(), st.integers(0, 23)),
             text=st.one_of(st.none(), st.sampled_from(["x", "y", "é", "p", "q"])),
             time=st.one_of(st.none(), times))
TYPES = dict(number=pa.int64(), text=pa.string(), time=pa.timestamp("us"))


@pytest.mark.parametrize("rule, kinds", DEPENDENCIES, ids=lambda x: getattr(x, "title", None))
@quick
@given(st.data())
def test_a_dependency_says_the_same_of_tables_rows_frames_and_files(rule, kinds, data):
    rows = data.draw(st.lists(st.fixed_dictionaries({c: CELLS[k] for c, k in kinds.items()}), min_size=1,
                              max_size=10))
    table = pa.table({c: pa.array([r[c] for r in rows], TYPES[k]) for c, k in kinds.items()})
    broken = np.zeros(len(rows), bool)
    for v in rule.violations(Columns(table, kinds)):
        broken[v.rows] = True
    assert broken.tolist() == [not rule.keeps(r) for r in rows]
    assert rule.holds(table.to_pandas(), kinds).tolist() == (~broken).tolist()
    suite = Suite(columns={c: ColumnRules(type=k) for c, k in kinds.items()}, **{
        "conditions" if isinstance(rule, ConditionalDependency) else "relations": [rule]})
    again = Suite(**json.loads(json.dumps(suite.model_dump(exclude_defaults=True))))
    assert again == suite and again.check(table).bad.tolist() == broken.tolist()


def test_every_relation_has_its_own_name():
    assert len({r.word for r in RELATIONS}) == len(RELATIONS) == 3


# a suite that was written before


OLD = {
    "about": {"format": 1, "rows": 4000, "tolerance": 1.0},
    "columns": {
        "kind": {"type": "text", "required": True, "missing_at_most": 0.02, "values": ["bike", "bus", "car"],
                 "shares": {"bike": [0.15, 0.7]}},
        "wheels": {"type": "number", "required": True, "missing_at_most": 0.02, "min": 0.0, "max": 10.0,
                   "whole": True, "step": 2.0},
        "maker": {"type": "text", "missing": 0.2, "missing_at_most": 0.43, "values": ["x", "y"]},
        "model": {"type": "text", "missing": 0.2, "missing_at_most": 0.43, "shapes": ["A9"]},
        "price": {"type": "number", "required": True, "min": 0.0, "step": 0.01, "repeats": 22},
        "total": {"type": "number", "required": True, "min": 0.0},
        "when": {"type": "time", "required": True, "min": 1614556800.0},
                "hour": {"type": "number", "required": True, "whole": True},
    },
    "relations": [{"rule": "at most", "columns": ["price", "total"], "within": 9.5},
                  {"rule": "present with", "columns": ["maker", "model"]},
                  {"rule": "same hour", "columns": ["when", "hour"], "offsets": [4, 5]}],
    "conditions": [{"given": ["kind"], "column": "wheels",
                    "cases": {"bike": [2, 2], "bus": [6, 6], "car": [4, 4]}}],
    "freshness": {"time": "when", "tick": 3600.0, "pause": 7200.0, "period": 86400, "rows": [20, 80]},
    "unique": ["kind", "when"], "others": ["late"],
    "novelty": {"rows": 2, "ranks": [1, 2], "scores": [3.5, 0.5], "branches": [
        {"column": "kind", "words": ["car", "bus", "bike"], "counts": ["0 0 5 3 2"]},
        {"column": "wheels", "parent": "kind", "cuts": [2.0, 4.0],
         "counts": ["0 0 0 0"] * 2 + ["0 0 5 0", "0 0 0 3", "0 2 0 0"]}]},
}
GOOD = dict(kind="car", wheels=4, maker="x", model="B7", price=2.5, total=3.0,
            when=pd.Timestamp("2021-04-01T12:30"), hour=8)


@pytest.mark.parametrize("change, reason", [
    ({}, None), ({"wheels": 6}, "wheels = 6, expected 4 where kind is car"),
                                            ({"model": None},
                                             "model = missing, expected a value with maker = 'x'"),
    ({"model": "b7"}, "model = 'b7', expected a text like A9"),
                                            ({"total": 2.0}, "price = 2.5, expected at most total = 2"),
    ({"total": 40.0}, "price = 2.5, expected within 9.5 of total = 40"),
                                            ({"hour": 9}, "4 or 5 hours before (UTC)"),
    ({"price": 2.555}, "expected a multiple of 0.01"),
                                            ({"kind": "tram"}, "expected one of 'bike', 'bus', 'car'"),
])
def test_a_suite_of_long_ago_is_read_and_judges_as_before(change, reason, tmp_path):
    (tmp_path / "suite.json").write_text(json.dumps(OLD))
    suite = Suite.load(tmp_path / "suite.json")
    reasons = [r for row in suite.check(GOOD | change).reasons().to_pylist() for r in row]
    assert not reasons if reason is None else any(reason in r for r in reasons), reasons
    suite.save(tmp_path / "again.json")
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["relations"][1]["rule"] == "dependent required" and Suite.load(tmp_path / "again.json") == suite
    OLD_NAMES = json.loads(json.dumps(again).replace("dependent required", "present with"))
    assert {k: OLD_NAMES[k] for k in OLD} == OLD


# what people have


def shop(n=600):
    rng = np.random.default_rng(0)
    price = np.round(rng.gamma(2, 9, n), 2)
    return pd.DataFrame({
        "kind": pd.Categorical(rng.choice(["car", "bus"], n)), "price": price,
                         "total": np.round(price * 1.2, 2),
        "seats": pd.array(np.where(rng.random(n) < 0.1, None, rng.integers(2, 60, n)), dtype="Int64"),
        "when": pd.date_range("2021-03-01", periods=n, freq="h", tz="America/New_York"),
        "name": pd.array([f"N{i}" for i in range(n)], dtype=pd.ArrowDtype(pa.string())),
    }, index=pd.Index([f"row {i}" for i in range(n)], name="label"))


def broken_shop():
    frame = shop().head(5).copy()
    frame.loc["row 1", "price"] = -1.0
    frame.loc["row 3", "seats"] = 10**6
    return frame


def test_a_pandas_frame_comes_back_as_it_was():
    frame = broken_shop()
    suite = testing.learn(shop(), time="when")
    verdicts = suite.check(frame)
    assert verdicts.bad.tolist() == [False, True, False, True, False]
    pd.testing.assert_frame_equal(verdicts.bad_rows,
                                  frame.iloc[[1,
                                              3]])  # index, categories, Int64, zone and Arrow text included
    pd.testing.assert_frame_equal(verdicts.good_rows, frame.iloc[[0, 2, 4]])
    assert not suite.check(shop()).bad.any() and suite.columns["kind"].values == ["bus", "car"] and suite.columns["seats"].missing > 0


def test_every_kind_of_table_is_learned_from_and_judged_alike(tmp_path):
    polars = pytest.importorskip("polars")
    frame, dirty = shop(), broken_shop()
    reference, table = (pa.Table.from_pandas(f, preserve_index=False).replace_schema_metadata() for f in (frame, dirty))
    pq.write_table(reference, tmp_path / "good.parquet")
    pq.write_table(table, tmp_path / "dirty.parquet")
    suites = [testing.learn(r) for r in (frame, reference, polars.from_arrow(reference),
                                         reference.to_reader(), tmp_path / "good.parquet")]
    assert all(s.columns == suites[0].columns and s.conditions == suites[0].conditions for s in suites)
    for rows, kind in [(polars.from_arrow(table), polars.DataFrame), (table, pa.Table), (table.to_batches()[0], pa.RecordBatch),
                       (tmp_path / "dirty.parquet", pa.Table)]:
        verdicts = suites[0].check(rows)
        assert verdicts.bad.tolist() == [False, True, False, True, False] and isinstance(verdicts.bad_rows, kind), kind
        assert len(verdicts.bad_rows) == 2
    for rows in (dirty, polars.from_arrow(table), table.to_reader(), tmp_path / "dirty.parquet"):
        assert testing.test_file(rows, suites[0], bad=tmp_path / "bad.parquet")["bad"] == 2


def test_a_duckdb_relation():
    duckdb = pytest.importorskip("duckdb")
    price = pa.table(dict(price=np.random.default_rng(0).gamma(2, 9, 500)))
    relation = duckdb.connect().from_arrow(price)
    assert testing.learn(relation).columns == testing.learn(price).columns
    assert not testing.learn(price).check(relation).bad.any()


def test_columns_whose_names_are_no_text():
    frame = pd.DataFrame({0: [1.0, 2.0], "x": [1, 2]})
    for ask in (testing.learn, Suite(columns=dict(x=ColumnRules(type="number"))).check):
        with core.refused("column 1 is named 0, which is not text"):
            ask(frame)


def test_nan_is_missing_whatever_the_rules():
    rules = ColumnRules(type="number", required=True)
    assert not rules.keeps(math.nan) and not rules.sure(pa.array([1.0, math.nan]))
    suite = Suite(columns=dict(x=rules))
    assert suite.check(dict(x=[1.0, math.nan])).bad.tolist() == [False,
                                                                 True] == [not rules.keeps(v)
                                                                           for v in (1.0, math.nan)]


def test_a_copy_with_another_limit_judges_by_it():
    rules = ColumnRules(type="number", max=5)
    assert not rules.keeps(7) and rules.model_copy(update=dict(max=9)).keeps(7)
    with pytest.raises(ValueError, match="frozen"):
        rules.max = 9
