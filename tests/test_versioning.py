"""Versions, what may go, experiments and lineage; and that nothing is written where it should not be."""
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsys import core, formats, training, versioning
from mlsys.training.splits import labelled
from mlsys.versioning.checkpoints import code_commit, model_digest, rows_digest, training_rows
from mlsys.versioning.retention import retention_plan
from mlsys.versioning.store import STORE, Snapshot, find, find_store, parse_snapshot, snapshot_text


@pytest.fixture
def here(tmp_path, monkeypatch):
    "A folder to work in."
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_save_change_and_bring_back(here):
    write(here / "table" / "a.txt", "1")
    write(here / "table" / "deep" / "b.txt", "2")
    write(here / "suite.json", "{}")
    one = versioning.snapshot(["table", "suite.json"], "first")
    assert one.outs.keys() == {"table", "suite.json"} and one.parent == "" and (here / STORE / ".dvc").is_dir()
    write(here / "table" / "a.txt", "changed")
    (here / "table" / "deep" / "b.txt").unlink()
    two = versioning.snapshot(["table", "suite.json"], "second")
    assert two.parent == one.rev and find(two.rev[:6]) == two and find("latest") == two
    assert versioning.snapshot(["table", "suite.json"], "no change") == two
    versioning.restore(one.rev)
    assert (here / "table" / "a.txt").read_text() == "1" and (here / "table" / "deep" / "b.txt").read_text() == "2"
    versioning.restore("latest", names=["table"], to=here / "elsewhere")
    assert [p.name for p in (here / "elsewhere").iterdir()] == ["table"] and (here / "table" / "a.txt").read_text() == "1"
    write(here / "table" / "a.txt", "written after a restore")  # a copy, not a link: the store is not touched
    assert versioning.verify()["damaged"] == []


def test_the_store_is_found_from_below_and_may_be_named(here, monkeypatch):
    write(here / "sub" / "x.txt", "1")
    versioning.snapshot("sub/x.txt", store=here / STORE)
    monkeypatch.chdir(here / "sub")
    assert find_store() == here / STORE and [*versioning.log()[0].outs] == ["sub/x.txt"]
    with core.refused("not a store of versions"):
        find_store(here / "sub")
    with core.refused("there is no store"):
        versioning.log(here / "other")


@pytest.mark.parametrize("paths, sentence", [
    ([], "name at least one path"), (["none"], "no such file"), (["table", "table"], "only once"),
                                             (["."], "the store lies in it"),
    ({"../x": "table"}, "not a plain relative path"), ({f"{STORE}/x": "table"}, "not a plain relative path"),
                                             (["empty"], "the folder is empty")])
def test_what_cannot_be_saved(here, paths, sentence):
    write(here / "table" / "a.txt", "1")
    (here / "empty").mkdir()
    with core.refused(sentence):
        versioning.snapshot(paths)
    assert versioning.log() == []


def test_unknown_and_unsaved(here):
    write(here / "table" / "a.txt", "1")
    with core.refused("there is no store"):
        find("latest")
    one = versioning.snapshot("table")
    for rev, sentence in (("beef", "is unknown"), ("ab", "is unknown"), ("", "is unknown")):
        with core.refused(sentence):
            versioning.restore(rev)
    with core.refused("has no 'tabel'; did you mean 'table'?"):
        versioning.restore(one.rev, names=["tabel"])
    write(here / "table" / "b.txt", "an hour of work")
    with core.refused("would be lost"):
        versioning.restore(one.rev)
    assert (here / "table" / "b.txt").exists()
    versioning.restore(one.rev, force=True)
    assert not (here / "table" / "b.txt").exists()


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text("ab/._-é ", min_size=1, max_size=8), st.just({"md5": "0" * 32, "size": 1}),
                       min_size=1, max_size=3),
       st.text(max_size=20), st.dictionaries(st.text(max_size=5),
                                             st.one_of(st.floats(allow_nan=False), st.text(max_size=5),
                                                       st.none()), max_size=3))
