"""Labelling functions over columns against Snorkel's row by row, votes against its models, and everything that can be wrong with a function."""
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from snorkel.labeling import LFAnalysis, PandasLFApplier, labeling_function
from snorkel.labeling.model import LabelModel, MajorityLabelVoter
from snorkel.slicing import PandasSFApplier, slicing_function
from testing_tables import Foreign

from mlsys import core, labeling
from mlsys.core import BadInput
from mlsys.labeling import ABSTAIN, lf, patterns
from mlsys.labeling.active import (
    Arena,
    active_curve,
    corrected,
    k_center,
    out_of_fold,
    slice_scores,
    slices,
    uncertainty,
)
from mlsys.labeling.endmodel import (
    accuracy,
    auc,
    fit,
    labels_worth,
    learn_encoding,
    learning_curve,
    worth_text,
)
from mlsys.labeling.files import Ballots, doubtful_rows
from mlsys.labeling.functions import Columns, LabelFunction, first_failing, recent_share
from mlsys.labeling.patterns import phrase_query
from mlsys.labeling.rules import Rule, as_function, holds
from mlsys.labeling.text import Words, in_threads, scan
from mlsys.labeling.votes import class_proba, distinct_votes, label_model, majority, triplets

ROOT = Path(__file__).parent.parent
quick = settings(max_examples=40, deadline=None)
VOTES = st.integers(1, 30).flatmap(lambda n: st.integers(1,
                                                         6).flatmap(lambda m: arrays(np.int8, (n, m),
                                                                                     elements=st.integers(-1,
                                                                                                          1))))
TEXTS = st.lists(st.one_of(st.none(), st.text(alphabet="aAtTéß_1 -.\n!", max_size=12)), min_size=1,
                 max_size=20)
NUMBERS = st.lists(st.one_of(st.none(), st.integers(-5, 5)), min_size=1, max_size=20)


# Columns against rows

@lf
def by_sign(x):
    return np.where(x.n > 0, 1, np.where(x.n < 0, 0, ABSTAIN))


@lf(label=1)
def says(x):
    return x.text.has("at", "é")


@lf(label=0)
def shouts(x):
    return x.text.matches("!!|^a")


@labeling_function()
def by_sign_row(row):
    return ABSTAIN if pd.isna(row.n) or row.n == 0 else int(row.n > 0)


@labeling_function()
def says_row(row):
    return 1 if isinstance(row.text, str) and re.search(r"(?<!\w)(at|é)(?!\w)", row.text, re.IGNORECASE) else ABSTAIN


@labeling_function()
def shouts_row(row):
    return 0 if isinstance(row.text, str) and re.search("!!|^a", row.text, re.IGNORECASE) else ABSTAIN


@quick
@given(TEXTS, NUMBERS, st.booleans())
def test_the_matrix_is_the_one_of_snorkels_applier(texts, numbers, coded):
    n = min(len(texts), len(numbers))
    text = pa.array(texts[:n], pa.string())
    table = pa.table(dict(n=pa.array(numbers[:n], pa.int64()),
                          text=text.dictionary_encode() if coded else text))
    rows = [by_sign_row, says_row, shouts_row]
    theirs = PandasLFApplier(rows).apply(table.to_pandas(), progress_bar=False)
    ours = labeling.apply([by_sign, says, shouts], table)
    assert ours.dtype == np.int8 and np.array_equal(ours, theirs)
    mixed = [by_sign_row, says, shouts_row]
    assert np.array_equal(labeling.apply(mixed, table), theirs)
    assert np.array_equal(labeling.apply(rows, table.to_batches()[0]), theirs)


@quick
@given(TEXTS, st.lists(st.text(alphabet="aAté1_ .", min_size=1, max_size=4).filter(str.strip), min_size=1,
                       max_size=3))
def test_phrases_are_found_where_python_finds_them(texts, phrases):
    said = Words(pa.array(texts, pa.string()))
    pattern = "|".join(r"\s+".join(map(re.escape, p.split())) for p in phrases)
    expected = [t is not None and bool(re.search(rf"(?<!\w)(?:{pattern})(?!\w)", t, re.IGNORECASE))
                for t in texts]
    assert list(said.has(*phrases)) == expected
    assert list(Words(said.column.dictionary_encode()).has(*phrases)) == expected
    assert list(said.length) == [len(t or "") for t in texts]


SOUP = st.text(alphabet="aAbBkKsSiI_1 \n\t\x0b\x1f\xa0\u2003.!-+éß\u212a\u017f\u0130\u0131\u0301\0",
               max_size=14)
TERMS = st.lists(st.one_of(SOUP, st.sampled_from(["a", "!!", "ab", "k", "is", "a b", "ask", "b-a", "c++",
                                                  "kiss as", "abababababab a", "é",
                                                      "\u212a"])), min_size=1, max_size=4)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.none(), SOUP,
                          st.sampled_from(["ask a kiss", "!!!", "ab ab", "kiss\xa0as", "as\u017f",
                                           "abABababABAB  A"])), max_size=12),
       st.lists(TERMS, min_size=1, max_size=3), st.booleans())
def test_phrases_are_those_of_re_whatever_is_looked_for_at_once(texts, asked, large):
    column = pa.array(["cut off", *texts], pa.large_string() if large else pa.string()).slice(1)
    known = [phrase_query(*phrases) for phrases in asked]
    for phrases in asked:
        pattern = "|".join(r"\s+".join(map(re.escape, p.split())) for p in phrases if p.split())
        expected = [bool(pattern and t is not None
                         and re.search(rf"(?<!\w)(?:{pattern})(?!\w)", t, re.IGNORECASE)) for t in texts]
        assert list(Words(column, known).has(*phrases)) == list(Words(column).has(*phrases)) == expected


