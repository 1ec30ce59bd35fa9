"""Labelling functions over columns against the same, row by row, under Snorkel's PandasLFApplier.

The flights of January to March (numbers and words, eight functions), and the food reviews (long text, six functions with
keywords and regular expressions), once and ten times, each text with a number of its own at its end. Each side gets the
table in its own form, Snorkel only
the columns that it reads. Before timing, both must give the same matrix.
"""
import os
import re
from pathlib import Path

import numpy as np
from sides import compare

ROOT = Path(__file__).parent.parent
TABLES = {"columns": "flights, numbers and words, 8 functions",
          "text": "food reviews, keywords and regular expressions, 6 functions",
          "text_large": "the same texts ten times, no two alike"}
COPIES = {"text": 1, "text_large": 10}
PHRASES = {"praise": (1, ["great", "excellent", "perfect", "delicious"]),
           "love": (1, ["love", "loved", "favorite", "best"]),
           "bad": (0, ["bad", "terrible", "awful", "disgusting", "worst"]),
           "money": (0, ["waste of money", "refund", "money back", "threw"])}
PATTERNS = {"again": (1, "highly recommend|will (definitely )?(buy|order)"), "shouting": (1, "!!")}
ABSTAIN = -1


def table():
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mlsys import core, formats
    from mlsys.formats.columns import plain_types
    if os.environ["TABLE"] in COPIES:
        reviews = plain_types(pq.read_table(ROOT / "data" / "food_reviews.parquet",
                                            columns=["review"]))["review"].to_pylist()
        return pa.table({"review": [f"{text} {i}" for i in range(COPIES[os.environ["TABLE"]])
                                    for text in reviews]})
    data = formats.dataset(core.load_settings(ROOT / "settings.ini"))
    return data.read(data.columns, data.train).combine_chunks()


def over_columns():
    from mlsys.labeling.functions import LabelFunction as F
    if os.environ["TABLE"] in COPIES:
        return [*(F(n, lambda x, p=p: x.review.has(*p), c) for n, (c, p) in PHRASES.items()),
                *(F(n, lambda x, p=p: x.review.matches(p), c) for n, (c, p) in PATTERNS.items())]
    return [F("morning", lambda x: x.hour <= 8, 0), F("evening", lambda x: x.hour >= 19, 1),
            F("rain", lambda x: x.precip > 0.02, 1),
            F("fog", lambda x: x.visib < 2, 1), F("storm", lambda x: x.wind_gust > 35, 1),
            F("carrier", lambda x: x.carrier.isin(["EV", "F9", "FL"]), 1),
            F("clear", lambda x: (x.visib >= 10) & (x.precip == 0) & (x.pressure > 1020), 0),
            F("hour", lambda x: np.where(x.hour <= 8, 0, np.where(x.hour >= 19, 1, ABSTAIN)))]


def by_rows():
    from snorkel.labeling import LabelingFunction as F
    if os.environ["TABLE"] in COPIES:
        whole = {n: (c, re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, p))})(?!\w)", re.IGNORECASE))
                 for n, (c, p) in PHRASES.items()}
        parts = {n: (c, re.compile(p, re.IGNORECASE)) for n, (c, p) in PATTERNS.items()}
        return [F(n, lambda row, c=c, p=p: c if p.search(row.review) else ABSTAIN)
                for n, (c, p) in (whole | parts).items()]
    return [F("morning", lambda row: 0 if row.hour <= 8 else ABSTAIN),
            F("evening", lambda row: 1 if row.hour >= 19 else ABSTAIN),
            F("rain", lambda row: 1 if row.precip > 0.02 else ABSTAIN),
            F("fog", lambda row: 1 if row.visib < 2 else ABSTAIN),
            F("storm", lambda row: 1 if row.wind_gust > 35 else ABSTAIN),
            F("carrier", lambda row: 1 if row.carrier in ("EV", "F9", "FL") else ABSTAIN),
            F("clear", lambda row: 0 if row.visib >= 10 and row.precip == 0 and row.pressure > 1020
              else ABSTAIN),
            F("hour", lambda row: 0 if row.hour <= 8 else 1 if row.hour >= 19 else ABSTAIN)]


def used(table):
    "The columns that some function reads: the peer is not made to carry the others through pandas."
    names = ["review"] if os.environ["TABLE"] in COPIES else ["hour", "precip", "visib", "wind_gust", "carrier", "pressure"]
    return table.select(names)


def ours():
    from mlsys import labeling
    functions, data = over_columns(), table()
    return lambda: labeling.apply(functions, data)


def peer():
    from snorkel.labeling import PandasLFApplier
    applier, frame = PandasLFApplier(by_rows()), used(table()).to_pandas()
    return lambda: applier.apply(frame, progress_bar=False)


if __name__ == "__main__":
    import sys
    for name, words in TABLES.items():
        if len(sys.argv) == 1:
            os.environ["TABLE"] = name
            L = ours()()
            assert np.array_equal(L, peer()()), "the matrices differ"
            words = f"votes on {len(L):,} rows: {words} (peer: Snorkel's PandasLFApplier)"
        compare(__file__, dict(ours=ours, peer=peer), f"labeling_{name}", words, ">= 100", "ms", 1000,
                repeats=5)
        if len(sys.argv) > 1:
            break
