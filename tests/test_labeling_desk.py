"""The labelling desk: answers that survive, queues, agreement and consensus against their references, and the widget in a real browser."""
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsys import labeling
from mlsys.core import BadInput
from mlsys.labeling import AnswerLog, Desk, dawid_skene, desk_share, fleiss_kappa, kappa, read_answers, replay

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import desk_lab  # noqa: E402

TABLE = pa.table({"text": [f"a text about thing {i}" for i in range(30)], "n": range(30)})


def desk(path, annotator="anna", **more):
    return Desk(TABLE, ["less", "five stars"], path / f"{annotator}.jsonl", annotator, **more)


def event(row, kind="answer", annotator="anna", label="less"):
    return dict(annotator=annotator, row=row, event=kind) | (dict(label=label) if kind == "answer" else {})


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
    log = AnswerLog(path)
    assert log.fresh() == written[:kept]
    left = bool(path.read_bytes()[len(b"".join(data.splitlines(keepends=True)[:kept])):])
    assert bool(log.trouble()) == left
    log.append(event("new", "skip"))
    after = log.fresh()
    assert after[-1] == event("new", "skip") and AnswerLog(path).fresh() == written[:kept] + after
    assert len(after) == 1 or after[0] == written[kept]  # cut just before the line break: the line was whole after all


@pytest.mark.parametrize("line", ["", "null", "[1]", '{"row": 1}', '{"row": 1.5, "event": "skip", "annotator": "a"}', '{"row": 1, "event": "skip"}',
                                  '{"row": 1, "event": "answer", "annotator": "a"}', '{"row": 1, "event": "erase", "annotator": "a"}', "\udcff"])
def test_a_line_that_is_no_event_is_left_out_and_told(tmp_path, line):
    path = tmp_path / "anna.jsonl"
    good = json.dumps(event(1))
    path.write_bytes(f"{good}\n{line}\n{good}\n".encode(errors="surrogateescape"))
    log = AnswerLog(path)
    assert log.fresh() == [event(1)] * 2
    assert log.broken == ([2] if line else []) and ("line 2" in log.trouble()) == bool(line)


def append_many(path, name, n):
    for i in range(n):
        AnswerLog(path).append(event(i, annotator=name, label="x" * 2000))


def test_processes_that_write_at_once_lose_and_mix_nothing(tmp_path):
    path, names = tmp_path / "shared.jsonl", ["a", "b", "c", "d"]
    workers = [multiprocessing.get_context("spawn").Process(target=append_many, args=(path, name, 100)) for name in names]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    log = AnswerLog(path)
    events = log.fresh()
    assert not log.trouble() and len(events) == 400
    for name in names:
        assert [e["row"] for e in events if e["annotator"] == name] == list(range(100))


def test_a_writer_that_is_killed_leaves_whole_lines_and_no_lock(tmp_path):
    path = tmp_path / "anna.jsonl"
    code = (f"from pathlib import Path; from mlsys.labeling import AnswerLog\nlog = AnswerLog(Path({str(path)!r}))\n"
            "for i in range(10**6): log.append(dict(annotator='anna', row=i, event='skip')); print(i, flush=True)")
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    told = [int(writer.stdout.readline()) for _ in range(200)]
    writer.kill()
    told += [int(x) for x in writer.stdout.read().splitlines(keepends=True) if x.endswith("\n")]
    writer.wait()
    rows = [e["row"] for e in AnswerLog(path).fresh()]
    assert rows[: len(told)] == told and len(rows) - len(told) <= 1
    AnswerLog(path).append(event("after"))
    assert AnswerLog(path).fresh()[-1]["row"] == "after"