PARTS = st.sampled_from(["a", "B", "!", "k", "s", " ", "ab", "kiss", "\\.", "\\b", "\\w", ".", "[ab]", "[^a]",
                         "^", "$", "(a|b)", "(?:ab)?",
                         "a{2}", "b{,2}", "!+", "s*", "|", "é", "(?:k|is)", "(!a)+", "[[:alpha:]]", "\\pL",
                         "(?i:ab)"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.none(), SOUP), max_size=12),
       st.lists(PARTS, min_size=1, max_size=6).map("".join))
def test_patterns_are_those_of_re2(texts, pattern):
    import pyarrow.compute as pc
    column = pa.array(texts, pa.string())
    try:
        expected = pc.match_substring_regex(column, pattern, ignore_case=True).fill_null(False).to_pylist()
    except pa.ArrowInvalid:
        with pytest.raises(pa.ArrowInvalid):
            Words(column).matches(pattern)
    else:
        assert list(Words(column).matches(pattern)) == expected


def test_a_long_column_is_read_piece_by_piece():
    texts = ["it is great", "nothing", None, "was\xa0te", "a WASTE  of\nmoney", "gre\u00e4t"] * 30_000
    said = Words(pa.array(texts))
    assert len(texts) > 100_000 and said.column.nbytes > 1 << 20
    pieces = []
    in_threads(lambda column: pieces.append(len(column)) or np.zeros(len(column), bool), said.column,
               size=1 << 19)
    assert len(pieces) > 1 and sum(pieces) == len(texts)
    mask = in_threads(lambda column: scan(column, [phrase_query("great", "waste of money")]), said.column,
                      size=1 << 19)
    assert (mask[0] == np.tile([True, False, False, False, True, False], 30_000)).all()


def test_functions_are_asked_on_no_rows_first_and_a_change_of_an_answer_stays_with_its_function():
    rows = []

    def first(x):
        rows.append(len(x))
        mask = x.text.has("a")
        mask[:] = True
        return mask

    def moody(x):
        if not len(x):
            raise ValueError("no rows")
        return x.text.has("a")
    table = pa.table(dict(text=["a", "b"]))
    assert labeling.apply([lf(first, label=1), lf(moody, label=0)], table).tolist() == [[1, 0], [1, -1]] and rows == [0, 2]


def test_the_view_converts_a_column_once_and_touches_no_other():
    frame = pd.DataFrame(dict(a=[1, None, 3], b=["no table of Arrow", 1, {}]))
    x = Columns(frame)
    assert x.a is x["a"] and np.isnan(x.a[1]) and list(x._read) == ["a"]
    with pytest.raises(BadInput, match="column 'b'"):
        _ = x.b
    with pytest.raises(AttributeError):
        _ = x._private


def test_types_of_columns():
    large, times = pa.array(["x", None], pa.large_string()), pa.array([0, None], pa.timestamp("s"))
    x = Columns(pa.table(dict(b=[True, None], i=[1, 2], t=times, large=large)))
    assert x.i.dtype.kind == "i" and np.isnan(x.b[1]) and x.t.dtype.kind == "M" and np.isnat(x.t[1]) and list(x.large == "x") == [True, False]


# Any table

def _as_polars(table):
    return pytest.importorskip("polars").from_arrow(table)


def _as_relation(rows):
    import duckdb
    return duckdb.from_arrow(rows)


KINDS = {"pandas": lambda t: t.to_pandas(),
         "arrow-backed pandas": lambda t: t.to_pandas(types_mapper=pd.ArrowDtype),
         "indexed pandas": lambda t: t.to_pandas().set_axis(range(10, 0, -2)), "polars": _as_polars,
         "lazy polars": lambda t: _as_polars(t).lazy(), "batch": lambda t: t.to_batches()[0],
         "reader": lambda t: t.to_reader(2),
         "stream": lambda t: Foreign(t), "relation": _as_relation,
         "mapping": lambda t: {c: t[c] for c in t.column_names}}


ANY = pa.table(dict(n=[1, -2, None, 0, 5], text=["at home", "attic", None, "Ré!!", "a"]))


@pytest.mark.parametrize("kind", [*KINDS, "path"])
def test_votes_on_any_table(kind, tmp_path):
    def given():
        if kind != "path":
            return KINDS[kind](ANY)
        pq.write_table(ANY, tmp_path / "any.parquet")
        return tmp_path / "any.parquet"
    functions = [by_sign, says, shouts, by_sign_row]
    expected = labeling.apply(functions, ANY)
    votes = labeling.apply(functions, given())
    assert isinstance(votes, np.ndarray) and votes.dtype == np.int8 and np.array_equal(votes, expected)
    y = np.array([1, 0, 0, 0, 1])
    assert [r.name for r in labeling.learn_rules(given(), y)] == [r.name
                                                                  for r in labeling.learn_rules(ANY, y)]
    assert np.array_equal(slices([says], given()).says, expected[:, 1] == 1)
    assert (learn_encoding(given(), ["n", "text"])(given()) != learn_encoding(ANY,
                                                                              ["n", "text"])(ANY)).nnz == 0
    result = labeling.label_file(given(), functions, ("no", "yes"), tmp_path / "l.parquet",
                                 tmp_path / "q.csv", people=2)
    assert result["rows"] == 5 and len(pd.read_csv(tmp_path / "q.csv")) == 2


