"""The labelling desk: answers that survive, queues, agreement, consensus, and the widget in a browser."""
import datetime
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsys.core import BadInput
from mlsys.labeling import Desk, agreement, assign_rows, consensus, read_answers
from mlsys.labeling.annotators import answer_matrix, cohen_kappa, dawid_skene, fleiss_kappa
from mlsys.labeling.answers import AnswerLog, Event, standing
from mlsys.labeling.card import STATIC, Command, still_html

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import desk_lab  # noqa: E402

TABLE = pa.table({"text": [f"a text about thing {i}" for i in range(30)], "n": range(30)})


def desk(path, annotator="anna", **more):
    return Desk(TABLE, ["less", "five stars"], path / f"{annotator}.jsonl", annotator, **more)


def event(row, kind="answer", annotator="anna", label="less"):
    return Event(annotator=annotator, row=row, event=kind, label=label if kind == "answer" else None)


def events(path):
    return list(AnswerLog(path).read().events)


def act(place, action, label=None, position=None):
    return place.act(Command(action, label), position)


# answers files

@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["answer", "skip", "undo"]), min_size=1, max_size=6), st.integers(1, 200))
def test_a_file_that_was_cut_anywhere_keeps_every_whole_line_and_takes_more(tmp_path_factory, kinds, cut):
    path = tmp_path_factory.mktemp("log") / "anna.jsonl"
    written = [event(i, kind, label="größer") for i, kind in enumerate(kinds)]
    for e in written:
        AnswerLog(path).append(e)
    data = path.read_bytes()
    path.write_bytes(data[: max(0, len(data) - cut)])
    kept = path.read_bytes().count(b"\n")
    log = AnswerLog(path).read()
    assert list(log.events) == written[:kept]
    left = bool(path.read_bytes()[len(b"".join(data.splitlines(keepends=True)[:kept])):])
    assert bool(log.trouble()) == left
    log.append(event("new", "skip"))
    later = log.read()
    after = list(later.events[kept:])
    assert after[-1] == event("new", "skip") and later.events[:kept] == log.events
    assert later == AnswerLog(path).read()  # in pieces or at once
    # cut just before the line break: the line was whole after all
    assert len(after) == 1 or after[0] == written[kept]


@pytest.mark.parametrize("line", ["", "null", "[1]", '{"row": 1}',
                                  '{"row": 1.5, "event": "skip", "annotator": "a"}',
                                  '{"row": 1, "event": "skip"}',
                                  '{"row": 1, "event": "answer", "annotator": "a"}',
                                  '{"row": 1, "event": "erase", "annotator": "a"}', "\udcff"])
def test_a_line_that_is_no_event_is_left_out_and_told(tmp_path, line):
    path = tmp_path / "anna.jsonl"
    good = event(1).line()
    path.write_bytes(good + f"{line}\n".encode(errors="surrogateescape") + good)
    log = AnswerLog(path).read()
    assert log.events == (event(1), event(1))
    assert log.broken == ((2,) if line else ()) and ("line 2" in log.trouble()) == bool(line)


def append_many(path, name, n):
    for i in range(n):
        AnswerLog(path).append(event(i, annotator=name, label="x" * 2000))


def test_processes_that_write_at_once_lose_and_mix_nothing(tmp_path):
    path, names = tmp_path / "shared.jsonl", ["a", "b", "c", "d"]
    workers = [multiprocessing.get_context("spawn").Process(target=append_many, args=(path, name, 100))
               for name in names]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    log = AnswerLog(path).read()
    assert not log.trouble() and len(log.events) == 400
    for name in names:
        assert [e.row for e in log.events if e.annotator == name] == list(range(100))


def test_a_writer_that_is_killed_leaves_whole_lines_and_no_lock(tmp_path):
    path = tmp_path / "anna.jsonl"
    code = ("from pathlib import Path; from mlsys.labeling.answers import AnswerLog, Event\n"
            f"log = AnswerLog(Path({str(path)!r}))\n"
            "for i in range(10**6):\n"
            "    log.append(Event(annotator='anna', row=i, event='skip')); print(i, flush=True)")
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    told = [int(writer.stdout.readline()) for _ in range(200)]
    writer.kill()
    told += [int(x) for x in writer.stdout.read().splitlines(keepends=True) if x.endswith("\n")]
    writer.wait()
    rows = [e.row for e in events(path)]
    assert rows[: len(told)] == told and len(rows) - len(told) <= 1
    AnswerLog(path).append(event("after"))
    assert events(path)[-1].row == "after"