def test_the_text_of_a_snapshot_survives_and_no_name_leads_out(outs, message, about):
    snap = Snapshot("2024-01-01T00:00:00+00:00", "data", message, outs, about, "")
    bad = [n for n in outs if n.startswith("/") or any(p in ("", ".", "..") for p in n.split("/"))]
    try:
        assert parse_snapshot(snapshot_text(snap), snap.rev, "here") == snap and not bad
    except core.BadInput as e:
        assert bad and "not a plain relative path" in str(e)


def test_the_clock_may_go_backwards(here, monkeypatch):
    write(here / "a.txt", "1")
    one = versioning.snapshot("a.txt")

    class Past(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2001, 1, 1, tzinfo=UTC)
    monkeypatch.setattr("mlsys.versioning.saving.datetime", Past)
    write(here / "a.txt", "2")
    two = versioning.snapshot("a.txt")
    assert two.time > one.time and find("latest") == two


def test_dvc_itself_reads_a_store(here):
    from dvc.repo import Repo
    for text in "12":
        write(here / "table" / "a.txt", text)
        versioning.snapshot("table")
    with Repo(str(here / STORE)) as repo:
        assert sum(len(s.outs) for s in repo.index.stages) == 2
        assert {h.value for hs in repo.used_objs().values() for h in hs} >= {x.outs["table"]["md5"]
                                                                             for x in versioning.log()}


def test_nothing_outside_is_written_and_no_git_is_needed(tmp_path):
    home, work, empty = (tmp_path / n for n in ("home", "work", "no-programs"))
    for d in (home, work, empty):
        d.mkdir()
    write(work / "table" / "a.txt", "1")
    code = ("import dvc.dirs\ndef inside(config=None):\n    assert config, 'not the store'\n    return "
            "config\ndvc.dirs.site_cache_dir = inside\n"
            "from mlsys import versioning as v\nv.snapshot('table', 'one'); v.restore('latest')\n"
            "lab = v.experiment_repo('lab', 'import json; json.dump({\"m\": 1}, open(\"metrics.json\", "
            "\"w\"))', {'p': 1})\n"
            "print(v.run_experiments(lab, {'a': {'p': 2}}).m['a'])")
    env = {"HOME": str(home), "PATH": str(empty),
           "PYTHONPATH": os.environ.get("PYTHONPATH", str(Path(core.__file__).parent.parent))}
    done = subprocess.run([sys.executable, "-c", code], cwd=work, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1" and not list(home.rglob("*"))


NOW = datetime(2024, 6, 1, tzinfo=UTC)


def old(days, name="table", kind="data", **about):
    return Snapshot((NOW - timedelta(days=days)).isoformat(), kind, f"{days} days",
                    {name: {"md5": "0" * 32, "size": 1}}, about, "")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["table", "model"])), min_size=1, max_size=12,
                unique=True),
       st.integers(0, 200), st.data())
def test_what_goes(rows, days, choose):
    snaps = [old(d, n, "model" if n == "model" else "data") for d, n in rows]
    data = [x for x in snaps if x.kind == "data"]
    if data:
        target = choose.draw(st.sampled_from(data))
        snaps = [x if x.kind == "data" else Snapshot(**x.__dict__ | {"about": {"data": target.rev}})
                 for x in snaps]
    keep = [choose.draw(st.sampled_from(snaps)).rev]
    plan = retention_plan(snaps, days, keep, NOW)
    gone = {r for r in plan.index if plan.goes[r]}
    by_rev = {x.rev: x for x in snaps}
    assert not gone & set(keep) and (days or not gone)
    for name in {n for _, n in rows}:  # the last good one of each name stays
        assert max((x for x in snaps if name in x.outs), key=lambda x: x.time).rev not in gone
    assert all((NOW - by_rev[r].when).days > days - 1 for r in gone)
    assert not gone & {x.about.get("data") for x in snaps
                       if x.rev not in gone}  # the data of a model that stays
    reasons = set(keep) | {x.about.get("data") for x in snaps if x.rev not in gone}
    for x in snaps:  # and nothing else stays
        last = any(x.rev == max((y for y in snaps if n in y.outs), key=lambda y: y.time).rev for n in x.outs)
        assert x.rev in gone or last or x.rev in reasons or not days or (NOW - x.when).total_seconds() / 86400 <= days