def test_a_full_disk_leaves_no_half_line(tmp_path):
    path = tmp_path / "anna.jsonl"
    place = desk(tmp_path)
    place.answer("less")
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 40, limits[1]))
    try:
        view = place.act("answer", "less", row=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert view["bad"] and "Not saved: cannot write" in view["said"] and view["row"] == 1
    assert path.read_bytes() == before
    assert not place.act("answer", "less", row=1)["bad"] and place.labels == {0: "less", 1: "less"}


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
    two.act("answer", "five stars", row=1)
    assert two.labels == {0: "less", 1: "five stars"} and two.current == 2
    one.act("undo")  # the last answer that stands, whoever gave it
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
    assert "the torn last line could not be read and was left out" in again.view()["said"] and again.current == 1
    assert again.act("answer", "less", 1)["said"] == "Saved: less." and desk(tmp_path).labels == {0: "less", 1: "less"}


def test_an_answer_goes_to_the_row_that_was_seen(tmp_path):
    one, two = desk(tmp_path), desk(tmp_path)
    seen = two.view()["row"]
    one.answer("less")
    one.answer("less")
    two.act("answer", "five stars", seen)
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
    assert place.labels == {30: "a"} and "_row" not in place.view()["html"] and place.view()["row"] == 40
    named = Desk(table, ["a", "b"], tmp_path / "you.jsonl", "you", ids=["r1", "r2", "r3"])
    named.answer("b")
    assert json.loads((tmp_path / "you.jsonl").read_text())["row"] == "r1"


def test_what_the_card_shows(tmp_path):
    table = pa.table({"review": ["A <b>long</b> text<br />" + "that goes on " * 8 + "bad", "x"], "n": pa.array([None, 2.50]), "ok": [True, False]})
    place = Desk(table, ["no", "yes"], tmp_path / "me.jsonl", votes=np.array([[0, -1], [-1, -1]]), functions=["bad word", "other"],
                 reason=lambda p, j: "bad", given=np.array([1, -1]))
    card = place.view()["html"]
    assert "A &lt;b&gt;long&lt;/b&gt; text\n" in card and '">bad</mark>' in card and "<q>bad</q>" in card
    assert "<dt>label now</dt><dd>yes</dd>" in card and "<dd>–</dd>" in card and "no vote: other" in card
    place.answer("no")
    place.skip()
    card = place.view()["html"]
    assert "2 of 2 done, 1 skipped" in card and "All rows of this queue are done" in card and 'data-action="answer"' not in card
    assert place._repr_mimebundle_()[0]["text/html"].count("2 of 2 done") == 1


@pytest.mark.parametrize("more, words", [
    (dict(classes=["a"]), "at least two"), (dict(classes=["a", "a"]), "at least two"), (dict(annotator="../me"), "use letters"),
    (dict(order=[0, 0]), "at most once"), (dict(order=[99]), "positions from 0"), (dict(ids=["x"] * 30), "30 different names"),
    (dict(votes=np.zeros((30, 1), int)), "shape (30, 1) where (30, 0)"), (dict(given=np.full(30, 2)), "class numbers from 0 to 1"),
])
def test_a_desk_that_does_not_fit_is_refused(tmp_path, more, words):
    with pytest.raises(BadInput) as refused:
        Desk(**(dict(table=TABLE, classes=["a", "b"], file=tmp_path / "me.jsonl") | more))
    assert words in str(refused.value)


def test_answers_of_another_set_of_classes_are_refused(tmp_path):
    desk(tmp_path).answer("five stars")
    with pytest.raises(BadInput, match="'five stars', which is not a class"):
        Desk(TABLE, ["good", "bad"], tmp_path / "anna.jsonl", "anna")
    with pytest.raises(BadInput, match="'five stars', the answer of anna, is not one of good, bad"):
        labeling.consolidate(read_answers(tmp_path), ["good", "bad"])


def test_messages_that_ask_for_nonsense_change_nothing(tmp_path):
    place = desk(tmp_path)
    for action, label, row in [("erase", None, 0), ("answer", "nonsense", 0), ("answer", "less", 77), ("answer", None, 0), ("undo", None, None)]:
        view = place.act(action, label, row)
        assert view["bad"] and view["said"].startswith("Not saved") and view["row"] == 0
    assert not (tmp_path / "anna.jsonl").exists()


# queues

@given(st.lists(st.integers(0, 999), unique=True, max_size=60), st.integers(1, 5), st.floats(0, 1))
def test_a_queue_is_dealt_out_evenly(order, people, overlap):
    shares = desk_share(order, [f"p{i}" for i in range(people)], overlap)
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
            desk_share([1], people, overlap)


# agreement

@pytest.mark.filterwarnings("ignore::RuntimeWarning:statsmodels")  # its standard errors, where both agree fully
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
    assert kappa(a, b) == pytest.approx(cohen_kappa_score(a, b), abs=1e-12) == pytest.approx(cohens_kappa(table).kappa, abs=1e-12)
    gaps = rng.random(n) < 0.2
    if len(np.unique([a[~gaps], b[~gaps]])) > 1:
        assert kappa(np.where(gaps, -1, a), b) == pytest.approx(cohen_kappa_score(a[~gaps], b[~gaps]), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 5), st.integers(1, 40), st.integers(2, 6), st.integers(0, 10**6))