def test_a_full_disk_leaves_no_half_line(tmp_path):
    path = tmp_path / "anna.jsonl"
    place = desk(tmp_path)
    place.answer("less")
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 40, limits[1]))
    try:
        view = act(place, "answer", "less", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert view["failed"] and "Not saved: cannot write" in view["message"] and view["position"] == 1
    assert path.read_bytes() == before
    assert not act(place, "answer", "less", 1)["failed"] and place.labels == {0: "less", 1: "less"}


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "labels").write_text("a file where a folder should be")
    with pytest.raises(BadInput, match="cannot write"):
        desk(tmp_path / "labels").answer("less")


# the desk without a browser

class Model:
    "What a desk should do, in the plainest way: a list of what stands."

    def __init__(self, rows):
        self.rows, self.stack = rows, []

    def current(self):
        return next((r for r in self.rows if r not in dict(self.stack)), None)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["less", "five stars", "skip", "undo", "reopen"]), max_size=25))
def test_any_sequence_of_keys_gives_what_the_plain_model_gives(tmp_path_factory, keys):
    path = tmp_path_factory.mktemp("desk")
    order = [4, 2, 9, 0, 7, 11]
    place, model = desk(path, order=order), Model(order)
    for key in keys:
        if key == "reopen":
            place = desk(path, order=order)
        elif key == "undo" and model.stack:
            assert place.undo() == model.stack.pop()[0]
        elif key != "undo" and model.current() is not None:
            model.stack.append((model.current(), None if key == "skip" else key))
            place.skip() if key == "skip" else place.answer(key)
        else:
            with pytest.raises(BadInput):
                place.undo() if key == "undo" else place.answer("less")
        assert place.labels == dict(model.stack)
        assert place.current == model.current()


def test_two_desks_of_one_person_follow_each_other(tmp_path):
    one, two = desk(tmp_path), desk(tmp_path)
    one.answer("less")
    assert two.current == 0  # it still shows the row
    act(two, "answer", "five stars", 1)
    assert two.labels == {0: "less", 1: "five stars"} and two.current == 2
    act(one, "undo")  # the last answer that stands, whoever gave it
    assert one.labels == {0: "less"} and one.current == 1


def test_undo_stays_in_its_queue(tmp_path):
    desk(tmp_path, order=[1, 2]).answer("less")
    other = desk(tmp_path, order=[3, 4])
    with pytest.raises(BadInput, match="nothing to undo"):
        other.undo()
    other.skip()
    assert other.undo() == 3 and other.labels == {1: "less"}


def test_a_torn_line_is_told_at_the_opening(tmp_path):
    place = desk(tmp_path)
    place.answer("less")
    with open(tmp_path / "anna.jsonl", "ab") as file:
        file.write(b'{"annotator": "anna", "row": 1, "ev')
    again = desk(tmp_path)
    assert "the torn last line could not be read and was left out" in again.view()["message"]
    assert again.current == 1
    assert act(again, "answer", "less", 1)["message"] == "Saved: less."
    assert desk(tmp_path).labels == {0: "less", 1: "less"}


def test_an_answer_goes_to_the_row_that_was_seen(tmp_path):
    one, two = desk(tmp_path), desk(tmp_path)
    seen = two.view()["position"]
    one.answer("less")
    one.answer("less")
    act(two, "answer", "five stars", seen)
    assert two.labels == {0: "five stars", 1: "less"}


def test_several_people_in_one_file(tmp_path):
    file = tmp_path / "all.jsonl"
    anna, ben = (Desk(TABLE, ["less", "more"], file, who) for who in ("anna", "ben"))
    anna.answer("less")
    ben.answer("more")
    ben.undo()
    ben.skip()
    anna.refresh()
    assert anna.labels == {0: "less"} and ben.labels == {0: None}
    table = read_answers(tmp_path)
    assert set(zip(table.annotator, table.label.isna(), strict=True)) == {("anna", False), ("ben", True)}


def test_names_of_rows_are_those_of_the_source(tmp_path):
    table = pa.table({"_row": [40, 10, 30], "x": [1.0, None, 3.0]})
    place = Desk(table, ["a", "b"], tmp_path / "me.jsonl", order=[2, 0])
    place.answer("a")
    assert place.labels == {30: "a"} and "_row" not in place.card() and "row 40</span>" in place.card()
    named = Desk(table, ["a", "b"], tmp_path / "you.jsonl", "you", ids=["r1", "r2", "r3"])
    named.answer("b")
    assert json.loads((tmp_path / "you.jsonl").read_text())["row"] == "r1"


