"""Batch inference: any batch size gives the same answer, every row is accounted for, and no failure leaves half a file."""
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from mlsys import core, evaluation, inference, training
from mlsys.core import BadInput
from mlsys.training.bundles import save_bundle

N = 600


def words_and_numbers(n=N):
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    y = rng.random(n) < 1 / (1 + np.exp(1 - x))
    return pa.table({"when": np.datetime64("2024-01-01", "us")
                     + np.sort(rng.integers(0, 4000, n)).astype("timedelta64[h]"),
                     "x": pa.array(np.where(rng.random(n) < 0.1, np.nan, x), from_pandas=True),
                     "count": rng.integers(0, 9, n),
                     "who": [f"p{i}" for i in rng.integers(0, 50, n)],
                     "color": rng.choice(["red", "green", None], n),
                     "flag": rng.random(n) < 0.5, "y": np.where(y, "yes", "no")})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    "A bundle of a small table, and that table without its answers as Parquet."
    home = tmp_path_factory.mktemp("inference")
    pq.write_table(words_and_numbers(), home / "mine.parquet")
    s = core.load_settings(home / "none.ini", source=str(home / "mine.parquet"), target="y", time="when",
                           entity="who",
                           build=str(home / "build"), threads=1)
    bundle = training.bundle(s)
    rows = words_and_numbers().drop_columns("y")
    pq.write_table(rows, home / "rows.parquet", row_group_size=100)
    return home, bundle, rows


def put(tmp_path, table, name="rows.parquet"):
    pq.write_table(table, tmp_path / name)
    return tmp_path / name


def files(folder):
    return sorted(p.name for p in folder.iterdir())


@examples(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 2 * N))
def test_any_batch_size_gives_the_answers_of_one_call(made, tmp_path, batch_rows):
    home, bundle, rows = made
    result = inference.score(bundle, home / "rows.parquet", tmp_path / "out.parquet", batch_rows=batch_rows,
                             progress=False)
    got, aside = pq.read_table(tmp_path / "out.parquet"), pq.read_table(tmp_path / "out.rejected.parquet")
    assert (result["rows"], result["scored"], result["rejected"]) == (N, len(got), len(aside))
    assert sorted(got["_row"].to_pylist() + aside["_row"].to_pylist()) == list(range(N)) and (np.diff(got["_row"].to_numpy()) > 0).all()
    kept = rows.take(got["_row"])
    assert np.abs(got["probability"].to_numpy() - bundle.predict(kept)).max() < 1e-6
    assert got["who"].equals(kept["who"]) and got["when"].equals(kept["when"])
    assert np.array_equal(got["decision"].to_numpy(),
                          got["probability"].to_numpy() >= np.float32(bundle.threshold))


def test_the_output_says_which_model_made_it(made, tmp_path):
    home, bundle, _ = made
    inference.score(bundle.path, home / "rows.parquet", tmp_path / "out.parquet")
    schema = pq.read_schema(tmp_path / "out.parquet")
    assert schema.names == ["_row", "who", "when", "probability", "decision"]
    assert schema.metadata[b"mlsys.bundle"].decode() == bundle.digest and float(schema.metadata[b"mlsys.threshold"]) == bundle.threshold
    assert str(schema.field("probability").type) == "float" and str(schema.field("decision").type) == "bool"


def test_formats_agree(made, tmp_path):
    home, bundle, rows = made
    pa.csv.write_csv(rows, tmp_path / "rows.csv")
    pa.orc.write_table(rows, tmp_path / "rows.orc")
    shutil.copytree(home / "build" / "alone" / "mine-all" / "mine", tmp_path / "folder",
                    ignore=shutil.ignore_patterns("_*"))
    answers = {}
    for source in (home / "rows.parquet", tmp_path / "rows.csv", tmp_path / "rows.orc", tmp_path / "folder"):
        inference.score(bundle, source, tmp_path / "out.parquet")
        answers[source.name] = pq.read_table(tmp_path / "out.parquet")["probability"].to_numpy()
    first = answers.pop("rows.parquet")
    assert all(np.allclose(np.sort(first), np.sort(p), atol=1e-6) for p in answers.values())
    assert np.allclose(first, answers["rows.csv"], atol=1e-6) and np.allclose(first, answers["rows.orc"], atol=1e-6)


