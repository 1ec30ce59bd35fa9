"""The whole pipeline on the flights from nothing, and again without a change: seconds, and the peak memory of the largest process."""
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
MLSYS = Path(sys.executable).parent / "mlsys"


def timed(home):
    start = time.perf_counter()
    subprocess.run([MLSYS, "run"], cwd=home, check=True, capture_output=True,
                   env=os.environ | {"HOME": str(home)})
    return time.perf_counter() - start


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as tmp:
        shutil.copy(ROOT / "settings.ini", tmp)
        cold, again = timed(Path(tmp)), timed(Path(tmp))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(json.dumps(dict(name="pipeline_seconds", what="whole pipeline, cold (peer: the budget)", ours=cold,
                          peer=360, ratio=360 / cold,
                          target="> 1", unit="s")))
    print(json.dumps(dict(name="pipeline_again", what="again without a change (peer: the budget)", ours=again,
                          peer=15, ratio=15 / again,
                          target="> 1", unit="s")))
    print(json.dumps(dict(name="pipeline_memory", what="peak memory of a stage (peer: the budget)", ours=peak,
                          peer=4, ratio=4 / peak,
                          target="> 1", unit="GB")))