def test_dtypes_of_pandas_as_functions_see_them():
    when = pd.to_datetime(["2013-01-01 12:00", None]).tz_localize("America/New_York")
    frame = pd.DataFrame(dict(word=pd.Categorical(["a", None]), size=pd.array([1, None], "Int64"),
                              flag=pd.array([True, None], "boolean"),
                              text=pd.array(["x", None], pd.ArrowDtype(pa.string())), when=when),
                         index=["p", "q"])
    kept = frame.copy()
    x = Columns(frame)
    assert list(x.word == "a") == list(x.text == "x") == [True, False] and np.isnan(x.size[1]) and np.isnan(x.flag[1])
    assert x.when[0] == np.datetime64("2013-01-01T17:00") and np.isnat(x.when[1])  # in UTC
    pd.testing.assert_frame_equal(frame, kept)


def test_names_of_columns_must_be_text():
    with pytest.raises(BadInput, match="column 2 is named 0, which is not text") as e:
        labeling.apply([by_sign], pd.DataFrame({"n": [1], 0: [2]}))
    assert "\n" not in str(e.value)


def test_functions_over_a_pandas_frame_and_its_rows():
    frame = pd.DataFrame(dict(n=[1, 5, 9], t=["late again", None, "on time"]), index=["x", "y", "z"])
    whole = lf(lambda df: df.t.str.contains("late"), label=1, name="frame", on="frame")
    labels = lf(lambda df: df.n.where(df.n > 1).map({5: 0, 9: 1}), name="labels", on="frame")
    row = lf(lambda row: row.n > 3, label=0, name="row", on="row")
    named = lf(lambda row: 1 if row.name == "y" else None, name="index", on="row")
    assert labeling.apply([whole, labels, row, named], frame).tolist() == [[1, -1, -1, -1], [-1, 0, 0, 1],
                                                                           [-1, 1, 0, -1]]
    assert labeling.apply([whole, row], pa.Table.from_pandas(frame, preserve_index=False)).tolist() == [[1,
                                                                                                         -1],
                                                                                                        [-1,
                                                                                                         0],
                                                                                                        [-1,
                                                                                                         0]]
    with pytest.raises(BadInput, match="'late': it returned true or false, but for no class"):
        labeling.apply([lf(lambda row: row.n > 3, name="late", on="row")], frame)
    with pytest.raises(BadInput, match="did you mean 'frame'"):
        lf(lambda df: df, on="frames")


def test_a_pattern_that_cannot_be_read_runs_on_every_row():
    assert patterns.pattern_query("(?i)waste|refund").strings == () and patterns.pattern_query(r"\bwaste|refund").strings
    for pattern in (r"[[:alpha:]]", r"\pL", r"a{,2}", r"\x41", "a**"):
        try:
            found = patterns.literals_of(pattern)
        except patterns.Unreadable:
            continue
        raise AssertionError(f"{pattern}: {found}")


def test_arrow_answers_count_too():
    table = pa.table(dict(a=[1, None, 3]))
    mask = LabelFunction("mask", lambda x: pc_greater(table["a"], 2), label=1)
    labels = LabelFunction("labels", lambda x: pa.array([0, None, 1]))
    assert labeling.apply([mask, labels], table).tolist() == [[-1, 0], [-1, -1], [1, 1]]


def pc_greater(column, limit):
    import pyarrow.compute as pc
    return pc.greater(column, limit)


def test_no_rows():
    table = pa.table(dict(n=pa.array([], pa.int64()), text=pa.array([], pa.string())))
    assert labeling.apply([by_sign, says_row], table).shape == (0, 2)


# Faults

@pytest.mark.parametrize("f, words", [
    (LabelFunction("f", lambda x: np.zeros(2)), "'f' returned an array of shape (2,) for 3 rows"),
    (LabelFunction("f", lambda x: 1), "'f' returned an array of shape () for 3 rows"),
    (LabelFunction("f", lambda x: np.array([0, 1, 7])), "'f', row 3: 7 is no label; use 0 to 1"),
    (LabelFunction("f", lambda x: np.array([0, np.nan, 1])), "'f', row 2: nan is no label"),
    (LabelFunction("f", lambda x: np.array([0, 0.5, 1])), "'f', row 2: 0.5 is no label"),
    (LabelFunction("f", lambda x: np.array(["a", "b", "c"])), "'f', row 1: a is no label"),
    (LabelFunction("f", lambda x: x.n > 1), "'f' returned a mask, but for no class"),
    (LabelFunction("f", lambda x: x.m > 1), "'f': there is no column 'm'"),
    (LabelFunction("f", lambda x: 1 / 0), "'f': ZeroDivisionError"),
    (LabelFunction("f", lambda x: np.array([int(v) for v in x.n])), "'f', row 2: ValueError"),
    (labeling_function(name="f")(lambda row: int(row.n)), "'f', row 2: ValueError"),
    (labeling_function(name="f")(lambda row: 5), "'f', row 1: 5 is no label"),
])
def test_a_faulty_function_is_named(f, words):
    with pytest.raises(BadInput, match=re.escape("labelling function " + words)):
        labeling.apply([f], pa.table(dict(n=[1, None, 3])))


def test_the_row_is_counted_from_the_start_of_the_file():
    f = LabelFunction("f", lambda x: np.array([int(v) for v in x.n]))
    with pytest.raises(BadInput, match="row 1002: ValueError"):
        labeling.apply([f], pa.table(dict(n=[1, None, 3])), start=1000)


@pytest.mark.parametrize("functions, words", [
    ([], "no labelling function"), ([len], "'len' is no labelling function"),
                                              ([by_sign, by_sign], "named 'by_sign'")])
def test_a_list_of_functions_is_checked(functions, words):
    with pytest.raises(BadInput, match=words):
        labeling.apply(functions, pa.table(dict(n=[1])))


