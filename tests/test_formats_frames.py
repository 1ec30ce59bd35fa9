"Any table becomes Arrow, its rows come back as they were, and new columns come in the same kind."

import datetime
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

from mlsys import core, formats
from mlsys.core import BadInput
from mlsys.formats.frames import dialect, like, take_rows, to_arrow, to_batches
from mlsys.formats.layout import write_layout

ROWS = {
    "n": [1, 2, None],
    "x": [0.5, None, 2.0],
    "s": ["a", None, "ü"],
    "b": [True, False, None],
    "t": [datetime.datetime(2013, 1, 1, 5), None, datetime.datetime(2013, 7, 1, 5)],
}
SCHEMA = pa.schema(
    [("n", pa.int64()), ("x", pa.float64()), ("s", pa.string()), ("b", pa.bool_()), ("t", pa.timestamp("us"))]
)
TABLE = pa.table(ROWS, schema=SCHEMA)


def nullable():
    return TABLE.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}.get)


KINDS = {
    "pandas, nullable": nullable,
    "pandas, of Arrow": lambda: TABLE.to_pandas(types_mapper=pd.ArrowDtype),
    "pandas, with an index": lambda: nullable().set_axis(["p", "q", "r"]),
    "polars": lambda: pl.from_arrow(TABLE),
    "polars, lazy": lambda: pl.from_arrow(TABLE).lazy(),
    "table": lambda: TABLE,
    "large strings": lambda: TABLE.set_column(2, "s", TABLE["s"].cast(pa.large_string())),
    "string views": lambda: TABLE.set_column(2, "s", TABLE["s"].cast(pa.string_view())),
    "batch": lambda: TABLE.combine_chunks().to_batches()[0],
    "reader": lambda: TABLE.to_reader(2),
    "DuckDB": lambda: duckdb.from_arrow(TABLE),
    "stream": lambda: Foreign(TABLE),
    "mapping": lambda: ROWS,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_the_same_table(kind):
    found = to_arrow(KINDS[kind]())
    assert found.schema.equals(SCHEMA) and found.to_pydict() == TABLE.to_pydict()
    some = to_arrow(KINDS[kind](), ["s", "n"])
    assert some.column_names == ["s", "n"] and some["s"].to_pylist() == ROWS["s"]
    with pytest.raises(BadInput, match="no column 'nn'; did you mean 'n'"):
        to_arrow(KINDS[kind](), ["nn"])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_streams(kind):
    reader = to_batches(KINDS[kind](), rows=2, columns=["n", "t"])
    assert isinstance(reader, pa.RecordBatchReader) and reader.schema.names == ["n", "t"]
    batches = list(reader)
    assert [len(b) for b in batches] == [2, 1]
    assert pa.Table.from_batches(batches).to_pydict() == TABLE.select(["n", "t"]).to_pydict()


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "arrow", "orc"])
def test_a_path_is_opened(suffix, tmp_path):
    path = tmp_path / f"t.{suffix}"
    with formats.table_writer(path) as write:
        write(TABLE)
    for given in (path, str(path)):
        assert to_arrow(given, ["s", "n"]).to_pydict() == TABLE.select(["s", "n"]).to_pydict()
        assert to_batches(given, columns=["x"]).read_all().to_pydict() == TABLE.select(["x"]).to_pydict()


def test_a_text_file_that_breaks_its_promise_is_read_to_the_end(tmp_path):
    path = tmp_path / "late.csv"
    path.write_text("a,b\n" + "1,x\n" * 1_500_000 + "1.5,x\n")
    for table in (to_arrow(path), to_batches(path).read_all()):
        assert table.schema.field("a").type == pa.float64() and table["a"][-1].as_py() == 1.5


def test_a_stream_is_not_held():
    "An endless reader gives its first batch."

    def endless():
        while True:
            yield TABLE.to_batches()[0]

    assert len(to_batches(pa.RecordBatchReader.from_batches(SCHEMA, endless())).read_next_batch()) == 3