def test_types_of_other_libraries(made, tmp_path):
    """Categories, large strings, small integers, times with a zone, times as text, columns in another
    order, columns more."""
    home, bundle, rows = made
    expected = bundle.predict(rows)
    other = rows.set_column(4, "color", rows["color"].dictionary_encode()).set_column(3, "who",
                                                                                      rows["who"].cast(pa.large_string()))
    other = other.set_column(2, "count", rows["count"].cast(pa.int8())).append_column("more",
                                                                                      pa.array([[1]] * N))
    texts = rows.set_column(0, "when", pa.array(rows["when"].to_pandas().astype(str)))
    zone = rows.set_column(0, "when", pa.compute.assume_timezone(rows["when"],
                                                                 "UTC").cast(pa.timestamp("ns",
                                                                                          tz="America/New_York")))
    for table in (other, other.select(other.column_names[::-1]), texts, zone):
        inference.score(bundle, put(tmp_path, table), tmp_path / "out.parquet", batch_rows=250)
        assert np.allclose(pq.read_table(tmp_path / "out.parquet")["probability"].to_numpy(), expected,
                           atol=1e-6)


def test_one_row_and_a_column_without_any_value(made, tmp_path):
    home, bundle, rows = made
    one = rows.slice(0, 1)
    assert inference.score(bundle, put(tmp_path, one), tmp_path / "out.parquet")["rows"] == 1
    blank = rows.set_column(4, "color", pa.nulls(N)).set_column(1, "x", pa.nulls(N))
    inference.score(bundle, put(tmp_path, blank), tmp_path / "out.parquet")
    assert np.isfinite(pq.read_table(tmp_path / "out.parquet")["probability"].to_numpy()).all()


@pytest.mark.parametrize("change, sentence", [
    (lambda t: t.drop_columns("color"), "the model needs column 'color', which is missing"),
    (lambda t: t.drop_columns(["color", "x"]), "(and 1 more"),
    (lambda t: t.rename_columns(["when", "x", "count", "who", "colour", "flag"]), "did you mean 'colour'"),
    (lambda t: t.set_column(1, "x", pa.array(["much"] * N)),
     "column 'x': it holds string, the model needs numbers"),
    (lambda t: t.set_column(4, "color", pa.array([1] * N)),
     "column 'color': it holds int64, the model needs text"),
    (lambda t: t.set_column(0, "when", pa.array([True] * N)),
     "column 'when': it holds bool, the model needs times"),
    (lambda t: t.set_column(0, "when", pa.array(["2024-01-01"] * (N - 1) + ["soon"])), "rows 401 to 600"),
    (lambda t: t.slice(0, 0), "no rows"),
    (lambda t: pa.Table.from_arrays([*t.columns, t["x"]], names=[*t.column_names, "x"]), "both named 'x'"),
])
def test_tables_that_do_not_fit_are_one_sentence(made, tmp_path, change, sentence):
    _, bundle, rows = made
    path = put(tmp_path, change(rows))
    with core.refused(sentence):
        inference.score(bundle, path, tmp_path / "out.parquet", batch_rows=200)
    assert files(tmp_path) == ["rows.parquet"]


def test_arguments_that_make_no_sense(made, tmp_path):
    home, bundle, rows = made
    path = put(tmp_path, rows)
    for source, out, more, sentence in [
            (path, path, {}, "would replace the table"),
                                        (path, tmp_path / "out.csv", {}, "name the output out.parquet"),
            (path, tmp_path / "o.parquet", {"batch_rows": 0}, "batch_rows = 0"),
            (path, tmp_path / "o.parquet", {"batch_rows": 1.5}, "whole number"),
            (tmp_path / "none.parquet", tmp_path / "o.parquet", {}, "no such file")]:
        with core.refused(sentence):
            inference.score(bundle, source, out, **more)
    (tmp_path / "dir.parquet").mkdir()
    with core.refused("that is a folder"):
        inference.score(bundle, path, tmp_path / "dir.parquet")
    with core.refused("no such bundle"):
        inference.score(tmp_path / "nothing", path, tmp_path / "o.parquet")


