"""The wheel in an empty environment: init and run in a folder that has no clone anywhere near."""
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True,
                           text=True, check=True).stdout.splitlines()
    tree = tmp_path_factory.mktemp("tree")  # a copy, so that the build leaves nothing in the working tree
    for name in files:
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
                    "-w", out, tree], check=True)
    return next(out.glob("*.whl"))


def test_it_carries_the_chapters_without_outputs_and_no_data(wheel):
    with zipfile.ZipFile(wheel) as z:
        names = z.namelist()
        chapters = [n for n in names if n.startswith("mlsys/chapters/")]
        assert len(chapters) == len(list((ROOT / "nbs").glob("[0-9][0-9]_*.ipynb")))
        for name in chapters:
            assert not any(c.get("outputs") for c in json.loads(z.read(name))["cells"])
        assert not [n for n in names if n.endswith((".parquet", ".csv"))]
        assert {f"mlsys/labeling/desk.{kind}" for kind in ("js", "css", "html")} <= set(names)
        assert {"mlsys/testing/__init__.py", "mlsys/testing/rules.py"} <= set(names)
        assert wheel.stat().st_size < 60_000 * len(chapters)  # text only: a chapter and its module


def test_init_and_run_without_a_clone(wheel, cancer, tmp_path):
    venv, home = tmp_path / "venv", tmp_path / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    install = [venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
               "-c", ROOT / "requirements.lock"]
    subprocess.run([*install, "torch", wheel], check=True)
    (home / "my.csv").write_bytes(cancer.read_bytes())
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path),
           "MPLCONFIGDIR": str(tmp_path)}  # no clone, no git identity, no Jupyter settings
    for args in (["init", "my.csv", "--target", "target"], ["run"]):
        end = subprocess.run([venv / "bin" / "mlsys", *args], cwd=home, env=env, capture_output=True,
                             text=True)
        assert end.returncode == 0, end.stderr
    assert end.stdout.strip() == "build/report.html" and (home / "build" / "report.html").exists()
    end = subprocess.run([venv / "bin" / "mlsys", "run"], cwd=home, env=env, capture_output=True, text=True)
    assert "nothing has changed" in end.stdout