def test_time_zones_and_categories():
    frame = pd.DataFrame(
        {
            "t": pd.to_datetime(["2013-03-10T01:30", None]).tz_localize("America/New_York"),
            "c": pd.Categorical(["low", None], categories=["low", "high"], ordered=True),
        }
    )
    table = to_arrow(frame)
    assert table.schema.field("t").type.tz == "America/New_York" and table["t"][0].as_py().hour == 1
    assert table.schema.field("c").type.ordered and table["c"].to_pylist() == ["low", None]
    polars = to_arrow(pl.DataFrame({"c": pl.Series(["u", "v"], dtype=pl.Categorical)}))
    assert (
        pa.types.is_string(polars.schema.field("c").type.value_type) and not polars.schema.field("c").metadata
    )


@pytest.mark.parametrize(
    "frame, sentence",
    [
        (pd.DataFrame([[1, 2]]), "column 1 is named 0, which is not text"),
        (pd.DataFrame([[1, 2]], columns=["a", None]), "column 2 is named"),
        (
            pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])),
            r"column 1 is named \('a', 'b'\)",
        ),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns are named 'a'"),
        (pa.table([[1], [2]], names=["a", "a"]), "two columns are named 'a'"),
        (pd.DataFrame({"a": [1, "x"]}), "column 'a': its values are of different kinds"),
        ({"a": [1], "b": [1, 2]}, "the columns do not make a table"),
        (pd.Series([1], name="a"), "a Series is not a table"),
        (pl.Series([1]), "a Series is not a table"),
        (pa.chunked_array([[1]]), "a ChunkedArray is not a table"),
        ([{"a": 1}], "a list is not a table"),
        (None, "a NoneType is not a table"),
        ("nowhere.csv", "nowhere.csv"),
    ],
)
def test_what_is_no_table_is_one_sentence(frame, sentence):
    for take in (to_arrow, to_batches):
        with pytest.raises(BadInput, match=sentence) as e:
            take(frame)
        assert "\n" not in str(e.value)


def test_rows_come_back_as_they_were(tmp_path):
    frame = (
        nullable().assign(c=pd.Categorical(["u", "v", "u"]), o=[object(), {1}, 7]).set_axis(["p", "q", "r"])
    )
    some = take_rows(frame, np.array([True, False, True]))
    assert (
        some.index.tolist() == ["p", "r"]
        and some.dtypes.equals(frame.dtypes)
        and some["o"].tolist() == [frame["o"].iloc[0], 7]
    )
    assert take_rows(pl.from_arrow(TABLE), [2, 0]).equals(pl.from_arrow(TABLE)[[2, 0]])
    lazy = take_rows(pl.from_arrow(TABLE).lazy(), [2])
    assert isinstance(lazy, pl.LazyFrame) and lazy.collect().equals(pl.from_arrow(TABLE)[[2]])
    large = TABLE.set_column(2, "s", TABLE["s"].cast(pa.large_string()))
    assert take_rows(large, [1]).schema == large.schema
    assert isinstance(take_rows(TABLE.to_batches()[0], [1]), pa.RecordBatch)
    assert take_rows(TABLE.to_reader(), [1]).read_all().to_pydict() == TABLE.slice(1, 1).to_pydict()
    pq.write_table(TABLE, tmp_path / "t.parquet")
    for given in (Foreign(TABLE), duckdb.from_arrow(TABLE), ROWS, tmp_path / "t.parquet"):
        assert take_rows(given, [1]).to_pydict() == TABLE.slice(1, 1).to_pydict()
    assert (
        len(take_rows(frame, []))
        == len(take_rows(TABLE, []))
        == len(take_rows(pl.from_arrow(TABLE), []))
        == 0
    )


def test_a_reader_that_was_read_before():
    reader = TABLE.to_reader()
    reader.read_all()
    with pytest.raises(BadInput, match="can be read only once"):
        take_rows(reader, [1])


def test_new_columns_in_the_kind_that_was_given():
    scores = pa.table({"score": [0.5, None, 1.0], "why": ["a", "b", None]})
    plain = TABLE.to_pandas()
    assert like(scores, plain).dtypes["score"] == np.float64
    assert like(scores, nullable()).dtypes["score"] == pd.Float64Dtype()
    assert like(scores, TABLE.to_pandas(types_mapper=pd.ArrowDtype)).dtypes["score"] == pd.ArrowDtype(
        pa.float64()
    )
    assert like(scores, plain.set_axis(["p", "q", "r"]), aligned=True).index.tolist() == ["p", "q", "r"]
    assert like(scores, plain.set_axis(["p", "q", "r"])).index.tolist() == [0, 1, 2]
    assert like(scores, pl.DataFrame()).equals(pl.from_arrow(scores))
    assert isinstance(like(scores, pl.LazyFrame()), pl.LazyFrame)
    assert isinstance(like(scores, TABLE.to_reader()), pa.RecordBatchReader)
    assert isinstance(like(scores, TABLE.to_batches()[0]), pa.RecordBatch)
    assert len(like(scores.slice(0, 0), TABLE.to_batches()[0])) == 0
    for given in (TABLE, "a.csv", ROWS, Foreign(TABLE)):
        assert like(scores, given) is scores