def test_what_the_card_shows(tmp_path):
    table = pa.table({"review": ["A <b>long</b> text<br />" + "that goes on " * 8 + "bad", "x"],
                      "n": pa.array([None, 2.50]), "ok": [True, False]})
    place = Desk(table, ["no", "yes"], tmp_path / "me.jsonl", votes=np.array([[0, -1], [-1, -1]]),
                 functions=["bad word", "other"],
                 reason=lambda p, j: "bad", given=np.array([1, -1]))
    card = place.card()
    assert "A &lt;b&gt;long&lt;/b&gt; text\n" in card and '">bad</mark>' in card and "<q>bad</q>" in card
    assert "<dt>label now</dt><dd>yes</dd>" in card and "<dd>–</dd>" in card and "no vote: other" in card
    place.answer("no")
    place.skip()
    card = place.card()
    assert "2 of 2 done, 1 skipped" in card and "All rows of this queue are done" in card
    assert 'data-action="answer"' not in card
    assert place._repr_mimebundle_()[0]["text/html"].count("2 of 2 done") == 1


@pytest.mark.parametrize("more, words", [
    (dict(classes=["a"]), "at least two"), (dict(classes=["a", "a"]), "at least two"),
    (dict(annotator="../me"), "use letters"),
    (dict(order=[0, 0]), "at most once"), (dict(order=[99]), "positions from 0"),
    (dict(ids=["x"] * 30), "30 different names"),
    (dict(votes=np.zeros((30, 1), int)), "shape (30, 1) where (30, 0)"),
    (dict(given=np.full(30, 2)), "class numbers from 0 to 1"),
])
def test_a_desk_that_does_not_fit_is_refused(tmp_path, more, words):
    with pytest.raises(BadInput) as refused:
        Desk(**(dict(table=TABLE, classes=["a", "b"], file=tmp_path / "me.jsonl") | more))
    assert words in str(refused.value)


def test_answers_of_another_set_of_classes_are_refused(tmp_path):
    desk(tmp_path).answer("five stars")
    with pytest.raises(BadInput, match="the answer 'five stars' is not a class"):
        Desk(TABLE, ["good", "bad"], tmp_path / "anna.jsonl", "anna")
    with pytest.raises(BadInput, match="'five stars', the answer of anna, is not one of good, bad"):
        consensus(read_answers(tmp_path), ["good", "bad"])


def test_messages_that_ask_for_nonsense_change_nothing(tmp_path):
    place = desk(tmp_path)
    for action, label, position in [("erase", None, 0), ("answer", "nonsense", 0), ("answer", "less", 77),
                                    ("answer", None, 0), ("undo", None, None),
                                    ("answer", ["less"], 0), ("answer", "less", [0]), ({}, None, 0),
                                    (None, None, "0"), ("skip", None, 0.5)]:
        view = act(place, action, label, position)
        assert view["failed"] and view["message"].startswith("Not saved") and view["position"] == 0
    assert not (tmp_path / "anna.jsonl").exists()


# queues

@given(st.lists(st.integers(0, 999), unique=True, max_size=60), st.integers(1, 5), st.floats(0, 1))
def test_a_queue_is_dealt_out_evenly(order, people, overlap):
    shares = assign_rows(order, [f"p{i}" for i in range(people)], overlap)
    sets = [set(s.tolist()) for s in shares.values()]
    assert set().union(*sets) == set(order)
    for s in shares.values():  # in the order of the queue
        assert [order.index(i) for i in s] == sorted(order.index(i) for i in s)
    if people > 1:
        assert abs(len(set.intersection(*sets)) - overlap * len(order)) <= 1
        assert max(map(len, sets)) - min(map(len, sets)) <= 1
        for n in range(len(order)):  # agreement can be measured from the start
            assert abs(len(set(order[:n]) & set.intersection(*sets)) - overlap * n) <= 1


def test_who_cannot_share():
    for people, overlap in ([], 0.2), (["a", "a"], 0.2), (["a"], 1.2):
        with pytest.raises(BadInput):
            assign_rows([1], people, overlap)


# any table (law 8)

FRAME = pd.DataFrame({"text": ["good", "bad", "so so"], "kind": pd.Categorical(["a", "b", "a"]),
                      "n": pd.array([1, None, 3], "Int64"),
                      "when": pd.DatetimeIndex(["2024-05-01 12:00", None, "2024-05-03"], tz="Europe/Berlin"),
                      "arrow": pd.array([0.5, 1.25, None], pd.ArrowDtype(pa.float64()))},
                     index=["x", "y", "z"])
ANSWERS = pd.DataFrame({"row": np.repeat(range(1, 11), 2), "annotator": ["anna", "ben"] * 10,
                        "label": list("aabbaabbaabbaabbab") + ["b", None]},
                        index=pd.Index(range(10, 30), name="line"))


def kinds(frame, tmp_path):
    "The same table in every kind."
    import duckdb
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table, tmp_path / "table.parquet")
    yield from (frame, frame.convert_dtypes(dtype_backend="pyarrow"), table, table.to_reader())
    yield from (polars.from_arrow(table), polars.from_arrow(table).lazy())
    yield from (tmp_path / "table.parquet", duckdb.connect().from_arrow(table))


