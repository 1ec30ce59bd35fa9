"""Two tables that should be alike: differences are named with what would undo them, and chance is not."""
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from testing_tables import KINDS, as_kind, shop

from mlsys import core, testing
from mlsys.testing import shift


@pytest.fixture(scope="module")
def stock():
    return shop()


def test_differences_are_named_and_chance_is_not(stock):
    halves = [[shop(3000, seed=seed).drop_columns("when") for seed in (i, 100 + i)] for i in range(12)]
    alarms = [testing.differences(*pair).differs.any() for pair in halves]
    assert not any(alarms)
    served = stock.set_column(8, "price", pa.compute.multiply(stock["price"], 100.0))
    served = served.set_column(1, "city",
                               pa.compute.utf8_upper(stock["city"])).drop_columns("plate").append_column("new", stock["hour"])
    served = served.set_column(3, "wheels", stock["wheels"].cast(pa.string()))
    later = pa.compute.add(stock["when"], pa.scalar(5 * 3_600_000_000, pa.duration("us")))
    served = served.set_column(served.column_names.index("when"), "when", later)
    found = testing.differences(stock, served, least=0.01)
    hints = {(r.column, r.what): r.hint for r in found[found.differs].itertuples()}
    assert hints["price", "values"] == "serve = 100 × train + 0" and hints["city", "values"] == "upper or lower case"
    assert hints["plate", "schema"] == "only in train" and hints["new", "schema"] == "only in serve"
    assert hints["wheels", "type"] == "number in train, text in serve" and ("kind", "values") not in hints
    assert found[(found.column == "when") & (found.what == "values")].hint.tolist() == ["shifted by 5 hours"]


def test_differences_agree_with_scipy(stock):
    from scipy import stats
    other = shop(2500, seed=9)
    found = testing.differences(stock.select(["price"]), other.select(["price"])).set_index("what")
    expected = stats.ks_2samp(stock["price"].to_numpy(), other["price"].to_numpy(), method="asymp")
    assert found.loc["values", "size"] == pytest.approx(expected.statistic)
    assert found.p.tolist() == pytest.approx(stats.false_discovery_control([1.0, expected.pvalue]))
    table = pd.crosstab(np.r_[np.zeros(len(stock)), np.ones(len(other))],
                        np.r_[stock["kind"].to_pylist(), other["kind"].to_pylist()])
    assert shift.word_distance(stock["kind"],
                               other["kind"]).p == pytest.approx(stats.chi2_contingency(table).pvalue)


@pytest.mark.parametrize("kind", KINDS)
def test_differences_of_tables_of_any_kind(stock, kind, tmp_path):
    served = stock.set_column(8, "price", pa.compute.multiply(stock["price"], 100.0)).slice(0, 900)
    expected = testing.differences(stock, served)
    assert set(expected[expected.differs].column) >= {"price", "when"}
    (tmp_path / "a").mkdir()
    found = testing.differences(as_kind(kind, stock, tmp_path / "a"), as_kind(kind, served, tmp_path))
    pd.testing.assert_frame_equal(found, expected)


def test_empty_tables_and_columns_differ_in_nothing_that_could_be_known():
    some = pd.DataFrame({"x": [1.0, 2], "w": ["a", "b"], "t": pd.to_datetime(["2024-01-01", None])})
    for other in (some.head(0), some.assign(x=np.nan, w=None, t=pd.NaT)):
        found = testing.differences(some, other)
        assert not found.differs[found.what == "values"].any()
    assert len(testing.differences(some[[]], some[[]])) == 0
    with core.refused("named 3"):
        testing.differences(some, some.rename(columns={"x": 3}))
