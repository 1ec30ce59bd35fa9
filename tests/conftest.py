"""What several tests need: real tables of one's own, a card for them, and the command line in this process."""
import contextlib
import io
import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def cli(capfd):
    "Run `mlsys ...`; returns (exit code, standard output, standard error)."
    from mlsys.cli import main

    def run(*args):
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in args])
        out = capfd.readouterr()
        return end.value.code, out.out, out.err
    return run


@pytest.fixture
def cancer(tmp_path):
    "Breast cancer of scikit-learn: 569 rows, numbers only, no time."
    from sklearn.datasets import load_breast_cancer
    frame = load_breast_cancer(as_frame=True).frame
    frame.columns = [c.replace(" ", "_") for c in frame.columns]
    path = tmp_path / "cancer.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture
def credit():
    "Credit data: 4,454 rows, text columns, missing values, the positive class is a word."
    return ROOT / "data" / "credit.parquet"


@pytest.fixture
def small(tmp_path):
    "A writer of small tables: a DataFrame or text becomes a file with a card beside it."
    def write(table, file="my.csv", **data):
        path = tmp_path / file
        if isinstance(table, bytes):
            path.write_bytes(table)
        elif file.endswith(".parquet"):
            table.to_parquet(path, index=False)
        else:
            table.to_csv(path, index=False)
        card = tmp_path / "settings.ini"
        keys = {"source": file, "target": "y"} | data
        card.write_text("[data]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()))
        return card
    return write


@pytest.fixture
def table():
    "200 rows with two numbers, a word, a time and a yes-or-no target."
    import numpy as np
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "word": rng.choice(["red", "green"], 200),
                         "when": pd.date_range("2024-01-01", periods=200, freq="D").astype(str),
                         "y": (x[:, 0] + rng.normal(size=200) > 0).astype(int)})


@pytest.fixture(scope="module")
def stock():
    "A shop's stock with dependencies between its columns."
    from testing_tables import shop
    return shop()


@pytest.fixture(scope="module")
def stock_suite(stock):
    "What holds in it."
    from mlsys.testing import learn
    return learn(stock, time="when")


@pytest.fixture
def tiny_disk(tmp_path):
    "A folder on a disk of 6 MB of its own."
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a small tmpfs needs root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder],
                      capture_output=True).returncode:
        pytest.skip("this machine does not allow mounting a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@contextlib.contextmanager
def silent():
    with contextlib.redirect_stdout(io.StringIO()):
        yield
