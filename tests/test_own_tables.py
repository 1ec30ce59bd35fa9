"""The whole pipeline on tables it has never seen, through the command line, in a folder that has nothing but the table."""
import json
import subprocess
import sys
from pathlib import Path

import papermill
import pyarrow.parquet as pq
import pytest

from mlsys import core, formats, pipeline

MLSYS = [Path(sys.executable).parent / "mlsys"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    "init and run once per table."
    done = {}

    def build(name, source, *options):
        if name not in done:
            home = tmp_path_factory.mktemp(name)
            card = home / "settings.ini"
            for args in (["init", source, *options, "--settings", card], ["run", "--settings", card]):
                end = subprocess.run([*MLSYS, *map(str, args)], capture_output=True, text=True, cwd=home)
                assert end.returncode == 0, end.stderr
            done[name] = card, end
        return done[name]
    return build


def test_numbers_only_without_time(built, cancer):
    card, end = built("cancer", cancer, "--target", "target")
    s = core.load_settings(card)
    assert end.stdout.strip().endswith("build/report.html") and (card.parent / "build" / "report.html").exists()
    data = formats.dataset(s)
    assert data.key == "fold" and len(data.features) == 30 and data.rows == 569
    assert core.recorded(s, "evaluation")["numbers"]["auc"] > 0.97  # scikit-learn's own examples reach 0.99


def test_words_missing_values_and_a_named_positive(built, credit, tmp_path):
    import shutil
    shutil.copy(credit, tmp_path / "credit.parquet")
    card, _ = built("credit", tmp_path / "credit.parquet", "--target", "Status", "--exclude", "Price")
    s = core.load_settings(card)
    data = formats.dataset(s)
    assert data.positive == "good" and str(data.read(["Home"]).schema.field("Home").type) == "string"
    assert "Price" not in data.features and "Home" in data.features
    assert core.recorded(s, "evaluation")["numbers"]["auc"] > 0.75
    predictions = pq.read_table(core.folder(s, "training") / "predictions.parquet")
    assert set(predictions["role"].to_pylist()) == {"valid", "test"}


def test_a_second_run_has_nothing_to_do(built, cancer, cli):
    card, _ = built("cancer", cancer, "--target", "target")
    code, out, _ = cli("run", "--settings", card, "--json")
    assert code == 0 and json.loads(out)["ran"] == []


def test_one_changed_key_reruns_only_what_reads_it(built, cancer):
    card, _ = built("cancer", cancer, "--target", "target")
    text = card.read_text()
    card.write_text(text.replace("at_least = 0.5", "at_least = 0.9"))
    ran = pipeline.run(card)
    assert "formats" not in ran and "testing" not in ran and {"training", "evaluation", "report"} <= set(ran)
    card.write_text(text)
    pipeline.run(card)


@pytest.mark.parametrize("chapter", [c for c in pipeline.chapters() if c[:2] not in ("00", "90", "91", "92")])
def test_a_chapter_alone_on_a_table_the_pipeline_never_saw(chapter, cancer, tmp_path, monkeypatch):
    """As in `papermill nbs/03_testing.ipynb out.ipynb -p source my.csv -p target y`, in an empty folder,
    without a card."""
    monkeypatch.chdir(tmp_path)
    papermill.execute_notebook(str(pipeline.chapters()[chapter]), str(tmp_path / "out.ipynb"),
                               dict(source=str(cancer), target="target"),
                               progress_bar=False, kernel_name="python3")
    made = [p.name for p in (tmp_path / "build" / "alone" / "cancer-all").iterdir()]
    assert chapter.partition("_")[2] in made
