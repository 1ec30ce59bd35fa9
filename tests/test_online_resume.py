"""Killed with SIGKILL in the middle of the stream, at random moments and between the two writes: every bit is that of an uninterrupted run."""
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
NAMES = ("linear", "partial_fit", "network", "network + replay", "river logistic")
WORK = """
import os, signal, sys
import numpy as np, torch
from pathlib import Path
sys.path.insert(0, {tests!r})
from mlsys import online
from mlsys.online import checkpoints
from test_online_resume import NAMES, learner, stream
folder, kill_at = Path(sys.argv[1]), int(sys.argv[2])
save, calls = checkpoints.save_state, [0]
def dying(*args, **about):
    calls[0] += 1
    if calls[0] == kill_at: os.kill(os.getpid(), signal.SIGKILL)  # what was said is written, the state is not
    save(*args, **about)
checkpoints.save_state = dying  # where `resume` looks for it
torch.set_num_threads(1)
x = stream()
for name in (*NAMES, "counter"): online.resume(x, learner(name), folder / name, 4, every=5)
"""


def stream():
    from test_online import make_stream
    x = make_stream(1200, seed=5)
    return type(x)(**vars(x) | dict(codes=np.column_stack([x.codes, x.row])))


class Counter:
    "Counts how often each row was learned."
    def __init__(self):
        self.counts = np.zeros(1200)

    def predict(self, codes, floats):
        return np.full(len(codes), self.counts.sum())

    def learn(self, codes, floats, y):
        np.add.at(self.counts, codes[:, 2], 1)

    def state(self):
        return {"counts": self.counts}

    def load(self, state):
        self.counts = np.array(state["counts"])


def learner(name):
    from mlsys import online, training
    features = training.Features({"a": ["x"] * 3, "b": ["x"] * 2, "row": ["x"] * 1200},
                                 {"n": dict(flag=False), "m": dict(flag=False)})
    return Counter() if name == "counter" else online.LEARNERS[name](features, seed=2)


def start(folder, kill_at=0):
    code = WORK.format(tests=str(HERE))
    command = [sys.executable, "-c", code, str(folder), str(kill_at)]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "What one run says, and the states that it leaves."
    folder = tmp_path_factory.mktemp("whole")
    process = start(folder)
    assert process.wait() == 0, process.stderr.read().decode()
    return folder


def compare(folder, whole):
    from mlsys import online
    from mlsys.online import checkpoints
    for name in (*NAMES, "counter"):
        assert np.array_equal(checkpoints.read_answers(folder / name), checkpoints.read_answers(whole / name)), name
        assert (folder / name / "state.safetensors").read_bytes() == (whole / name / "state.safetensors").read_bytes(), name
    counts, x = Counter(), stream()
    online.load_state(folder / "counter" / "state.safetensors", counts)
    assert np.array_equal(counts.counts, ~np.isnan(x.y))  # each label once, the others never


def test_killed_at_random_moments(whole, tmp_path):
    rng, killed = random.Random(7), 0
    for part in range(3):
        process, files = start(tmp_path), 80 * part + rng.randrange(5, 80)
        while len(list(tmp_path.rglob("said-*"))) < files and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed == 3
    process = start(tmp_path)
    assert process.wait() == 0, process.stderr.read().decode()
    compare(tmp_path, whole)
    assert not list(tmp_path.rglob(".*.tmp"))


def test_killed_between_what_was_said_and_the_state(whole, tmp_path):
    for kill_at in (1, 100):
        process = start(tmp_path, kill_at)
        assert process.wait() == -signal.SIGKILL, process.stderr.read().decode()
    process = start(tmp_path)
    assert process.wait() == 0, process.stderr.read().decode()
    compare(tmp_path, whole)