def test_a_bundle_that_was_tampered_with(made, tmp_path):
    home, bundle, rows = made
    path, fake = put(tmp_path, rows), Path(shutil.copytree(bundle.path, tmp_path / "bundle"))
    inference.score(fake, path, tmp_path / "out.parquet")
    before = (tmp_path / "out.parquet").read_bytes()
    (fake / "thresholds.json").write_text((fake / "thresholds.json").read_text().replace("0.", "1."))
    with core.refused("thresholds.json was changed"):
        inference.score(fake, path, tmp_path / "out.parquet")
    assert (tmp_path / "out.parquet").read_bytes() == before


def test_damage_in_the_middle_of_the_input(made, tmp_path):
    home, bundle, _ = made
    inference.score(bundle, home / "rows.parquet", tmp_path / "out.parquet")
    before, good = (tmp_path / "out.parquet").read_bytes(), (home / "rows.parquet").read_bytes()
    broken = tmp_path / "broken.parquet"
    for content in (good[:len(good) // 2], good[:2000] + bytes(4000) + good[6000:]):
        broken.write_bytes(content)
        with core.refused("not a readable Parquet file"):
            inference.score(bundle, broken, tmp_path / "out.parquet", batch_rows=50)
        assert files(tmp_path) == ["broken.parquet", "out.parquet", "out.rejected.parquet"]
        assert (tmp_path / "out.parquet").read_bytes() == before


def test_an_interruption_leaves_the_old_output(made, tmp_path, monkeypatch):
    home, bundle, _ = made
    inference.score(bundle, home / "rows.parquet", tmp_path / "out.parquet")
    before, calls = (tmp_path / "out.parquet").read_bytes(), []

    def judged(table, suite):
        calls.append(table)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return table, table.slice(0, 0).append_column("reasons", pa.array([], pa.list_(pa.string())))
    monkeypatch.setattr(inference, "judged", judged)
    with pytest.raises(KeyboardInterrupt):
        inference.score(bundle, home / "rows.parquet", tmp_path / "out.parquet", batch_rows=100)
    assert (tmp_path / "out.parquet").read_bytes() == before and files(tmp_path) == ["out.parquet", "out.rejected.parquet"]


SLOW = """
import sys, time
from mlsys import inference
bundle, source, out = sys.argv[1:]
judged = inference.judged
def slowly(table, suite):
    print("batch", flush=True)
    time.sleep(0.2)
    return judged(table, suite)
inference.judged = slowly
inference.GROUP = 50
inference.score(bundle, source, out, batch_rows=50)
"""


def test_killed_in_the_middle(made, tmp_path):
    home, bundle, _ = made
    inference.score(bundle, home / "rows.parquet", tmp_path / "out.parquet")
    before = (tmp_path / "out.parquet").read_bytes()
    command = [sys.executable, "-c", SLOW, bundle.path, home / "rows.parquet", tmp_path / "out.parquet"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE)
    for _ in range(4):
        assert run.stdout.readline() == b"batch\n"
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    assert (tmp_path / "out.parquet").read_bytes() == before and len(files(tmp_path)) == 4  # the old files, and two temporary ones
    inference.score(bundle, home / "rows.parquet", tmp_path / "out.parquet")
    assert files(tmp_path) == ["out.parquet", "out.rejected.parquet"]  # the next run tidies up


def test_temporary_files_of_a_living_run_are_left_alone(tmp_path):
    mine, dead = tmp_path / f".out.parquet.{os.getpid()}.tmp", tmp_path / ".out.parquet.999999999.tmp"
    for path in (mine, dead):
        path.write_bytes(b"")
    inference.sweep(tmp_path / "out.parquet")
    assert files(tmp_path) == [mine.name]


def test_a_full_disk(made, tmp_path):
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a small tmpfs needs root")
    home, bundle, rows = made
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk],
                      capture_output=True).returncode:
        pytest.skip("this machine does not allow mounting a tmpfs")
    try:
        inference.score(bundle, home / "rows.parquet", disk / "out.parquet")
        before = (disk / "out.parquet").read_bytes()
        (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - 20_000))
        big = put(tmp_path, pa.concat_tables([rows] * 500))  # its scores take more than 20 kB
        with core.refused("no space left"):
            inference.score(bundle, big, disk / "out.parquet")
        assert files(disk) == ["ballast", "out.parquet", "out.rejected.parquet"] and (disk / "out.parquet").read_bytes() == before
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