@given(st.integers(1, 300), st.data())
def test_the_first_failing_row_is_found(n, data):
    bad = data.draw(st.integers(0, n - 1))
    assert first_failing(lambda m: m > bad, n) == bad
    assert first_failing(lambda m: True, n) is None


# Rules

def rules(tmp_path, text, name="rules.json"):
    path = tmp_path / name
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return path


GOOD = dict(name="wait", label="late", column="n", above=1)


@pytest.mark.parametrize("raw, words", [
    ("{", "not valid JSON"),
    ({"classes": ["a", "b"]}, "two lists"),
    ({"classes": ["a"], "rules": []}, "two different classes"),
    ({"classes": ["on time", "late"], "rules": []}, "no labelling function"),
    ({"classes": ["on time", "late"], "rules": ["wait"]}, "a rule must be a group of keys"),
    ({"classes": ["on time", "late"], "rules": [GOOD, GOOD]}, "two labelling functions are named 'wait'"),
    ({"classes": ["on time", "late"], "rules": [GOOD | {"label": "lat"}]},
     "rule 'wait': 'lat' is no class; did you mean 'late'"),
    ({"classes": ["on time", "late"], "rules": [GOOD | {"abov": 1}]},
     "rule 'wait', key 'abov'.*did you mean 'above'"),
    ({"classes": ["on time", "late"], "rules": [GOOD | {"above": "x"}]}, "rule 'wait', key 'above'"),
    ({"classes": ["on time", "late"], "rules": [{"name": "wait", "label": "late"}]},
     "key 'column': field required"),
    ({"classes": ["on time", "late"], "rules": [{"name": "wait", "label": "late", "column": "n"}]},
     "it has no condition"),
    ({"classes": ["on time", "late"], "rules": [{"name": "wait", "label": "late", "column": "n",
                                                 "regex": "("}]}, "key 'regex'"),
])
def test_a_broken_file_of_rules_is_explained(tmp_path, raw, words):
    with pytest.raises(BadInput, match=words) as e:
        labeling.load_functions(rules(tmp_path, raw))
    assert "rules.json" in str(e.value)


@pytest.mark.parametrize("text, words", [
    ("[wait]\nlabel = late", "a section \\[labels\\] must name the classes"),
    ("label = late", "no section headers"),
    ("[labels]\nclasses = a, b\n[r]\nlabel = a\ncolumn = n\nabove = much", "rule 'r', key 'above'"),
])
def test_a_broken_ini_is_explained(tmp_path, text, words):
    with pytest.raises(BadInput, match=words):
        labeling.load_functions(rules(tmp_path, text, "rules.ini"))


@pytest.mark.parametrize("text, words", [
    ("CLASSES = ('a', 'b')\n1 / 0\n", "line 2: ZeroDivisionError"),
    ("def (", "line 1: SyntaxError"),
    ("from mlsys.labeling import lf\n@lf\ndef f(x): return x.n\n", "set CLASSES"),
    ("CLASSES = ('a', 'b')\n", "no labelling function"),
])
def test_a_broken_python_file_is_explained(tmp_path, text, words):
    with pytest.raises(BadInput, match=words):
        labeling.load_functions(rules(tmp_path, text, "mine.py"))


def test_unknown_files(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        labeling.load_functions(tmp_path / "none.json")
    with pytest.raises(BadInput, match="from .json, .ini or .py"):
        labeling.load_functions(rules(tmp_path, "", "rules.toml"))


def test_conditions_of_a_rule_hold_together():
    x = Columns(pa.table(dict(n=[1.0, 5.0, None, 9.0], word=["a", "b", "Nice one", None])))

    def where(**c):
        return list(holds(Rule(name="r", label="l", **c), x))
    assert where(column="n", above=1, below=9) == [False, True, False, False]
    assert where(column="n", equals="5, 9") == [False, True, False, True]
    assert where(column="word", keywords=["nice"], regex="one$") == [False, False, True, False]
    assert where(column="word", equals=["a", "b"]) == [True, True, False, False]
    with pytest.raises(BadInput, match="'above' does not fit column 'word'"):
        where(column="word", above=1)
    with pytest.raises(BadInput, match="'keywords' does not fit column 'n'"):
        where(column="n", keywords=["a"])


def test_snorkels_functions_are_read_from_a_python_file(tmp_path):
    path = rules(tmp_path, "from snorkel.labeling import labeling_function\nCLASSES = 'no', 'yes'\n"
                 "@labeling_function()\ndef big(row): return 1 if row.n > 1 else -1\n", "mine.py")
    functions, classes = labeling.load_functions(path)
    assert labeling.apply(functions, pa.table(dict(n=[1, 2])), classes).ravel().tolist() == [-1, 1]


def test_rules_learned_from_a_seed_can_be_written_and_read(credit, tmp_path):
    table = pq.read_table(credit)
    y = np.array([v == "good" for v in table["Status"].to_pylist()], float)
    names = [c for c in table.column_names if c != "Status"]
    rng = np.random.default_rng(0)
    seed = rng.permutation(len(table))[:300]
    found = labeling.learn_rules(table.take(seed), y[seed], names, ("bad", "good"))
    assert 4 <= len(found) <= 12 and {r.label for r in found} == {"bad", "good"}
    path = rules(tmp_path, dict(classes=["bad", "good"],
                                rules=[r.model_dump(exclude_defaults=True) for r in found]))
    functions, classes = labeling.load_functions(path)
    L = labeling.apply(functions, table, classes)
    rest = np.setdiff1d(np.arange(len(table)), seed)
    assert auc(y[rest], labeling.weak_labels(L, 0.7)[rest]) > 0.65  # rows that no rule has seen


def test_keywords_are_learned_from_text():
    texts = ["the parcel came late and broken, what a waste of "
             "money"] * 20 + ["arrived early and tastes wonderful, will order again"] * 20
    found = labeling.learn_rules(pa.table(dict(t=texts)), np.repeat([0.0, 1.0], 20), ["t"], ("bad", "good"))
    assert found and all(r.keywords for r in found) and "waste" in {w for r in found for w in r.keywords} | {"waste"}
    L = labeling.apply([as_function(r, ("bad", "good")) for r in found], pa.table(dict(t=texts)))
    assert (majority(L)[:, 1] > 0.5).tolist() == [False] * 20 + [True] * 20


def test_a_seed_with_one_class_teaches_nothing():
    assert labeling.learn_rules(pa.table(dict(a=list(range(50)))), np.ones(50), ["a"]) == []


# Votes

@quick
@given(VOTES)
def test_majority_is_snorkels(L):
    assert np.allclose(majority(L), MajorityLabelVoter().predict_proba(L.astype(int)))


@quick
@given(VOTES, st.data())
def test_summary_is_snorkels_analysis(L, data):
    y = data.draw(arrays(int, len(L), elements=st.integers(0, 1)))
    ours, theirs = labeling.summary(L, range(L.shape[1]), y), LFAnalysis(L.astype(int)).lf_summary(y)
    for a, b in (("coverage", "Coverage"), ("overlaps", "Overlaps"), ("conflicts", "Conflicts")):
        assert np.allclose(ours[a], theirs[b])
    voted = (L >= 0).any(0)
    assert np.allclose(ours.accuracy[voted], theirs["Emp. Acc."].to_numpy()[voted])


def planted(n=40_000, balance=0.3, trust=(0.9, 0.75, 0.6, 0.8, 0.7), speaks=(0.5, 0.8, 0.9, 0.3, 0.6),
            seed=0):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < balance).astype(int)
    right = rng.random((n, len(trust))) < trust
    L = np.where(rng.random(right.shape) < speaks, np.where(right, y[:, None], 1 - y[:, None]),
                 -1).astype(np.int8)
    return y, L


