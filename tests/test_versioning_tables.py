"""Any table is saved and compared: index, categories, nullable and Arrow types, time zones, odd names; and stores of earlier releases."""
import subprocess
import sys

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from testing_tables import Foreign

from mlsys import core, versioning
from mlsys.versioning.store import STORE, find

FRAME = pd.DataFrame({"id": [1, 2, 3], "city": ["Rome", None, "Oslo"], "x": [0.5, np.nan, 2.0],
                      "when": pd.date_range("2024-03-31", periods=3, freq="h", tz="Europe/Berlin")})
ARROW = pa.Table.from_pandas(FRAME, preserve_index=False)


KINDS = {
    "pandas": lambda: FRAME, "index": lambda: FRAME.set_index("id"),
    "two levels": lambda: FRAME.set_index(["id", "city"]),
    "nameless index": lambda: FRAME.set_axis(["p", "q", "r"]),
    "categories": lambda: FRAME.astype({"city": "category"}),
    "nullable": lambda: FRAME.astype({"id": "Int64", "x": "Float64", "city": "string"}),
    "arrow-backed": lambda: ARROW.to_pandas(types_mapper=pd.ArrowDtype),
    "polars": lambda: pl.from_arrow(ARROW),
    "lazy": lambda: pl.from_arrow(ARROW).lazy(), "arrow": lambda: ARROW,
    "batch": lambda: ARROW.to_batches()[0],
    "reader": lambda: ARROW.to_reader(), "stream": lambda: Foreign(ARROW),
    "mapping": lambda: {n: ARROW[n] for n in ARROW.column_names},
    "relation": lambda: duckdb.from_arrow(ARROW)}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_any_table_is_compared(kind):
    assert versioning.diff(FRAME, KINDS[kind]()).same, versioning.diff(FRAME, KINDS[kind]()).schema
    d = versioning.diff(KINDS[kind](), FRAME.assign(x=[0.5, 1.5, 2.0]))
    assert (d.added, d.removed, d.changed) == (0, 0, 1) and d.columns["x"].filled == 1


@pytest.mark.parametrize("kind", KINDS)
def test_any_table_is_saved_under_a_name(here, kind):
    snap = versioning.snapshot(KINDS[kind](), "first", name="table")
    assert [*snap.outs] == ["table.parquet"]
    assert versioning.snapshot(KINDS[kind](), "no change",
                               name="table") == snap == versioning.snapshot({"table": KINDS[kind]()})
    assert versioning.diff("table@latest", FRAME).same and versioning.diff(f"@{snap.rev}", KINDS[kind]()).same
    versioning.restore("latest", to=here / "back")
    assert pq.read_table(here / "back" / "table.parquet").num_rows == 3


@pytest.mark.parametrize("kind", ["pandas", "index", "two levels", "nameless index", "categories",
                                  "nullable"])
def test_pandas_comes_back_as_it_was(here, kind):
    frame = KINDS[kind]()
    versioning.snapshot(frame, name="table.parquet")
    versioning.restore("latest")
    pd.testing.assert_frame_equal(pd.read_parquet("table.parquet"), frame, check_freq=False)


def test_an_index_with_a_name_counts():
    a = FRAME.set_index("id")
    assert versioning.diff(a, a.rename(index={3: 4}), ["id"]).added == 1
    with core.refused("names both a column and the index"):
        versioning.diff(a, FRAME.set_index("id", drop=False))


def test_the_same_instant_in_two_zones_is_no_change():
    d = versioning.diff(FRAME, FRAME.assign(when=FRAME.when.dt.tz_convert("UTC")))
    assert d.changed == 0 and versioning.diff(FRAME, FRAME.assign(when=FRAME.when + pd.Timedelta("1h")), ["id"]).changed == 3


def test_categories_are_compared_by_value():
    a, b = (pd.DataFrame({"id": range(4), "c": pd.Categorical(list("abab"), categories=c)}) for c in (list("ab"), list("cba")))
    assert versioning.diff(a, b).same and versioning.diff(a, a).same
    assert versioning.diff(a, b.assign(c=pd.Categorical(list("abac")))).changed == 1
    assert versioning.diff(a, b.assign(c=list("abab"))).same and versioning.diff(a, a).columns["c"].kind == "text"


