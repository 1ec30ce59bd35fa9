"""The chapter on data testing as a stage: on tables that it has never seen, and what it says of the book's own."""
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from mlsys import testing
from mlsys.testing import Seen, Suite, learn

ROOT = Path(__file__).parent.parent


def own_table(name, folder):
    "Small tables that lack something: numbers, words, rows, columns, sense."
    r = np.random.default_rng(0)
    n = dict(sixty=60).get(name, 300)
    frame = {
        "words": {c: r.choice(["a", "b", "ü", None], n) for c in "abc"},
        "sixty": {"x": r.normal(size=n), "w": r.choice(["u", "v"], n), "rare": [None] * (n - 1) + [3.0]},
        "numbers": {"x": r.normal(size=n), "constant": 7, "few": r.integers(0, 3, n)},
        "one flag": {"flag": r.random(n) < 0.5},
        "timed": {"x": r.normal(size=n), "t": pd.date_range("2024-01-01", periods=n, freq="13h")},
    }[name]
    y = r.choice([-1, 1] if name == "numbers" else ["yes", "no"], n)
    pd.DataFrame(frame).assign(y=y).to_csv(folder / "my.csv", index=False)
    return folder / "my.csv"


def run_chapter(source, target, folder):
    "The notebook itself, in an empty folder; returns the folder of its results."
    import papermill
    chapter = ROOT / "nbs" / "03_testing.ipynb"
    parameters = dict(source=str(source), target=target)
    papermill.execute_notebook(str(chapter), str(folder / "out.ipynb"), parameters, progress_bar=False,
                               kernel_name="python3")
    return next((folder / "build" / "alone").iterdir()) / "testing"


@pytest.mark.parametrize("name", ["credit", "words", "sixty", "numbers", "one flag", "timed"])
def test_the_chapter_alone(name, request, tmp_path, monkeypatch):
    source = request.getfixturevalue(name) if name == "credit" else own_table(name, tmp_path)
    monkeypatch.chdir(tmp_path)
    if name == "timed":
        monkeypatch.setenv("MLSYS_DATA_TIME", "t")
    made = run_chapter(source, dict(credit="Status").get(name, "y"), tmp_path)
    assert {"suite.json", "leaks.json", "label_suspects.json", "quarantine.parquet", "metrics.json",
            "picture.svg"} <= {p.name for p in made.iterdir()}
    assert json.loads((made / "leaks.json").read_text()) == {} and Suite.load(made / "suite.json").columns
    numbers = json.loads((made / "metrics.json").read_text())["numbers"]
    assert numbers["rows"] > 0 and 0 <= numbers["bad_share"] <= 1


# what the book says of its own tables


def whole_run():
    "What the chapter recorded in a run of the whole year; None where there was none."
    path = ROOT / os.environ.get("MLSYS_RUN_BUILD", "build") / "testing" / "metrics.json"
    recorded = json.loads(path.read_text()) if path.exists() else None
    return recorded if recorded and recorded["numbers"]["rows"] == 336_776 else None


@pytest.mark.skipif(not whole_run(), reason="no results of a whole run: `make run`")
def test_what_the_year_of_flights_showed():
    n = whole_run()["numbers"]
    assert n["bad_share"] <= 0.01 and n["worst_period_share"] <= 0.02
    assert n["leaks"] == 0 and n["leaks_among_excluded"] == 5
    assert n["recall_of_revealed"] >= 0.95 and n["held_out_recall"] >= 0.95
    suite = Suite.load(ROOT / "build" / "testing" / "suite.json")
    assert suite.columns["wind_speed"].step == 1.15078 and suite.columns["wind_dir"].step == 10  # knots; tens of degrees
    assert len(suite.columns["origin"].values) == 3 and suite.columns["tailnum"].shapes == ["A9A", "A9"]
    orders = {r.columns for r in suite.relations if r.rule == "at most"}
    assert orders == {("dewp", "temp"), ("wind_speed", "wind_gust")}  # others were luck
    assert [r.offsets for r in suite.relations if r.rule == "same hour"] == [[4, 5]]  # summer and winter time
    known = {(tuple(c.given), c.column): c for c in suite.conditions}
    assert known[("hour",), "sched_dep_time"].cases["5"] == [470.5, 588.5]
    aside = pq.read_table(ROOT / "build" / "testing" / "quarantine.parquet")
    assert (aside["distance"].to_numpy() == 17).sum() == 1  # Newark to LaGuardia


SHOP = ROOT / "data" / "online_retail.parquet"


@pytest.mark.skipif(not SHOP.exists(), reason="the shop's table is not here")
def test_the_dirt_of_a_shop_is_found_and_named():
    retail = pq.read_table(SHOP, read_dictionary=["Invoice", "StockCode", "Description", "Country"])
    odd = testing.oddities(retail, time="InvoiceDate")
    told = {(o.column, o.what.split()[0]): o for o in odd}
    assert told["Customer ID", "missing"].rows == 243_007
    assert told["", "came"].rows == 34_335 and "2010-12-01 to 2010-12-09" in told["", "came"].examples  # delivered twice
    assert told["Price", "zero"].rows == 6_207 and told["Quantity", "negative"].rows > 19_000
    assert told["Invoice", "not"].rows >= 19_494 and "C4" in told["Invoice", "not"].examples  # cancellations
    verdicts = testing.stricter(learn(retail.slice(0, 100_000), time="InvoiceDate"), odd).check(retail,
                                                                                                Seen())
    cancelled = pc.starts_with(retail["Invoice"].cast(pa.string()), "C").to_numpy()
    assert verdicts.bad[cancelled].all() and verdicts.bad[retail["Price"].to_numpy() <= 0].all()