@pytest.mark.parametrize("balance", [0.15, 0.5, 0.8])
def test_triplets_find_what_was_planted(balance):
    trust, speaks = np.array([0.9, 0.75, 0.65, 0.8, 0.7]), np.array([0.5, 0.8, 0.9, 0.3, 0.6])
    _, L = planted(200_000, balance, trust, speaks)
    found = triplets(L, balance).chance
    assert np.abs(found[:, 1, 2] - speaks * trust).max() < 0.03 and np.abs(found[:, 0, 1] - speaks * trust).max() < 0.03
    assert np.allclose(found.sum(2), 1)


def test_triplets_serve_functions_that_vote_for_one_class_only():
    y, L = planted()
    L = np.where(L == np.array([0, 1, 0, 1, 1]), L, -1)  # each function is left with one class
    assert auc(y, labeling.weak_labels(L, 0.3)) > 0.85


def test_triplets_are_as_good_as_snorkels_label_model():
    y, L = planted()
    model = LabelModel(cardinality=2, verbose=False)
    model.fit(L.astype(int), class_balance=[0.7, 0.3], n_epochs=200, seed=0, progress_bar=False)
    theirs = model.predict_proba(L.astype(int))[:, 1]
    assert auc(y, labeling.weak_labels(L, 0.3)) > auc(y, theirs) - 0.01
    assert np.allclose(labeling.weak_labels(L, 0.3, "snorkel"),
                       label_model(L, (0.7, 0.3)).predict_proba(L.astype(int))[:, 1])


@quick
@given(VOTES.filter(lambda L: L.shape[1] > 2), st.floats(0.05, 0.95))
def test_any_votes_give_probabilities(L, balance):
    p = triplets(L, balance).proba(L)
    assert np.isfinite(p).all() and np.allclose(p.sum(1), 1)


@quick
@given(VOTES.filter(lambda L: L.shape[1] > 2))
def test_every_vote_moves_its_class_up(L):
    model = triplets(L, 0.5)
    for j in range(L.shape[1]):
        for c in (0, 1):
            if (L[:, j] == c).any():
                assert model.chance[j, c, c + 1] > model.chance[j, 1 - c, c + 1]


def test_ways_to_combine_votes():
    _, L = planted(500)
    assert np.allclose(labeling.weak_labels(L[:, :2], 0.3),
                       majority(L[:, :2])[:, 1])  # two functions cannot be told apart
    with pytest.raises(BadInput, match="did you mean 'triplets'"):
        labeling.weak_labels(L, 0.3, "triplet")
    three = np.array([[0, 2, -1], [1, 1, 2], [-1, -1, -1]])
    assert class_proba(three, ("a", "b", "c")).tolist() == majority(three, 3).tolist()
    assert class_proba(np.tile(three, (30, 1)), ("a", "b", "c"), "snorkel").shape == (90, 3)


# What was known before

@quick
@given(st.data())
def test_recent_share_is_what_one_would_count(data):
    n = data.draw(st.integers(1, 25))
    times = np.array(data.draw(st.lists(st.integers(0, 60), min_size=n, max_size=n)), float)
    groups = data.draw(st.lists(st.sampled_from("ab"), min_size=n, max_size=n))
    happened = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), float)
    end = data.draw(st.integers(1, 10))
    start, least = end + data.draw(st.integers(0, 20)), data.draw(st.integers(1, 3))
    expected = []
    for i in range(n):
        seen = [happened[j] for j in range(n) if groups[j] == groups[i]
                and times[i] - start <= times[j] <= times[i] - end]
        expected.append(np.mean(seen) if len(seen) >= least else np.nan)
    assert np.allclose(recent_share(times, groups, happened, start, end, least), expected, equal_nan=True)


