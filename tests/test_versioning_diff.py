"""A diff of two tables: against pandas on tables of all sorts, by its rules, larger than memory, and as a page and a command."""
import datetime
import json
import subprocess
import sys
import tempfile

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsys import core, formats, versioning
from mlsys.versioning.columns import SchemaChange
from mlsys.versioning.page import diff_page

NAN = float("nan")


def reference(a, b, key):
    "The same in pandas: rows of unique keys by a join, rows of doubled keys as bags."
    def cell(x):
        return None if pd.isna(x) else x

    def bag(frame):
        rows = {}
        for r in frame.itertuples(index=False):
            k = tuple(map(cell, r))
            rows[k] = rows.get(k, 0) + 1
        return rows
    names = list(a.columns)
    at = [names.index(k) for k in key]
    A, B = bag(a), bag(b[names])
    keys = [{} for _ in "ab"]
    for side, rows in zip(keys, (A, B), strict=True):
        for r, n in rows.items():
            k = tuple(r[i] for i in at)
            side[k] = side.get(k, 0) + n
    doubled = {k for side in keys for k, n in side.items() if n > 1}
    one = [{tuple(r[i] for i in at): r for r in rows if tuple(r[i] for i in at) not in doubled}
           for rows in (A, B)]
    changed = sum(one[0][k] != one[1][k] for k in one[0].keys() & one[1].keys())
    many = [{r: n for r, n in rows.items() if tuple(r[i] for i in at) in doubled} for rows in (A, B)]
    removed = len(one[0].keys() - one[1].keys()) + sum(max(n - many[1].get(r, 0), 0) for r, n in many[0].items())
    added = len(one[1].keys() - one[0].keys()) + sum(max(n - many[0].get(r, 0), 0) for r, n in many[1].items())
    return added, removed, changed


def table(rows):
    return pd.DataFrame(rows, columns=["id", "word", "x"]).astype({"id": "float64", "word": "str",
                                                                   "x": "float64"})


row = st.tuples(st.one_of(st.none(), st.integers(0, 6)), st.sampled_from(["", "a", "b", "é'\"", None]),
                st.sampled_from([0.0, -0.0, 1.5, NAN, float("inf"), -float("inf")]))
TYPES = pa.schema([("id", pa.int64()), ("word", pa.string()), ("x", pa.float64())])


def arrow(rows):
    columns = list(zip(*rows, strict=True)) if rows else [[], [], []]
    return pa.table([pa.array(c, t.type) for c, t in zip(columns, TYPES, strict=True)], schema=TYPES)


@settings(max_examples=40, deadline=None)
@given(st.lists(row, max_size=8), st.lists(row, max_size=8),
       st.sampled_from([["id"], ["id", "word"], ["word"]]))
def test_the_counts_are_those_of_pandas(a, b, key):
    a, b = arrow(a), arrow(b)
    d = versioning.diff(a, b, key)
    assert (d.added, d.removed, d.changed) == reference(a.to_pandas(), b.to_pandas(), key)
    assert d.rows == (len(a), len(b)) and d.unchanged >= 0 and d.unchanged + d.added + d.changed == len(b)
    assert d.same == (d.added == d.removed == d.changed == 0)


@settings(max_examples=10, deadline=None)
@given(st.lists(row, max_size=8), st.randoms(use_true_random=False))
def test_order_does_not_count_and_both_directions_agree(rows, random):
    again = rows[:]
    random.shuffle(again)
    a, b = arrow(rows), arrow(again).select(["x", "id", "word"])
    assert versioning.diff(a, b).same and versioning.diff(a, b, ["word"]).same
    there, back = versioning.diff(a, a.slice(1), ["id"]), versioning.diff(a.slice(1), a, ["id"])
    assert (there.added, there.removed, there.changed) == (back.removed, back.added, back.changed)


BASE = pd.DataFrame({"id": range(200), "city": [f"c{i % 7}" for i in range(200)], "x": np.arange(200) / 7,
                     "when": pd.date_range("2024-01-01", periods=200, freq="h", tz="UTC")})