def test_collecting_keeps_what_the_retention_and_the_serving_model_need(here, cli):
    for text in ("one", "two", "three"):
        write(here / "table" / "same.txt", "same")
        write(here / "table" / "a.txt", text)
        versioning.snapshot("table", text)
    one, two, three = reversed(versioning.log())
    write(here / "model.json", "{}")
    model = versioning.checkpoint("model.json", {"auc": np.float64(0.7)}, data=one)
    versioning.add_remote("backup", here.parent / "backup")
    versioning.push()
    later = datetime.now(UTC) + timedelta(days=50)
    plan = versioning.collect(30, now=later)
    assert set(plan.index[plan.goes]) == {two.rev} and len(versioning.log()) == 4  # only told
    assert plan.why[one.rev] == f"the data of model {model.rev}"
    versioning.collect(30, dry_run=False, now=later, remote="backup")
    assert {x.rev for x in versioning.log()} == {one.rev, three.rev, model.rev} and versioning.verify()["damaged"] == []
    cache = [p for p in (here / STORE / ".dvc" / "cache").rglob("*") if p.is_file()]
    assert not [p for p in cache if p.read_bytes() == b"two"] and [p for p in cache if p.read_bytes() == b"one"]
    assert not [p for p in (here.parent / "backup").rglob("*") if p.is_file() and p.read_bytes() == b"two"]
    other = here.parent / "other" / STORE
    assert versioning.pull(url=str(here.parent / "backup"), store=other)["versions"] == 3
    versioning.restore(one.rev)
    assert cli("version", "gc", "--days", 0)[0] == 0 and len(versioning.log()) == 3
    with core.refused("is unknown"):
        versioning.collect(30, keep=["beef"])


def test_collecting_on_a_shared_remote_spares_what_others_pushed(here):
    write(here / "table" / "a.txt", "mine")
    versioning.snapshot("table")
    versioning.add_remote("shared", here.parent / "shared")
    versioning.push()
    other = here.parent / "other"
    write(other / "theirs" / "b.txt", "theirs")
    versioning.snapshot(other / "theirs", store=other / STORE)
    versioning.add_remote("shared", here.parent / "shared", store=other / STORE)
    versioning.push(store=other / STORE)
    versioning.collect(1, dry_run=False, remote="shared", now=datetime.now(UTC) + timedelta(days=9))
    third = here.parent / "third" / STORE
    assert versioning.pull(url=str(here.parent / "shared"), store=third)["versions"] == 2 and versioning.verify(third)["damaged"] == []


