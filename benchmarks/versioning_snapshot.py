"""300 MB in 60 files into a store: a snapshot against `dvc add` of DVC's own command line, and against bare MD5 sums; first, and unchanged.

Each repetition of "first" starts with an empty store. The command line starts a process each time; that is part of what a user waits for.
"""
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sides import compare

FILES, SIZE = 60, 5_000_000
CONFIG = "[core]\n    analytics = false\n    no_scm = true\n    check_update = false\n"


def table(folder):
    "Files that no compression could help with, the same in each run."
    import numpy as np
    rng = np.random.default_rng(0)
    (folder / "table").mkdir(parents=True)
    for i in range(FILES):
        (folder / "table" / f"{i:03}.bin").write_bytes(rng.bytes(SIZE))
    return folder


def made():
    import atexit
    folder = Path(tempfile.mkdtemp(prefix="mlsys-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return table(folder)


def ours():
    from mlsys import versioning
    from mlsys.versioning.store import STORE
    folder, again = made(), os.environ["CASE"].startswith("again")

    def run():
        if not again:
            shutil.rmtree(folder / STORE, ignore_errors=True)
        versioning.snapshot(folder / "table", "all", store=folder / STORE)
    return run


def dvc_add():
    folder, again = made(), os.environ["CASE"].startswith("again")
    env = os.environ | {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder / "site")}

    def run():
        if not again:
            shutil.rmtree(folder / ".dvc", ignore_errors=True)
            (folder / "table.dvc").unlink(missing_ok=True)
        (folder / ".dvc").mkdir(exist_ok=True)
        (folder / ".dvc" / "config").write_text(CONFIG)
        subprocess.run([Path(sys.executable).parent / "dvc", "add", "-q", "table"], cwd=folder, env=env,
                       check=True)
    return run


def md5():
    from mlsys.versioning.store import fingerprint
    folder = made()
    return lambda: fingerprint(folder / "table")


CASES = {
    "first": ("300 MB into an empty store (peer: dvc add)", dvc_add, "> 1"),
    "first md5": ("300 MB into an empty store (peer: MD5 only, nothing is copied)", md5, "> 0.3"),
    "again": ("300 MB, nothing has changed (peer: dvc add)", dvc_add, "> 1"),
    "again md5": ("300 MB, nothing has changed (peer: MD5 only)", md5, "> 1"),
}

if __name__ == "__main__":
    for case, (words, other, target) in CASES.items():
        if len(sys.argv) == 1:
            os.environ["CASE"] = case
        else:
            other = CASES[os.environ["CASE"]][1]
        compare(__file__, dict(ours=ours, peer=other), f"versioning_{case.replace(' ', '_')}", words, target,
                repeats=3)
        if len(sys.argv) > 1:
            break