def test_what_changed_by_column():
    new = BASE.copy()
    new.loc[3:12, "x"] += 5
    new.loc[5:6, "city"] = None
    new = pd.concat([new.drop(index=[0, 1]), new.tail(1).assign(id=999)])
    d = versioning.diff(BASE, new)
    assert d.key == ["id"] and d.key_found
    assert (d.added, d.removed, d.changed, d.unchanged) == (1, 2, 10, 188)
    assert d.columns["x"].changed == 10 and d.columns["x"].shift == pytest.approx(5)
    assert d.columns["city"].emptied == 2 and d.columns["city"].filled == 0
    assert d.columns["when"].changed == 0 and {e.after for e in d.columns["city"].examples} == {"missing"}
    assert list(d.samples["removed"]["id"]) == ["0", "1"] and "->" in d.samples["changed"]["x"][0]


def test_a_key_of_several_columns_is_found():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame([(d, f, o) for d in range(30) for f in range(12) for o in "ABC"],
                         columns=["day", "flight", "origin"])
    n = len(frame)
    frame = frame.assign(delay=rng.normal(size=n), note=rng.choice(["a", "b"], n),
                         gate=rng.integers(0, 4, n).astype(float))
    new = frame.assign(delay=frame.delay.where(frame.day != 3, 0.0))
    d = versioning.diff(frame, new.sample(frac=1, random_state=1))
    assert set(d.key) == {"day", "flight", "origin"} and (d.added, d.removed, d.changed) == (0, 0, 36)
    assert not versioning.diff(frame[["note", "delay"]],
                               frame[["note", "delay"]].head(3)).key  # two words and fractions name no row


def test_wrong_and_doubled_keys():
    with core.refused("key 'idd' is not a column of both tables; did you mean 'id'"):
        versioning.diff(BASE, BASE, ["idd"])
    twice = pd.concat([BASE, BASE.iloc[[4, 4]]])
    d = versioning.diff(twice, BASE, ["id"])
    assert d.doubled == (1, 0) and (d.added, d.removed, d.changed) == (0, 2, 0)
    d = versioning.diff(BASE, BASE.assign(x=BASE.x + 1),
                        ["city"])  # names seven groups: nothing is ever "changed"
    assert d.doubled == (7, 7) and (d.added, d.removed, d.changed) == (200, 200, 0)


def test_types_and_tolerance():
    assert versioning.diff(BASE, BASE.assign(id=BASE.id.astype(float))).schema == [SchemaChange("type", "id",
                                                                                                "BIGINT",
                                                                                                "DOUBLE")]
    text = versioning.diff(BASE, BASE.assign(id=BASE.id.astype(str)), ["id"])
    assert text.changed == text.added == 0 and text.schema[0].after == "VARCHAR" and not text.same
    dates = BASE.assign(when=BASE.when.dt.tz_localize(None))
    assert versioning.diff(BASE, dates, ["id"]).changed == 0
    single = versioning.diff(BASE, BASE.assign(x=BASE.x.astype("float32")), ["id"])
    assert single.changed == 0 and single.schema[0].change == "type"
    near = BASE.assign(x=BASE.x + 1e-9)
    assert versioning.diff(BASE, near, ["id"]).changed > 150
    assert versioning.diff(BASE, near, ["id"], atol=1e-8).same and versioning.diff(BASE, BASE.assign(x=BASE.x * (1 + 1e-9)), ["id"], rtol=1e-8).same
    inf = pd.DataFrame({"id": [1, 2], "x": [float("inf"), 1.0]})
    assert versioning.diff(inf, inf.assign(x=[-float("inf"), NAN]), ["id"], rtol=0.5, atol=9).changed == 2
    nested = pa.table({"id": [1, 2], "list": [[1, 2], None], "struct": [{"a": 1}, {"a": 2}]})
    assert versioning.diff(nested, nested).same
    assert versioning.diff(nested, nested.set_column(1, "list",
                                                     pa.array([[1, 2], [3]]))).columns["list"].filled == 1
    big = pa.table({"id": [1], "n": pa.array([2**63 - 1], pa.int64())})
    assert versioning.diff(big, big.set_column(1, "n", pa.array([2**63], pa.uint64())), ["id"]).changed == 1


