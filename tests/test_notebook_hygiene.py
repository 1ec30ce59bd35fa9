"""Notebooks as they are committed: clean, complete, the only source of the package, in the order of their numbers."""
import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted((ROOT / "nbs").glob("[0-9][0-9]_*.ipynb"))
BIN = Path(sys.executable).parent
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)


def cells(path, kind="code"):
    return [c | {"source": "".join(c["source"])} for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == kind]


def copy_of_tree(to):
    "Notebooks, package and options, so that no test writes to the working tree."
    for name in ("nbs", "mlsys", "tools"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, to)
    return to


def run(*args, cwd):
    done = subprocess.run([str(a) for a in args], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def differing(a, b, pattern):
    names = {p.name for d in (a, b) for p in d.glob(pattern)}
    return sorted(n for n in names if not (a / n).exists() or not (b / n).exists() or (a / n).read_bytes() != (b / n).read_bytes())


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory):
    "A copy of the tree after nbdev-export and nbdev-clean."
    tree = copy_of_tree(tmp_path_factory.mktemp("tree"))
    run(BIN / "nbdev-export", cwd=tree)
    run(BIN / "nbdev-clean", cwd=tree)
    return tree


def test_export_and_clean_leave_no_diff(cleaned):
    assert not differing(ROOT / "mlsys", cleaned / "mlsys", "*.py"), "run nbdev-export"
    assert not differing(ROOT / "nbs", cleaned / "nbs", "*.ipynb"), "run nbdev-clean"


@each_chapter
def test_parameters_survive_cleaning(cleaned, path):
    from papermill import inspect_notebook
    tagged = [c for c in cells(cleaned / "nbs" / path.name) if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    assert {"settings", "sample"} <= set(inspect_notebook(str(cleaned / "nbs" / path.name)))


@each_chapter
def test_outputs_are_saved(path):
    code = [c for c in cells(path) if not c["source"].startswith("#| default_exp")]
    assert any(c["outputs"] for c in code), "no outputs: make save"
    assert not [o for c in code for o in c["outputs"] if o["output_type"] == "error"]
    assert all(c["execution_count"] is None for c in code)


@each_chapter
def test_no_path_of_a_machine(path):
    nb = json.loads(path.read_text(encoding="utf-8"))
    shown = [c["source"] for c in nb["cells"]] + [o.get("text", "") for c in nb["cells"] for o in c.get("outputs", [])]
    shown += [v for c in nb["cells"] for o in c.get("outputs", []) for k, v in o.get("data", {}).items() if not k.startswith("image/p")]
    text = "\n".join("".join(t) if isinstance(t, list) else str(t) for t in shown)
    folders = [re.escape(str(p)) for p in {ROOT, Path.home()} if len(p.parts) > 1]
    folders += [r"/home/\w", r"/Users/\w", "/tmp/tmp", "/var/folders/", r"[A-Z]:\\+Users"]
    found = re.search(rf"(?<![\w.])({'|'.join(folders)})[^\s\"']*", text)
    assert not found, f"{path.name} shows {found[0]}"


@each_chapter
def test_shape_of_a_chapter(path):
    top = cells(path, "markdown")[0]["source"]
    assert re.match(r"# .+\n\n> .+", top), "title, then a promise"
    for c in cells(path):
        if re.match(r"#\|\s*export\b", c["source"]):
            lines = [x for x in c["source"].splitlines() if x.strip() and not x.startswith("#|")]
            assert len(lines) <= 20, f"an exported cell of {len(lines)} lines: {lines[0]}"
            assert "nbdev_export" not in c["source"]


def imported(path):
    "Modules of mlsys that a module imports, anywhere in it."
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level and module or module.startswith("mlsys."):
                yield module.removeprefix("mlsys.").split(".")[0]
            elif node.level or module == "mlsys":
                yield from (a.name for a in node.names)
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("mlsys."))


@each_chapter
def test_a_chapter_imports_only_lower_ones(path):
    number = {p.stem[3:]: int(p.stem[:2]) for p in CHAPTERS}
    own, = [d for c in cells(path) for d in re.findall(r"^#\|\s*default_exp\s+(\w+)", c["source"], re.MULTILINE)]
    assert own == path.stem[3:]
    later = [m for m in imported(ROOT / "mlsys" / f"{own}.py") if m in number and number[m] >= number[own]]
    assert not later, f"{path.name} imports {later}"


def test_every_module_has_a_chapter():
    modules = {p.stem for p in (ROOT / "mlsys").glob("*.py") if not p.stem.startswith("_")}
    assert modules == {p.stem[3:] for p in CHAPTERS}


def test_readme_is_fresh_and_leads_to_files_that_exist():
    run(sys.executable, ROOT / "tools" / "readme.py", "--check", cwd=ROOT)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "#|" not in text and "```\n\n```" not in text
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)|src=\"(?!https?:)([^\"]+)", text)
    assert links and not [a or b for a, b in links if not (ROOT / (a or b)).is_file()]
    assert {p.name for p in CHAPTERS} <= {Path(a).name for a, _ in links}


def test_a_stale_readme_is_noticed(tmp_path):
    tree = copy_of_tree(tmp_path)
    (tree / "README.md").write_text("old", encoding="utf-8")
    done = subprocess.run([sys.executable, "tools/readme.py", "--check"], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == "README.md is stale: run `python tools/readme.py`\n"


NOTEBOOKS = ROOT / "build" / "notebooks"
executed = pytest.mark.skipif(not NOTEBOOKS.is_dir(), reason="no executed notebooks in build/notebooks: run `make run`")


@executed
def test_saving_twice_changes_nothing(tmp_path):
    tree = copy_of_tree(tmp_path)
    shutil.copytree(NOTEBOOKS, tree / "build" / "notebooks")
    run(sys.executable, "tools/save.py", cwd=tree)
    once = {p.name: p.read_bytes() for p in (tree / "nbs").glob("*.ipynb")}
    assert "0 of" in run(sys.executable, "tools/save.py", cwd=tree)
    run(BIN / "nbdev-clean", cwd=tree)
    assert once == {p.name: p.read_bytes() for p in (tree / "nbs").glob("*.ipynb")}
    for name, text in once.items():
        assert b"papermill" not in re.sub(rb'"source": \[.*?\n   \]', b"", text, flags=re.DOTALL) or name[:2] >= "90", name


@executed
def test_saving_refuses_other_code_and_paths_of_a_machine(tmp_path):
    tree = copy_of_tree(tmp_path)
    shutil.copytree(NOTEBOOKS, tree / "build" / "notebooks")
    ran = tree / "build" / "notebooks" / CHAPTERS[0].name
    before = {p.name: p.read_bytes() for p in (tree / "nbs").glob("*.ipynb")}
    nb = json.loads(ran.read_text(encoding="utf-8"))
    code = next(c for c in nb["cells"] if c["cell_type"] == "code" and "".join(c["source"]).strip())
    code["outputs"] = [{"output_type": "stream", "name": "stdout", "text": [f"{tree}/build\n"]}]
    ran.write_text(json.dumps(nb), encoding="utf-8")
    done = subprocess.run([sys.executable, "tools/save.py"], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 1 and "shows a path of this machine" in done.stderr
    code["source"] = "1 + 1"
    ran.write_text(json.dumps(nb), encoding="utf-8")
    done = subprocess.run([sys.executable, "tools/save.py"], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 1 and "has changed since it was executed: run `make run` first" in done.stderr
    assert before == {p.name: p.read_bytes() for p in (tree / "nbs").glob("*.ipynb")}