def test_experiments(here):
    script = ("p = dict(x.split(': ') for x in open('params.yaml').read().splitlines())\nimport json\n"
              "if p['lr'] == '13': raise SystemExit('unlucky')\njson.dump({'loss': float(p['lr']) ** 2}, "
              "open('metrics.json', 'w'))")
    versioning.experiment_repo("lab", script, {"lr": 0.5, "depth": 3})
    runs = versioning.run_experiments("lab", {"small": {"lr": 0.1}, "large": {"lr": 2, "depth": 5}})
    assert runs.loc["small", "loss"] == pytest.approx(0.01) and runs.loc["large"].to_dict() == {"lr": 2, "depth": 5, "loss": 4}
    assert versioning.run_experiments("lab", {"late": {"lr": 1}}, seconds=-1).index.tolist() == ["large",
                                                                                                 "small"]  # no time left
    with core.refused("run 'bad' failed"):
        versioning.run_experiments("lab", {"bad": {"lr": 13}})
    with core.refused("there is a git repository already"):
        versioning.experiment_repo("lab", script, {})
    assert Path.cwd() == here and not (here / ".git").exists()


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    "A small system: a table of one's own, its suite, a trained bundle, and predictions."
    from mlsys import inference, testing
    home = tmp_path_factory.mktemp("system")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    y = (x[:, 0] + rng.normal(size=600) > 0).astype(int)
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "word": rng.choice(["red", "green"], 600), "y": y})
    frame.to_csv(home / "my.csv", index=False)
    (home / "settings.ini").write_text("[data]\nsource = my.csv\ntarget = y\n")
    s = core.load_settings(home / "settings.ini")
    data = formats.dataset(s)
    out = core.out_folder(s, "testing")
    testing.learn(data.read(data.features, data.train)).save(out / "suite.json")
    bad = data.read(periods=data.train).slice(0, 5)
    pq.write_table(bad, out / "quarantine.parquet")
    training.train(s)
    inference.score(core.folder(s, "training") / "bundle", home / "my.csv", home / "scores.parquet",
                    progress=False)
    return s


def test_lineage_from_a_checkpoint(system, tmp_path):
    s, store = system, tmp_path / STORE
    bundle = core.folder(s, "training") / "bundle"
    assert model_digest(bundle) == training.load_bundle(bundle).digest
    data = versioning.snapshot({"data": core.folder(s, "my"), "tests": core.folder(s, "testing")}, "all",
                               store=store)
    rows = training_rows(core.folder(s, "my"), core.folder(s, "testing") / "quarantine.parquet")
    theirs = labelled(formats.dataset(s), s, formats.dataset(s).train)["_row"].to_numpy()
    assert np.array_equal(rows, np.sort(theirs))  # those that chapter 06 takes
    suite = core.folder(s, "testing") / "suite.json"
    versioning.checkpoint(bundle, {"auc": 0.8}, data=data, rows=rows, suite=suite, store=store)
    found = versioning.lineage(s.home / "scores.parquet", row=7, store=store)
    assert found.state.to_dict() == dict(prediction="recorded", model="recorded", code="recorded",
                                         data="verified", rows="verified", suite="verified")
    assert "probability" in found.what["prediction"] and f"{len(rows):,} rows" in found.what["rows"]
    with core.refused("no prediction for row 99999"):
        versioning.lineage(s.home / "scores.parquet", row=99999, store=store)


def test_lineage_does_not_believe_what_is_written(system, tmp_path):
    s, store = system, tmp_path / STORE
    bundle = core.folder(s, "training") / "bundle"
    data = versioning.snapshot({"data": core.folder(s, "my"), "tests": core.folder(s, "testing")},
                               store=store)
    versioning.checkpoint(bundle, {}, data=data, rows=[1, 2, 3], suite=s.home / "settings.ini", store=store)
    found = versioning.lineage(s.home / "scores.parquet", store=store)
    assert found.state["rows"] == found.state["suite"] == "unknown" and "not what the model has seen" in found.detail["rows"]
    scores = pq.read_table(s.home / "scores.parquet")
    pq.write_table(scores.replace_schema_metadata({"mlsys.bundle": "0" * 64}), tmp_path / "other.parquet")
    found = versioning.lineage(tmp_path / "other.parquet", store=store)
    assert set(found.state[1:]) == {"unknown"}
    with core.refused("not a readable Parquet file"):
        versioning.lineage(s.home / "settings.ini", store=store)


