"""Data testing: promises that hold on any table, faults in tables and files, leaks, and what a suite says."""
import json
import math
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from testing_tables import people, shop

from mlsys import core, formats, testing
from mlsys.core import BadInput
from mlsys.testing import Seen, Suite, Tally, learn
from mlsys.testing.columns import parsed, places
from mlsys.testing.suite import PROMISE, doubts
from mlsys.testing.tables import runs_of
from mlsys.testing.values import longest_run, shapes_of
from mlsys.testing.verdicts import as_table

quick = examples(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def table():
    return people()


@pytest.fixture(scope="module")
def suite(table):
    return learn(table)


def request(table, row=0):
    return table.slice(row, 1).to_pylist()[0]


def broken(verdicts):
    return {(h.column, h.rule) for h in verdicts.violations}


# where a value stands in a list, and what shape a word has: the quick way against the plain one


NUMBERS = st.one_of(st.integers(-60, 60), st.sampled_from([0.25, 0.06, 0.1, 0.333, 1e12, -2**63, 2**62]))


@quick
@given(st.lists(NUMBERS, max_size=9, unique=True),
       st.lists(st.one_of(NUMBERS, st.sampled_from([math.nan, math.inf, -math.inf])), max_size=20))
def test_places_of_numbers(known, values):
    labels, x = [repr(float(v)) for v in known], np.array(values, float)
    where = {float(v): i for i, v in enumerate(known)}
    assert places(x, labels).tolist() == [where.get(v, -1) for v in x.tolist()]
    whole = np.array([int(v) for v in values if math.isfinite(v) and v == int(v)], np.int64)
    assert places(whole, labels).tolist() == [where.get(float(v), -1) for v in whole.tolist()]


@quick
@given(st.lists(st.one_of(st.text("abYZ09_ -é", max_size=6), st.none()), max_size=8), st.integers(0, 3))
def test_shapes_of_words(words, start):
    def shape(w):
        for found, sign in (("[a-zé]+", "a"), ("[A-Z]+", "A"), ("[0-9]+", "9")):
            w = re.sub(found, sign, w)
        return w
    assert shapes_of(pa.array(words, pa.string()).slice(start)).to_pylist() == [shape(w) if w else w
                                                                                for w in words[start:]]


# what is learned


def test_the_suite_of_a_table(suite, table):
    c = suite.columns
    assert suite.unique == ["id"] and c["id"].max is None and c["id"].required and c["id"].whole
    assert c["kind"].values == sorted(["red", "green", "bläu ✈"]) and c["who"].values is None
    assert c["gaps"].missing == pytest.approx(0.2, abs=0.03) and not c["gaps"].required
    assert c["zero_one"].values == [0, 1] and c["flag"].type == "boolean" and c["when"].max is None
    assert {(r.rule, r.columns) for r in suite.relations} == {("at most", ("low", "high")),
                                                              ("same hour", ("when", "hour"))}
    assert not suite.check(table, Seen()).bad.any()


def test_later_rows_of_the_same_kind_pass(suite):
    later = people(5000, seed=1)
    assert suite.check(later).share <= 0.01


@pytest.mark.parametrize("change, rule", [
    ({"low": None}, ("low", "required")), ({"low": float("nan")}, ("low", "required")),
                                          ({"kind": ""}, ("kind", "required")),
    ({"low": "abc"}, ("low", "type")), ({"low": [1, 2]}, ("low", "type")),
                                          ({"flag": "perhaps"}, ("flag", "type")),
    ({"flag": 7}, ("flag", "type")),
    ({"when": "soon"}, ("when", "type")), ({"when": "1970-01-01T00:00:00"}, ("when", "min")),
    ({"low": 1e9}, ("low", "max")), ({"low": float("inf")}, ("low", "max")),
    ({"gaps": float("-inf")}, ("gaps", "min")), ({"low": -1}, ("low", "min")),
    ({"count": 3.5}, ("count", "whole")), ({"kind": "rot"}, ("kind", "values")),
                                          ({"kind": "bläu"}, ("kind", "values")),
    ({"zero_one": 2}, ("zero_one", "values")), ({"low": 60.0, "high": 50.0}, ("low", "at most")),
])
def test_each_rule_is_broken_by_one_value(suite, table, change, rule):
    good = request(table)
    assert not suite.check(good).bad.any()
    verdicts = suite.check(good | change)
    assert rule in broken(verdicts) and verdicts.bad.tolist() == [True]
    assert any(r.startswith(f"{rule[0]} = ") for r in verdicts.reasons()[0].as_py())


def test_a_shifted_clock(suite, table):
    i = table.column_names.index("when")
    later = table.set_column(i, "when", pa.compute.add(table["when"],
                                                       pa.scalar(5 * 3_600_000_000, pa.duration("us"))))
    verdicts = suite.check(later)
    assert verdicts.bad.all() and broken(verdicts) == {("hour", "same hour")}
    assert "when = 2020" in verdicts.reasons()[0][0].as_py()


@pytest.mark.parametrize("value", ["12.5", 12, 12.5, np.float32(12.5), True, pa.scalar(12.5).as_py(),
                                   " 12.5 "])
def test_a_number_in_any_dress(suite, table, value):
    assert not suite.check(request(table) | {"low": value, "high": 99}).bad.any()


@pytest.mark.parametrize("value", ["true", "No", 1, 0.0, False])
def test_a_boolean_in_any_dress(suite, table, value):
    assert not suite.check(request(table) | {"flag": value}).bad.any()


def test_a_request_may_leave_out_what_may_be_missing(suite, table):
    row = request(table)
    assert not suite.check({k: v for k, v in row.items() if k != "gaps"}).bad.any()
    verdicts = suite.check({k: v for k, v in row.items() if k != "low"})
    assert broken(verdicts) == {("low", "required")} and verdicts.reasons()[0].as_py() == ["low = missing, expected a value"]


def test_a_mixture_of_types_is_judged_row_by_row(suite, table):
    frame = table.slice(0, 4).to_pandas()
    frame["low"] = frame["low"].astype(object)
    frame.loc[2, "low"] = "a lot"
    assert suite.check(frame).bad.tolist() == [False, False, True, False]
    assert suite.check(frame).reasons()[0].as_py() == ["low = 'a lot', expected a number"]


def test_luck_is_no_law():
    r = np.random.default_rng(0)
    a = r.normal(0, 1, 5000)
    luck = a + 0.01 + np.abs(r.normal(3, 1, 5000)).clip(0.0001)     # comes close, never touches
    law = a + r.exponential(1, 5000) * (r.random(5000) > 0.05)      # equal in one row of twenty
    apart = a + 5 + r.random(5000)                                  # keeps a distance, but never overlaps enough to mean much
    far = 100 + r.normal(0, 1, 5000)                                # another scale
    found = {x.columns for x in learn(pa.table(dict(a=a, luck=luck, law=law, far=far,
                                                    apart=apart))).relations}
    assert ("a", "law") in found and not {("a", "luck"), ("a", "far"), ("law", "far")} & found


def test_a_counter_goes_on_and_a_placeholder_defines_nothing():
    r = np.random.default_rng(0)
    x = np.append(r.gamma(2, 10, 4999), 999_999)
    r.shuffle(x)
    s = learn(pa.table({"down": -np.arange(5000.0), "x": x}))
    assert s.columns["down"].min is None and s.columns["x"].max < 1000
    assert s.check(pa.table({"down": [-9e9], "x": [50.0]})).bad.tolist() == [False]


def test_tolerance_widens(table):
    widths = [(c := learn(table, t).columns["low"]).max - c.min for t in (0, 0.25, 1, 3)]
    assert widths == sorted(widths)
    with core.refused("tolerance = -1"):
        learn(table, -1)
    with core.refused("no rows"):
        learn(table.slice(0, 0))


# promises


names = st.text("abcxyz é✈", min_size=1, max_size=4)
cell = {
    "float": st.one_of(st.none(), st.floats()), "int": st.one_of(st.none(), st.integers(-2**63, 2**63 - 1)),
    "small": st.integers(-3, 3), "text": st.one_of(st.none(), st.text(max_size=3)),
        "word": st.sampled_from(["a", "b", ""]),
    "bool": st.one_of(st.none(), st.booleans()), "when": st.one_of(st.none(), st.datetimes()),
}
types = dict(float=pa.float64(), int=pa.int64(), small=pa.int64(), text=pa.string(), word=pa.string(),
             bool=pa.bool_(),
             when=pa.timestamp("us"))


@st.composite
def tables(draw, rows=(1, 40)):
    n = draw(st.integers(*rows))
    kinds = draw(st.dictionaries(names, st.sampled_from(sorted(cell)), min_size=1, max_size=4))
    repeat = draw(st.sampled_from([1, 1,
                                   60]))  # now and then many rows, so that trimming, words and relations come into play
    made = {k: pa.array(draw(st.lists(cell[v], min_size=n, max_size=n)) * repeat, types[v], from_pandas=True)
            for k, v in kinds.items()}
    return pa.table(made)


@quick
@given(tables(), st.sampled_from([0, 0.5, 1]))
def test_a_suite_accepts_what_it_was_learned_from(table, tolerance):
    s = learn(table, tolerance)
    verdicts = s.check(table, Seen())
    assert verdicts.share <= PROMISE, verdicts.frame()
    assert not s.findings(Tally().add(verdicts))


@quick
@given(tables(), tables(), st.randoms())
def test_order_batches_and_encoding_do_not_change_verdicts(reference, table, random):
    s = learn(reference, 0)
    if not set(s.columns) & set(table.column_names):
        return
    bad = s.check(table).bad
    order = list(range(len(table)))
    random.shuffle(order)
    assert s.check(table.take(order)).bad.tolist() == bad[order].tolist()
    pieces = [s.check(b).bad for b in table.to_batches(max_chunksize=7)]
    assert np.concatenate(pieces).tolist() == bad.tolist()
    coded = pa.table({c: table[c].dictionary_encode() if table[c].type == pa.string() else table[c]
                      for c in table.column_names})
    assert s.check(coded).bad.tolist() == bad.tolist() and s.check(coded).reasons().to_pylist() == s.check(table).reasons().to_pylist()
    for i in range(min(3, len(table))):
        assert s.check(table.slice(i, 1)).bad[0] == bad[i]


@quick
@given(tables(), tables())
def test_json_keeps_verdicts_and_reasons_are_true(tmp_path_factory, reference, table):
    s = learn(reference, 0)
    path = tmp_path_factory.mktemp("suite") / "suite.json"
    s.save(path)
    again = Suite.load(path)
    assert again == s
    if not set(s.columns) & set(table.column_names):
        return
    verdicts = s.check(table)
    assert again.check(table).reasons().to_pylist() == verdicts.reasons().to_pylist()
    assert len(verdicts.reasons()) == verdicts.bad.sum()
    for line in verdicts.frame().itertuples():
        assert line.column in s.columns
        value = table[line.column][line.row].as_py() if line.column in table.column_names else None
        text = isinstance(value, str)
        shown = f"'{value}'" if text else line.value
        assert line.value == ("missing" if value is None else shown)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:
            assert float(line.value) == pytest.approx(value)


@quick
@given(st.lists(st.integers(0, 30), max_size=80), st.integers(1, 9))
def test_seen_is_a_set(values, size):
    seen, expected, found = Seen(), [], []
    for i in range(0, len(values), size):
        found += seen.again(np.array(values[i:i + size], np.uint64)).tolist()
    for i, v in enumerate(values):
        expected.append(v in values[:i])
    # within a call, which copy of equal values counts as the second is fixed: the later one
    assert found == expected


# tables as a whole


def test_duplicates_in_one_table_and_across_batches(suite, table):
    twice = pa.concat_tables([table, table.slice(10, 5)])
    assert np.flatnonzero(suite.check(twice, Seen()).bad).tolist() == list(range(len(table), len(table) + 5))
    assert not suite.check(twice).bad.any()  # a row alone cannot be a duplicate
    seen = Seen()
    assert [int(suite.check(b, seen).bad.sum()) for b in (table, table.slice(10, 5))] == [0, 5]
    assert suite.check(twice,
                       Seen()).reasons()[0].as_py() == [f"id = {table['id'][10]}, expected no second one"]


def test_duplicates_of_whole_rows():
    r = np.random.default_rng(0)
    t = pa.table({"x": r.normal(size=200), "w": r.choice(["a", "b"], 200)})
    s = learn(t)
    assert s.unique == ["x", "w"]
    assert s.check(pa.concat_tables([t, t.slice(0, 1)]),
                   Seen()).reasons().to_pylist() == [["the row came before, expected no second one"]]
    assert learn(pa.table({"w": r.choice(["a", "b"], 200)})).unique == []


@pytest.mark.parametrize("make, column, value", [
    (lambda t: t.drop_columns("gaps"), "gaps", "absent"),
                                                 (lambda t: t.append_column("more", t["low"]), "more", "new"),
    (lambda t: t.set_column(3, "low", t["low"].cast(pa.string())), "low", "text"),
    (lambda t: t.set_column(5, "gaps", pa.array([None] * len(t), pa.float64())), "gaps", "100.0% missing"),
])
def test_schema_changes_are_findings(suite, table, make, column, value):
    changed = make(table)
    verdicts = suite.check(changed)
    told = [(f["column"], f["value"]) for f in suite.findings(Tally().add(verdicts))]
    assert told == [(column, value)] and not verdicts.bad.any()


def test_tallies_add_up(suite, table):
    dirty = table.set_column(3, "low", pa.array(np.where(np.arange(len(table)) % 3 == 0, 1e9, 50.0)))
    whole, halves = Tally().add(suite.check(dirty)), [Tally().add(suite.check(dirty.slice(i, 1500))) for i in (0, 1500)]
    assert halves[0] + halves[1] == whole and whole.broken["low", "max"] == 1000


def test_another_table_is_refused(suite):
    for rows in ({"x": 1}, {}, pa.table({"y": [1, 2]})):
        with core.refused("is it the right table"):
            suite.check(rows)
    with core.refused("rows of type list"):
        suite.check([1, 2])
    with core.refused("do not make a table"):
        suite.check({"low": [1, 2], "high": [1]})


# the suite as a file


@pytest.mark.parametrize("edit, part", [
    (lambda d: d["columns"]["low"].update(maximum=3), "low > maximum: unknown key; did you mean 'max'"),
    (lambda d: d["columns"]["low"].update(max="much"), "low > max"),
                                        (lambda d: d.update(rules=[]), "rules: unknown key"),
    (lambda d: d["relations"][0].update(columns=["low", "hihg"]), "no column 'hihg'; did you mean 'high'"),
    (lambda d: d["relations"][0].update(rule="equal"), "relations > 0 > rule"),
    (lambda d: d.update(unique=["ID"]), "unique: no column 'ID'"),
    (lambda d: d.pop("columns"), "columns: field required"),
])
def test_a_mistake_in_the_file_is_named(suite, tmp_path, edit, part):
    suite.save(tmp_path / "suite.json")
    d = json.loads((tmp_path / "suite.json").read_text())
    edit(d)
    (tmp_path / "suite.json").write_text(json.dumps(d))
    with core.refused(part):
        Suite.load(tmp_path / "suite.json")


def test_files_that_are_no_suite(tmp_path):
    with core.refused("no such suite"):
        Suite.load(tmp_path / "none.json")
    for text in ("{", "[1]", "3"):
        (tmp_path / "s.json").write_text(text)
        with core.refused("no JSON of a suite"):
            Suite.load(tmp_path / "s.json")


def test_an_edited_rule_changes_the_verdict(suite, table, tmp_path):
    suite.save(tmp_path / "suite.json")
    d = json.loads((tmp_path / "suite.json").read_text())
    row = request(table) | {"low": 1.0, "kind": "rot"}
    assert broken(suite.check(row)) == {("kind", "values")}
    d["columns"]["kind"]["values"].append("rot")
    assert not Suite(**d).check(row).bad.any()
    d["columns"]["low"]["min"] = 2
    assert broken(Suite(**d).check(row)) == {("low", "min")}


# files


def dirty_table(table):
    low = table["low"].to_numpy().copy()
    low[[5, 700]] = -1
    return table.set_column(3, "low", pa.array(low))


@pytest.mark.parametrize("kind", ["parquet", "csv", "orc", "folder"])
@pytest.mark.parametrize("out", ["parquet", "csv"])
def test_a_file_of_any_format(suite, table, tmp_path, kind, out):
    dirty, path = dirty_table(table), tmp_path / f"data.{kind}"
    if kind == "folder":
        path.mkdir()
        pq.write_table(dirty.slice(0, 1000), path / "a.parquet")
        pq.write_table(dirty.slice(1000), path / "b.parquet")
    else:
        {"parquet": pq.write_table, "csv": pa.csv.write_csv, "orc": pa.orc.write_table}[kind](dirty, path)
    good, bad = tmp_path / f"good.{out}", tmp_path / f"bad.{out}"
    result = testing.test_file(path, suite, good, bad, batch_rows=999)
    assert (result["rows"], result["bad"], result["findings"]) == (3000, 2, [])
    assert result["broken"][0] == dict(column="low", rule="min", rows=2)
    kept, aside = formats.read_table(good), formats.read_table(bad)
    assert kept.num_rows == 2998 and aside["id"].cast(pa.int64()).to_pylist() == [1005, 1700]
    assert kept["low"].cast(pa.float64()).to_pylist() == [v for v in dirty["low"].to_pylist() if v != -1]
    if out == "parquet":
        assert kept.schema.field("id").type == pa.int64() and kept.schema.field("flag").type == pa.bool_()
        assert kept["when"].cast(pa.timestamp("us")).to_pylist()[:9] == [w
                                                                         for i, w in enumerate(dirty["when"].to_pylist()) if i != 5][:9]
        assert "at least 0" in aside["reasons"][0][0].as_py()
    assert "2 of 3,000 rows are bad (0.07%), within the allowed 1.00%" in testing.summary_text(result, 0.01)
    assert not list(tmp_path.glob(".*"))


def test_a_bad_value_in_a_csv_is_a_bad_row(suite, table, tmp_path):
    frame = table.to_pandas().astype({"low": object})
    frame.loc[3, "low"] = "12,5"
    frame.to_csv(tmp_path / "my.csv", index=False)
    result = testing.test_file(tmp_path / "my.csv", suite, bad=tmp_path / "bad.csv")
    assert result["bad"] == 1 and "low = '12,5', expected a number" in (tmp_path / "bad.csv").read_text()


@pytest.mark.parametrize("content, part", [
    (b"id,low\n1,2\n3,4,5\n", "fields where the header has 2"), (b"id;low\n1;2\n", "no ','"),
                                           (b"", "is empty"),
    ("id,kind\n1,Jos\u00e9\n".encode("latin1"), "not UTF-8"), (b"id,low,id\n1,2,3\n", "both named 'id'"),
                                           (b"id,low\n", "no rows"),
])
def test_a_csv_that_cannot_be_read(suite, tmp_path, content, part):
    path, good = tmp_path / "my.csv", tmp_path / "good.parquet"
    path.write_bytes(content)
    with core.refused(part):
        testing.test_file(path, suite, good)
    assert [p.name for p in tmp_path.iterdir()] == ["my.csv"]


def test_a_truncated_file_leaves_nothing(suite, table, tmp_path):
    path = tmp_path / "my.parquet"
    pq.write_table(table, path)
    path.write_bytes(path.read_bytes()[:-100])
    with core.refused("not a readable Parquet file"):
        testing.test_file(path, suite, tmp_path / "good.parquet")
    pq.write_table(table, path, row_group_size=500, compression="none")
    data = bytearray(path.read_bytes())
    data[len(data) // 2:len(data) // 2 + 2000] = b"\xff" * 2000  # damage in the middle, footer intact
    path.write_bytes(bytes(data))
    try:
        testing.test_file(path, suite, tmp_path / "good.parquet", tmp_path / "bad.parquet", batch_rows=500)
    except BadInput:
        assert [p.name for p in tmp_path.iterdir()] == ["my.parquet"]


def test_places_and_arguments(suite, table, tmp_path):
    path = tmp_path / "my.parquet"
    pq.write_table(table, path)
    for args, part in [((path, suite, path), "would replace"),
                       ((path, suite, tmp_path / "g.parquet", tmp_path / "g.parquet"), "would replace"),
                       ((path, suite, tmp_path / "g.xlsx"), "unknown format '.xlsx'"),
                       ((tmp_path / "no.csv", suite), "no such file"),
                       ((path, tmp_path / "none.json"), "no such suite")]:
        with core.refused(part):
            testing.test_file(*args)
    with core.refused("batch_rows = 0: it must be at least 1"):
        testing.test_file(path, suite, batch_rows=0)
    assert [p.name for p in tmp_path.iterdir()] == ["my.parquet"]


def test_killed_while_writing_leaves_the_last_good_file(suite, table, tmp_path, monkeypatch):
    path, good = tmp_path / "my.parquet", tmp_path / "good.parquet"
    pq.write_table(table, path)
    good.write_text("of yesterday")
    calls = []

    def stops(self, rows, seen=None):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return check(self, rows, seen)
    check = Suite.check
    monkeypatch.setattr(Suite, "check", stops)
    with pytest.raises(KeyboardInterrupt):
        testing.test_file(path, suite, good, batch_rows=500)
    assert good.read_text() == "of yesterday" and sorted(p.name for p in tmp_path.iterdir()) == ["good.parquet", "my.parquet"]


# many columns, odd types, whole data sets


def test_types_that_are_not_tested_only_miss():
    t = pa.table({"l": pa.array([[1], None] * 50), "d": pa.array([{"a": 1}] * 100), "n": pa.nulls(100),
                  "t": pa.array([1] * 100, pa.time32("s")),
                  "dec": pa.array([1, 2] * 50, pa.decimal128(5, 2)),
                  "date": pa.array([pd.Timestamp("2020-01-01").date()] * 100),
                  "f32": pa.array([0.1] * 100, pa.float32()), "u64": pa.array([2**64 - 1] * 100, pa.uint64()),
                  "coded": pa.array(["a", "b"] * 50).dictionary_encode(),
                  "big": pa.array(["x", ""] * 50, pa.large_string()),
                  "coded_int": pa.array([1, 2] * 50).dictionary_encode()})
    s = learn(t)
    assert not s.check(t, Seen()).bad.any() and s.columns["l"].type == "other" and s.columns["coded_int"].type == "number"
    assert s.columns["big"].missing == 0.5
    many = pa.chunked_array([pa.array(["a"]).dictionary_encode(), pa.array(["z", "b"]).dictionary_encode()])
    assert s.check(pa.table({"coded": many})).violations[-1].column in s.columns
    assert (s.check(pa.table({"coded": many}))).frame().query("column == 'coded'").value.tolist() == ["'z'"]


def test_a_thousand_columns_stay_quick_to_learn():
    r = np.random.default_rng(0)
    t = pa.table({f"c{i}": r.normal(size=200) for i in range(400)})
    s = learn(t)
    assert len(s.columns) == 400 and not s.relations and math.isfinite(s.columns["c7"].max)


@pytest.mark.parametrize("kind", ["words", "tiny", "booleans"])
def test_the_stage_on_tables_of_all_sorts(kind, tmp_path):
    r = np.random.default_rng(0)
    n = 100 if kind == "tiny" else 600
    y = r.random(n) < 0.4
    frame = {"words": {c: r.choice(["a", "b", "ü", None], n) for c in "abc"}, "tiny": {"x": r.normal(size=n)},
             "booleans": {"p": r.random(n) < 0.5, "q": r.random(n) < 0.1}}[kind]
    pd.DataFrame(frame | {"y": np.where(y, "yes", "no")}).to_csv(tmp_path / "my.csv", index=False)
    s = core.load_settings(tmp_path / "none.ini", source=str(tmp_path / "my.csv"), target="y",
                           build=str(tmp_path / "build"))
    data = formats.dataset(s)
    reference = data.read(data.features, data.train)
    made = learn(reference, others=[data.target, data.key])
    tallies = testing.quarantine(data, made, tmp_path / "quarantine.parquet")
    aside = pq.read_table(tmp_path / "quarantine.parquet")
    assert sum(t.rows for t in tallies.values()) == n and len(aside) == sum(t.bad for t in tallies.values()) <= 0.05 * n
    assert set(aside.column_names) - {"novelty"} == {*data.columns, "_row", "reasons"} and aside.schema.field("reasons").type == pa.list_(pa.string())


# rules on steps, shapes, companies, conditions


def test_what_depends_on_what_is_learned(stock, stock_suite):
    c = {(tuple(x.given), x.column): x for x in stock_suite.conditions}
    assert c[("kind",), "wheels"].cases == {"bike": [2, 2], "bus": [6, 6], "car": [4, 4]}
    assert c[("hour",), "start"].cases["7"][0] <= 700 and c[("hour",), "start"].cases["7"][1] < 800
    fuel = next(x for x in stock_suite.conditions if x.column == "fuel")
    assert fuel.required and [] in fuel.cases.values() and ["petrol"] in fuel.cases.values()
    assert {("maker", "model"), ("model", "maker")} <= {r.columns
                                                        for r in stock_suite.relations
                                                        if r.rule == "dependent required"}
    assert stock_suite.columns["wind"].step == 1.15078 and stock_suite.columns["price"].step == 0.01
    assert set(stock_suite.columns["plate"].shapes) == {"A9"} and not stock_suite.check(stock).bad.any()
    assert stock_suite.check(shop(seed=1)).share < 0.01


@pytest.mark.parametrize("change, rule, words", [
    ({"wheels": 6}, ("wheels", "given"), "wheels = 6, expected 4 where kind is car"),
    ({"fuel": None}, ("fuel", "given"), "fuel = missing, expected a value where "),
    ({"fuel": "diesel"}, ("fuel", "given"), "fuel = 'diesel', expected one of 'petrol' where "),
    ({"start": 2159}, ("start", "given"), "where hour is"),
                                                 ({"wind": 1.2}, ("wind", "step"),
                                                  "expected a multiple of 1.15078"),
    ({"price": 9.999}, ("price", "step"), "a multiple of 0.01"),
                                                 ({"plate": "b12"}, ("plate", "shapes"),
                                                  "plate = 'b12', expected a text like A9"),
    ({"maker": None, "model": "p"}, ("maker", "dependent required"),
     "maker = missing, expected a value with model = 'p'"),
])
def test_each_new_rule_is_broken_by_one_value(stock, stock_suite, change, rule, words):
    good = next(r for r in stock.to_pylist() if r["kind"] == "car" and r["hour"] < 12)
    assert not stock_suite.check(good).bad.any() and not any(doubts(stock_suite, good))
    verdicts = stock_suite.check(good | change)
    assert rule in broken(verdicts) and any(words in r for r in verdicts.reasons()[0].as_py()), verdicts.reasons()


def test_a_bike_needs_no_fuel(stock, stock_suite):
    bike = next(r for r in stock.to_pylist() if r["kind"] == "bike")
    assert not stock_suite.check(bike).bad.any()
    assert "expected no value where" in stock_suite.check(bike | {"fuel": "petrol"}).reasons()[0][0].as_py()


@pytest.mark.parametrize("edit, part", [
    (lambda d: d["conditions"][0].update(given=["hourr"]), "conditions > 0: no column 'hourr'"),
    (lambda d: d["conditions"][0].update(case={}),
     "conditions > 0 > case: unknown key; did you mean 'cases'"),
    (lambda d: d["conditions"][0]["cases"].update({"car | Ulm": [1, 2]}), "conditions > 0: case 'car | Ulm'"),
    (lambda d: next(c for c in d["conditions"] if c["column"] == "wheels")["cases"].update(car=[4]),
     "must list [min, max] or nothing"),
    (lambda d: next(c for c in d["conditions"] if c["column"] == "fuel")["cases"].update(bus=[4]),
     "must list words"),
])
def test_a_mistake_in_a_condition_is_named(stock_suite, tmp_path, edit, part):
    stock_suite.save(tmp_path / "suite.json")
    d = json.loads((tmp_path / "suite.json").read_text())
    d["conditions"].sort(key=lambda c: c["given"] != ["hour"])
    edit(d)
    (tmp_path / "suite.json").write_text(json.dumps(d))
    with core.refused(part):
        Suite.load(tmp_path / "suite.json")


@quick
@given(st.integers(0, 10**6), st.data())
def test_a_request_is_judged_as_in_a_table(stock, stock_suite, seed, data):
    "The quick look in plain Python and the arrays agree, whatever a request holds."
    row = request(stock, seed % len(stock))
    odd = st.one_of(st.none(), st.integers(-5, 3000), st.floats(), st.booleans(),
                    st.sampled_from(["", "car", "petrol", "B1", "Bß1", "7", "x"]),
                    st.datetimes(), st.sampled_from([v for v in row.values()]))
    row |= data.draw(st.dictionaries(st.sampled_from(sorted(row)), odd, max_size=3))
    for name in data.draw(st.sets(st.sampled_from(sorted(row)), max_size=2)):
        del row[name]
    table = as_table(row)
    if not table.column_names:
        return
    one, many = stock_suite.check(row), stock_suite.check(table)
    assert one.bad.tolist() == many.bad.tolist() and one.reasons().to_pylist() == many.reasons().to_pylist()
    assert one.missing == many.missing


# pandera


def test_the_export_finds_the_same_bad_rows(stock, stock_suite):
    errors = pytest.importorskip("pandera.errors")
    r = np.random.default_rng(3)
    table, n = shop(3000, seed=5), 3000
    for name in ("wheels", "start", "wind", "price", "plate", "fuel", "maker", "kind", "hour", "when"):
        damage = dict(wheels=5, start=9999, wind=1.0, price=-3.0, plate="??", fuel="steam", maker=None,
                      kind="train", hour=3)
        column, hit = table[name], r.random(n) < 0.01
        value = pa.scalar(pd.Timestamp("1999-01-01") if name == "when" else damage[name], column.type)
        table = table.set_column(table.column_names.index(name), name,
                                 pa.compute.if_else(pa.array(hit), value, column.combine_chunks()))
    table = pa.concat_tables([table, table.slice(0, 7)])
    for frame in (table.to_pandas(), table.to_pandas(strings_to_categorical=True)):
        with pytest.raises(errors.SchemaErrors) as e:
            stock_suite.to_pandera().validate(frame, lazy=True)
        theirs = sorted({int(i) for i in e.value.failure_cases["index"].dropna()})
        assert theirs == np.flatnonzero(stock_suite.check(table, Seen()).bad).tolist() and len(theirs) > 200
    stock_suite.to_pandera().validate(stock.to_pandas(), lazy=True)


def test_the_export_knows_orders_and_clocks(suite, table):
    errors = pytest.importorskip("pandera.errors")
    frame = table.to_pandas()
    frame.loc[3, "high"] = frame.loc[3, "low"] - 1
    frame.loc[4, "hour"] = (frame.loc[4, "hour"] + 5) % 24
    frame.loc[5, "kind"] = ""
    with pytest.raises(errors.SchemaErrors) as e:
        suite.to_pandera().validate(frame, lazy=True)
    assert sorted({int(i) for i in e.value.failure_cases["index"].dropna()}) == [3, 4,
                                                                                 5] == np.flatnonzero(suite.check(frame).bad).tolist()


# novelty


def test_pvalues_are_uniform_on_rows_of_the_same_kind():
    s = learn(shop(9000, seed=2), time="when")
    p = s.check(shop(6000, seed=7)).novelty
    assert all(abs((p <= q).mean() - q) < 0.02 for q in (0.01, 0.05, 0.2, 0.5, 0.9)) and p.min() >= 1 / (s.novelty.rows + 1)


def test_rows_put_together_are_odd_and_can_be_made_bad(stock, stock_suite):
    mixed = stock.set_column(0, "kind",
                             stock["kind"].take(pa.array(np.random.default_rng(0).permutation(len(stock)))))
    free = stock_suite.model_copy(update=dict(conditions=[]))
    odd = free.check(mixed)
    changed = (np.array(mixed["kind"]) != np.array(stock["kind"]))
    assert np.median(odd.novelty[changed]) < 0.01 < np.median(odd.novelty[~changed]) and not odd.bad.any()
    strict = free.model_copy(update=dict(odd_below=0.01))
    first = request(mixed, int(np.flatnonzero(changed)[0]))
    assert strict.check(mixed).bad[changed].mean() > 0.5 and strict.check(first).violations[-1].rule == "odd"
    assert "the row is odd as a whole" in strict.check(mixed).reasons()[0][0].as_py()


def test_novelty_is_the_same_in_json_batches_and_encodings(stock, stock_suite, tmp_path):
    stock_suite.save(tmp_path / "s.json")
    p = stock_suite.check(stock).novelty
    assert np.array_equal(Suite.load(tmp_path / "s.json").check(stock).novelty, p)
    assert np.array_equal(np.concatenate([stock_suite.check(b).novelty
                                          for b in stock.to_batches(max_chunksize=700)]), p)
    assert stock_suite.check(request(stock, 11)).novelty[0] == p[11]
    assert learn(stock.slice(0, 50)).novelty is None and (learn(stock.slice(0, 50)).check(stock).novelty == 1).all()


# tables as a whole: freshness, stuck sensors, shares


def told(suite, table, now=None):
    return {(f["column"], f["rule"]): f["value"] for f in suite.findings(Tally().add(suite.check(table)),
                                                                         now)}


def test_freshness(stock, stock_suite):
    f = stock_suite.freshness
    assert f.period == 86_400 and f.in_order and f.rows[0] < 44 < f.rows[1] and not told(stock_suite, stock, "2021-05-30")
    assert "days old" in told(stock_suite, stock, "2021-06-20")["when", "fresh"]
    assert "in the future" in told(stock_suite, stock, "2021-05-01")["when", "fresh"]
    seconds = parsed(stock["when"], "time")[0]
    hole = stock.filter(pa.array((seconds < seconds[1500]) | (seconds > seconds[1500] + 3 * 86_400)))
    assert "no row for" in told(stock_suite, hole)["when", "pause"] and ("when", "rows") in told(stock_suite, hole)
    assert "older than the row before" in told(stock_suite,
                                               stock.take(pa.array(np.arange(len(stock))[::-1])))["when",
                                                                                                  "in_order"]


def test_a_stuck_sensor_and_a_biased_sample(stock, stock_suite):
    at = np.arange(len(stock))
    at[500:900] = 500
    stuck = stock.set_column(8, "price", stock["price"].take(pa.array(at)))
    assert "400 rows in a row" in told(stock_suite, stuck)["price", "repeats"]
    some = stock.filter(pa.array((np.array(stock["kind"]) != "car")
                                 | (np.random.default_rng(0).random(len(stock)) < 0.1)))
    assert ("kind", "shares") in told(stock_suite, some)


@quick
@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(1, 39))
def test_runs_add_up(values, cut):
    x = np.array(values, float)
    x[x == 2] = np.nan
    if not 0 < cut < len(x):
        return
    assert runs_of(x[:cut]) + runs_of(x[cut:]) == runs_of(x)
    assert runs_of(x).longest[1] == max(longest_run(x), 1)


# streams, quarantine


def test_a_stream_that_was_killed_goes_on(stock, stock_suite, tmp_path):
    twice = pa.concat_tables([stock.slice(0, 900), stock.slice(100, 50), stock.slice(900, 500)])
    batches = twice.to_batches(max_chunksize=130)
    whole = testing.Stream(stock_suite)
    bad = [whole.check(b).bad.sum() for b in batches]
    part = testing.Stream(stock_suite)
    again = []
    for b in batches:
        again.append(part.check(b).bad.sum())
        part.save(tmp_path / "state.npz")
        part = testing.Stream.load(tmp_path / "state.npz", stock_suite)
    assert again == bad and sum(bad) == 50 and part.tally == whole.tally and part.findings() == whole.findings()
    assert whole.findings() == stock_suite.findings(Tally().add(stock_suite.check(twice, Seen())))
    for content in (b"", b"not a state"):
        (tmp_path / "state.npz").write_bytes(content)
        with core.refused("no state of a stream"):
            testing.Stream.load(tmp_path / "state.npz", stock_suite)
    with core.refused("no such state"):
        testing.Stream.load(tmp_path / "none.npz", stock_suite)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_replay(stock, stock_suite, tmp_path, kind):
    price = stock["price"].to_numpy()[:500]
    dirty = stock.slice(0, 500).set_column(8, "price",
                                           pa.array(np.where(np.arange(500) < 20, price * 1000.37, price)))
    dirty = pa.concat_tables([dirty, dirty.slice(100, 3)])
    pq.write_table(dirty, tmp_path / "in.parquet")
    path, good = tmp_path / f"bad.{kind}", tmp_path / "good.parquet"
    assert testing.test_file(tmp_path / "in.parquet", stock_suite, bad=path)["bad"] == 23
    assert len(testing.replay(path, stock_suite)) == 0 and len(formats.read_table(path)) == 23  # nothing was mended

    def fix(rows):
        price = rows["price"].cast(pa.float64())
        mended = pa.compute.round(pa.compute.divide(price, 1000.37), 2)
        return rows.set_column(rows.column_names.index("price"), "price",
                               pa.compute.if_else(pa.compute.greater(price, 150), mended, price))
    freed = testing.replay(path, stock_suite, fix, good)
    left = formats.read_table(path)
    assert len(freed) + len(left) == 23 and len(left) >= 3 and pq.read_table(good).num_rows == len(freed) >= 17
    reasons = left["reasons"].to_pylist()
    assert sum("no second one" in str(r) for r in reasons) == 3  # a twin is still a twin
    with core.refused("is there already"):
        testing.replay(path, stock_suite, good=good)
    with core.refused("it must keep each row"):
        testing.replay(path, stock_suite, lambda t: t.slice(0, 1))
    with core.refused("no column 'reasons'"):
        testing.replay(good, stock_suite)


def test_a_replay_that_fails_changes_nothing(stock, stock_suite, tmp_path):
    pq.write_table(stock.slice(0, 300).set_column(8, "price", pa.array(np.full(300, -1.0))),
                   tmp_path / "in.parquet")
    testing.test_file(tmp_path / "in.parquet", stock_suite, bad=tmp_path / "bad.parquet")
    before = (tmp_path / "bad.parquet").read_bytes()

    def fix(rows):
        raise RuntimeError("the fix is broken")
    with pytest.raises(RuntimeError):
        testing.replay(tmp_path / "bad.parquet", stock_suite, fix, tmp_path / "good.parquet")
    assert (tmp_path / "bad.parquet").read_bytes() == before and not (tmp_path / "good.parquet").exists()


def test_one_line_per_row(stock, stock_suite, tmp_path):
    price = pa.array(np.where(np.arange(1000) == 5, -1.0, 1.5))
    pq.write_table(stock.slice(0, 1000).set_column(8, "price", price), tmp_path / "in.parquet")
    for name in ("lines.parquet", "lines.csv"):
        result = testing.test_file(tmp_path / "in.parquet", stock_suite, verdicts=tmp_path / name,
                                   batch_rows=300)
        lines = formats.read_table(tmp_path / name)
        assert lines["row"].to_pylist() == list(range(1000)) and np.flatnonzero(lines["bad"].to_pylist()).tolist() == [5]
        assert "price = -1" in str(lines["reasons"][5].as_py()) and 0 < lines["novelty"][7].as_py() <= 1 and result["verdicts"]


# the command


def test_the_command_tells_verdicts_age_and_replays(cli, suite, table, tmp_path):
    suite.save(tmp_path / "suite.json")
    pq.write_table(dirty_table(table), tmp_path / "in.parquet")
    args = ["test", tmp_path / "in.parquet", "--suite", tmp_path / "suite.json"]
    code, out, _ = cli(*args, "--bad", tmp_path / "bad.parquet", "--verdicts", tmp_path / "lines.csv", "--json")
    assert code == 0 and json.loads(out)["bad"] == 2 and (tmp_path / "lines.csv").read_text().count("\n") == 3001
    code, out, err = cli("test", tmp_path / "bad.parquet", "--suite", tmp_path / "suite.json", "--replay")
    assert code == 2 and "--replay needs --good" in err
    code, out, _ = cli("test", tmp_path / "bad.parquet", "--suite", tmp_path / "suite.json", "--replay", "--good", tmp_path / "good.parquet")
    assert code == 1 and "0 rows come out" in out and "2 stay" in out
    wider = json.loads((tmp_path / "suite.json").read_text())
    wider["columns"]["low"].pop("min")
    wider["relations"] = []
    (tmp_path / "suite.json").write_text(json.dumps(wider))
    code, out, _ = cli("test", tmp_path / "bad.parquet", "--suite", tmp_path / "suite.json", "--replay", "--good", tmp_path / "ok.parquet", "--json")
    assert code == 0 and json.loads(out)["out"] == 2 and pq.read_table(tmp_path / "bad.parquet").num_rows == 0


def test_the_command_judges_age(cli, stock_suite, stock, tmp_path):
    stock_suite.save(tmp_path / "suite.json")
    pq.write_table(stock, tmp_path / "in.parquet")
    args = ["test", tmp_path / "in.parquet", "--suite", tmp_path / "suite.json"]
    assert "days old" in cli(*args, "--now", "2021-08-01")[1] and "old" not in cli(*args, "--now", "2021-05-30T00:00")[1]
    code, _, err = cli(*args, "--now", "yesterdayish")
    assert code == 2 and "now = yesterdayish: no time" in err
