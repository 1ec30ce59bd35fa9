"""Tables of any format: opened lazily, converted in bounded memory, refused with a sentence; bytes are counted."""

import base64
import contextlib
import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsys import core, formats
from mlsys.formats.columns import promote
from mlsys.formats.costs import bytes_needed, orc_bytes, read_counted
from mlsys.formats.files import find_parts
from mlsys.formats.layout import write_layout
from mlsys.formats.read import BUNDLED_CARDS, infer_types, open_batches
from mlsys.formats.where import parse_where

KINDS = ["parquet", "orc", "arrow", "csv", "jsonl"]
ROOT = Path(__file__).parent.parent


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def mixed():
    "20,000 rows of simple types that every format holds."
    rng, n = np.random.default_rng(0), 20_000
    return pa.table(
        {
            "id": np.arange(n),
            "x": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n).round(3)),
            "word": pa.array(rng.choice(["red", "green", "blue", None], n, p=[0.3, 0.3, 0.3, 0.1])),
            "yes": pa.array(rng.random(n) < 0.5),
        }
    ).set_column(1, "x", pa.array(rng.normal(size=n), mask=rng.random(n) < 0.1))


def write(table, path):
    with formats.table_writer(path, table.schema) as add:
        add(table)


# Convert


@pytest.mark.parametrize("src", KINDS)
@pytest.mark.parametrize("dst", [*KINDS, "csv.gz", "jsonl.gz", "tsv", "tsv.gz", "ndjson", "feather"])
def test_every_direction(src, dst, here, mixed):
    write(mixed, f"a.{src}")
    result = formats.convert(f"a.{src}", f"b.{dst}")
    assert (
        result["losses"] == []
        and result["rows"] == len(mixed)
        and result["bytes"] == Path(f"b.{dst}").stat().st_size
    )
    assert formats.open_table(f"b.{dst}").read().equals(mixed)


@pytest.mark.parametrize("src", KINDS)
def test_columns_and_rows(src, here, mixed):
    write(mixed, f"a.{src}")
    result = formats.convert(f"a.{src}", "b.parquet", ["word", "id"], "x > 0.5 and word <> 'red'")
    expected = mixed.filter((pc.field("x") > 0.5) & (pc.field("word") != "red")).select(["word", "id"])
    assert pq.read_table("b.parquet").equals(expected) and result["rows"] == len(expected) > 0


def test_the_command(here, mixed, cli):
    write(mixed, "a.parquet")
    code, out, _ = cli(
        "convert", "a.parquet", "b.csv.gz", "--columns", "id, word", "--where", "yes and id < 100"
    )
    assert code == 0 and out.startswith(
        f"{mixed.slice(0, 100).filter(pc.field('yes')).num_rows} rows x 2 columns"
    )
    assert list(pd.read_csv("b.csv.gz")) == ["id", "word"]
    write(pa.table({"c": pa.array(["a"]).dictionary_encode(), "zip": ["01"]}), "hard.arrow")
    code, out, _ = cli("convert", "hard.arrow", "hard.csv")
    assert code == 0 and "not kept: c: dictionary" in out and "not kept: zip: string -> int64" in out
    code, out, _ = cli("convert", "hard.arrow", "hard.csv", "--json")
    assert {x["column"] for x in json.loads(out)["losses"]} == {"c", "zip"}
    for wrong, why in [
        (("none.csv", "b.csv"), "none.csv: no such file"),
        (("a.parquet", "b.xls"), "unknown format '.xls'"),
        (("a.parquet", "b.parquet.gz"), "compressed inside"),
        (("a.parquet", "./a.parquet"), "its own input"),
        (("a.parquet", "b.csv", "--columns", "idd"), "did you mean 'id'"),
        (("a.parquet", "b.csv", "--where", "idd > 1"), "at 'idd > 1'"),
        (("a.parquet", "s3://b/c.csv"), "local file"),
        (("nothing://x", "b.csv"), "Protocol not known"),
    ]:
        code, out, err = cli("convert", *wrong)
        assert code == 2 and why in err and len(err.strip().splitlines()) == 1, err
    assert sorted(p.name for p in here.iterdir()) == ["a.parquet", "b.csv.gz", "hard.arrow", "hard.csv"]


def test_the_output_is_whole_or_absent(here, mixed):
    write(mixed, "a.csv")
    text = Path("a.csv").read_bytes()
    Path("b.parquet").write_bytes(b"the last good one")
    Path("a.csv").write_bytes(text + b"1,2,3\n")
    with core.refused("line 20002: 3 fields"):
        formats.convert("a.csv", "b.parquet")
    assert Path("b.parquet").read_bytes() == b"the last good one" and len(list(here.iterdir())) == 2
    os.mkdir("folder")
    write(mixed, "folder/a.csv")
    os.link("a.csv", "same.csv")
    for src, dst, why in [
        ("folder", "folder/b.parquet", "inside the folder"),
        ("a.csv", "same.csv", "its own input"),
        ("a.csv", "folder.csv", "a folder"),
    ]:
        if why == "a folder":
            os.mkdir(dst)
        with core.refused(why):
            formats.convert(src, dst)