# The end model and what it was worth

def test_probabilities_as_labels_are_rows_with_weights():
    rng = np.random.default_rng(0)
    X, p = rng.normal(size=(60, 3)), rng.random(60).round(1)
    from sklearn.linear_model import LogisticRegression
    copies = np.repeat(np.arange(60), 10)
    y = np.concatenate([np.arange(10) < round(10 * v) for v in p])
    same = LogisticRegression(C=0.3 * 0.1, max_iter=1000, tol=1e-8).fit(X[copies], y,
                                                                        sample_weight=np.full(600, 1.0))
    weighted = LogisticRegression(C=0.3, max_iter=1000, tol=1e-8).fit(X[copies], y,
                                                                      sample_weight=np.full(600, 0.1))
    assert np.allclose(fit(X, p)(X), weighted.predict_proba(X)[:, 1], atol=1e-3)
    assert np.allclose(same.coef_, weighted.coef_, atol=1e-4)


def test_one_class_is_a_constant():
    assert fit(np.eye(3), np.ones(3))(np.eye(2, 3)).tolist() == [1, 1]
    assert fit(np.eye(3), np.zeros(3))(np.eye(2, 3)).tolist() == [0, 0]
    assert math.isnan(auc([1, 1], [0.1, 0.2])) and accuracy(np.array([1, 0]), np.array([0.5, 0.2])) == 0.75


def test_an_encoding_fits_rows_it_has_not_seen():
    train = pa.table(dict(n=[1.0, 2.0, None, 4.0] * 10, w=["a", "b", None, "a"] * 10,
                          void=pa.array([None] * 40, pa.float64()),
                          t=["a long story about the sea and the sky, told twice"] * 40,
                          when=pa.array([0] * 40, pa.timestamp("s"))))
    later = pa.table(dict(n=[99.0, None], w=["new", None], void=[1.0, None], t=["", None],
                          when=pa.array([0, 0], pa.timestamp("s"))))
    encode = learn_encoding(train, train.column_names)
    X, Z = encode(train), encode(later)
    assert X.shape[1] == Z.shape[1] and X.dtype == np.float32 and np.isfinite(Z.toarray()).all()
    assert (Z[0] != X[0]).nnz  # a number beyond the last cut and a new word have places of their own


def test_worth_of_a_model_with_a_known_quality():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6000, 5))
    y = (x @ [1, 0.5, 0, 0, 0] + rng.logistic(size=6000) > 0).astype(int)
    perfect, useless = x @ [1, 0.5, 0, 0, 0], rng.random(6000)
    for scores, low, high in ((perfect, 500, math.inf), (useless, 0, 20)):
        curve = learning_curve(x[:3000], y[:3000], x[3000:], y[3000:], 1 / (1 + np.exp(-scores[3000:])),
                               seeds=4)
        assert low <= np.median(labels_worth(curve)) <= high
    assert list(curve.n.unique())[:3] == [20, 50, 100] and curve.n.max() == 3000


def test_worth_in_words():
    assert worth_text(np.array([100.0, 1234, 2000]), 5000) == "1,200 (100 to 2,000)"
    assert worth_text(np.array([math.inf] * 3), 5000) == "more than 5,000"
    assert worth_text(np.array([3000, math.inf, math.inf]),
                      5000) == "more than 5,000 (3,000 to more than 5,000)"


# Which row next, which label is wrong

@quick
@given(st.integers(1, 30), st.data())
def test_next_rows_are_new_and_wanted_most(n, data):
    p = data.draw(arrays(float, n, elements=st.floats(0, 1)))
    labelled = data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=n))
    wanted = data.draw(st.integers(1, 10))
    proba = np.column_stack([1 - p, p])
    for how, evidence in (("uncertainty", dict(proba=proba)), ("disagreement", dict(committee=np.stack([proba, proba[::-1]]))),
                          ("disagreement", dict(committee=(proba > 0.5).astype(int))),
                          ("random", dict(rows=n)), ("diversity", dict(X=p[:, None]))):
        rows = labeling.next_rows(wanted, how, labelled=labelled, **evidence)
        assert len(set(rows)) == len(rows) == min(wanted, n - len(labelled)) and not set(rows) & set(labelled)
    chosen = labeling.next_rows(wanted, proba=proba, labelled=labelled)
    rest = np.setdiff1d(np.arange(n), [*chosen, *labelled])
    doubt = uncertainty(proba)
    assert not len(rest) or not len(chosen) or doubt[chosen].min() >= doubt[rest].max()


@quick
@given(arrays(float, (12, 2), elements=st.integers(-9, 9).map(float)),
       st.lists(st.integers(0, 11), unique=True, min_size=1, max_size=4))
def test_k_center_takes_the_farthest(X, labelled):
    known = list(labelled)
    for i in k_center(X, labelled, 4):
        away = ((X[:, None] - X[known]) ** 2).sum(2).min(1)
        away[known] = -1
        assert away[i] == pytest.approx(away.max())
        known.append(int(i))


def test_uncertainty_beats_random_where_the_boundary_is_sharp():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(3000, 2)), rng.normal(size=(3000, 20)) * 0.1])
    y = (X[:, 0] + X[:, 1] > 1.5).astype(int)
    final = {how: np.mean([active_curve(Arena(X[:2000], y[:2000], X[2000:], y[2000:]), how, seed=k)[-1].auc
                           for k in range(5)])
             for how in ("uncertainty", "random")}
    assert final["uncertainty"] > final["random"]