def test_fleiss_kappa_is_that_of_statsmodels(k, n, people, seed):
    from statsmodels.stats.inter_rater import fleiss_kappa as reference
    counts = np.random.default_rng(seed).multinomial(people, np.full(k, 1 / k), n)
    if (counts.sum(0) > 0).sum() > 1:
        assert fleiss_kappa(counts) == pytest.approx(reference(counts), abs=1e-12)
    else:
        assert np.isnan(fleiss_kappa(counts))


def test_agreement_of_pairs():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    matrix = np.stack([np.where(rng.random(400) < right, truth, rng.integers(0, 3, 400)) for right in (0.9, 0.9, 0.0)], axis=1)
    matrix[:100, 1] = -1
    table = labeling.agreement(matrix, ["a", "b", "c"], replicates=200).set_index("pair")
    assert table.loc["a, b", "rows"] == 300 and table.loc["a, b", "low"] > 0.6
    assert table.loc["a, c", "low"] < 0 < table.loc["a, c", "high"]
    assert labeling.agreement(np.array([[0, -1], [-1, 1]]), ["a", "b"]).empty


# consensus

# answers of five anaesthetists about 45 patients; the first judged three times (Dawid and Skene 1979, table 1)
ANAESTHETISTS = """
1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343 1111111 2223212 1211111
1112111 1111111 1111111 2222221 2221322 2222222 2222221 2223222 2212222 1111111 1111111 2322222 1111111 1111111 1121121
1111111 3333233 1111111 2222222 2223232 4334343 2212232 2323233 3333432 1111111 1111111 1212111 2322222 1211111 2222222""".split()


def anaesthetists():
    answers = np.array([[int(c) - 1 for c in patient] for patient in ANAESTHETISTS])
    row, column = np.indices(answers.shape)
    return row.ravel(), np.array([0, 0, 0, 1, 2, 3, 4])[column.ravel()], answers.ravel()