def test_a_full_disk_leaves_nothing(here, mixed, cli):
    disk = here / "disk"
    disk.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a small tmpfs needs root and a machine that allows it")
    try:
        write(mixed, "a.arrow")
        for kind in KINDS:
            code, _, err = cli("convert", "a.arrow", f"disk/b.{kind}")
            assert code == 2 and "no space left" in err and len(err.strip().splitlines()) == 1, err
            assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


BIG = """
import resource, sys
from mlsys import formats
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = formats.convert(sys.argv[1], sys.argv[2], where=sys.argv[3] or None)
print(result["rows"], before / 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    "A CSV of 300 MB, made on the spot."
    path = tmp_path_factory.mktemp("big") / "big.csv"
    rng = np.random.default_rng(0)
    piece = (
        pd.DataFrame(
            {
                "id": np.arange(20_000),
                **{f"x{i}": rng.normal(size=20_000).round(4) for i in range(8)},
                "word": rng.choice(["alpha", "beta", "gamma"], 20_000),
            }
        )
        .to_csv(index=False)
        .encode()
    )
    head, _, body = piece.partition(b"\n")
    with open(path, "wb") as f:
        f.write(head + b"\n")
        while f.tell() < 300e6:
            f.write(body)
    return path


@pytest.mark.parametrize("dst", ["big.parquet", "big.csv.gz"])
def test_memory_is_bounded(dst, big, tmp_path):
    where = "id < 1000" if dst.endswith("gz") else ""
    done = subprocess.run(
        [sys.executable, "-c", BIG, str(big), str(tmp_path / dst), where],
        capture_output=True,
        text=True,
        check=True,
    )
    rows, before, peak = map(float, done.stdout.split())
    assert rows > 60_000 and peak - before < 250, (
        before,
        peak,
    )  # the file has 300 MB, and in memory it would take more


# Losses


def test_what_each_format_forgets(here):
    table = pa.table(
        {
            "cat": pa.array(["a", None]).dictionary_encode(),
            "u": pa.array([1, None], pa.uint64()),
            "ny": pa.array([0, None], pa.timestamp("us", "America/New_York")),
            "list": [[1], None],
            "bytes": [b"\xff", None],
            "nan": [float("nan"), 1.5],
            "na": ["NA", "x"],
            "time": pa.array([1, None], pa.time64("us")),
        }
    )
    write(table, "a.arrow")
    lost = {kind: {x["column"] for x in formats.convert("a.arrow", f"b.{kind}")["losses"]} for kind in KINDS}
    assert lost["parquet"] == lost["arrow"] == set()
    assert lost["orc"] == {"cat", "u", "ny", "time"}
    assert lost["jsonl"] == {"cat", "u", "ny", "bytes", "nan", "time"}
    assert lost["csv"] == set(table.column_names)
    assert json.loads(formats.open_table("b.csv").read()["list"][0].as_py()) == [1]
    assert base64.b64decode(formats.open_table("b.jsonl").read()["bytes"][0].as_py()) == b"\xff"


def test_metadata_and_not_null_are_reported(here):
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False)], {"owner": "ann"})
    write(pa.table([[1]], schema=schema), "a.arrow")
    assert formats.convert("a.arrow", "b.parquet")["losses"] == []
    assert formats.convert("a.arrow", "b.csv")["losses"] == [
        dict(column="a", had="int64 not null", has="int64"),
        dict(column="", had="metadata 'owner'", has="nothing"),
    ]


def test_what_no_format_reader_can_hold_is_refused(here):
    write(pa.table({"t": pa.array([32503680000], pa.timestamp("s"))}), "a.arrow")
    with core.refused("after 2261"):
        formats.convert("a.arrow", "b.orc")
    small = [
        pa.DictionaryArray.from_arrays(pa.array(range(100), pa.int8()), [f"{i}-{j}" for j in range(100)])
        for i in range(2)
    ]
    pq.write_table(pa.table({"c": pa.chunked_array(small)}), "c.parquet")
    with core.refused("more categories than"), formats.table_writer("b.arrow") as add:
        for chunk in small:
            add(pa.table({"c": chunk}))
    assert not Path("b.arrow").exists() and not Path("b.orc").exists()


def test_a_growing_dictionary(here):
    with formats.table_writer("a.arrow") as add:
        for words in (["a", "b", None], ["c", "a"], ["b"]):
            add(pa.table({"w": pa.array(words).dictionary_encode()}))
    found = formats.open_table("a.arrow").read()["w"]
    assert found.to_pylist() == ["a", "b", None, "c", "a", "b"] and pa.types.is_dictionary(found.type)


# Types of text


def test_a_csv_that_lies(here):
    rows = 1_000_000
    Path("a.csv").write_bytes(b"n,m\n" + b"".join(b"%d,1\n" % i for i in range(rows)) + b"many,1\n")
    with core.refused("a.csv line 1,000,002, column 'n': invalid value 'many'"):
        formats.open_table("a.csv").read()
    assert (
        formats.open_table("a.csv", ["m"]).read().num_rows == rows + 1
    )  # who does not ask for the column is not hurt by it
    assert formats.open_table("a.csv", types={"n": "string"}).read()["n"][rows].as_py() == "many"
    result = formats.convert("a.csv", "b.parquet")
    assert "line 1,000,002" in result["mismatch"] and pq.read_schema("b.parquet").types == [
        pa.string(),
        pa.int64(),
    ]
    assert formats.read_table("a.csv").schema == pq.read_schema("b.parquet")  # one rule for the whole chapter


@pytest.mark.parametrize(
    "late, kind", [("1.5", pa.float64()), ("", pa.int64()), ("x", pa.string()), ("true", pa.string())]
)
def test_types_hold_all_values(late, kind, here):
    Path("a.csv").write_bytes(b"n,m\n" + b"1234567,1\n" * 500_000 + f"{late},2\n".encode())
    kinds, lost, rows = infer_types(find_parts("a.csv"))
    assert kinds["n"] == kind and rows == 500_001 and lost["n"] == (late == "")
    formats.convert("a.csv", "b.parquet")
    assert pq.read_schema("b.parquet").field("n").type == kind


def test_json_lines_that_change_their_minds(here):
    line = b'{"a": 1, "deep": {"x": [1, null]}}\n'
    Path("a.jsonl").write_bytes(
        line * 150_000 + b'{"a": 2.5, "deep": {"x": [null], "y": "new"}, "b": true}\n'
    )
    with core.refused("to 150,001: unexpected field"):
        formats.open_table("a.jsonl").read()
    assert "to 150,001" in formats.convert("a.jsonl", "b.parquet")["mismatch"]
    found = pq.read_table("b.parquet").slice(149_999).to_pylist()
    assert found == [
        {"a": 1.0, "deep": {"x": [1, None], "y": None}, "b": None},
        {"a": 2.5, "deep": {"x": [None], "y": "new"}, "b": True},
    ]
    Path("c.jsonl").write_bytes(line * 150_000 + b'{"a": "text"}\n')
    with core.refused("line 150,001: Column(/a) changed from number to string"):
        formats.convert("c.jsonl", "d.parquet")
    os.mkdir("parts")
    Path("parts/1.jsonl").write_bytes(line)
    Path("parts/2.jsonl").write_bytes(b'{"a": "text"}\n')
    with core.refused("2.jsonl column 'a': int64 in some lines and string in others"):
        infer_types(find_parts("parts"))
    for text, why in [
        (b"null\n", "line 1: not a JSON object: 'null'"),
        (line + b"[1]\n", "line 2: not a JSON object"),
        (b"\n\n", "no lines"),
        (line + b'{"a":', "line 2"),
        (b'{"a": "\xff"}\n', "utf-8"),
        (b'{"a": 1, "a": 2}\n', "twice"),
    ]:
        Path("e.jsonl").write_bytes(text)
        for read in (formats.read_table, lambda p: formats.open_table(p).read()):
            with pytest.raises(core.BadInput, match=r"(?i)e\.jsonl"):
                read("e.jsonl")
        with core.refused(why) if why != "utf-8" else pytest.raises(core.BadInput):
            formats.read_table("e.jsonl")


@pytest.mark.parametrize(
    "text, why",
    [
        (b"a,b\n1,2\n3,4,5\n", "line 3: 3 fields"),
        (b"a;b\n1;2\n", "no ','"),
        (b"a,b,a\n1,2,3\n", "columns 1 and 3"),
        (b"a,\n1,2\n", "has no name"),
        (b"a,b\n\xe9,1\n", "byte 0xe9 is not UTF-8"),
        (b"\x00\x01,b\n1,2\n", "binary data"),
        (b"", "empty"),
        (b'a,b\n1,"' + b"never closed " * 1_000_000, "longer than 4 MB"),
    ],
)
def test_csv_refusals(text, why, here):
    Path("a.csv").write_bytes(text)
    with core.refused(why):
        formats.convert("a.csv", "b.parquet")


# Open


def hive(folder, table, key):
    for value in pc.unique(table[key]).to_pylist():
        (folder / f"{key}={value}").mkdir(parents=True)
        pq.write_table(
            table.filter(pc.field(key) == value).drop_columns(key),
            folder / f"{key}={value}" / "part-0.parquet",
            row_group_size=500,
        )


@pytest.mark.parametrize("kind", KINDS)
def test_batches_for_who_checks_types_himself(kind, here, mixed):
    write(mixed, f"a.{kind}")
    batches, typed = open_batches(f"a.{kind}", 1000)
    batches = list(batches)
    assert (
        typed == (kind != "csv") and max(map(len, batches)) <= 1000 and sum(map(len, batches)) == len(mixed)
    )
    assert (
        set(batches[0].schema.types) == {pa.string()} if kind == "csv" else batches[0].schema == mixed.schema
    )
    assert (
        open_batches("flights")[1] and len(next(open_batches("flights")[0])) <= 65_536
        if kind == "csv"
        else True
    )


def test_folders_and_partitions(here, mixed):
    full = mixed.filter(pc.field("word").is_valid())
    hive(here / "parts", full, "word")
    (here / "parts" / "_dataset.json").write_text("{}")
    table = formats.open_table("parts", where="word = 'red' and id >= 10")
    assert table.full.names == ["id", "x", "yes", "word"]
    assert table.read().equals(
        full.filter((pc.field("word") == "red") & (pc.field("id") >= 10)).select(table.columns)
    )
    for kind in ("csv", "jsonl", "orc"):
        for n in (1, 2):
            os.makedirs(f"{kind}/n={n}")
            write(mixed.slice(100 * n, 100), f"{kind}/n={n}/part.{kind}")
        found = formats.open_table(kind, ["id", "n"], where="n = 2 and id < 250").read()
        assert (
            found["id"].to_pylist() == list(range(200, 250))
            and found["n"].to_pylist() == [2] * 50
            and found["n"].type == pa.int32()
        )
    with core.refused("no column 'wrod'; did you mean 'word'"):
        formats.open_table("parts", ["wrod"])
    (here / "parts" / "word=red" / "more.csv").write_text("id\n1\n")
    with core.refused("mixes formats"):
        formats.open_table("parts")
    os.mkdir("nothing")
    with core.refused("no data files"):
        formats.open_table("nothing")


def test_a_filter_leaves_files_and_row_groups_unread(here, mixed):
    hive(here / "parts", mixed.filter(pc.field("word").is_valid()), "word")
    everything = read_counted("parts", ["x"])[1]
    one = read_counted("parts", ["x"], "word = 'red'")[1]
    few = read_counted("parts", ["x"], "word = 'red' and id < 500")[1]
    assert few < one < everything
    (here / "parts" / "word=blue" / "part-0.parquet").write_bytes(b"damaged, but nobody looks")
    with core.refused("part-0.parquet: not a readable Parquet file"):
        formats.open_table(
            "parts", where="word = 'red'"
        )  # opening reads every footer, and says which is broken


def test_urls(mixed):
    disk = fsspec.filesystem("memory")
    for kind in KINDS:
        with formats.table_writer(f"/tmp/{os.getpid()}.{kind}") as add:
            add(mixed)
        disk.put(f"/tmp/{os.getpid()}.{kind}", f"/tables/a.{kind}")
        os.unlink(f"/tmp/{os.getpid()}.{kind}")
        found = formats.open_table(f"memory://tables/a.{kind}", ["id"], where="word = 'red'").read()
        assert found.equals(mixed.filter(pc.field("word") == "red").select(["id"]))
    assert formats.open_table("tables/a.csv", filesystem=disk).schema == mixed.schema
    with core.refused("no such file"):
        formats.open_table("memory://tables/none.csv")


def test_s3(mixed, monkeypatch, tmp_path):
    server_module = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in dict(
            AWS_ENDPOINT_URL=f"http://{host}:{port}",
            AWS_ACCESS_KEY_ID="k",
            AWS_SECRET_ACCESS_KEY="s",
            AWS_DEFAULT_REGION="us-east-1",
        ).items():
            monkeypatch.setenv(name, value)
        hive(tmp_path / "t", mixed.filter(pc.field("word").is_valid()), "word")
        disk = fsspec.filesystem("s3", skip_instance_cache=True)
        disk.mkdir("bucket")
        disk.put(str(tmp_path / "t"), "bucket/t", recursive=True)
        table = formats.open_table("s3://bucket/t", ["id"], where="word = 'green' and id < 1000")
        assert table.read().equals(
            mixed.filter((pc.field("word") == "green") & (pc.field("id") < 1000)).select(["id"])
        )
        assert (
            formats.convert("s3://bucket/t", tmp_path / "b.csv", where="id < 50")["rows"]
            == mixed.slice(0, 50)["word"].drop_null().length()
        )
        with core.refused("cannot be reached"), contextlib.suppress(FileNotFoundError):
            monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
            fsspec.filesystem("s3").clear_instance_cache()
            formats.open_table("s3://elsewhere/t")
    finally:
        server.stop()


# Schema changes between parts


def test_parts_that_grew(here):
    old = pa.table(
        {
            "a": pa.array([1, 2], pa.int32()),
            "d": pa.array([0, 1], pa.date32()),
            "c": pa.array(["x", "y"]).dictionary_encode(),
            "gone": [1, 2],
        }
    )
    new = pa.table(
        {"a": [1.5, None], "d": pa.array([0, 1], pa.timestamp("us")), "c": ["z", "x"], "more": [True, False]}
    )
    for kind in ("parquet", "arrow", "orc"):
        os.mkdir(kind)
        write(old, f"{kind}/1.{kind}")
        write(new, f"{kind}/2.{kind}")
        table = formats.open_table(kind)
        assert table.schema.names == ["a", "d", "c", "gone", "more"]
        found = table.read().to_pydict()
        assert (
            found["a"] == [1.0, 2.0, 1.5, None]
            and found["c"] == ["x", "y", "z", "x"]
            and found["gone"] == [1, 2, None, None]
        )
        assert found["more"] == [None, None, True, False] and pa.types.is_timestamp(
            table.schema.field("d").type
        )
        assert formats.open_table(kind, ["c"], where="a > 1 and c = 'z'").read().to_pydict() == {"c": ["z"]}


def test_parts_that_contradict_each_other(here):
    os.mkdir("t")
    write(pa.table({"a": [1], "b": [1]}), "t/1.parquet")
    write(pa.table({"a": ["one"], "b": [1]}), "t/2.parquet")
    with core.refused("t/2.parquet column 'a': it holds string, but int64 in t/1.parquet"):
        formats.open_table("t")
    os.mkdir("c")
    write(pa.table({"a": [1], "b": [1]}), "c/1.csv")
    write(pa.table({"a": ["one"], "b": [1]}), "c/2.csv")
    assert formats.open_table("c").read()["a"].to_pylist() == ["1", "one"]  # in text, text holds both


KIND_LIST = [
    pa.null(),
    pa.bool_(),
    pa.int8(),
    pa.uint8(),
    pa.int64(),
    pa.float32(),
    pa.float64(),
    pa.decimal128(9, 2),
    pa.string(),
    pa.large_string(),
    pa.date32(),
    pa.date64(),
    pa.timestamp("s"),
    pa.timestamp("ns"),
    pa.timestamp("us", "UTC"),
    pa.timestamp("ms", "Asia/Tokyo"),
    pa.time32("s"),
    pa.dictionary(pa.int8(), pa.string()),
    pa.list_(pa.int8()),
    pa.list_(pa.float64()),
    pa.struct([("a", pa.int8())]),
    pa.struct([("b", pa.string())]),
]


@pytest.mark.parametrize("a", KIND_LIST, ids=str)
@pytest.mark.parametrize("b", KIND_LIST, ids=str)
def test_promote_is_symmetric_and_holds_both(a, b):
    both = promote(a, b)
    assert (promote(b, a) is None) == (both is None)
    if both is not None and not (pa.types.is_struct(a) or pa.types.is_list(a)):
        assert pa.types.is_decimal(both) or promote(both, a) == both  # digits of whole numbers add up
        for kind in (a, b):
            pa.nulls(2, kind).cast(both)


# Where

COLUMNS = pa.table(
    {
        "n": pa.array([1, 2, None, -3, 4] * 4, pa.int16()),
        "x": [0.5, None, 2.0, -1.0, 1e9] * 4,
        "s": ["a", "Ab", None, "b%", "it's"] * 4,
        "c": pa.array(["u", None, "v", "v", "u"] * 4).dictionary_encode(),
        "yes": [True, False, None, True, False] * 4,
        "t": pa.array([0, 10**15, None, -(10**15), 86_400_000_000] * 4, pa.timestamp("us")),
        "d": pa.array([0, 1, None, 15_000, -5] * 4, pa.date32()),
        "odd name": list(range(20)),
    }
)
NUMBERS = st.sampled_from(["0", "1", "-3", "2.5", "4.0", "1e3"])
ATOMS = st.one_of(
    st.builds(
        "{} {} {}".format,
        st.sampled_from(["n", "x", '"odd name"']),
        st.sampled_from(["=", "<>", "!=", "<", "<=", ">", ">="]),
        NUMBERS,
    ),
    st.builds("{} {} {}".format, NUMBERS, st.sampled_from(["=", "<", ">="]), st.sampled_from(["n", "x"])),
    st.builds(
        "{} {} in ({})".format,
        st.sampled_from(["n", "x"]),
        st.sampled_from(["", "not"]),
        st.lists(NUMBERS, min_size=1, max_size=3).map(", ".join),
    ),
    st.builds(
        "{} {} '{}'".format,
        st.sampled_from(["s", "c"]),
        st.sampled_from(["=", "<>", "<", ">="]),
        st.sampled_from(["a", "u", "v", "it''s", ""]),
    ),
    st.builds(
        "s {} '{}'".format,
        st.sampled_from(["like", "not like", "ilike"]),
        st.sampled_from(["a%", "%b%", "_", "A_", "%''%"]),
    ),
    st.builds("{} between {} and {}".format, st.sampled_from(["n", "x"]), NUMBERS, NUMBERS),
    st.builds(
        "{} {}".format,
        st.sampled_from(["n", "x", "s", "c", "yes", "t"]),
        st.sampled_from(["is null", "is not null"]),
    ),
    st.builds(
        "t {} {}'{}'".format,
        st.sampled_from(["<", ">=", "="]),
        st.sampled_from(["", "timestamp "]),
        st.sampled_from(["1970-01-01", "2001-09-09 01:46:40"]),
    ),
    st.builds(
        "d {} {}'{}'".format,
        st.sampled_from(["<", ">=", "="]),
        st.sampled_from(["", "date "]),
        st.sampled_from(["1970-01-02", "2011-01-26"]),
    ),
    st.sampled_from(["yes", "n = x", "n < x", "true", "yes = false", 'n <> "odd name"']),
)
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(CONDITIONS)
def test_where_means_what_sql_means(where):
    expression, used = parse_where(where, COLUMNS.schema)
    with duckdb.connect() as con:
        con.register("t", COLUMNS)
        expected = [
            r[0] for r in con.execute(f'select "odd name" from t where {where} order by 1').fetchall()
        ]
    assert COLUMNS.filter(expression)["odd name"].to_pylist() == expected and set(used) <= set(
        COLUMNS.column_names
    )


@pytest.mark.parametrize(
    "where, why",
    [
        ("n >", "ends too early"),
        ("n > > 1", "at '> 1'"),
        ("m = 1", "no column 'm'"),
        ("n = 'x'", "holds int16, which 'x' is not, at ''x''"),
        ("s = 1", "holds string"),
        ("n = null", "write `is null`"),
        ("t > 'soon'", "at ''soon''"),
        ("n", "neither true nor false"),
        ("yes and s", "holds string"),
        ("n = 1; drop table t", "syntax error"),
        ("n = 1) or (select 1) = (1", "column"),
        ("1) union select (1", "one condition"),
        ("n = 1) order by (1", "one condition"),
        ("n = 1) limit (1", "one condition"),
        ("n = 1) group by (n", "one condition"),
        ("read_text('/etc/passwd') = 'x'", "column"),
        ("n in (select 1)", "only columns"),
        ("exists (select 1)", "only columns"),
        ("s = getenv('HOME')", "only columns and constants"),
        ("n + 1 > 2", "column"),
        ("s like s", "only columns and constants"),
        ("n::varchar = '1'", "column"),
        ("case when yes then true end", "only columns"),
        ("s = 'x", "unterminated"),
        ("", "only columns"),
        ("n is distinct from 1", "only columns"),
        ("x.y = 1", "has no field 'y'"),
        ("n = ?", "constants"),
        ("coalesce(yes, true)", "only columns"),
        ("not", "ends too early"),
        ("n in (null)", "is null"),
        ("/* n */", "only columns"),
        ("n = 99999999999999999999999", "where"),
        ("(" * 3000 + "yes" + ")" * 3000, "where"),
    ],
)
def test_where_refuses_what_is_no_condition(where, why):
    with core.refused(why):
        parse_where(where, COLUMNS.schema)


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=30)
    | st.lists(
        st.sampled_from(
            [
                "n",
                "=",
                "1",
                "(",
                ")",
                "'",
                '"',
                ";",
                "--",
                "and",
                "or",
                "not",
                "in",
                "select",
                "s",
                "like",
                "\0",
                "é",
            ]
        ),
        max_size=10,
    ).map(" ".join)
)
def test_any_text_is_a_condition_or_a_sentence(where):
    with contextlib.suppress(core.BadInput):
        COLUMNS.filter(parse_where(where, COLUMNS.schema)[0])


def test_where_in_structs_and_time_zones():
    table = pa.table(
        {
            "a": [{"b": 1}, {"b": 2}, None],
            "when": pa.array([0, 3_600_000_000, None], pa.timestamp("us", "Europe/Paris")),
        }
    )
    assert table.filter(parse_where("a.b = 2", table.schema)[0]).num_rows == 1
    for text in ("1970-01-01 01:00", "1970-01-01T01:00:00Z", "1970-01-01T02:00:00+01:00"):
        assert table.filter(parse_where(f"\"when\" >= '{text}'", table.schema)[0]).num_rows == 1


# Faults


def encrypted(path, plain):
    import pyarrow.parquet.encryption as pe

    class Keys(pe.KmsClient):
        def __init__(self, _):
            super().__init__()

        def wrap_key(self, key, _):
            return base64.b64encode(key)

        def unwrap_key(self, key, _):
            return base64.b64decode(key)

    config = pe.EncryptionConfiguration(footer_key="k", column_keys={"k": ["a"]}, plaintext_footer=plain)
    properties = pe.CryptoFactory(Keys).file_encryption_properties(pe.KmsConnectionConfig(), config)
    table = pa.table({"a": [1], "b": [2]})
    with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("plain", [False, True])
def test_encrypted_files(plain, here):
    encrypted("a.parquet", plain)
    for read in (
        formats.read_table,
        lambda p: formats.open_table(p).read(),
        lambda p: formats.convert(p, "b.csv"),
    ):
        with core.refused("a.parquet: it is encrypted"):
            read("a.parquet")
    assert [p.name for p in here.iterdir()] == ["a.parquet"]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz"])
def test_a_gzip_that_was_cut(name, here, mixed):
    write(mixed, name)
    whole = Path(name).read_bytes()
    for cut in (len(whole) // 2, len(whole) - 4):
        Path(name).write_bytes(whole[:cut])
        for read in (formats.read_table, lambda p: formats.convert(p, "b.parquet")):
            with pytest.raises(core.BadInput, match="a\\."):
                read(name)
    text = b"x,y\n1,2\n"
    Path("two.csv.gz").write_bytes(
        gzip.compress(text) + gzip.compress(b"3,4\n")
    )  # members one after the other are one file
    assert formats.open_table("two.csv.gz").read().num_rows == 2


def fuzz_table():
    rng, n = np.random.default_rng(0), 4000
    return pa.table(
        {
            "id": np.arange(n),
            "x": rng.normal(size=n),
            "s": pa.array(rng.choice(["a", "bb", "ccc"], n)),
            "l": [[1, 2]] * n,
            "c": pa.array(rng.choice(["u", "v"], n)).dictionary_encode(),
        }
    )


FUZZ = """
import sys, warnings
import numpy as np
from pathlib import Path
from mlsys import core, formats
path, kind, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
whole, rng = Path(path).read_bytes(), np.random.default_rng(7)
table, bad = formats.open_table(path).read(), []
for i in range(n):
    data, cut = bytearray(whole), i % 3 == 0
    if cut: data = data[:rng.integers(1, len(data))]
    else:
        low = 0 if i % 3 == 1 else max(0, len(data) - 3000)  # everywhere, or where the footer is
        for at in rng.integers(low, len(data), rng.integers(1, 4)): data[at] ^= 1 << rng.integers(0, 8)
    Path(path).write_bytes(data)
    try: found = formats.open_table(path).read()
    except core.BadInput as e: assert path in str(e) and len(str(e).splitlines()) == 1, str(e); continue
    assert len(found) == len(table) or not cut, (i, len(found))
    same = all(c in found.column_names and found[c].to_pylist() == table[c].to_pylist() for c in table.column_names)
    if cut or len(found) != len(table) or (kind == "parquet" and not same): bad.append((i, cut, len(found)))
