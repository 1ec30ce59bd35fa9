"""Two sides of a comparison: each in a process of its own with fixed threads, warmed up, then timed in turn.

A benchmark script defines `ours()` and `peer()`; each prepares its side and returns a function to time. `compare` starts both, lets
them run alternately, so that a machine whose speed drifts is fair to both, and prints one JSON line with medians and their ratio.
"""
import json
import os
import statistics
import subprocess
import sys
import time

THREADS = "2"
ENV = {k: THREADS for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                            "ARROW_NUM_THREADS")}


class Side:
    "A process that runs its function once per line on standard input and answers with the seconds."

    def __init__(self, script, name):
        self.process = subprocess.Popen([sys.executable, script, name], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True,
                                        env=os.environ | ENV)

    def once(self) -> float:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return float(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def serve(function):
    "The loop of one side."
    for _ in sys.stdin:
        start = time.perf_counter()
        function()
        print(time.perf_counter() - start, flush=True)


def compare(script, sides, name, what, target, unit="s", scale=1.0, repeats=7):
    "Run as `python script.py`: times both sides; run as `python script.py ours`: is one side."
    if len(sys.argv) > 1:
        return serve(sides[sys.argv[1]]())
    ours, peer = Side(script, "ours"), Side(script, "peer")
    for side in (ours, peer):
        side.once()
    pairs = [(ours.once(), peer.once()) for _ in range(repeats)]
    for side in (ours, peer):
        side.close()
    a, b = (statistics.median(x) * scale for x in zip(*pairs, strict=True))
    print(json.dumps(dict(name=name, what=what, ours=a, peer=b,
                          ratio=statistics.median(p / o for o, p in pairs), target=target, unit=unit)))