@pytest.mark.parametrize("frame, sentence", [
    (pd.DataFrame([[1, 2]]), "is named 0, which is not text"),
                                             (pd.DataFrame([[1, 2]], columns=["a", "a"]),
                                              "two columns are named 'a'"),
    (pd.DataFrame({"a": [1], "A": [2]}), "differ only in case"), (7, "is not a table"),
                                             (pd.DataFrame({"a": [1, "x"]}), "")])
def test_tables_that_cannot_be_compared(frame, sentence):
    with core.refused(sentence):
        versioning.diff(frame, FRAME)


def test_tables_that_cannot_be_saved(here):
    for given, sentence in ((FRAME, "a table needs a name"), ({"../x": FRAME}, "not a plain relative "
                                                                               "path"),
                            ({"x": 7}, "is not a table"),
                            (pd.DataFrame([[1]]), "a table needs a name"),
                            ({"x": pd.DataFrame([[1]])}, "which is not text")):
        with core.refused(sentence):
            versioning.snapshot(given)
    assert versioning.log() == [] and not list((here / STORE / ".dvc" / "tmp").glob("tmp*"))


def test_a_table_larger_than_a_batch_streams(here):
    batches = [pa.record_batch({"id": np.arange(i, i + 1000)}) for i in range(0, 200_000, 1000)]
    versioning.snapshot(pa.RecordBatchReader.from_batches(batches[0].schema, iter(batches)), name="long")
    assert versioning.diff("long@latest", {"id": np.arange(200_000)}).same


OLD = """meta:
  time: '2026-11-28T08:11:22.573383+00:00'
  kind: data
  message: by the old code
  about: {}
  parent: ''
outs:
- path: 00b4b46e61a8/table
  hash: md5
  md5: f8cb5d59ec08b4cdbb3b1686904613da.dir
  size: 3
  nfiles: 1
"""
OLD_MODEL = """meta:
  time: '2026-11-28T08:11:22.899095+00:00'
  kind: model
  message: ''
  about:
    metrics:
      auc: 0.7
    digest: 1e40da2ccc6f5c13e2374aa091c987c4abec080659502deb62e7fb21abfcb2a4
    code:
      commit: ''
      mlsys: 0.1.0
      source: fe5735cbccf08aa81491cb1734562810
    data: 00b4b46e61a8
    rows:
      count: 2
      sha256: 0c730b69905c5ef7a4ca5269f72365400bde2dd2c04eaf9bbb3d1c4a265a0131
  parent: 00b4b46e61a8
outs:
- path: 5fcf95e20a0b/a.txt
  hash: md5
  md5: f97c5d29941bfb1b2fdab0874906ab82
  size: 3
"""


def test_a_store_of_an_earlier_release_is_read(here):
    "Its texts and files byte for byte, as the code before the rooms wrote them."
    cache = here / STORE / ".dvc" / "cache" / "files" / "md5"
    files = {STORE
             + "/.dvc/config": "[core]\n    analytics = false\n    no_scm = true\n    check_update = false\n",
             f"{STORE}/snapshots/00b4b46e61a8.dvc": OLD, f"{STORE}/snapshots/5fcf95e20a0b.dvc": OLD_MODEL,
             cache / "f9" / "7c5d29941bfb1b2fdab0874906ab82": "one",
             cache / "f8"
             / "cb5d59ec08b4cdbb3b1686904613da.dir": '[{"md5": "f97c5d29941bfb1b2fdab0874906ab82", '
                                                     '"relpath": "a.txt"}]'}
    for name, text in files.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text)
    assert [x.kind for x in versioning.log()] == ["model", "data"] and versioning.verify()["damaged"] == []
    versioning.restore("00b4")
    assert (here / "table" / "a.txt").read_text() == "one"
    assert versioning.snapshot("table", "no change") == find("00b4")
    (here / "table" / "b.txt").write_text("two")
    assert versioning.snapshot("table").parent == "5fcf95e20a0b"


def test_the_face_loads_what_is_asked_for():
    code = ("import sys; from mlsys import versioning\nassert 'dvc' not in sys.modules and 'pandas' not in "
            "sys.modules\n"
            "versioning.log, versioning.lineage\nassert 'dvc' not in sys.modules and 'torch' not in "
            "sys.modules\nassert 'diff' in dir(versioning)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