print(bad)
"""


@pytest.mark.parametrize("kind", ["parquet", "orc", "arrow"])
def test_flipped_and_cut_bytes(kind, here):
    """In a process of its own, so that a crash or a hang is seen as one; seed 7 has a bit that crashes
    ORC's reader."""
    path = f"a.{kind}"
    write(fuzz_table(), path)
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, path, kind, "99" if kind == "orc" else "400"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[]"


# Bytes


def test_the_count_is_what_the_kernel_says(here, mixed):
    if not Path("/proc/self/io").exists():
        pytest.skip("/proc is needed")
    write(mixed, "a.parquet")

    def kernel():
        return int(Path("/proc/self/io").read_text().split()[1])

    read_counted("a.parquet", ["x"])  # whatever is imported on the way is imported now
    start = kernel()
    own = kernel() - start  # what reading this counter takes
    start = kernel()
    counted = read_counted("a.parquet", ["x"])[1]
    assert counted == kernel() - start - own


@pytest.mark.parametrize("codec", ["zstd", "zlib", "uncompressed"])
def test_orc_footers_account_for_every_byte(codec, here, mixed):
    nested = mixed.append_column(
        "deep", pa.array([{"a": i, "b": [str(i)]} for i in range(len(mixed))])
    ).append_column("last", mixed["id"])
    pa.orc.write_table(nested, "a.orc", compression=codec, stripe_size=1 << 16, batch_size=256)
    sizes, footers = orc_bytes("a.orc")
    assert (
        list(sizes) == nested.column_names
        and min(sizes.values()) > 0
        and pa.orc.ORCFile("a.orc").nstripes > 1
    )
    assert (
        0.9 < (sum(sizes.values()) + footers) / Path("a.orc").stat().st_size <= 1
    )  # the rest are row indexes
    alone = {}
    for name in nested.column_names:
        pa.orc.write_table(nested.select([name]), "one.orc", compression=codec, stripe_size=1 << 30)
        alone[name] = orc_bytes("one.orc")[0][name]
    assert all(0.5 < sizes[c] / alone[c] < 2 for c in alone), (sizes, alone)


