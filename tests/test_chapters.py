"""The notebooks' own examples and assertions, run against the exported modules (so that they count for coverage), on a sample of the flights.

nbval runs the same notebooks in kernels of their own; here the cells that are exported are skipped and come from `mlsys` instead.
"""
import ast
import importlib
import json
import os
import shutil
import warnings
from pathlib import Path

import matplotlib
import pytest
from IPython.display import display

matplotlib.use("Agg")
ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted([*(ROOT / "nbs").glob("[0-9][0-9]_*.ipynb"),
                    *(ROOT / "nbs").glob("[0-9][0-9][a-z]_*.ipynb")])


@pytest.fixture(scope="module")
def sample_run():
    "One run folder for all chapters: later ones read what earlier ones left."
    before = dict(os.environ)
    shutil.rmtree(ROOT / "build" / "examples", ignore_errors=True)
    os.environ |= {"MLSYS_RUN_SAMPLE": "3000", "MLSYS_RUN_BUILD": "build/examples", "DVC_NO_ANALYTICS": "1"}
    yield
    os.environ.clear()
    os.environ.update(before)


def cells(path):
    for i, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and "#| export" not in source and "#| default_exp" not in source:
            yield i, source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name.removesuffix(".ipynb"))
def test_examples_and_assertions(path, sample_run):
    module = importlib.import_module(f"mlsys.{path.name.partition('_')[2].removesuffix('.ipynb')}")
    space = dict(vars(module)) | {"display": display, "__name__": module.__name__}
    cwd = Path.cwd()
    os.chdir(ROOT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for i, source in cells(path):
                exec(compile(ast.parse(source), f"{path.name}[cell {i}]", "exec"), space)
    finally:
        os.chdir(cwd)
        matplotlib.pyplot.close("all")