def test_a_desk_takes_any_table(tmp_path):
    for i, table in enumerate(kinds(FRAME, tmp_path)):
        place = Desk(table, ["less", "more"], tmp_path / f"{i}.jsonl", order=np.array([1, 0]))
        assert place.current == 1 and "<dt>text</dt><dd>bad</dd>" in place.card()
        assert "<dt>n</dt><dd>–</dd>" in place.card()
        place.answer("more")
        assert re.search("<dd>2024-05-01 1[02]:00</dd>", place.card())  # DuckDB gives times in UTC
        assert "<dt>kind</dt><dd>a</dd>" in place.card() and place.labels == {1: "more"}


def test_a_desk_shows_rows_and_leaves_the_table_as_it_is(tmp_path):
    before = FRAME.copy()
    desk_of_frame = Desk(FRAME, ["less", "more"], tmp_path / "me.jsonl", ids=FRAME.index)
    desk_of_frame.answer("less")
    assert desk_of_frame.labels == {"x": "less"} and FRAME.equals(before)
    assert FRAME.dtypes.equals(before.dtypes)


def test_names_of_columns_that_are_no_text_are_one_sentence(tmp_path):
    with pytest.raises(BadInput, match="column 1 is named 0, which is not text"):
        Desk(pd.DataFrame([[1, 2]]), ["a", "b"], tmp_path / "me.jsonl")
    with pytest.raises(BadInput, match="no column 'annotator'"):
        consensus(ANSWERS.rename(columns={"annotator": "person"}))


def test_answers_come_in_any_kind_and_go_back_in_it(tmp_path):
    settled = consensus(ANSWERS)
    assert list(settled.row) == list(range(1, 11)) and "".join(settled.label[:8]) == "abababab"
    assert list(settled.annotators) == [2] * 9 + [1]
    pairs = agreement(ANSWERS, replicates=50)
    for table in kinds(ANSWERS, tmp_path):
        found = consensus(table)
        if isinstance(table, pd.DataFrame):
            assert isinstance(found, pd.DataFrame) and found.astype(settled.dtypes).equals(settled)
        elif isinstance(table, pa.RecordBatchReader):
            assert found.read_all().to_pylist() == settled.to_dict("records")
        elif isinstance(table, polars.LazyFrame | polars.DataFrame):
            assert type(found) is type(table)
            assert found.lazy().collect().to_dicts() == settled.to_dict("records")
            assert agreement(table, replicates=50).lazy().collect().to_dicts() == pairs.to_dict("records")
        else:
            assert isinstance(found, pa.Table) and found.to_pylist() == settled.to_dict("records")


def test_labels_and_rows_keep_their_type():
    numbers = ANSWERS.label.map({"a": 0, "b": 1}).astype("Int64")
    answers = ANSWERS.assign(label=numbers, row=pd.Categorical([f"r{row}" for row in ANSWERS.row]))
    found = consensus(answers, [0, 1])
    assert list(found.label)[:4] == [0, 1, 0, 1] and list(found.row)[:2] == ["r1", "r2"]
    with pytest.raises(BadInput, match="names must differ"):
        consensus(answers, [0, 0])


def test_rows_of_two_kinds_become_texts(tmp_path):
    for name, row in (("anna", 1), ("ben", "1")):
        AnswerLog(tmp_path / f"{name}.jsonl").append(event(row, annotator=name))
    assert list(read_answers(tmp_path).row) == ["1", "1"] and len(consensus(read_answers(tmp_path))) == 1


def test_a_file_of_the_first_version_is_read(tmp_path):
    "As it was written before events had a class of their own, with a key that nobody knows any more."
    (tmp_path / "anna.jsonl").write_text(
        '{"time": "2013-06-01T12:00:00.000+00:00", "annotator": "anna", "row": 1, "event": "answer", '
        '"label": "less", "seconds": 1.25}\n'
        '{"annotator": "anna", "row": 2, "event": "skip", "mood": "tired"}\n', encoding="utf-8")
    table = read_answers(tmp_path)
    assert list(table.columns) == ["row", "annotator", "label", "time", "seconds"]
    assert table.iloc[0].tolist() == [1, "anna", "less", "2013-06-01T12:00:00.000+00:00", 1.25]
    assert pd.isna(table.label[1])
    assert datetime.datetime.fromisoformat(table.time[0]).tzinfo is not None
    place = desk(tmp_path)
    assert place.labels == {1: "less", 2: None}
    place.answer("less")
    written = json.loads((tmp_path / "anna.jsonl").read_text().splitlines()[-1])
    assert list(written) == ["time", "annotator", "row", "event", "label", "seconds"]


