"""The same rules on the flights, verdict and reasons for every row: the suite on Arrow against its peers.

Against pandera (lazy) on pandas, with the schema that the suite itself exports, on three tables: January to March, from which the rules
were learned, so that nothing fails; April to December with the learned suite, where one row in two hundred fails; and April to December
with a suite of tolerance 0, where most rows fail. Strings are included; each side gets the table in the form that is fastest for it: text
as dictionaries in Arrow, as categories in pandas. A fourth comparison keeps the text as it is, on both sides. Then against Great
Expectations, and from a Parquet file on disk against one DuckDB query that only counts the violations, each rule on its own.
Before timing, both sides must find the same bad rows (DuckDB: as many).
"""
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from sides import compare

ROOT = Path(__file__).parent.parent
TABLES = {
    "clean": ("January to March, clean", "train", 1.0, ">= 1"),
    "few": ("April to December, few rows fail", "test", 1.0, ">= 10"),
    "plain": ("April to December, few rows fail, text not encoded", "test", 1.0, ">= 1"),
    "many": ("April to December, most rows fail", "test", 0.0, ">= 10"),
    "expectations": ("April to December, few rows fail", "test", 1.0, ">= 10"),
    "disk": ("April to December from Parquet, few rows fail", "test", 1.0, ">= 0.67"),
}
PEERS = dict(expectations="Great Expectations", disk="DuckDB, counts only")
DISK = Path(tempfile.gettempdir()) / "mlsys-benchmark-flights.parquet"


def prepared():
    """The suite on all columns but the target, and the table to test. Duplicates are left out: the
    peers' rules look at single rows."""
    from mlsys import core, formats, testing
    _, role, tolerance, _ = TABLES[os.environ["TABLE"]]
    data = formats.dataset(core.load_settings(ROOT / "settings.ini"))
    columns = [c for c in data.columns if c != data.target]
    suite = testing.learn(data.read(columns, data.train), tolerance).model_copy(update={"unique": []})
    table = data.read(columns, getattr(data, role))
    for i, field in enumerate(table.schema):
        if field.type == "string" and os.environ["TABLE"] != "plain":
            table = table.set_column(i, field.name, table[field.name].dictionary_encode())
    return suite, table.unify_dictionaries().combine_chunks()


def ours():
    from mlsys.formats.read import open_batches
    suite, table = prepared()

    def from_disk():
        bad = 0
        for batch in open_batches(DISK, 131_072, [c
                                                  for c, r in suite.columns.items() if r.type == "text"])[0]:
            verdicts = suite.check(batch)
            bad += int(verdicts.bad.sum())
            verdicts.reasons()
        return bad

    def judge():
        verdicts = suite.check(table)
        return np.flatnonzero(verdicts.bad), verdicts.reasons()
    return from_disk if os.environ["TABLE"] == "disk" else judge


def peer():
    return dict(expectations=great_expectations, disk=duckdb_counts).get(os.environ["TABLE"], pandera)()


def pandera():
    import pandera.errors
    suite, table = prepared()
    frame, schema = table.to_pandas(), suite.to_pandera()

    def judge():
        try:
            schema.validate(frame, lazy=True)
        except pandera.errors.SchemaErrors as e:
            return np.unique(e.failure_cases["index"].dropna().to_numpy(int)), e.failure_cases
        return np.array([], int), None
    return judge


def great_expectations():
    import great_expectations as gx
    from testing_rules import expectations
    suite, table = prepared()
    frame = table.to_pandas()
    made, holds = expectations(gx, suite, frame)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = dict(globally=False)
    batches = context.data_sources.add_pandas("flights").add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    rules = gx.ExpectationSuite(name="rules", expectations=made)

    def judge():
        rows = frame.assign(**{name: f(frame) for name, f in holds.items()})
        result = batches.get_batch({"dataframe": rows}).validate(rules,
                                                                 result_format=dict(result_format="COMPLETE"))
        found = [r.result.get("unexpected_index_list") or [] for r in result.results]
        return np.unique(np.concatenate([np.array(f, int) for f in found])), result
    return judge


def duckdb_counts():
    import duckdb
    from testing_rules import queries
    suite, _ = prepared()
    db = duckdb.connect(config=dict(threads=2))
    db.execute("SET TimeZone = 'UTC'")
    tables, counts, any_rule = queries(suite, DISK)
    for table in tables:  # the cases of conditions lie ready, as the suite lies ready on the other side
        db.execute(table)

    def count():
        return db.execute(counts).fetchall()
    count.bad = lambda: db.execute(any_rule).fetchone()[0]
    return count


def agree(table, words):
    "Both sides must judge alike, or the comparison is void; how many rows are bad."
    if table == "disk":
        import pyarrow.parquet as pq
        pq.write_table(prepared()[1], DISK)
        a, b = ours()(), peer().bad()
        assert a == b, f"{words}: {a} and {b} bad rows"
        return a
    a, b = ours()()[0], peer()()[0]
    assert np.array_equal(a, b), f"{words}: {len(a)} and {len(b)} bad rows"
    return len(a)


if __name__ == "__main__":
    for table, (words, _, _, target) in TABLES.items():
        if len(sys.argv) == 1:
            os.environ["TABLE"] = table
            words = f"verdict and reasons, {words}, {agree(table, words):,} bad (peer: {PEERS.get(table, 'pandera')})"
        compare(__file__, dict(ours=ours, peer=peer), f"testing_{table}", words, target, "ms", 1000,
                3 if table == "expectations" else 7)
        if len(sys.argv) > 1:
            break
    if len(sys.argv) == 1:
        DISK.unlink(missing_ok=True)
