"""Whole runs on eight small tables of kinds that a newcomer brings: each ends with a report, or with one clear sentence of `init`.

They take minutes each, so that `make test-tables` runs them, not `make test`. The tables are made here. benchmarks/tables.py (`make test-tables`) does the same with sixty that nobody here chose.
"""
import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "tables.py"
SPEC = importlib.util.spec_from_file_location("benchmark_tables", SCRIPT)
tables = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tables)


def chance(signal, rng):
    "True with a probability that rises with the signal."
    return rng.random(len(signal)) < 1 / (1 + np.exp(-signal))


def sixty_rows(rng):
    "The fewest rows that a clinical study has; a constant column and a row number come with it."
    x = rng.normal(size=60)
    return pd.DataFrame({"rownames": np.arange(1, 61), "dose": x.round(2), "age": rng.integers(20, 80, 60),
                         "site": "Bern",
                         "relapse": chance(2 * x, rng).astype(int)})


def no_numbers(rng):
    "Words only: answers to a survey."
    answer = rng.choice(["agree", "disagree", "neither"], 300)
    return pd.DataFrame({"q1": answer, "q2": rng.choice(["often", "never"], 300),
                         "who": rng.choice(list("abcdefgh"), 300),
                         "vote": np.where(chance(2.0 * (answer == "agree") - 1, rng), "for", "against")})


def minus_one(rng):
    "A target of -1 and 1, as in support-vector machines' test tables."
    x = rng.normal(size=(200, 3))
    return pd.DataFrame(x.round(3), columns=["f1", "f2",
                                             "f3"]).assign(label=np.where(chance(x[:, 0] * 2, rng), 1, -1))


def words_and_holes(rng):
    "Yes and no, most values missing, the target's too."
    x = rng.normal(size=400)
    frame = pd.DataFrame({"income": x.round(2), "children": rng.integers(0, 5, 400).astype(float),
                          "region": rng.choice(["north", "south"], 400).astype(object),
                          "smoker": np.where(chance(x, rng), "yes", "no").astype(object)})
    holes = rng.random(frame.shape) < [0.6, 0.3, 0.5, 0.1]
    return frame.mask(holes)


def free_text(rng):
    "A column of sentences, every one another."
    good = rng.random(250) < 0.5
    words = [" ".join(rng.choice(["fine", "good", "tea"] if g else ["stale", "bad", "tea"], 6))
             + f", order {i}"
             for i, g in enumerate(good)]
    return pd.DataFrame({"review": words, "stars": rng.integers(1, 6, 250), "recommended": good})


def odd_names(rng):
    """Column names with blanks, a comma, a percent sign and a comment's mark; one is a leak, so that the
    card must spell it."""
    x = rng.normal(size=(120, 2)).round(3)
    late = chance(2 * x[:, 0], rng).astype(int)
    return pd.DataFrame({"price, EUR": x[:, 0], "share in %": x[:, 1], "season": rng.choice(["a", "b"], 120),
                         "late, in hours": 3 * late,
                         "is it late; # of 2": late})


def rare_class(rng):
    "Two per cent of the rows are positive, in clusters."
    x = rng.normal(size=500)
    y = np.zeros(500, int)
    y[rng.choice(500, 10, replace=False)] = 1
    return pd.DataFrame({"x": (x + 2 * y).round(3), "kind": rng.choice(["u", "v"], 500), "fraud": y})


def shuffled_time(rng):
    "Days in no order, some of them missing."
    x = rng.normal(size=365)
    days = pd.Series(pd.date_range("2023-01-01", periods=365).strftime("%Y-%m-%d"), dtype=object)
    days[::50] = None
    frame = pd.DataFrame({"day": days, "load": x.round(3), "shop": rng.choice(["s1", "s2", "s3"], 365),
                          "sold_out": chance(2 * x, rng)})
    return frame.sample(frac=1, random_state=0)


KINDS = {"sixty_rows": (sixty_rows, "relapse", ""), "no_numbers": (no_numbers, "vote", ""),
         "minus_one": (minus_one, "label", ""),
         "words_and_holes": (words_and_holes, "smoker", ""), "free_text": (free_text, "recommended", ""),
         "odd_names": (odd_names, "is it late; # of 2", ""), "rare_class": (rare_class, "fraud", ""),
         "shuffled_time": (shuffled_time, "sold_out", "day")}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_run_ends_well(kind, tmp_path):
    make, target, time = KINDS[kind]
    case = tables.Case(kind, lambda: make(np.random.default_rng(0)), target, time)
    end = tables.try_table(case, tmp_path, seconds=900)
    print(f"{kind}: {end.verdict}, {end.init_seconds + end.run_seconds:.0f} s, {end.cpu_seconds:.0f} s of "
          f"CPU")
    assert end.good, f"{end.verdict}: {end.detail}\n{end.where}"
    if end.verdict == "sentence":
        assert end.detail.count("\n") == 0 and "table.csv" in end.detail  # it names the table, in one line


def test_the_rule_for_targets():
    """The last column of two values in ten rows each; without one, the last of two values; an empty text
    is a missing value."""
    frame = pd.DataFrame({"a": [0, 1] * 20, "b": [""] * 10 + ["x", "y", "y"] * 10, "c": [0] * 39 + [1],
                          "d": range(40)})
    assert tables.two_valued(frame) == {"a": 20, "b": 10, "c": 1}
    assert tables.choose_target(frame) == "b"
    assert tables.choose_target(frame[["c", "d"]]) == "c" and tables.choose_target(frame[["d"]]) == ""


def test_how_an_end_is_judged(tmp_path):
    "A report is good; a sentence after the first stage, a failure and a lack of time are not."
    def end(code, error): return tables.Ended(code, error, 3, 2, 0.1)
    failed = end(3,
                 "01_design    2 s   coherent\n02_formats   13 s   fine\nmlsys: 06_training failed in cell 3 "
                 "with KeyError: 'a'\n")
    assert tables.judged(failed, tmp_path)["verdict"] == "died"
    assert tables.judged(failed, tmp_path)["detail"] == "06_training failed in cell 3 with KeyError: 'a'"
    assert tables.ended_stages(failed.error) == {"01_design": 2, "02_formats": 13}
    late = tables.judged(end(2, "leaks, see a pagemlsys: too few rows\nbye\n"), tmp_path)
    assert (late["verdict"], late["detail"]) == ("late sentence", "too few rows")
    assert tables.judged(end(None, ""), tmp_path)["verdict"] == "out of time"
    assert tables.judged(end(0, ""), tmp_path)["verdict"] == "died"  # without a report
    (tmp_path / "report.html").write_text("")
    assert tables.judged(end(0, ""), tmp_path)["verdict"] == "report"


def test_a_process_out_of_time_is_stopped(tmp_path):
    end = tables.watched(["sh", "-c", "echo started >&2; sleep 60 & wait"], tmp_path, 0.3)
    assert end.code is None and end.error == "started\n" and end.seconds < 10