def test_what_is_read_is_what_the_footer_says(here):
    rng, n = np.random.default_rng(0), 200_000
    table = pa.table({"id": np.arange(n), **{f"x{i}": rng.normal(size=n) for i in range(12)}})
    pq.write_table(table, "a.parquet", row_group_size=20_000)
    pa.orc.write_table(table, "a.orc", compression="zstd")
    formats.convert("a.parquet", "a.csv")
    for path, columns, where in [
        (p, ["x1", "x7"], w) for p in ("a.parquet", "a.orc", "a.csv") for w in (None, "id >= 150000")
    ]:
        found, count = read_counted(path, columns, where)
        assert count == pytest.approx(bytes_needed(path, columns, where), rel=0.1), (path, where)
        assert len(found) == (50_000 if where else n)
    assert bytes_needed("a.parquet", ["x1"], "id >= 150000") < 0.6 * bytes_needed("a.parquet", ["x1"])


# Advice


@pytest.fixture(scope="module")
def trips():
    rng, n = np.random.default_rng(0), 60_000
    return pa.table(
        {
            "day": rng.integers(0, 365, n),
            "city": pa.array(rng.choice(["ams", "ber", "cdg"], n)),
            **{f"x{i}": rng.normal(size=n) for i in range(4)},
        }
    )


