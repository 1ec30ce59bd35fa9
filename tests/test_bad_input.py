"""Everything a user can get wrong: one clear sentence, exit code 2, nothing half-written, the last good build intact."""
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

MLSYS = Path(sys.executable).parent / "mlsys"


def snapshot(folder):
    return {p.relative_to(folder): p.read_bytes()
            for p in sorted(folder.rglob("*")) if p.is_file() and ".dvc" not in p.parts}


CASES = {
    "ragged": (b"a,y\n1,0\n2,1,9\n", {}, "line 3: 3 fields where the header has 2"),
    "delimiter": (b"a;y\n1;0\n2;1\n", {}, "no ',' but 1 of ';'"),
    "bytes": ("a,y\n1,0\nJos\u00e9,1\n".encode("latin1"), {}, "line 3, column 'a': byte 0xe9 is not UTF-8"),
    "empty": (b"", {}, "the file is empty"),
    "header only": (b"a,y\n", {}, "a header but no rows"),
    "duplicate columns": (b"a,y,a\n1,0,2\n", {}, "columns 1 and 3 are both named 'a'"),
    "binary": (b"\x00\x01\x02,y\n1,2\n", {}, "binary data"),
}


def refused(card, sentence):
    "The first stage refuses, and writes nothing."
    from mlsys import core, formats
    with core.refused(sentence):
        formats.ingest(core.load_settings(card))
    assert not list(card.parent.rglob("build/*"))


@pytest.mark.parametrize("case", CASES)
def test_files_that_cannot_be_read(case, small):
    text, data, sentence = CASES[case]
    refused(small(text, **data), sentence)


def changed(table, how):
    table = table.copy()
    if how == "one class":
        table["y"] = 1
    elif how == "three classes":
        table["y"] = np.arange(len(table)) % 3
    elif how == "null column":
        table["b"] = np.nan
    elif how == "bad time":
        table.loc[4, "when"] = "soon"
    elif how == "few rows":
        table = table.head(10)
    elif how == "train one class":
        table["y"] = (np.arange(len(table)) > 150).astype(int)
    return table


@pytest.mark.parametrize("how, data, sentence", [
    ("target absent", {"target": "yy"}, "target = yy is not a column; did you mean 'y'?"),
    ("no target", {"target": ""}, "no target is named"),
    ("time absent", {"time": "wen"}, "time = wen is not a column; did you mean 'when'?"),
    ("exclude absent", {"exclude": "a, c"}, "exclude names 'c'"),
    ("one class", {}, "has 1 value (1); it must have exactly two"),
    ("three classes", {}, "has 3 values (0, 1, 2); it must have exactly two"),
    ("null column", {}, "column 'b': no row has a value"),
    ("bad time", {"time": "when"}, "row 5: 'soon' is not a time"),
    ("few rows", {}, "10 rows; at least 50"),
    ("train one class", {"time": "when"}, "hold only one of its two values"),
    ("positive", {"positive": "maybe"}, "has only 0 and 1"),
    ("too many train periods", {"time": "when", "train": 99}, "one must be left for testing"),
    ("reserved name", {"name": "testing"}, "the name of a folder in the run folder"),
])
def test_tables_that_do_not_fit_the_card(how, data, sentence, table, small):
    refused(small(changed(table, how), **data), sentence)


def test_a_wrong_table_ends_the_pipeline_with_one_sentence(table, small, cli):
    for how, data, sentence in [("three classes", {}, "has 3 values"), ("bad time", {"time": "when"}, "row 5: 'soon' is not a time")]:
        code, out, err = cli("run", "formats", "--settings", small(changed(table, how), **data))
        assert code == 2 and sentence in err and "my.csv" in err
        assert len(err.strip().splitlines()) == 1 and "Traceback" not in err


@pytest.mark.parametrize("line, sentence", [
    ("[data]\ntraget = y", "[data] traget: unknown key; did you mean 'target'?"),
    ("[metric]\ngoal = recall", "[metric]: unknown section; did you mean 'metrics'?"),
    ("[metrics]\nat_least = much", "[metrics] at_least = much"),
    ("[data]\ntarget = y\ntarget = z", "target"),
    ("target = y", "section"),
])
def test_typing_errors_in_the_card(line, sentence, tmp_path, cli):
    (tmp_path / "settings.ini").write_text(line)
    code, out, err = cli("run", "--settings", tmp_path / "settings.ini")
    assert code == 2 and sentence in err and "settings.ini" in err and len(err.strip().splitlines()) == 1, err


def test_missing_files(tmp_path, cli):
    (tmp_path / "settings.ini").write_text("[data]\nsource = nowhere.csv\ntarget = y\n")
    code, _, err = cli("run", "--settings", tmp_path / "settings.ini")
    assert code == 2 and "nowhere.csv: no such file" in err
    code, _, err = cli("run", "--settings", tmp_path / "none.ini")
    assert code == 2 and "mlsys init" in err


def test_the_environment_overrides_the_card(table, small, cli, monkeypatch):
    card = small(table)
    monkeypatch.setenv("MLSYS_DATA_TARGET", "word")
    assert cli("run", "formats", "--settings", card)[0] == 0
    from mlsys import core, formats
    assert formats.Dataset(card.parent / "build" / "my").target == "word"
    monkeypatch.setenv("MLSYS_DATA_TRAGET", "word")
    with core.refused("MLSYS_DATA_TRAGET"):
        core.load_settings(card)


def test_the_last_good_build_survives_bad_input(table, small, cli):
    card = small(table)
    assert cli("run", "formats", "--settings", card)[0] == 0
    before = snapshot(card.parent / "build" / "my")
    small(b"a,y\n1,0\n2,1,9\n")
    assert cli("run", "formats", "--settings", card)[0] == 2
    assert snapshot(card.parent / "build" / "my") == before
    assert not (card.parent / "build" / ".next").exists()
    small(table)
    assert cli("run", "formats", "--settings", card)[0] == 0
    assert snapshot(card.parent / "build" / "my").keys() == before.keys()


def test_a_full_disk(tiny_disk):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=3000), "y": rng.integers(0, 2, 3000)})
    frame.to_csv(tiny_disk / "my.csv", index=False)
    (tiny_disk / "settings.ini").write_text("[data]\nsource = my.csv\ntarget = y\n")
    run = [MLSYS, "run", "formats"]
    assert subprocess.run(run, cwd=tiny_disk, capture_output=True).returncode == 0
    before = snapshot(tiny_disk / "build" / "my")
    frame.assign(b=frame.a + 1).to_csv(tiny_disk / "my.csv", index=False)
    free = shutil.disk_usage(tiny_disk).free
    (tiny_disk / "ballast").write_bytes(b"x" * (free - 20_000))
    done = subprocess.run(run, cwd=tiny_disk, capture_output=True, text=True)
    assert done.returncode == 2 and "no space left" in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert snapshot(tiny_disk / "build" / "my") == before and not (tiny_disk / "build" / ".next").exists()
    (tiny_disk / "ballast").unlink()
    assert subprocess.run(run, cwd=tiny_disk, capture_output=True).returncode == 0