def test_an_id_that_a_browser_cannot_count_to(tmp_path):
    "JavaScript has no whole numbers beyond 2 ** 53: rows travel by position."
    ids = [2 ** 53 + 1, 2 ** 53 + 2]
    place = Desk(TABLE.slice(0, 2), ["less", "five stars"], tmp_path / "me.jsonl", ids=ids)
    view = json.loads(json.dumps(place.view()), parse_int=float)
    act(place, "answer", "less", int(view["position"]))
    assert place.labels == {ids[0]: "less"}


# agreement

# its standard errors, where both agree fully
@pytest.mark.filterwarnings("ignore::RuntimeWarning:statsmodels")
@settings(max_examples=50, deadline=None)
@given(st.integers(2, 5), st.integers(2, 60), st.integers(0, 10**6))
def test_cohens_kappa_is_that_of_scikit_learn_and_statsmodels(k, n, seed):
    from sklearn.metrics import cohen_kappa_score
    from statsmodels.stats.inter_rater import cohens_kappa
    rng = np.random.default_rng(seed)
    a = rng.integers(0, k, n)
    b = np.where(rng.random(n) < 0.6, a, rng.integers(0, k, n))
    if len(np.unique([a, b])) < 2:
        return
    table = np.zeros((k, k))
    np.add.at(table, (a, b), 1)
    assert cohen_kappa(a, b) == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)
    assert cohen_kappa(a, b) == pytest.approx(cohens_kappa(table).kappa, abs=1e-12)
    gaps = rng.random(n) < 0.2
    if len(np.unique([a[~gaps], b[~gaps]])) > 1:
        reference = cohen_kappa_score(a[~gaps], b[~gaps])
        assert cohen_kappa(np.where(gaps, -1, a), b) == pytest.approx(reference, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 5), st.integers(1, 40), st.integers(2, 6), st.integers(0, 10**6))
def test_fleiss_kappa_is_that_of_statsmodels(k, n, people, seed):
    from statsmodels.stats.inter_rater import fleiss_kappa as reference
    counts = np.random.default_rng(seed).multinomial(people, np.full(k, 1 / k), n)
    if (counts.sum(0) > 0).sum() > 1:
        assert fleiss_kappa(counts) == pytest.approx(reference(counts), abs=1e-12)
    else:
        assert np.isnan(fleiss_kappa(counts))


def answers_of(matrix, names):
    "A matrix of class numbers as a table of answers; -1: none."
    row, person = np.nonzero(matrix >= 0)
    return pd.DataFrame(dict(row=row, annotator=np.array(names)[person],
                             label=[f"class {k}" for k in matrix[row, person]]))


def test_agreement_of_pairs():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    matrix = np.stack([np.where(rng.random(400) < right, truth, rng.integers(0, 3, 400))
                       for right in (0.9, 0.9, 0.0)], axis=1)
    matrix[:100, 1] = -1
    table = agreement(answers_of(matrix, ["a", "b", "c"]), replicates=200).set_index("pair")
    assert table.loc["a, b", "rows"] == 300 and table.loc["a, b", "low"] > 0.6
    assert table.loc["a, b", "kappa"] == pytest.approx(cohen_kappa(matrix[:, 0], matrix[:, 1]))
    assert table.loc["a, c", "low"] < 0 < table.loc["a, c", "high"]
    assert agreement(answers_of(np.array([[0, -1], [-1, 1]]), ["a", "b"])).empty