def test_columns_that_came_went_or_have_another_name():
    d = versioning.diff(BASE, BASE.rename(columns={"city": "town", "x": "y"}).assign(new=1), ["id"])
    assert {(x.change, x.column) for x in d.schema} == {("renamed?", "city"), ("renamed?", "x"),
                                                        ("added", "new")}
    constant = BASE.assign(flag=1)
    d = versioning.diff(constant, BASE.assign(other=1), ["id"])  # all constants are alike: no guess
    assert {(x.change, x.column) for x in d.schema} == {("removed", "flag"), ("added", "other")}
    assert versioning.diff(BASE.assign(z=1), BASE, ["id"], ignore=["z"]).same
    with core.refused("no column in common"):
        versioning.diff(BASE[["id"]], BASE[["x"]])


def test_distributions():
    a = pd.DataFrame({"id": range(1000), "x": np.arange(1000.0), "w": ["a", "b"] * 500,
                      "t": pd.date_range("2024", periods=1000)})
    b = a.assign(x=a.x + 5000, w=["c"] * 1000)
    d = versioning.diff(a, b, ["id"])
    assert d.columns["x"].distance == pytest.approx(1) and d.columns["w"].distance == pytest.approx(1)
    assert d.columns["t"].distance == 0 and sum(d.columns["x"].before.bins) == 1000
    half = versioning.diff(a, a.assign(w=["a"] * 1000, x=a.x.where(a.index % 2 == 0)), ["id"]).columns
    assert half["w"].distance == pytest.approx(0.5) and half["x"].distance == pytest.approx(0.5) and half["x"].after.missing == 500


def test_files_folders_and_formats(tmp_path):
    plain = BASE.drop(columns="when")
    plain.to_csv(tmp_path / "a.csv", index=False)
    for part, rows in plain.groupby("city"):
        (tmp_path / "parts" / f"city={part}").mkdir(parents=True)
        rows.drop(columns="city").to_parquet(tmp_path / "parts" / f"city={part}" / "p.parquet", index=False)
    assert versioning.diff(tmp_path / "a.csv", tmp_path / "parts", ["id"]).same
    with core.refused("no such file"):
        versioning.diff(tmp_path / "none.parquet", tmp_path / "a.csv")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "parts" / "city=c0" / "p.parquet").read_bytes()[:-40])
    with core.refused("was it copied completely?"):
        versioning.diff(tmp_path / "cut.parquet", tmp_path / "a.csv")
    pq.write_table(pa.table({"id": pa.array([], pa.int64())}), tmp_path / "empty.parquet")
    assert versioning.diff(tmp_path / "empty.parquet", tmp_path / "a.csv").added == 200


def test_all_rows_that_differ_can_be_kept(tmp_path):
    new = BASE.assign(x=BASE.x.where(BASE.id > 20, 0.5)).iloc[5:]
    d = versioning.diff(BASE, new, out=tmp_path / "rows.parquet")
    rows = pq.read_table(tmp_path / "rows.parquet").to_pandas()
    assert rows.change.value_counts().to_dict() == {"changed": d.changed, "removed": 5}
    changed = rows[rows.change == "changed"]
    assert (changed["x:after"] == 0.5).all() and set(changed["id:before"]) == set(changed["id:after"])


def test_the_command(tmp_path, cli):
    a, b = tmp_path / "a.parquet", tmp_path / "b.parquet"
    BASE.to_parquet(a)
    BASE.assign(x=BASE.x + (BASE.id == 7)).to_parquet(b)
    assert cli("diff", a, a)[0] == 0
    code, out, _ = cli("diff", a, b, "--html", tmp_path / "d.html", "--rows", tmp_path / "r.parquet", "--key", "id")
    assert code == 1 and "1 changed" in out and (tmp_path / "d.html").exists() and pq.read_metadata(tmp_path / "r.parquet").num_rows == 1
    code, out, _ = cli("diff", a, b, "--json")
    told = json.loads(out)
    assert code == 1 and told["changed"] == 1 and told["columns"]["x"]["shift"] == pytest.approx(1) and not told["same"]
    code, _, err = cli("diff", a, tmp_path / "none.csv")
    assert code == 2 and len(err.strip().splitlines()) == 1
    assert cli("diff", a, b, "--ignore", "x")[0] == 0 and cli("diff", a, b, "--atol", 2)[0] == 0


