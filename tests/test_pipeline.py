"""The pipeline as a whole: what reruns, what a failure leaves behind, what the committed files must agree on."""
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from mlsys import core, pipeline

ROOT = Path(__file__).parent.parent


def test_the_committed_pipeline_is_the_one_that_the_card_makes():
    made = pipeline.dvc_yaml(ROOT / "settings.ini").replace("    - labels/flights\n",
                                                            "")  # there once somebody has labelled here
    assert (ROOT / "dvc.yaml").read_text() == made


def test_every_stage_is_a_chapter_that_exists():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert set(stages) == {"settings"} | {c.name for c in pipeline.STAGES}
    assert all(re.fullmatch(r"mlsys stage (settings|\d\d_\w+)", x["cmd"]) for x in stages.values())


def test_the_sections_of_a_stage_are_the_ones_its_chapter_uses():
    "A key that a chapter reads but its stage does not declare would change without a rerun."
    for stage in pipeline.STAGES:
        text = (ROOT / "nbs" / f"{stage.notebook}.ipynb").read_text()
        used = set(re.findall(r"\bs\.({})\b".format("|".join(core.SECTIONS)), text))
        missing = used - set(stage.sections)
        assert not missing or stage.notebook == "91_report", f"{stage.notebook} reads [{missing}]"


def test_the_tables_of_the_book_that_a_chapter_reads_are_files_of_its_stage(tmp_path):
    "Else it would not run again when they change. A system that has no such file is made without it."
    for stage in pipeline.STAGES:
        text = (ROOT / "nbs" / f"{stage.notebook}.ipynb").read_text()
        read = {f"data/{p.name}" for p in (ROOT / "data").glob("*.parquet") if p.name in text}
        assert read == set(stage.files), stage.notebook
    (tmp_path / "settings.ini").write_text((ROOT / "settings.ini").read_text())
    assert "data/" not in pipeline.dvc_yaml(tmp_path / "settings.ini")


def test_code_behind_finds_what_a_module_imports():
    package = Path(pipeline.__file__).parent
    found = {str(p.relative_to(package)) for p in pipeline.code_behind(pipeline.chapters()["06_training"])}
    assert {"training/__init__.py", "formats/read.py", "core.py"} <= found and "report.py" not in found


def test_importing_the_package_is_quick_and_light():
    code = "import sys, time; t = time.perf_counter(); import mlsys; print(time.perf_counter() - t); print(*sys.modules)"
    seconds, modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert not {"torch", "pandas", "pyarrow", "sklearn", "onnxruntime", "dvc"} & set(modules.split())
    code = "import sys; import mlsys.cli; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "pandas", "pyarrow", "sklearn", "onnxruntime", "dvc"} & set(modules.split())


def test_a_stage_that_fails_leaves_the_last_good_folder(table, small, monkeypatch):
    card = small(table)
    assert pipeline.run(card, ["formats"]) == ["formats"]
    s = core.load_settings(card)
    good = (core.build_folder(s) / "my" / "_dataset.json").read_bytes()
    record = (core.build_folder(s) / "formats" / "metrics.json").read_bytes()

    broken = card.parent / "chapters"  # the same chapter with a last cell that fails after everything was written
    broken.mkdir()
    text = pipeline.chapters()["02_formats"].read_text()
    at = text.index('"## When not to use this')
    cell = text.rindex('"cell_type": "markdown"', 0, at)
    text = text[:cell] + text[cell:].replace('"cell_type": "markdown"', '"cell_type": "code", '
                                                                        '"execution_count": null, "outputs": '
                                                                        '[]', 1)
    (broken / "02_formats.ipynb").write_text(text)
    monkeypatch.setattr(pipeline, "chapters", lambda: {"02_formats": broken / "02_formats.ipynb"})
    with pytest.raises(pipeline.ChapterFailed, match="02_formats failed in cell .*failed/02_formats.ipynb"):
        pipeline.stage("02_formats", card)
    assert (core.build_folder(s) / "my" / "_dataset.json").read_bytes() == good
    assert (core.build_folder(s) / "formats" / "metrics.json").read_bytes() == record
    assert (core.build_folder(s) / "failed" / "02_formats.ipynb").exists() and not (core.build_folder(s) / ".next").exists()


def test_killed_in_the_middle_the_next_run_heals(table, small):
    card = small(table)
    first = subprocess.Popen([Path(sys.executable).parent / "mlsys", "run", "formats", "--settings", card],
                             start_new_session=True)
    s = core.load_settings(card)
    limit = time.monotonic() + 60
    while not (core.build_folder(s) / ".next").exists() and time.monotonic() < limit:
        time.sleep(0.05)
    os.killpg(first.pid, 9)
    first.wait()
    assert not (core.build_folder(s) / "my").exists()
    for _ in range(20):  # DVC's lock file is freed with the process that held it, the kernel ends a moment later
        try:
            assert pipeline.run(card, ["formats"]) == ["formats"]
            break
        except pipeline.ChapterFailed:
            time.sleep(0.5)
    assert (core.build_folder(s) / "my" / "_dataset.json").exists()


def test_execute_refuses_parameters_that_a_chapter_does_not_have(tmp_path):
    with core.refused("did you mean 'sample'"):
        pipeline.execute("02_formats", tmp_path / "notebooks" / "x.ipynb", sampel=3)


def test_a_page_runs_again_only_when_it_has_changed(small, table, monkeypatch):
    card = small(table)
    room = card.parent / "01a_a.room.ipynb"
    cell = dict(cell_type="code", execution_count=None, id="one", metadata={}, outputs=[], source="print(1 + 1)")
    def write(source):
        return core.write_json(room, dict(cells=[cell | dict(source=source)], nbformat=4, nbformat_minor=5,
                                                          metadata=dict(kernelspec=dict(name="python3", display_name="Python 3"))))
    write("print(1 + 1)")
    monkeypatch.setattr(pipeline, "pages", lambda: {"01a_a.room": room})
    monkeypatch.setattr(pipeline, "rooms", lambda: {"01a_a.room": room})
    assert pipeline.run_pages(card, workers=1) == ["01a_a.room"] and pipeline.run_pages(card, workers=1) == []
    write("print(2 + 2)")
    assert pipeline.run_pages(card, workers=1) == ["01a_a.room"]
    done = core.read_json(core.build_folder(core.load_settings(card)) / "notebooks" / "01a_a.room.ipynb")
    assert "4" in "".join(done["cells"][0]["outputs"][0]["text"])