def test_dawid_and_skene_find_what_they_published():
    found = dawid_skene(*anaesthetists(), 4)
    assert found.share.round(2).tolist() == [0.40, 0.42, 0.11, 0.07]
    sure = {1: 0, 2: 3, 3: 1, 8: 2, 11: 3, 12: 2, 13: 0, 32: 2, 36: 3, 39: 2, 45: 1}  # patients whose class is beyond doubt
    assert all(found.probability[patient - 1, k] > 0.999 for patient, k in sure.items())
    doubtful = {7: [0.981, 0.019, 0, 0], 35: [0, 0.948, 0.052, 0], 38: [0, 0.021, 0.979, 0]}
    for patient, expected in doubtful.items():
        assert found.probability[patient - 1] == pytest.approx(expected, abs=6e-4)
    assert found.confusion[0].round(2).tolist() == [[0.89, 0.11, 0, 0], [0.07, 0.88, 0.05, 0], [0, 0.34, 0.66, 0], [0, 0, 0.56, 0.44]]
    assert found.confusion[1].round(2).tolist() == [[0.83, 0.17, 0, 0], [0.05, 0.63, 0.31, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert found.confusion[2].round(2).tolist() == [[1, 0, 0, 0], [0.11, 0.79, 0.11, 0], [0, 0.4, 0.2, 0.4], [0, 0, 0.67, 0.33]]
    assert found.confusion[3].round(2).tolist() == [[0.94, 0.06, 0, 0], [0.05, 0.84, 0.1, 0], [0, 0, 0.8, 0.2], [0, 0, 0.33, 0.67]]
    assert found.confusion[4].round(2).tolist() == [[1, 0, 0, 0], [0.16, 0.73, 0.11, 0], [0, 0.21, 0.79, 0], [0, 0, 0.33, 0.67]]
    assert found.log_likelihood[[0, 1, 2, -1]] == pytest.approx([-205.091138, -194.550952, -193.159445, -192.890882], abs=5e-6)


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
@given(st.integers(2, 4), st.integers(3, 12), st.integers(2, 4), st.integers(0, 10**6), st.sampled_from([0.0, 1.0]))
def test_the_fast_form_is_the_slow_one(k, rows, people, seed, prior):
    rng = np.random.default_rng(seed)
    row, person = (x.ravel() for x in np.indices((rows, people)))
    keep = (rng.random(len(row)) < 0.7) | (person == 0)
    row, person = row[keep], person[keep]
    person = np.unique(person, return_inverse=True)[1]
    label = rng.integers(0, k, len(row))
    found = dawid_skene(row, person, label, k, rounds=4, prior=prior)
    if len(found.log_likelihood) == 4:
        p, theta = by_loops(row, person, label, k, 4, prior)
        assert found.probability == pytest.approx(p, abs=1e-9) and found.confusion == pytest.approx(theta, abs=1e-9)
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
    assert replay([], [event(1, "undo")]) == []


# in a real browser

def need_a_browser():
    if desk_lab.chromium() is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium on this system: `make browser` installs it")


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
            desk_lab.notebook(folder / f"{name}{i}.ipynb", desk_lab.example(40), SAY_WHO.format(pid=f"{name}{i}.pid"), cell.format(i=i))
            desk_lab.run_all(page, address, f"{name}{i}.ipynb")
        for page in shown:
            page.click(".mlsys-desk .desk-row", timeout=60_000)
        yield folder, shown if pages > 1 else first


def press(page, key):
    "Press a key, and wait until the desk has answered; returns what it says."
    page.evaluate("window.before = document.querySelector('.mlsys-desk > div').firstChild")  # every answer replaces the card
    page.keyboard.press(key)
    page.wait_for_function("document.querySelector('.mlsys-desk > div').firstChild !== window.before", timeout=10_000)
    return page.inner_text(".desk-said")


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
            assert [(e["row"], e["label"]) for e in lines(file)] == expected  # on disk before it is on the screen
        twentieth = row(page)
        for key in "xdda":  # keys of the notebook: cut, delete, insert
            page.keyboard.press(key)
        assert page.locator(".jp-Notebook .jp-CodeCell").count() == 3
        pid = int((folder / "kill0.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        page.keyboard.press("1")
        page.wait_for_function("document.querySelector('.mlsys-desk').classList.contains('desk-bad')", timeout=10_000)
        assert page.inner_text(".desk-said").startswith("Not confirmed: the kernel does not answer") and len(lines(file)) == 20
        # the server restarts the kernel and says so; then the cells are run again
        page.locator(".jp-Dialog button", has_text="Ok").click(timeout=30_000)
        page.wait_for_function("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'", timeout=60_000)
        page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
        desk_lab.wait_for(lambda: (folder / "kill0.pid").read_text() not in ("", str(pid)), 60)
        page.wait_for_function("document.querySelector('.desk-said')?.innerText.startsWith('Click')", timeout=30_000)
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
        page.wait_for_function("document.querySelector('.desk-said').innerText === 'Saved: less.'")
        assert page.evaluate("document.activeElement.className") == "mlsys-desk"  # a click leaves the keys working
        assert press(page, "f") == "Saved: five stars."
        page.keyboard.press("Tab")  # to a control in the desk: the row or a button
        assert page.evaluate("document.activeElement.closest('.mlsys-desk') !== null")
        page.focus(".desk-class >> nth=1")
        page.keyboard.press("Enter")
        page.wait_for_function("document.querySelector('.desk-head').innerText.includes('3 of 40')")
        assert [e["event"] for e in lines(folder / "cora.jsonl")] == ["skip", "answer", "undo", "undo", "answer", "answer", "answer"]
        assert lines(folder / "cora.jsonl")[-1]["label"] == "five stars"
        assert all(b.get_attribute("aria-keyshortcuts") for b in page.locator(".mlsys-desk button").all())
        assert page.get_attribute(".desk-said", "role") == "status" and page.get_attribute(".mlsys-desk", "aria-label")


def test_two_people_two_kernels_one_file(lab):
    with opened(lab, "pair", "desk(['dora', 'emil'][{i}], 'pair/all.jsonl')", pages=2) as (folder, pages):
        said = {"dora": [], "emil": []}
        for i in range(6):
            for name, page in zip(said, pages, strict=True):
                page.bring_to_front()
                said[name].append((row(page), "less" if (i + len(name + "x" * (name == "emil"))) % 2 else "five stars"))
                press(page, "1" if said[name][-1][1] == "less" else "2")
        events = lines(folder / "pair" / "all.jsonl")
        for name in said:
            assert [(e["row"], e["label"]) for e in events if e["annotator"] == name] == said[name]
        matrix, rows, names = labeling.answer_matrix(read_answers(folder / "pair"), ["less", "five stars"])
        assert matrix.shape == (6, 2) and names == ["dora", "emil"] and (matrix >= 0).all()


def test_the_desk_fits_a_narrow_cell_and_a_dark_page(tmp_path):
    need_a_browser()
    still = labeling.desk_still(desk(tmp_path))
    with desk_lab.browser(viewport=dict(width=360, height=800)) as page:
        for colors in ("background:#fff;color:#000", "background:#111;color:#fff"):
            page.set_content(f'<body style="margin:0;{colors}">{still}')
            assert page.evaluate("document.documentElement.scrollWidth <= 360")
            boxes = [b.bounding_box() for b in page.locator(".mlsys-desk button").all()]
            assert all(b["x"] >= 0 and b["x"] + b["width"] <= 360 and b["height"] >= 36 for b in boxes)
            assert contrast(page, ".desk-said") >= 4.5 and contrast(page, ".desk-row dt") >= 4.5 and contrast(page, ".desk-class") >= 7


def contrast(page, what):
    "Contrast of text and page as WCAG counts it, read off the pixels of a text that the browser has drawn in its colour on a canvas."
    rgb = page.evaluate("""what => {
        const pixel = (color) => { const c = document.createElement('canvas').getContext('2d');
            for (const x of [getComputedStyle(document.body).backgroundColor, color]) { c.fillStyle = x; c.fillRect(0, 0, 1, 1); }
            return [...c.getImageData(0, 0, 1, 1).data].slice(0, 3); };
        return [getComputedStyle(document.querySelector(what)).color, getComputedStyle(document.body).backgroundColor].map(pixel); }""", what)
    light = [sum(w * (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4) for w, c in zip((0.2126, 0.7152, 0.0722), np.array(x) / 255,
                                                                                                    strict=True)) for x in rgb]
    return (max(light) + 0.05) / (min(light) + 0.05)