def test_intervals_of_kappa_cover_it():
    "Of 95 % intervals, about as many hold the kappa of endless rows."
    rng, hits, joint = np.random.default_rng(3), 0, np.array([[0.4, 0.1], [0.15, 0.35]])
    chance = (joint.sum(0) * joint.sum(1)).sum()
    kappa = (np.trace(joint) - chance) / (1 - chance)
    for _ in range(400):
        cell = rng.choice(4, size=150, p=joint.ravel())
        pair = agreement(answers_of(np.stack([cell // 2, cell % 2], axis=1), ["a", "b"]),
                         replicates=300).iloc[0]
        hits += pair.low <= kappa <= pair.high
    assert 0.91 <= hits / 400 <= 0.98


# consensus

# answers of five anaesthetists about 45 patients; the first judged three times (Dawid and Skene 1979)


ANAESTHETISTS = """
1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343 1111111
2223212 1211111 1112111 1111111 1111111 2222221 2221322 2222222 2222221 2223222 2212222 1111111 1111111
2322222 1111111 1111111 1121121 1111111 3333233 1111111 2222222 2223232 4334343 2212232 2323233 3333432
1111111 1111111 1212111 2322222 1211111 2222222""".split()


def anaesthetists():
    answers = np.array([[int(c) - 1 for c in patient] for patient in ANAESTHETISTS])
    row, column = np.indices(answers.shape)
    return row.ravel(), np.array([0, 0, 0, 1, 2, 3, 4])[column.ravel()], answers.ravel()


def test_dawid_and_skene_find_what_they_published():
    found = dawid_skene(*anaesthetists(), 4)
    assert found.prevalence.round(2).tolist() == [0.40, 0.42, 0.11, 0.07]
    # patients whose class is beyond doubt
    sure = {1: 0, 2: 3, 3: 1, 8: 2, 11: 3, 12: 2, 13: 0, 32: 2, 36: 3, 39: 2, 45: 1}
    assert all(found.probability[patient - 1, k] > 0.999 for patient, k in sure.items())
    doubtful = {7: [0.981, 0.019, 0, 0], 35: [0, 0.948, 0.052, 0], 38: [0, 0.021, 0.979, 0]}
    for patient, expected in doubtful.items():
        assert found.probability[patient - 1] == pytest.approx(expected, abs=6e-4)
    assert found.confusion[0].round(2).tolist() == [[0.89, 0.11, 0, 0], [0.07, 0.88, 0.05, 0],
                                                    [0, 0.34, 0.66, 0], [0, 0, 0.56, 0.44]]
    assert found.confusion[1].round(2).tolist() == [[0.83, 0.17, 0, 0], [0.05, 0.63, 0.31, 0], [0, 0, 1, 0],
                                                    [0, 0, 0, 1]]
    assert found.confusion[2].round(2).tolist() == [[1, 0, 0, 0], [0.11, 0.79, 0.11, 0], [0, 0.4, 0.2, 0.4],
                                                    [0, 0, 0.67, 0.33]]
    assert found.confusion[3].round(2).tolist() == [[0.94, 0.06, 0, 0], [0.05, 0.84, 0.1, 0],
                                                    [0, 0, 0.8, 0.2], [0, 0, 0.33, 0.67]]
    assert found.confusion[4].round(2).tolist() == [[1, 0, 0, 0], [0.16, 0.73, 0.11, 0], [0, 0.21, 0.79, 0],
                                                    [0, 0, 0.33, 0.67]]
    assert found.log_likelihood[[0, 1, 2, -1]] == pytest.approx([-205.091138, -194.550952, -193.159445,
                                                                 -192.890882], abs=5e-6)


def by_loops(row, person, label, k, rounds, prior):
    "The same algorithm as the paper writes it, sum by sum."
    rows, people, answers = max(row) + 1, max(person) + 1, list(zip(row, person, label, strict=True))
    p = np.zeros((rows, k))
    for i, _, said in answers:
        p[i, said] += 1
    p /= p.sum(1, keepdims=True)
    for _ in range(rounds):
        share, theta = p.mean(0), np.full((people, k, k), float(prior))
        for i, a, said in answers:
            theta[a, :, said] += p[i]
        for a in range(people):
            for j in range(k):
                theta[a, j] = theta[a, j] / theta[a, j].sum() if theta[a, j].sum() > 1e-9 else 1 / k
        for i in range(rows):
            joint = share.copy()
            for n, a, said in answers:
                if n == i:
                    joint = joint * theta[a, :, said]
            p[i] = joint / joint.sum()
    return p, theta


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 4), st.integers(3, 12), st.integers(2, 4), st.integers(0, 10**6),
       st.sampled_from([0.0, 1.0]))
def test_the_fast_form_is_the_slow_one(k, rows, people, seed, prior):
    rng = np.random.default_rng(seed)
    row, person = (x.ravel() for x in np.indices((rows, people)))
    keep = (rng.random(len(row)) < 0.7) | (person == 0)
    row, person = row[keep], person[keep]
    person = np.unique(person, return_inverse=True)[1]
    label = rng.integers(0, k, len(row))
    found = dawid_skene(row, person, label, k, rounds=4, smoothing=prior)
    if len(found.log_likelihood) == 4:
        p, theta = by_loops(row, person, label, k, 4, prior)
        assert found.probability == pytest.approx(p, abs=1e-9)
        assert found.confusion == pytest.approx(theta, abs=1e-9)
    if not prior:
        assert (np.diff(found.log_likelihood) > -1e-8).all()


def test_people_are_weighed_by_what_they_know():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 600)
    right = [0.95, 0.9, 0.55, 0.55, 0.55]
    said = np.stack([np.where(rng.random(600) < r, truth, 1 - truth) for r in right], axis=1)
    row, person = (x.ravel() for x in np.indices(said.shape))
    found = dawid_skene(row, person, said.ravel(), 2)
    ours, majority = (found.probability.argmax(1) == truth).mean(), ((said.mean(1) > 0.5) == truth).mean()
    assert ours > majority + 0.05
    assert np.abs(found.confusion[:, [0, 1], [0, 1]].mean(1) - right).max() < 0.06


