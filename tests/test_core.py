"""Settings, atomic writes and the run folder: properties beyond the notebook's examples."""
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsys import core

words = st.text(st.characters(categories=("L", "N"), include_characters="_- "), min_size=1,
                max_size=12).map(str.strip).filter(bool)


@given(target=words, exclude=st.lists(words, max_size=4), seed=st.integers(0, 2**31),
       at_least=st.floats(0.01, 0.99), network=st.booleans())
def test_a_card_that_is_written_reads_back(tmp_path_factory, target, exclude, seed, at_least, network):
    s = core.Settings(data=core.Data(source="my.csv", target=target, exclude=exclude),
                      run=core.Run(seed=seed),
                      metrics=core.Metrics(at_least=round(at_least, 4)),
                      location=core.Location(network=network))
    path = tmp_path_factory.mktemp("card") / "settings.ini"
    path.write_text(core.card_text(s), encoding="utf-8")
    assert core.load_settings(path).model_copy(update=dict(home=s.home)) == s


@given(st.text(max_size=40))
def test_any_text_as_a_card_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("card") / "settings.ini"
    path.write_text(text, encoding="utf-8", newline="")
    try:
        core.load_settings(path)
    except core.BadInput as e:
        assert "settings.ini" in str(e) and "\n" not in str(e)


def test_every_key_of_the_card_is_explained():
    for name, model in core.SECTIONS.items():
        missing = set(model.model_fields) - set(core.comments(model))
        assert not missing, f"[{name}] {missing} have no comment"


def test_parameters_beat_the_environment_beats_the_file_beats_the_default(tmp_path, monkeypatch):
    (tmp_path / "settings.ini").write_text("[data]\nsource = a.csv\ntarget = file\n")
    card = tmp_path / "settings.ini"
    assert core.load_settings(card).data.target == "file" and core.load_settings(card).run.seed == 0
    monkeypatch.setenv("MLSYS_DATA_TARGET", "env")
    assert core.load_settings(card).data.target == "env"
    assert core.load_settings(card, target="given").data.target == "given"


def test_a_source_of_ones_own_forgets_the_cards_table(tmp_path):
    (tmp_path
     / "settings.ini").write_text("[data]\nsource = a.csv\ntarget = y\ntime = t\nexclude = "
                                  "b\n[metrics]\nat_least = 0.9\n")
    s = core.load_settings(tmp_path / "settings.ini", source="mine.csv", target="z")
    assert s.data == core.Data(source="mine.csv", target="z") and s.metrics.at_least == 0.9 and s.alone


def test_a_card_is_found_in_the_folders_above(tmp_path, monkeypatch):
    (tmp_path / "settings.ini").write_text("[data]\nsource = a.csv\ntarget = y\n")
    (tmp_path / "nbs").mkdir()
    monkeypatch.chdir(tmp_path / "nbs")
    assert core.load_settings().home == tmp_path


def test_a_writer_that_is_killed_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    core.write_json(path, {"old": 1})
    code = f"import os; from mlsys import core\nwith core.atomic({str(path)!r}) as tmp: tmp.write_text('half'); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert core.read_json(path) == {"old": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with core.refused("cannot write"):
        core.write_json(tmp_path / "x.json", 1)


def test_a_path_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "x").write_text("")
    with core.refused("cannot write"):
        core.write_json(tmp_path / "x" / "y.json", 1)


def test_staged_folders_swap_together_or_not_at_all(tmp_path):
    s = core.Settings(home=tmp_path)
    with core.staged(s):
        for name in ("a", "b"):
            (core.out_folder(s, name) / "v").write_text("1")
    with pytest.raises(ZeroDivisionError), core.staged(s):
        (core.out_folder(s, "a") / "v").write_text("2")
        raise ZeroDivisionError
    assert [(core.folder(s, n) / "v").read_text() for n in ("a", "b")] == ["1", "1"]
    with core.staged(s):
        (core.out_folder(s, "a") / "w").write_text("3")  # a new folder replaces the old one whole
    assert not (core.folder(s, "a") / "v").exists() and (core.folder(s, "b") / "v").exists()
    assert "MLSYS_STAGED" not in os.environ or os.environ["MLSYS_STAGED"] == "0"


def test_progress_is_silent_where_nobody_watches(capfd):
    assert list(core.track(range(3), "counting", patience=0)) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")