def test_the_page_is_whole_and_escaped(tmp_path):
    a = pd.DataFrame({"id": [1, 2], "<script>alert(1)</script>": ["<b>", None],
                      "t": [datetime.date(2024, 1, 1)] * 2})
    text = diff_page(versioning.diff(a, a.assign(**{"<script>alert(1)</script>": ["&", "x"]})))
    assert "<script" not in text and "&lt;script&gt;" in text and "//" not in text.replace("-->", "") and "prefers-color-scheme: dark" in text
    assert "No difference" in diff_page(versioning.diff(a, a))


ENDINGS = {"parquet": "parquet", "csv": "csv", "json": "jsonl"}


@pytest.mark.parametrize("kind", ["parquet", "csv", "json"])
def test_larger_than_memory(tmp_path, kind):
    """Two files whose columns take several times the memory that DuckDB gets, in a process whose memory
    is measured."""
    con = duckdb.connect(config={"threads": 2})
    rows = 600_000
    for name, shift in (("a", 0), ("b", 1)):
        wide = ", ".join(f"hash(i * {k + 3})::varchar || 'padding' as s{k}" for k in range(6))
        con.execute(f"copy (select i as id, {wide}, i % 1000 + case when i % 100000 = 0 then {shift} else 0 "
                    f"end as x from range({rows}) t(i)) "
                    f"to '{tmp_path}/{name}.{ENDINGS[kind]}' (format "
                    f"{kind}{', compression zstd, row_group_size 50000' * (kind == 'parquet')})")
    script = ("import sys; from mlsys import versioning\n"
              "d = versioning.diff(sys.argv[1], sys.argv[2], ['id'], memory_mb=120)\n"
              "told = dict(line.split(':', 1) for line in "
              "open('/proc/self/status'))\n"  # getrusage would count the parent's memory too
              "print(d.changed, d.added, d.removed, int(told['VmHWM'].split()[0]) // 1024)")
    done = subprocess.run([sys.executable, "-c", script, *(tmp_path / f"{x}.{ENDINGS[kind]}" for x in "ab")],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    changed, added, removed, mb = map(int, done.stdout.split())
    assert (changed, added, removed) == (rows // 100000, 0, 0)
    assert mb < 500, f"{mb} MB"


def test_a_broken_file_leaves_nothing(tmp_path, monkeypatch):
    """What was written as Parquet on the way goes with the folder it lay in, also when the second file
    breaks at its end."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    BASE.to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "b.csv").write_text((tmp_path / "a.csv").read_text() + "1,2\n")
    with core.refused("line 202: 2 fields"):
        versioning.diff(tmp_path / "a.csv", tmp_path / "b.csv")
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("kind", ["csv", "tsv", "csv.gz", "jsonl", "orc", "arrow"])
def test_every_format_is_compared_as_parquet_is(tmp_path, kind):
    "Types that its beginning does not show, nulls, times: the same answer as from memory."
    n = 60_000
    table = pa.table({"id": np.arange(n), "late": pa.array([None] * (n - 2) + [1.5, 2.5]),
                      "word": [f"w{i % 7}" for i in range(n)],
                      "t": pa.array(np.arange(n) * 1_000_000 + 1_700_000_000_000_000,
                                    pa.timestamp("us", "UTC"))})
    pq.write_table(table, tmp_path / "a.parquet")
    formats.convert(tmp_path / "a.parquet", tmp_path / f"a.{kind}")
    d = versioning.diff(tmp_path / f"a.{kind}", table.set_column(2, "word",
                                                                 pa.array(["x"]
                                                                          + table["word"].to_pylist()[1:])),
                        ["id"],
                        ignore=["t"] if kind == "jsonl" else [])  # a time in JSON is text
    assert (d.added, d.removed, d.changed) == (0, 0, 1) and d.columns["word"].changed == 1