def test_one_person_and_one_row():
    found = dawid_skene(np.array([0]), np.array([0]), np.array([1]), 2)
    assert found.probability.round(9).tolist() == [[0.0, 1.0]]


def test_undo_of_a_row_that_has_no_answer_is_nothing():
    assert standing([event(1, "undo")]) == []


# the browser's files

def test_the_script_is_a_module_that_parses():
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this system")
    check = [node, "--check", "--input-type=module"]
    script = (STATIC / "desk.js").read_text(encoding="utf-8")
    assert subprocess.run(check, input=script, text=True, capture_output=True).returncode == 0
    assert subprocess.run(check, input=script + "{", text=True, capture_output=True).returncode != 0


def test_script_style_and_template_are_readable_and_name_the_same_things():
    script, style, template = ((STATIC / f"desk.{kind}").read_text(encoding="utf-8")
                               for kind in ("js", "css", "html"))
    assert max(len(line) for text in (script, style, template) for line in text.splitlines()) <= 110
    assert style.count("{") == style.count("}")
    styled = set(re.findall(r"\.((?:mlsys|desk)[\w-]*)", style))
    used = set(re.findall(r"\b(?:mlsys-desk|desk-[\w-]+)\b", script + template))
    assert styled == used


# in a real browser

def need_a_browser():
    if desk_lab.chromium() is None:
        without = pytest.fail if os.environ.get("CI") else pytest.skip
        without("no Chromium on this system: `make browser` installs it")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "A JupyterLab over an empty folder."
    need_a_browser()
    folder = tmp_path_factory.mktemp("lab")
    with desk_lab.server(folder) as address:
        yield folder, address


SAY_WHO = "import os; open({pid!r}, 'w').write(str(os.getpid()))"


@contextmanager
def opened(lab, name, cell, pages=1):
    "Notebooks that show a desk, each in a page and a kernel of its own."
    folder, address = lab
    with desk_lab.browser(viewport=dict(width=1100, height=900)) as first:
        shown = [first, *(first.context.new_page() for _ in range(pages - 1))]
        for i, page in enumerate(shown):
            desk_lab.notebook(folder / f"{name}{i}.ipynb", desk_lab.example(40),
                              SAY_WHO.format(pid=f"{name}{i}.pid"), cell.format(i=i))
            desk_lab.run_all(page, address, f"{name}{i}.ipynb")
        for page in shown:
            page.click(".mlsys-desk .desk-row", timeout=60_000)
        yield folder, shown if pages > 1 else first


def press(page, key):
    "Press a key, and wait until the desk has answered; returns what it says."
    # every answer replaces the card
    page.evaluate("window.before = document.querySelector('.mlsys-desk > div').firstChild")
    page.keyboard.press(key)
    page.wait_for_function("document.querySelector('.mlsys-desk > div').firstChild !== window.before",
                           timeout=10_000)
    return page.inner_text(".desk-message")


