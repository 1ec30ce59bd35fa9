"""Random tables through every format and back: every column is equal, or its change was reported."""

import datetime as dt
import string
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlsys import formats

DAY = st.dates(dt.date(1700, 1, 1), dt.date(2200, 1, 1))
MOMENT = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8) | st.sampled_from(
    ["NA", "", "1", "007", "true", "2013-01-01", "a\nb", '"', ","]
)


def whole(low, high):
    return st.integers(low, high)


SCALARS = {
    pa.int8(): whole(-128, 127),
    pa.int16(): whole(-(2**15), 2**15 - 1),
    pa.int32(): whole(-(2**31), 2**31 - 1),
    pa.int64(): whole(-(2**63), 2**63 - 1),
    pa.uint8(): whole(0, 255),
    pa.uint16(): whole(0, 2**16 - 1),
    pa.uint32(): whole(0, 2**32 - 1),
    pa.uint64(): whole(0, 2**64 - 1),
    pa.float16(): st.floats(width=16),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
    pa.bool_(): st.booleans(),
    pa.string(): TEXT,
    pa.large_string(): TEXT,
    pa.string_view(): TEXT,
    pa.binary(): st.binary(max_size=6),
    pa.binary(3): st.binary(min_size=3, max_size=3),
    pa.date32(): DAY,
    pa.date64(): DAY,
    pa.time32("s"): st.times().map(lambda t: t.replace(microsecond=0)),
    pa.time64("us"): st.times(),
    pa.timestamp("s"): MOMENT.map(lambda t: t.replace(microsecond=0)),
    pa.timestamp("us"): MOMENT,
    pa.timestamp("ns"): MOMENT,
    pa.timestamp("us", "UTC"): MOMENT,
    pa.timestamp("ms", "America/New_York"): MOMENT.map(lambda t: t.replace(microsecond=0)),
    pa.duration("us"): st.timedeltas(dt.timedelta(-999), dt.timedelta(999)),
    pa.decimal128(12, 3): st.decimals(-(10**8), 10**8, places=3),
    pa.decimal256(50, 2): st.decimals(-(10**8), 10**8, places=2),
    pa.null(): st.none(),
}
SIMPLE = [
    pa.int64(),
    pa.float64(),
    pa.string(),
    pa.bool_(),
    pa.timestamp("us"),
    pa.uint16(),
    pa.decimal128(12, 3),
]
NESTED = (
    [pa.list_(t) for t in SIMPLE]
    + [pa.struct([("a", t), ("b", pa.string())]) for t in SIMPLE]
    + [
        pa.map_(pa.string(), pa.int64()),
        pa.list_(pa.struct([("x", pa.int64())])),
        pa.list_(pa.int64(), 2),
        pa.large_list(pa.string()),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int32(), pa.string(), ordered=True),
        pa.dictionary(pa.int32(), pa.int64()),
        pa.list_(pa.dictionary(pa.int32(), pa.string())),
    ]
)


def values(kind):
    t = pa.types
    if t.is_dictionary(kind):
        return values(kind.value_type)
    if t.is_fixed_size_list(kind):
        return st.none() | st.lists(values(kind.value_type), min_size=kind.list_size, max_size=kind.list_size)
    if t.is_map(kind):
        return st.none() | st.dictionaries(
            st.text(string.ascii_lowercase, max_size=3), values(kind.item_type), max_size=3
        ).map(lambda d: list(d.items()))
    if t.is_list(kind) or t.is_large_list(kind):
        return st.none() | st.lists(values(kind.value_type), max_size=3)
    if t.is_struct(kind):
        return st.none() | st.fixed_dictionaries({f.name: values(f.type) for f in kind})
    return st.none() | SCALARS[kind]


def column(kind, items):
    if pa.types.is_dictionary(kind):
        return (
            pa.array(items, kind.value_type).dictionary_encode().cast(kind)
            if not kind.ordered
            else ordered(kind, items)
        )
    return pa.array(items, kind)


def ordered(kind, items):
    known = list(dict.fromkeys(x for x in items if x is not None))
    return pa.DictionaryArray.from_arrays(
        pa.array([None if x is None else known.index(x) for x in items], kind.index_type),
        pa.array(known, kind.value_type),
        ordered=True,
    )


NAMES = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S"), include_characters=" "),
    min_size=1,
    max_size=6,
).filter(lambda n: n.strip() and not n.startswith("\ufeff"))


@st.composite
def tables(draw):
    kinds = draw(st.lists(st.sampled_from([*SCALARS, *NESTED]), min_size=1, max_size=4))
    names = draw(st.lists(NAMES, min_size=len(kinds), max_size=len(kinds), unique=True))
    rows = draw(st.integers(0, 6))
    return pa.table(
        [column(k, draw(st.lists(values(k), min_size=rows, max_size=rows))) for k in kinds], names=names
    )


def plain(value):
    "NaN equals NaN, and an unset decimal digit is a digit."
    if isinstance(value, float) and value != value:
        return "nan"
    if isinstance(value, Decimal):
        return value.normalize()
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def kept_or_reported(table, found, losses):
    reported = {x["column"] for x in losses}
    assert found.column_names == table.column_names and len(found) == len(table)
    for name in table.column_names:
        if name in reported:
            continue
        assert found[name].type == table[name].type
        assert plain(found[name].to_pylist()) == plain(table[name].to_pylist()), name


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(tables())
@pytest.mark.parametrize("ending", ["parquet", "orc", "arrow", "jsonl", "csv", "tsv.gz"])
def test_every_column_is_kept_or_reported(ending, tmp_path_factory, table):
    folder = tmp_path_factory.mktemp("trip")
    with formats.table_writer(folder / "a.arrow", table.schema) as write:
        write(table)
    first = formats.open_table(folder / "a.arrow").read()
    assert plain(first.to_pylist()) == plain(table.to_pylist())
    result = formats.convert(folder / "a.arrow", folder / f"b.{ending}")
    assert result["rows"] == len(table)
    if len(table) or ending in (
        "parquet",
        "orc",
        "arrow",
    ):  # text without rows has no types; JSON Lines not even names
        kept_or_reported(
            first, formats.open_table(folder / f"b.{ending}", types="all").read(), result["losses"]
        )