def test_advice_sorts_for_a_range_and_partitions_never_hurt(trips):
    advice = formats.advise(trips, {"week": (["x0", "x1"], "day between 100 and 106")})
    assert advice.layout.sort == "day" and advice.layout.rows < 60_000
    t = advice.table
    assert t.read_mb[t.kept].is_monotonic_decreasing and t.read_mb[t.kept].iloc[-1] < 0.3 * t.read_mb.iloc[0]
    assert any(r.startswith("sorted by day") for r in advice.reasons) and advice.share == 1


def test_advice_for_who_reads_everything(trips):
    advice = formats.advise(trips, {"all": (trips.column_names, None)}, rows=20_000)
    assert advice.layout.sort == advice.layout.partition == "" and advice.share < 0.4
    still = formats.advise(trips.select(["x0"]), {"all": (["x0"], None)})
    assert (
        still.reasons == ["nothing that was tried pays: leave it as it is"]
        or still.layout != formats.Layout()
    )
    with core.refused("no column 'x9'"):
        formats.advise(trips, {"q": (["x9"], None)})


def test_a_layout_changes_no_answer(trips, tmp_path):
    for layout in (
        formats.Layout(),
        formats.Layout(sort="day", partition="city", rows=4096, dictionary=False, codec="zstd"),
    ):
        write_layout(trips, layout, tmp_path / "t")
        found = formats.open_table(
            tmp_path / "t", ["day", "city", "x0"], where="day < 20 and city = 'ber'"
        ).read()
        expected = trips.filter((pc.field("day") < 20) & (pc.field("city") == "ber")).select(
            found.column_names
        )
        order = [("day", "ascending"), ("x0", "ascending")]
        assert found.sort_by(order).equals(expected.sort_by(order).combine_chunks())


