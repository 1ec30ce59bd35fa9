"""Notebooks as they are committed: clean, complete, the only source of the package, in the order of their numbers."""
import ast
import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import measure  # noqa: E402

from mlsys import core, pipeline  # noqa: E402

CHAPTERS = sorted((ROOT / "nbs").glob("[0-9][0-9]_*.ipynb"))
ROOMS = sorted((ROOT / "nbs").glob("[0-9][0-9][a-z]_*.ipynb"))
BIN = Path(sys.executable).parent
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
each_notebook = pytest.mark.parametrize("path", [*CHAPTERS, *ROOMS],
                                        ids=lambda p: p.name.removesuffix(".ipynb"))
each_module = pytest.mark.parametrize("path", measure.modules(),
                                      ids=lambda p: str(p.relative_to(ROOT / "mlsys")))


def cells(path, kind="code"):
    return [c | {"source": "".join(c["source"])}
            for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == kind]


def copy_of_tree(to):
    "Notebooks, package and options, so that no test writes to the working tree."
    for name in ("nbs", "mlsys", "tools"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__",
                                                                              ".ipynb_checkpoints"))
    for name in ("pyproject.toml", "README.md", "_quarto.yml"):
        shutil.copy(ROOT / name, to)
    return to


def run(*args, cwd):
    done = subprocess.run([str(a) for a in args], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def differing(a, b, pattern):
    names = {str(p.relative_to(d)) for d in (a, b) for p in d.rglob(pattern)}
    return sorted(n for n in names if not (a / n).exists() or not (b / n).exists()
                  or (a / n).read_bytes() != (b / n).read_bytes())


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


@each_notebook
def test_outputs_are_saved(path):
    "A room whose examples all assert has nothing to show."
    code = [c for c in cells(path) if not c["source"].startswith("#| default_exp")]
    assert path in ROOMS or any(c["outputs"] for c in code), "no outputs: make save"
    assert not [o for c in code for o in c["outputs"] if o["output_type"] == "error"]
    assert all(c["execution_count"] is None for c in code)


@each_notebook
def test_no_path_of_a_machine(path):
    nb = json.loads(path.read_text(encoding="utf-8"))
    shown = [c["source"] for c in nb["cells"]] + [o.get("text", "") for c in nb["cells"] for o in c.get("outputs", [])]
    shown += [v for c in nb["cells"] for o in c.get("outputs", [])
              for k, v in o.get("data", {}).items() if not k.startswith("image/p")]
    text = "\n".join("".join(t) if isinstance(t, list) else str(t) for t in shown)
    folders = [re.escape(str(p)) for p in {ROOT, Path.home()} if len(p.parts) > 1]
    folders += [r"/home/\w", r"/Users/\w", "/tmp/tmp", "/var/folders/", r"[A-Z]:\\+Users"]
    found = re.search(rf"(?<![\w.])({'|'.join(folders)})[^\s\"']*", text)
    assert not found, f"{path.name} shows {found[0]}"


@each_notebook
def test_shape_of_a_notebook(path):
    top = cells(path, "markdown")[0]["source"]
    assert re.match(r"# .+\n\n> .+", top), "title, then a promise"
    assert not any("nbdev_export" in c["source"] for c in cells(path)), "papermill would run it"
    shape = measure.notebook(path)
    assert shape["cells"] <= 95, "a notebook that nobody reads to its end"
    assert shape["in_a_row"] <= 3, "exported cells without an example between them"


@each_chapter
def test_a_chapter_is_read(path):
    "A chapter that has rooms is a story: more words than code."
    if any(room.name[4:].startswith(path.stem[3:] + ".") for room in ROOMS):
        assert measure.notebook(path)["words_per_code"] >= 40


def test_exported_cells_breathe():
    lines = [n for path in [*CHAPTERS, *ROOMS] for n in measure.notebook(path)["export_lines"]]
    assert measure.median(lines) <= 9 and measure.ninth(lines) <= 20


@each_module
def test_shape_of_a_module(path):
    shape = measure.module(path)
    assert shape["lines"] <= 520 and not shape["long"], f"{shape['lines']} lines, {shape['long']} too long"


def test_functions_do_not_grow():
    "Half of them have at most 70 syntax nodes; fastcore has 37, and 55 is where we want to be."
    assert measure.median([n for path in measure.modules() for n in measure.module(path)["nodes"]]) <= 71


# ---------------------------------------------------------------- what imports what


def exports(path):
    "The module that a notebook exports: `testing` for a chapter's face, `testing.rules` for a room."
    name, = [d for c in cells(path) for d in re.findall(r"^#\|\s*default_exp\s+([\w.]+)", c["source"], re.MULTILINE)]
    return name.removesuffix(".__init__")


def order():
    "Place in the book of each module."
    return {exports(p): p.name.partition("_")[0] for p in [*CHAPTERS, *ROOMS]}


def code_of(path):
    "Code that a notebook runs or exports, without magics."
    return "\n".join(line for c in cells(path) for line in c["source"].splitlines()
                     if not line.lstrip().startswith(("%", "!")))


def imports(path):
    "Modules of the package that a notebook imports, its own left out."
    found = {tuple(pipeline.module_files(name)) for name in pipeline.imported(code_of(path))}
    modules = {name.removesuffix(".__init__") for names in found for name in names[:1]}
    return modules - {exports(path)}


@each_notebook
def test_a_notebook_imports_only_what_comes_before(path):
    place, own = order(), exports(path)
    assert own == path.name.partition("_")[2].removesuffix(".ipynb")
    concern = own.partition(".")[0]
    for module in imports(path):
        inside = module.partition(".")[0] == concern and "." not in own  # a chapter and its own rooms
        assert inside or place[module] < place[own], f"{own} imports {module}, which comes later"


@each_notebook
def test_nobody_imports_a_private_name(path):
    private = {name for name in pipeline.imported(code_of(path))
               if re.match(r"_[^_]", name.rpartition(".")[2])}
    assert not {name for name in private if not name.startswith(exports(path))}
    modules = {name.rpartition(".")[2] for name in pipeline.imported(code_of(path)) if name in order()}
    used = {(m, x) for m, x in re.findall(r"\b(\w+)\.(_[a-z]\w+)", code_of(path)) if m in modules}
    assert not {(m, x) for m, x in used if m != exports(path).rpartition(".")[2]}


def test_every_module_has_a_notebook():
    modules = {".".join(p.relative_to(ROOT / "mlsys").with_suffix("").parts).removesuffix(".__init__")
               for p in measure.modules()}
    assert modules - {"__init__"} == set(order())


def test_every_chapter_is_listed_once():
    assert [c.notebook for c in core.BOOK] == [p.stem for p in CHAPTERS]


@each_chapter
def test_a_face_defines_nothing_and_gives_what_it_lists(path):
    module = importlib.import_module(f"mlsys.{exports(path)}")
    if not hasattr(module, "__path__"):
        return
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    assert not [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    rooms = {exports(p).rpartition(".")[2] for p in ROOMS if exports(p).startswith(exports(path) + ".")}
    assert not rooms & set(module.__all__), "a room and a name of the face may not share a name"
    for name in module.__all__:
        assert getattr(module, name) is not None and (getattr(module, name).__doc__ or name.isupper())


def test_contents_are_fresh_and_lead_to_files_that_exist():
    run(sys.executable, ROOT / "tools" / "contents.py", "--check", cwd=ROOT)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "#|" not in text and "```\n\n```" not in text
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)|src=\"(?!https?:)([^\"]+)", text)
    assert links and not [a or b for a, b in links if not (ROOT / (a or b)).is_file()]
    assert {p.name for p in CHAPTERS} <= {Path(a).name for a, _ in links}


def test_a_stale_readme_is_noticed(tmp_path):
    tree = copy_of_tree(tmp_path)
    (tree / "README.md").write_text("old", encoding="utf-8")
    done = subprocess.run([sys.executable, "tools/contents.py", "--check"], cwd=tree, capture_output=True,
                          text=True)
    assert done.returncode == 1 and done.stderr == "README.md is stale: run `python tools/contents.py`\n"


NOTEBOOKS = ROOT / "build" / "notebooks"
executed = pytest.mark.skipif(not NOTEBOOKS.is_dir(),
                              reason="no executed notebooks in build/notebooks: run `make run`")


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
        assert b"papermill" not in re.sub(rb'"source": \[.*?\n   '
                                          rb'\]', b"", text, flags=re.DOTALL) or name[:2] >= "90", name


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