PEAK = """
import resource, sys
from mlsys import inference
inference.score(*sys.argv[1:], batch_rows=16_384)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
"""


def test_memory_does_not_grow_with_the_table(made, tmp_path):
    home, bundle, rows = made
    peaks = {}
    for n in (200, 5000):
        with pq.ParquetWriter(tmp_path / "big.parquet", rows.schema) as writer:
            for _ in range(n // 100):
                writer.write_table(pa.concat_tables([rows] * 100))
        command = [sys.executable, "-c", PEAK, bundle.path, tmp_path / "big.parquet",
                   tmp_path / "out.parquet"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[n] = float(done.stdout)
    assert peaks[5000] < peaks[200] + 80, peaks  # 3,000,000 rows against 120,000: kept in memory, they would take 150 MB more
    assert pq.read_metadata(tmp_path / "out.parquet").num_rows == 5000 * N


def test_the_command(made, tmp_path, cli):
    home, bundle, _ = made
    code, out, err = cli("score", bundle.path, home / "rows.parquet", tmp_path / "out.parquet")
    assert code == 0 and "600 rows scored" in out and err == ""
    code, _, err = cli("score", bundle.path, home / "none.parquet", tmp_path / "out.parquet")
    assert code == 2 and "no such file" in err and len(err.strip().splitlines()) == 1
    code, out, _ = cli("score", bundle.path, home / "rows.parquet", tmp_path / "out.parquet", "--json")
    assert code == 0 and json.loads(out)["digest"] == bundle.digest
    unsure(bundle, "human").save(tmp_path / "policy.json")
    code, out, err = cli("score", bundle.path, home / "rows.parquet", tmp_path / "out.parquet", "--policy", tmp_path / "policy.json")
    assert code == 0 and err == "" and "; answer: " in out and "; human: " in out
    code, _, err = cli("score", bundle.path, home / "rows.parquet", tmp_path / "out.parquet", "--policy", tmp_path / "none.json")
    assert code == 2 and "no readable policy" in err


def unsure(bundle, action, **more):
    return evaluation.Policy(bundle.threshold, bundle.threshold * 0.7, bundle.threshold * 1.3, action, **more)


@pytest.mark.parametrize("action", ["discard", "human"])
def test_a_policy_is_executed_row_by_row(made, tmp_path, action):
    home, bundle, _ = made
    policy = unsure(bundle, action)
    policy.save(tmp_path / "policy.json")
    result = inference.score(bundle, home / "rows.parquet", tmp_path / "out.parquet",
                             policy=tmp_path / "policy.json", batch_rows=70)
    scored = pq.read_table(tmp_path / "out.parquet").to_pandas()
    p = scored["probability"].to_numpy().astype(float)
    within = (p >= policy.low) & (p < policy.high)
    assert 0 < within.sum() < N and (scored["action"] == np.where(within, action, "answer")).all()
    assert scored["decision"].isna().equals(pd.Series(within))  # no answer is given for them
    assert result["actions"] == {"answer": int((~within).sum()), action: int(within.sum())}
    assert result["decided"] == int(((p >= bundle.threshold) & ~within).sum()) and "ask_for" not in scored
    assert json.loads(pq.read_schema(tmp_path / "out.parquet").metadata[b"mlsys.policy"])["action"] == action


def test_a_policy_that_asks_names_a_column_that_is_missing(made, tmp_path):
    home, bundle, rows = made
    policy = unsure(bundle, "ask", values={"x": [-2.0, 0.0, 2.0], "color": ["red", "green"],
                                           "count": [1.0, 8.0]})
    inference.score(bundle, home / "rows.parquet", tmp_path / "out.parquet", policy=policy, batch_rows=70)
    scored = pq.read_table(tmp_path / "out.parquet").to_pandas()
    frame = rows.to_pandas()
    asked = scored["action"] == "ask"
    assert asked.any() and scored["ask_for"].notna().equals(asked) and scored["decision"].isna().equals(asked)
    assert all(pd.isna(frame.loc[i, c]) for i, c in scored.loc[asked, "ask_for"].items())
    unasked = scored[(scored["probability"] >= policy.low) & (scored["probability"] < policy.high) & ~asked]
    assert len(unasked) and frame.loc[unasked.index, "x"].notna().all()  # nothing that would help is missing: answered


def test_without_a_policy_nothing_is_added_and_a_bundle_may_bring_its_own(made, tmp_path):
    home, bundle, _ = made
    result = inference.score(bundle, home / "rows.parquet", tmp_path / "out.parquet")
    assert result["actions"] == {} and "action" not in pq.read_schema(tmp_path / "out.parquet").names
    mine = json.dumps(dataclasses.asdict(unsure(bundle, "human"))).encode()
    own = save_bundle(bundle.files | {"policy.json": mine}, tmp_path / "own")
    assert inference.score(own, home / "rows.parquet", tmp_path / "out.parquet")["actions"]["human"] > 0


@pytest.mark.parametrize("change, words", [
    (dict(threshold=0.9, high=0.95), "made for the threshold 0.9, the model's is"),
    (dict(values={"colour": ["red"]}),
     "asks for 'colour', which the model does not take as text or number; did you mean 'color'"),
    (dict(values={"when": ["1"]}), "asks for 'when'"),
])
def test_a_policy_that_does_not_fit_the_bundle(made, tmp_path, change, words):
    home, bundle, _ = made
    with pytest.raises(BadInput, match=words):
        inference.score(bundle, home / "rows.parquet", tmp_path / "out.parquet",
                        policy=dataclasses.replace(unsure(bundle, "ask"), **change))
    (tmp_path / "policy.json").write_text("{")
    with pytest.raises(BadInput, match="no readable policy"):
        inference.score(bundle, home / "rows.parquet", tmp_path / "out.parquet",
                        policy=tmp_path / "policy.json")
    assert files(tmp_path) == ["policy.json"]


class Verdicts:
    def __init__(self, bad):
        self.bad = bad

    def reasons(self):
        return [["x is below -1"] if b else [] for b in self.bad]


class Picky:
    "A suite that dislikes small numbers."
    def check(self, table):
        return Verdicts(np.nan_to_num(table["x"].to_numpy()) < -1)


def test_bad_rows_are_set_aside_with_reasons(made, tmp_path, monkeypatch):
    home, bundle, rows = made
    monkeypatch.setattr(inference, "load_suite", lambda bundle: Picky())
    result = inference.score(bundle, home / "rows.parquet", tmp_path / "out.parquet", batch_rows=70)
    bad = np.flatnonzero(np.nan_to_num(rows["x"].to_numpy()) < -1)
    aside, scored = pq.read_table(tmp_path / "out.rejected.parquet"), pq.read_table(tmp_path / "out.parquet")
    assert 0 < result["rejected"] == len(bad) and aside["_row"].to_pylist() == bad.tolist()
    assert aside["reasons"].to_pylist() == [["x is below -1"]] * len(bad) and set(rows.column_names) < set(aside.column_names)
    assert not set(scored["_row"].to_pylist()) & set(bad) and len(scored) + len(aside) == N


def test_a_batch_of_which_no_row_is_good(made, tmp_path, monkeypatch):
    home, bundle, rows = made
    monkeypatch.setattr(inference, "load_suite", lambda bundle: Picky())
    path = put(tmp_path, rows.set_column(1, "x", pa.array([-5.0] * N)))
    result = inference.score(bundle, path, tmp_path / "out.parquet", batch_rows=70)
    assert (result["scored"], result["rejected"], result["decided"]) == (0, N, 0)
    assert pq.read_metadata(tmp_path / "out.parquet").num_rows == 0


def test_the_chapter_on_a_table_of_ones_own(cancer, tmp_path, monkeypatch):
    import papermill

    from mlsys import pipeline
    monkeypatch.chdir(tmp_path)
    papermill.execute_notebook(str(pipeline.chapters()["12_inference"]), str(tmp_path / "out.ipynb"),
                               dict(source=str(cancer), target="target"), progress_bar=False,
                               kernel_name="python3")
    folder, = (tmp_path / "build" / "alone").iterdir()
    assert core.read_json(folder / "inference" / "metrics.json")["ok"] is True
