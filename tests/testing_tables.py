"""Tables with structure that a suite can learn, for tests of data testing."""
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


def people(n=3000, seed=0):
    "Numbers with gaps, a range that drifts, words, booleans, times, an order, a clock and a key."
    r = np.random.default_rng(seed)
    hours = np.arange(n) * 0.7
    low = r.normal(50, 10, n).round(2)
    return pa.table({
        "id": pa.array(np.arange(n) + 1000),
        "kind": pa.array(r.choice(["red", "green", "bläu ✈"], n)),
        "who": pa.array([f"person {i}" for i in r.integers(0, 10**9, n)]),
        "low": low,
        "high": low + r.exponential(10, n).round(2) * (r.random(n) > 0.1),
        "gaps": pa.array(r.normal(0, 1, n), mask=r.random(n) < 0.2),
        "count": pa.array(r.poisson(40, n)),
        "flag": pa.array(r.random(n) < 0.3),
        "zero_one": pa.array((r.random(n) < 0.3).astype(int)),
        "hour": pa.array(((hours + 1) % 24).astype(int)),
        "when": pa.array(np.datetime64("2020-01-01", "us") + (hours * 3600e6).astype("timedelta64[us]")),
    })


def shop(n=4000, seed=0):
    """Rows in which one column decides another: words decide words and numbers, an hour decides a time
    of day, values come together."""
    r = np.random.default_rng(seed)
    kind = r.choice(["car", "bus", "bike"], n)
    hour = r.integers(6, 22, n)
    known = r.random(n) < 0.8
    return pa.table({
        "kind": kind, "city": r.choice(["Bonn", "Ulm"], n), "hour": hour,
        "wheels": np.select([kind == "car", kind == "bus"], [4, 6], 2),
        "start": hour * 100 + r.integers(0, 60, n),
        "fuel": pa.array(np.select([kind == "car", kind == "bus"], ["petrol", "diesel"], ""),
                         mask=kind == "bike"),
        "plate": [f"B{a}{b}" for a, b in zip(r.choice(["AB", "XY", "K"], n), r.integers(10, 99999, n),
                                             strict=True)],
        "wind": np.round(r.integers(0, 40, n) * 1.15078, 5), "price": np.round(r.gamma(2, 9, n), 2),
        "maker": pa.array(r.choice(["x", "y"], n), mask=~known),
                     "model": pa.array(r.choice(["p", "q", "r"], n), mask=~known),
        "when": pa.array(np.datetime64("2021-03-01", "us")
                         + np.sort(r.integers(0, 90 * 86400, n)).astype("timedelta64[s]")),
    })


class Foreign:
    "A table of a library that nobody here has heard of."

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


KINDS = ("arrow", "pandas", "nullable", "arrow-backed", "polars", "lazy", "batch", "reader", "stream",
         "duckdb", "path", "mapping")


def as_kind(kind, table, folder):
    "The same rows as people have them; what came of it is a table to `formats.frames.to_arrow`."
    if kind == "arrow":
        return table
    if kind == "pandas":
        frame = table.to_pandas()
        return frame.set_index(pd.Index(np.arange(len(frame)) * 7 % 13, name="unused"))
    if kind == "nullable":
        return table.to_pandas().convert_dtypes()
    if kind == "arrow-backed":
        return table.to_pandas(types_mapper=pd.ArrowDtype)
    if kind in ("polars", "lazy"):
        import polars
        frame = polars.from_arrow(table)
        return frame.lazy() if kind == "lazy" else frame
    if kind == "batch":
        return table.combine_chunks().to_batches()[0]
    if kind == "reader":
        return table.to_reader(500)
    if kind == "stream":
        return Foreign(table)
    if kind == "duckdb":
        import duckdb
        return duckdb.connect().from_arrow(table)
    if kind == "mapping":
        return {name: table[name] for name in table.column_names}
    pq.write_table(table, folder / "rows.parquet")
    return folder / "rows.parquet"