def row(page):
    return int(page.inner_text(".desk-head span").rpartition("row ")[2])


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_label_by_keys_kill_the_kernel_and_lose_nothing(lab):
    with opened(lab, "kill", "desk('anna')") as (folder, page):
        file, expected = folder / "anna.jsonl", []
        for i in range(20):
            key = "12lf"[i % 4]
            expected.append((row(page), {"1": "less", "l": "less"}.get(key, "five stars")))
            assert press(page, key) == f"Saved: {expected[-1][1]}."
            # on disk before it is on the screen
            assert [(e["row"], e["label"]) for e in lines(file)] == expected
        twentieth = row(page)
        for key in "xdda":  # keys of the notebook: cut, delete, insert
            page.keyboard.press(key)
        assert page.locator(".jp-Notebook .jp-CodeCell").count() == 3
        pid = int((folder / "kill0.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        page.keyboard.press("1")
        page.wait_for_function("document.querySelector('.mlsys-desk').classList.contains('desk-failed')",
                               timeout=10_000)
        assert page.inner_text(".desk-message").startswith("Not confirmed: the kernel does not answer")
        assert len(lines(file)) == 20
        # the server restarts the kernel and says so; then the cells are run again
        page.locator(".jp-Dialog button", has_text="Ok").click(timeout=30_000)
        session = "window.jupyterapp.shell.currentWidget.sessionContext.session"
        page.wait_for_function(f"{session}.kernel.status === 'idle'", timeout=60_000)
        page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
        desk_lab.wait_for(lambda: (folder / "kill0.pid").read_text() not in ("", str(pid)), 60)
        page.wait_for_function("document.querySelector('.desk-message')?.innerText.startsWith('Click')",
                               timeout=30_000)
        assert page.inner_text(".desk-head span").startswith("anna 20 of 40 done") and row(page) == twentieth
        page.click(".mlsys-desk .desk-row")
        assert press(page, "2") == "Saved: five stars."
        assert [(e["row"], e["label"]) for e in lines(file)] == [*expected, (twentieth, "five stars")]


def test_skip_undo_buttons_and_focus(lab):
    with opened(lab, "keys", "desk('cora')") as (folder, page):
        first = row(page)
        assert press(page, "s") == "Saved: skipped." and "1 skipped" in page.inner_text(".desk-head")
        second = row(page)
        assert second != first and press(page, "2") == "Saved: five stars."
        assert press(page, "u").startswith("Undone") and row(page) == second
        assert press(page, "z").startswith("Undone") and row(page) == first
        assert press(page, "u") == "Not saved: there is nothing to undo"
        page.click(".desk-class >> nth=0")
        page.wait_for_function("document.querySelector('.desk-message').innerText === 'Saved: less.'")
        # a click leaves the keys working
        assert page.evaluate("document.activeElement.className") == "mlsys-desk"
        assert press(page, "f") == "Saved: five stars."
        page.keyboard.press("Tab")  # to a control in the desk: the row or a button
        assert page.evaluate("document.activeElement.closest('.mlsys-desk') !== null")
        page.focus(".desk-class >> nth=1")
        page.keyboard.press("Enter")
        page.wait_for_function("document.querySelector('.desk-head').innerText.includes('3 of 40')")
        assert [e["event"] for e in lines(folder / "cora.jsonl")] == ["skip", "answer", "undo", "undo",
                                                                      "answer", "answer", "answer"]
        assert lines(folder / "cora.jsonl")[-1]["label"] == "five stars"
        assert all(b.get_attribute("aria-keyshortcuts") for b in page.locator(".mlsys-desk button").all())
        assert page.get_attribute(".desk-message", "role") == "status"
        assert page.get_attribute(".mlsys-desk", "aria-label")


def test_two_people_two_kernels_one_file(lab):
    with opened(lab, "pair", "desk(['dora', 'emil'][{i}], 'pair/all.jsonl')", pages=2) as (folder, pages):
        said = {"dora": [], "emil": []}
        for i in range(6):
            for name, page in zip(said, pages, strict=True):
                page.bring_to_front()
                odd = (i + len(name + "x" * (name == "emil"))) % 2
                said[name].append((row(page), "less" if odd else "five stars"))
                press(page, "1" if said[name][-1][1] == "less" else "2")
        written = lines(folder / "pair" / "all.jsonl")
        for name in said:
            assert [(e["row"], e["label"]) for e in written if e["annotator"] == name] == said[name]
        matrix = answer_matrix(read_answers(folder / "pair"), ["less", "five stars"])
        assert matrix.codes.shape == (6, 2) and matrix.annotators == ["dora", "emil"]
        assert (matrix.codes >= 0).all()


def test_the_desk_fits_a_narrow_cell_and_a_dark_page(tmp_path):
    need_a_browser()
    still = still_html(desk(tmp_path).card())
    with desk_lab.browser(viewport=dict(width=360, height=800)) as page:
        for colors in ("background:#fff;color:#000", "background:#111;color:#fff"):
            page.set_content(f'<body style="margin:0;{colors}">{still}')
            assert page.evaluate("document.documentElement.scrollWidth <= 360")
            boxes = [b.bounding_box() for b in page.locator(".mlsys-desk button").all()]
            assert all(b["x"] >= 0 and b["x"] + b["width"] <= 360 and b["height"] >= 36 for b in boxes)
            assert contrast(page, ".desk-message") >= 4.5 and contrast(page, ".desk-row dt") >= 4.5
            assert contrast(page, ".desk-class") >= 7


CONTRAST = """what => {
    const pixel = (color) => {
        const canvas = document.createElement("canvas").getContext("2d");
        for (const fill of [getComputedStyle(document.body).backgroundColor, color]) {
            canvas.fillStyle = fill;
            canvas.fillRect(0, 0, 1, 1);
        }
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const text = getComputedStyle(document.querySelector(what)).color;
    return [text, getComputedStyle(document.body).backgroundColor].map(pixel);
}"""


def luminance(rgb):
    x = np.array(rgb) / 255
    return np.where(x <= 0.03928, x / 12.92, ((x + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def contrast(page, what):
    "Contrast of text and page as WCAG counts it, of pixels that the browser has drawn in their colours."
    light = [luminance(rgb) for rgb in page.evaluate(CONTRAST, what)]
    return (max(light) + 0.05) / (min(light) + 0.05)