def test_suspects_are_the_labels_that_were_turned():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 4))
    y = (X[:, 0] + X[:, 1] + 0.3 * rng.normal(size=2000) > 0).astype(int)
    turned = rng.random(2000) < 0.05
    labels = np.where(turned, 1 - y, y)
    found = labeling.suspects(labels, out_of_fold(X, labels))
    assert sorted(found.row) == list(range(2000)) and (found.label == labels[found.row]).all()
    k = turned.sum()
    assert turned[found.row[:k]].mean() > 0.7  # random order: one in twenty
    mended, changed = corrected(labels, found.row[:k], y[found.row[:k]])
    assert (mended != y).sum() == k - len(changed) and set(changed.row) <= set(np.flatnonzero(turned))


def test_a_label_of_one_class_only_has_no_suspects():
    found = labeling.suspects(np.ones(30, int), np.tile([0.4, 0.6], (30, 1)))
    assert not found.suspect.any() and len(found) == 30


def test_answers_must_fit_the_rows():
    with pytest.raises(BadInput, match="1 answers for 2 rows"):
        corrected([0, 1], [0, 1], [1])
    assert corrected(np.array([0, 1]), [0, 1], [-1, 1])[1].empty


# Slices

def test_slices_are_snorkels():
    frame = pd.DataFrame(dict(n=[1, 5, 9, 2], y=[0, 1, 1, 0]))

    @slicing_function()
    def large(row):
        return row.n > 3
    ours = slices([lf(lambda x: x.n > 3, label=1, name="large")], pa.Table.from_pandas(frame))
    theirs = PandasSFApplier([large]).apply(frame, progress_bar=False)
    assert ours.dtype == theirs.dtype and (ours == theirs).all() and (slices([large], pa.Table.from_pandas(frame)) == theirs).all()
    p = np.array([0.1, 0.2, 0.9, 0.6])
    assert slice_scores(ours, frame.y,
                        p).accuracy.to_dict() == {"overall": 0.5}  # within the slice there is one class
    halves = slices([lf(lambda x: x.n < 6, label=1, name="small")], pa.Table.from_pandas(frame))
    scores = slice_scores(halves, frame.y, p)
    assert scores.loc["small", "rows"] == 3 and scores.loc["small", "accuracy"] == pytest.approx(1 / 3)
    assert slice_scores(halves, np.ones(4), p).loc["overall", "accuracy"] == 0.5


# Files and the command

@pytest.fixture
def waits(tmp_path):
    rng = np.random.default_rng(0)
    n = 1000
    late = rng.random(n) < 0.4
    note = np.where(rng.random(n) < 0.7, np.where(late, "Late again", "ok"), "")
    frame = pd.DataFrame(dict(minutes=np.where(late, 50, 10) + rng.integers(-9, 30, n), note=note,
                              crowd=np.where(late, 5, 3) + rng.integers(0, 3, n)))
    for kind, write in (("csv", lambda p: frame.to_csv(p, index=False)), ("parquet", lambda p: frame.to_parquet(p, index=False))):
        write(tmp_path / f"waits.{kind}")
    (tmp_path
     / "rules.ini").write_text("[labels]\nclasses = on time, late\n[wait]\nlabel = late\ncolumn = "
                               "minutes\nabove = 40\n"
                                        "[quick]\nlabel = on time\ncolumn = minutes\nbelow = 20\n"
                                        """[note]\nlabel = late\ncolumn = note\nkeywords =
                                        late\n[fine]\nlabel = on time\n"""
                                        "column = note\nequals = ok\n[crowd]\nlabel = late\ncolumn = "
                                        "crowd\nabove = 5\n")
    return tmp_path, late


def test_a_file_is_labelled_the_same_in_any_format_and_batch(waits):
    folder, late = waits
    functions, classes = labeling.load_functions(folder / "rules.ini")
    made = {}
    for kind, batch in (("csv", 128), ("parquet", 100), ("parquet", 5000)):
        out = folder / f"labels_{kind}_{batch}.parquet"
        result = labeling.label_file(folder / f"waits.{kind}", functions, classes, out, balance=0.4,
                                     batch_rows=batch)
        made[kind, batch] = pq.read_table(out)
        assert result["rows"] == 1000 and sum(result["labels"].values()) == made[kind, batch]["label"].drop_null().length()
    first, *others = made.values()
    assert all(first.equals(o) for o in others)
    right = np.array([a == ("late" if t else "on time")
                      for a, t in zip(first["label"].to_pylist(), late, strict=True)])
    assert right.mean() > 0.9 and first["votes"].type.list_size == 5
    assert np.allclose(first["p_late"].to_numpy() + first["p_on time"].to_numpy(), 1)


def test_the_command(waits, cli):
    folder, _ = waits
    args = ["label", folder / "waits.csv", "--functions", folder / "rules.ini", "--out",
            folder / "labels.csv"]
    code, out, err = cli(*args, "--queue", folder / "queue.csv", "--people", 7, "--json")
    told = json.loads(out)
    assert code == 0 and told["rows"] == 1000 and set(told["labels"]) == {"on time", "late"}
    assert set(told["functions"]) == {"wait", "quick", "note", "fine", "crowd"}
    queue = pd.read_csv(folder / "queue.csv")
    assert len(queue) == 7 and queue.said.str.contains(r"\(").all() and {"minutes", "note", "row"} <= set(queue.columns)
    labels = pd.read_csv(folder / "labels.csv")
    assert len(labels) == 1000 and labels.votes[0].count(" ") == 4
    voted = labels[labels.votes != "-1 -1 -1 -1 -1"]
    assert queue.confidence.max() <= voted.confidence.sort_values().iloc[6] + 1e-6
    code, out, _ = cli(*args, "--coverage", 1)
    assert code == 1 and "have a vote" in out