# A card's source


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "ndjson", "arrow", "feather", "orc"])
def test_a_card_takes_every_format(ending, here, table, cli):
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), "my.parquet")
    formats.convert("my.parquet", f"my.{ending}")
    assert cli("init", f"my.{ending}", "--target", "y", "--time", "when")[0] == 0
    data = formats.ingest(core.load_settings("settings.ini"))
    assert data.rows == 200 and {"a", "b", "word"} <= set(data.features)


def test_the_bundled_card_is_the_project_s():
    ours = core.load_settings(ROOT / "settings.ini").data
    assert core.Data(**BUNDLED_CARDS["flights"]) == ours


def test_a_data_set_of_the_pipeline_is_checked_when_read(here, table, small):
    data = formats.ingest(core.load_settings(small(table)))
    part = next(data.folder.rglob("*.parquet"))
    whole = bytearray(part.read_bytes())
    whole[40] ^= 1
    part.write_bytes(whole)
    with core.refused("not a readable Parquet file"):
        data.read()


def test_a_parquet_file_is_not_read_ahead_of_its_reader(tmp_path):
    "Who is slow would else have the whole file in memory."
    groups, numbers = 30, np.random.default_rng(0).random(100_000)
    with pq.ParquetWriter(tmp_path / "a.parquet", pa.schema([("x", pa.float64())])) as file:
        for _ in range(groups):
            file.write_table(pa.table({"x": numbers}))
    before, most, rows = pa.total_allocated_bytes(), 0, 0
    for batch in formats.open_table(tmp_path / "a.parquet").batches():
        rows += len(batch)
        time.sleep(0.01)
        most = max(most, pa.total_allocated_bytes() - before)
    assert rows == groups * len(numbers) and most < 6 * numbers.nbytes
