"""The same rules on the flights, verdict and reasons for every row: the suite on Arrow against pandera (lazy) on pandas.

Three tables: January to March, from which the rules were learned, so that nothing fails; April to December with the learned suite, where
one row in two hundred fails; and April to December with a suite of tolerance 0, where most rows fail. Strings are included;
each side gets the table in the form that is fastest for it: text as dictionaries in Arrow, as categories in pandas. Before timing,
both must name the same bad rows. A fourth comparison keeps the text as it is, on both sides.
"""
import os
from pathlib import Path

import numpy as np
from sides import compare

ROOT = Path(__file__).parent.parent
TABLES = {
    "clean": ("January to March, clean", "train", 1.0, ">= 1"),
    "few": ("April to December, few rows fail", "test", 1.0, ">= 10"),
    "plain": ("April to December, few rows fail, text not encoded", "test", 1.0, ">= 1"),
    "many": ("April to December, most rows fail", "test", 0.0, ">= 10"),
}


def prepared():
    "The suite on all columns but the target, and the table to test."
    from mlsys import core, formats, testing
    _, role, tolerance, _ = TABLES[os.environ["TABLE"]]
    data = formats.dataset(core.load_settings(ROOT / "settings.ini"))
    columns = [c for c in data.columns if c != data.target]
    suite = testing.learn(data.read(columns, data.train), tolerance)
    table = data.read(columns, getattr(data, role))
    for i, field in enumerate(table.schema):
        if field.type == "string" and os.environ["TABLE"] != "plain":
            table = table.set_column(i, field.name, table[field.name].dictionary_encode())
    return suite, table.unify_dictionaries().combine_chunks()


def ours():
    suite, table = prepared()

    def judge():
        verdicts = suite.check(table)
        return np.flatnonzero(verdicts.bad), verdicts.reasons()
    return judge


def schema_of(suite, frame):
    "The rules of a suite as a pandera schema."
    import pandas as pd
    import pandera.pandas as pandera

    def column(name, r):
        checks = []
        limits = [None if v is None else pd.Timestamp(v, unit="s", tz="UTC") if r.type == "time" else v for v in (r.min, r.max)]
        if limits[0] is not None:
            checks.append(pandera.Check.ge(limits[0]))
        if limits[1] is not None:
            checks.append(pandera.Check.le(limits[1]))
        if r.values:
            checks.append(pandera.Check.isin(r.values))
        if r.whole and frame[name].dtype.kind == "f":
            checks.append(pandera.Check(lambda x: x == x.round(), name="whole"))
        return pandera.Column(None, checks, nullable=not r.required)

    def relation(r):
        a, b = r.columns
        if r.rule == "at most":
            return pandera.Check(lambda f: ~(f[a] > f[b]), name=f"{a} at most {b}")
        return pandera.Check(lambda f: ((f[a].dt.hour - f[b]) % 24).isin(r.offsets), name=f"{a} same hour as {b}")
    return pandera.DataFrameSchema({n: column(n, r) for n, r in suite.columns.items()}, checks=[relation(r) for r in suite.relations])


def peer():
    import pandera.errors
    suite, table = prepared()
    frame = table.to_pandas()
    schema = schema_of(suite, frame)

    def judge():
        try:
            schema.validate(frame, lazy=True)
        except pandera.errors.SchemaErrors as e:
            return np.unique(e.failure_cases["index"].dropna().to_numpy(int)), e.failure_cases
        return np.array([], int), None
    return judge


if __name__ == "__main__":
    import sys
    for table, (words, _, _, target) in TABLES.items():
        if len(sys.argv) == 1:
            os.environ["TABLE"] = table
            a, b = ours()()[0], peer()()[0]
            assert np.array_equal(a, b), f"{words}: {len(a)} and {len(b)} bad rows"
            words = f"verdict and reasons, {words}, {len(a):,} bad (peer: pandera)"
        compare(__file__, dict(ours=ours, peer=peer), f"testing_{table}", words, target, "ms", 1000)
        if len(sys.argv) > 1:
            break