@pytest.mark.parametrize("change, words", [
    (dict(data="none.csv"), "none.csv"), (dict(functions="none.ini"), "no such file of labelling functions"),
    (dict(out="waits.csv"), "would replace another file"), (dict(out="labels.txt"), "unknown format"),
    (dict(model="best"), "no way to combine votes"),
    (dict(data="text.csv"), "does not fit column 'minutes'"),
                                           (dict(data="late.csv"), "column 'minutes', which holds text"),
    (dict(data="void.csv"), "no rows|empty"),
])
def test_what_the_user_got_wrong_is_one_sentence_and_nothing_is_written(waits, cli, change, words):
    folder, _ = waits
    (folder / "text.csv").write_text("minutes,note,crowd\nmany,late,3\n")
    (folder / "late.csv").write_text("minutes,note,crowd\n" + "5,late,3\n" * 300_000 + "text,late,3\n")
    (folder / "void.csv").write_text("minutes,note,crowd\n")
    where = dict(data="waits.csv", functions="rules.ini", out="labels.parquet", model="triplets") | change
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    options = [folder / where["data"], "--functions", folder / where["functions"], "--out",
               folder / where["out"], "--model", where["model"]]
    code, out, err = cli("label", *options)
    assert code == 2 and out == "" and re.search(words, err) and err.count("\n") == 1 and "Traceback" not in err
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before


MANY = """
import resource, sys
import pyarrow as pa, pyarrow.parquet as pq
from mlsys import labeling
from mlsys.labeling.functions import LabelFunction as F
low, odd, high = F("low", lambda x: x.n < 3, 0), F("odd", lambda x: x.n % 2 == 1, 1), F("high", lambda x: x.n > 6, 1)
labeling.label_file(sys.argv[1], [low, odd, high], ("a", "b"), sys.argv[1] + ".labels.parquet", sys.argv[1] + ".queue.csv", people=5)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_table(tmp_path):
    peaks = []
    for millions in (1, 6):
        path = tmp_path / f"{millions}.parquet"
        with pq.ParquetWriter(path, pa.schema([("n", pa.int64())])) as writer:
            for _ in range(millions * 10):
                writer.write_table(pa.table(dict(n=np.arange(100_000) % 10)))
        peaks.append(int(subprocess.run([sys.executable, "-c", MANY, path], check=True, capture_output=True,
                                        text=True).stdout))
        assert pq.read_metadata(f"{path}.labels.parquet").num_rows == millions * 1_000_000 and len(pd.read_csv(f"{path}.queue.csv")) == 5
    assert peaks[1] < peaks[0] + 60, peaks  # MB; the labels alone of five million more rows take twice that


@quick
@given(VOTES, st.integers(1, 9), st.integers(1, 12))
def test_labels_of_a_file_are_those_of_all_its_votes(L, batch, people):
    with Ballots(L.shape[1]) as votes:
        for i in range(0, len(L), batch):
            votes.add(np.ascontiguousarray(L[i:i + batch]))
        for how in ("majority", "triplets"):
            proba = class_proba(votes.patterns, ("a", "b"), how, 0.3, votes.counts)
            read = [(said, proba[at]) for said, at in votes]
            assert np.array_equal(np.concatenate([said for said, _ in read]), L)
            assert np.allclose(np.concatenate([p for _, p in read]), class_proba(L, ("a", "b"), how, 0.3))
        starts = range(0, len(L), batch)
        chosen = np.concatenate([i + rows for i, rows in zip(starts,
                                                             doubtful_rows(votes, uncertainty(proba), people),
                                                             strict=True)])
        told = labeling.summary(votes.patterns, range(L.shape[1]), counts=votes.counts).drop(columns="votes")
    assert np.allclose(told, labeling.summary(L, range(L.shape[1])).drop(columns="votes"))
    doubt = np.where((L >= 0).any(1), uncertainty(class_proba(L, ("a", "b"), "triplets", 0.3)), -1)
    assert len(np.unique(chosen)) == len(chosen) == min(people, (doubt >= 0).sum()) and (doubt[chosen] >= 0).all()
    rest = np.delete(doubt, chosen)
    assert not len(rest) or not len(chosen) or doubt[chosen].min() >= rest.max() - 1e-9


def test_votes_that_nobody_casts_are_no_labels(waits, cli):
    folder, _ = waits
    (folder
     / "mute.ini").write_text("[labels]\nclasses = a, b\n[r]\nlabel = a\ncolumn = minutes\nabove = 1e9\n")
    options = ["--functions", folder / "mute.ini", "--out", folder / "l.parquet", "--queue",
               folder / "q.parquet"]
    code, out, _ = cli("label", folder / "waits.parquet", *options)
    assert code == 1 and "0.0% of 1,000 rows have a vote" in out and pq.read_table(folder / "l.parquet")["label"].null_count == 1000


def test_the_chapter_is_a_stage():
    from mlsys import pipeline
    stage = next(s for s in pipeline.STAGES if s.name == "labeling")
    assert stage.reads == ("table",) and "labeling" in core.RESERVED


@quick
@given(VOTES)
def test_patterns_of_votes_are_the_rows(L):
    patterns, at = distinct_votes(L)
    assert np.array_equal(patterns[at], L) and len(np.unique(patterns, axis=0)) == len(patterns)
    wide = np.tile(L, (1, 50))[:, :50]
    patterns, at = distinct_votes(wide)
    assert np.array_equal(patterns[at], wide)


def test_words_from_an_iterator_hold_for_every_row_of_many():
    words = Words(pa.array(["owner", "rent"] * 5000))
    assert (words.isin(iter(["owner"])) == np.tile([True, False], 5000)).all()