def test_lineage_from_a_bundle(system, tmp_path, cli):
    s, store = system, tmp_path / STORE
    bundle = core.folder(s, "training") / "bundle"
    versioning.snapshot({"data": core.folder(s, "my"), "tests": core.folder(s, "testing")}, store=store)
    code, out, _ = cli("version", "lineage", s.home / "scores.parquet", "--row", 3, "--store", store, "--settings", s.home / "settings.ini", "--json")
    links = {x["link"]: x for x in json.loads(out)}
    assert links["model"]["state"] == links["data"]["state"] == links["suite"]["state"] == "verified"
    told = core.read_json(bundle / "versions.json")["data"]
    assert links["rows"]["state"] == ("verified" if "learned" in told else "unknown") and code == int("learned" not in told)


def test_a_version_is_compared_where_it_lies(here):
    frame = pd.DataFrame({"id": range(50), "x": 1.0})
    for m, rows in (("01", frame.head(25)), ("02", frame.tail(25))):
        (here / "table" / f"month={m}").mkdir(parents=True)
        rows.to_parquet(here / "table" / f"month={m}" / "p.parquet")
    one = versioning.snapshot("table")
    frame.head(20).to_parquet(here / "table" / "month=01" / "p.parquet")
    two = versioning.snapshot("table")
    for pair in ((f"table@{one.rev}", f"table@{two.rev}"), (f"table@{one.rev[:5]}", "table"),
                 (f"@{one.rev}", f"{here}/table@latest")):
        d = versioning.diff(*pair)
        assert (d.removed, d.added, d.changed) == (5, 0, 0) and "month" in d.columns
    with core.refused("has no 'tabel'; did you mean 'table'?"):
        versioning.diff(f"tabel@{one.rev}", "table")
    with core.refused("is unknown"):
        versioning.diff("table@beef", "table")


def test_the_commands(here, cli):
    write(here / "table" / "a.txt", "1")
    code, out, _ = cli("version", "snapshot", "table", "-m", "first", "--json")
    rev = json.loads(out)["rev"]
    assert code == 0 and "first" in cli("version", "log")[1] and json.loads(cli("version", "log", "--json")[1])[0]["rev"] == rev
    write(here / "table" / "a.txt", "2")
    code, _, err = cli("version", "restore", rev)
    assert code == 2 and "--force" in err and len(err.strip().splitlines()) == 1
    assert cli("version", "restore", rev, "--force")[0] == 0 and (here / "table" / "a.txt").read_text() == "1"
    assert cli("version", "remote", "backup", here.parent / "backup")[0] == 0 and cli("version", "push")[0] == 0
    assert "KEY=VALUE" in cli("version", "remote", "x", "s3://b", "--option", "sse")[2]
    assert cli("version", "pull", "--url", here.parent / "backup", "--store",
               here.parent / "o" / STORE)[0] == 0
    assert cli("version", "verify")[0] == 0 and "stays" in cli("version", "gc", "--days", 3)[1]
    next(p for p in (here / STORE / ".dvc" / "cache").rglob("*") if p.is_file()
         and p.read_bytes() == b"1").unlink()
    assert cli("version", "verify")[0] == 1
    assert cli("version", "log", "--store", here.parent / "nowhere")[0] == 2


def test_the_commit_is_read_without_git(tmp_path):
    assert code_commit(tmp_path) == ""
    from scmrepo.git import Git
    versioning.experiment_repo(tmp_path / "lab", "", {"p": 1})
    git = Git(str(tmp_path / "lab"))
    head = git.get_rev()
    git.close()
    assert code_commit(tmp_path / "lab") == head and len(head) == 40
    branch = (tmp_path / "lab" / ".git" / "HEAD").read_text().strip().removeprefix("ref: ")
    (tmp_path / "lab" / ".git" / branch).unlink()
    (tmp_path / "lab" / ".git" / "packed-refs").write_text(f"# pack-refs\n{head} {branch}\n")
    assert code_commit(tmp_path / "lab") == head
    assert rows_digest([3, 1, 2]) == rows_digest(pa.array([1, 2, 3])) != rows_digest([1, 2])