def test_the_dialect_goes_into_nested_types():
    kind = pa.struct([("a", pa.large_list(pa.large_string())), ("b", pa.binary_view())])
    assert dialect(kind) == pa.struct([("a", pa.list_(pa.string())), ("b", pa.binary())])
    column = pa.chunked_array([[{"a": ["x"], "b": b"y"}]], kind)
    assert to_arrow(pa.table({"c": column}))["c"].to_pylist() == [{"a": ["x"], "b": b"y"}]


# What takes a table takes any table


@pytest.mark.parametrize("kind", KINDS)
def test_convert_takes_every_kind(kind, tmp_path):
    for dst in ("a.parquet", "a.jsonl"):
        result = formats.convert(KINDS[kind](), tmp_path / dst, ["s", "n"], where="x > 1 or n = 1")
        assert result["rows"] == 2 and result["columns"] == ["s", "n"] and result["losses"] == []
        assert formats.open_table(tmp_path / dst).read().to_pydict() == {"s": ["a", "ü"], "n": [1, None]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_writer_and_a_layout_take_every_kind(kind, tmp_path):
    with formats.table_writer(tmp_path / "a.arrow") as add:
        add(KINDS[kind]())
    assert formats.read_table(tmp_path / "a.arrow").to_pydict() == TABLE.to_pydict()
    write_layout(KINDS[kind](), formats.Layout(sort="x"), tmp_path / "t")
    assert formats.read_table(tmp_path / "t", ["x"])["x"].to_pylist() == [0.5, 2.0, None]
    advice = formats.advise(KINDS[kind](), {"all": (["n"], None), "one": (["x"], "n = 1")})
    assert advice.share == 1 and advice.tried[0].rows == {"all": 3, "one": 1}


def test_a_column_that_is_not_there_is_told_in_the_same_words(tmp_path):
    for take in (
        lambda: formats.convert(TABLE, tmp_path / "a.csv", ["nn"]),
        lambda: formats.to_arrow(TABLE, ["nn"]),
        lambda: formats.convert(TABLE, tmp_path / "a.csv", where="nn > 1"),
        lambda: formats.advise(TABLE, {"q": (["nn"], None)}),
    ):
        with pytest.raises(BadInput, match="no column 'nn'; did you mean 'n'"):
            take()
    assert not list(tmp_path.iterdir())


def test_labels_of_a_data_set_from_every_kind(tmp_path):
    days = pd.date_range("2024-01-01", periods=100).astype(str)
    pd.DataFrame({"when": days, "x": range(100), "y": [0, 1] * 50}).to_csv(tmp_path / "my.csv", index=False)
    card = core.Settings(data=core.Data(source="my.csv", target="y", time="when"), home=tmp_path)
    data = formats.ingest(card)
    table = data.read()
    for kind in (
        table,
        table.to_pandas(),
        pl.from_arrow(table),
        pl.from_arrow(table).lazy(),
        table.to_reader(),
    ):
        assert data.labels(kind).tolist() == [0.0, 1.0] * 50


def test_bundled_tables_and_paths_stream_alike(tmp_path):
    assert formats.open_stream("flights", 1000, ["carrier"]).read_next_batch().num_rows == 1000
    pq.write_table(TABLE, tmp_path / "t.parquet")
    assert formats.open_stream(tmp_path / "t.parquet", columns=["n"]).read_all()["n"].to_pylist() == ROWS["n"]
    with pytest.raises(BadInput, match="no such file"):
        formats.open_stream("flihgts")


def test_the_face_loads_nothing_before_it_is_asked():
    heavy = "[m for m in ('pyarrow', 'pandas', 'duckdb') if m in sys.modules]"
    code = f"import sys; from mlsys import formats; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
