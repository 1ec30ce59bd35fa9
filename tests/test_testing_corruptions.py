"""The catalogue of corruptions, what a suite finds of it, and minorities of a table that nobody corrupted."""
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from testing_tables import KINDS, as_kind, people

from mlsys import core, testing
from mlsys.testing import Seen, detection, learn
from mlsys.testing.corruptions import CORRUPTIONS, corrupt


@pytest.fixture(scope="module")
def table():
    return people()


@pytest.fixture(scope="module")
def suite(table):
    return learn(table)


def test_every_corruption_changes_what_it_says_and_is_deterministic(suite, table):
    good = table.filter(pa.array(~suite.check(table).bad)).slice(0, 500)
    for name, c in CORRUPTIONS.items():
        fits = ["when"] if c.kinds == ("time",) else [n for n in ("low", "kind", "flag") if suite.columns[n].type in c.kinds]
        column = fits[0] if c.kinds else ""
        (a, changed), (b, _) = (c.apply(good, column, c.levels[1], np.random.default_rng(1)) for _ in range(2))
        assert a.equals(b) and changed.any() and len(changed) == len(a), name
    rows = [n for n, c in CORRUPTIONS.items() if c.scope == "row"]
    found = testing.recall(suite, good, rows)
    best = found[found.level == 1].groupby("corruption").recall.max()
    assert set(best.index) == set(rows) and (best.drop("misaligned rows") >= 0.9).all(), best


def test_recall_counts_only_changed_rows(suite, table):
    found = testing.recall(suite, table.slice(0, 300), names=["sign flip"])
    assert set(found.corruption) == {"sign flip"} and found[found.column == "zero_one"].changed.max() < 300
    assert found[(found.column == "low")].recall.min() == 1.0


def test_the_catalogue_is_large_and_three_are_held_out():
    kept = {n for n, c in CORRUPTIONS.items() if not c.held_out}
    assert len(CORRUPTIONS) >= 18 and len(CORRUPTIONS) - len(kept) == 3


def test_corruptions_of_tables_are_noticed(stock, stock_suite):
    found = detection.table_verdicts(stock_suite, stock,
                                     [n for n, c in CORRUPTIONS.items() if c.scope == "table"])
    middle = found[found.level == 2].groupby("corruption").noticed.max()
    assert middle.all() and set(middle.index) == {"stuck sensor", "out-of-order time", "truncated file", "sampling bias"}


def test_the_classifier_sees_what_can_be_seen(stock):
    clean = stock.slice(0, 2000)
    dirty, changed = CORRUPTIONS["unit change"].apply(clean, "price", 1.00037, None)
    assert detection.classifier_two_sample_test(clean, clean,
                                                np.ones(2000,
                                                        bool)) < 0.05  # nothing was changed, so nothing can be told
    big, changed = CORRUPTIONS["unit change"].apply(clean, "price", 1000, None)
    assert detection.classifier_two_sample_test(clean, big, changed) > 0.9


def test_minorities_of_a_table():
    r = np.random.default_rng(0)
    n = 5000
    code = np.where(r.random(n) < 0.01, "POST", [f"{i:05d}" for i in r.integers(0, 99999, n)])
    t = pa.table({"code": code, "price": np.where(r.random(n) < 0.02, 0.0, 3.5 + r.random(n)),
                  "who": pa.array(r.normal(size=n), mask=r.random(n) < 0.2),
                  "day": pa.array(np.datetime64("2020-01-01", "us") + np.arange(n).astype("timedelta64[m]")
                                  * 10)})
    t = pa.concat_tables([t, t.filter(pa.compute.equal(pa.compute.day(t["day"]), 7))])
    odd = {o.column: o for o in testing.oddities(t, time="day")}
    assert set(odd) == {"code", "price", "who", ""} and odd["code"].rule == dict(shapes=["9"]) and "POST" in odd["code"].examples
    assert "2020-01-07" in odd[""].examples
    strict = testing.stricter(learn(t), odd.values())
    verdicts = strict.check(t, Seen())
    assert verdicts.bad.sum() == len({*np.flatnonzero(np.array(t["code"]) == "POST"),
                                      *np.flatnonzero(t["price"].to_numpy() == 0),
                                      *np.flatnonzero(t["who"].is_null().to_numpy()), *range(n, len(t))})
    assert testing.oddities(t.select(["day"]).slice(0, 10)) == []


# tables as people have them


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_is_corrupted_in_its_own_kind(stock, kind, tmp_path):
    good = stock.slice(0, 300)
    given = as_kind(kind, good, tmp_path)
    damaged, changed = corrupt(given, "unit change", "price", level=2)
    assert changed.all() and len(changed) == 300
    if kind in ("arrow", "pandas", "polars", "lazy", "batch", "reader"):
        assert type(damaged) is type(given)
    from mlsys.formats.frames import to_arrow
    assert to_arrow(damaged)["price"].to_pylist() == pytest.approx([1000 * v
                                                                    for v in good["price"].to_pylist()])


def test_a_pandas_frame_keeps_its_kind_of_types(stock):
    frame = stock.slice(0, 50).to_pandas().convert_dtypes()
    assert corrupt(frame, "null spike", "wheels").table["wheels"].dtype == pd.Int64Dtype()
    backed = stock.slice(0, 50).to_pandas(types_mapper=pd.ArrowDtype)
    assert all(isinstance(t, pd.ArrowDtype) for t in corrupt(backed, "typo in category", "city").table.dtypes)
    coded = frame.assign(city=frame.city.astype("category"), when=frame.when.dt.tz_localize("Europe/Berlin"))
    later = corrupt(coded, "shifted time", "when").table
    assert str(later["when"].dt.tz) == "Europe/Berlin" and isinstance(later["city"].dtype, pd.CategoricalDtype)


@pytest.mark.parametrize("kind", KINDS)
def test_recall_and_oddities_of_a_table_of_any_kind(stock, stock_suite, kind, tmp_path):
    good = stock.slice(0, 300)
    names = ["sign flip", "typo in category"]
    expected = testing.recall(stock_suite, good, names)
    pd.testing.assert_frame_equal(testing.recall(stock_suite, as_kind(kind, good, tmp_path), names), expected)
    assert testing.oddities(as_kind(kind, good, tmp_path), time="when") == testing.oddities(good, time="when")


def test_what_does_not_fit_is_one_sentence(stock):
    for how, column, part in (("unit chance", "price", "did you mean 'unit "
                                                       "change'"),
                              ("unit change", "prise", "did you mean 'price'"),
                              ("unit change", "city", "column 'city' is text"),
                              ("typo in category", "", "no column ''")):
        with core.refused(part):
            corrupt(stock, how, column)
    with core.refused("no such column; did you mean 'when'"):
        testing.oddities(stock, time="wenn")


def test_tables_that_leave_little_to_damage():
    few = pa.table({"x": [True, False, True], "y": pa.nulls(3)})
    suite = learn(few)
    found = testing.recall(suite, few)
    middle = found[found.level == 1].assign(revealed=lambda f: detection.detectable(suite, few, f))
    assert len(detection.by_corruption(found, middle)) <= 2 and len(detection.table_verdicts(suite, few)) == 0
    none = found[:0].assign(revealed=pd.Series(dtype=bool))
    assert len(detection.by_corruption(none, none)) == 0 and np.isnan(detection.pooled_recall(none))
