"""What the tools share: the list of chapters, and the outputs that papermill left in this build."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NBS = ROOT / "nbs"
NOTEBOOKS = ROOT / "build" / "notebooks"


class Stop(SystemExit):
    "Ends a tool with one sentence on stderr and exit code 1."


def chapters() -> list[Path]:
    "The chapters in order; `index.ipynb` is not one of them."
    return sorted(NBS.glob("[0-9][0-9]_*.ipynb"))


def rooms() -> list[Path]:
    "The rooms behind the chapters, in order."
    return sorted(NBS.glob("[0-9][0-9][a-z]_*.ipynb"))


def read(path) -> dict:
    "A notebook, its sources and texts as strings."
    nb = json.loads(Path(path).read_text(encoding="utf-8"))
    for cell in nb["cells"]:
        cell["source"] = joined(cell["source"])
    return nb


def joined(text) -> str:
    "nbformat allows a string or a list of lines."
    return text if isinstance(text, str) else "".join(text)


def promise(path) -> tuple[str, str]:
    "Title and one-line promise of a notebook, from its first Markdown cell."
    top = next((c["source"] for c in read(path)["cells"] if c["cell_type"] == "markdown"), "")
    lines = [line for line in top.splitlines() if line.strip()]
    if len(lines) < 2 or not lines[0].startswith("# ") or not lines[1].startswith("> "):
        raise Stop(f"{path.name}: the first Markdown cell must begin with '# Title' and '> promise'")
    quote = lines[1 : next((i for i, line in enumerate(lines) if i and not line.startswith(">")), len(lines))]
    return lines[0][2:].strip(), " ".join(line[1:].strip() for line in quote)


def tidy(outputs: list[dict]) -> list[dict]:
    """Outputs without what differs between two runs: stream messages cut at random places, counts, names
    of widgets and metadata."""
    out = []
    for o in outputs:
        o = {k: v for k, v in o.items() if k not in ("execution_count", "metadata", "transient")}
        if o["output_type"] == "stream":
            o["text"] = joined(o["text"])
            if out and out[-1]["output_type"] == "stream" and out[-1]["name"] == o["name"]:
                out[-1]["text"] += o["text"]
                continue
        elif "data" in o:
            # a widget lives in its kernel; what stays of it is its still picture
            o["data"] = {k: v for k, v in o["data"].items()
                         if k != "application/vnd.jupyter.widget-view+json"}
            o["metadata"] = {}
        if o["output_type"] == "execute_result":
            o["execution_count"] = None
        out.append(o)
    return out


def executed(path: Path, folder: Path = NOTEBOOKS) -> dict:
    "The notebook with the outputs of its executed copy, which must hold the same code."
    nb, ran = read(path), folder / path.name
    code = [c for c in nb["cells"] if c["cell_type"] == "code"]
    if not code:
        return nb
    if not ran.exists():
        raise Stop(f"{path.name} has not been executed in this build: run `make run` first")
    # papermill adds a cell with the parameters that it was given; it belongs to the run, not to the chapter
    done = [c for c in read(ran)["cells"] if c["cell_type"] == "code"
            and "injected-parameters" not in c["metadata"].get("tags", [])]
    if [c["source"] for c in done] != [c["source"] for c in code]:
        raise Stop(f"{path.name} has changed since it was executed: run `make run` first")
    for c, d in zip(code, done, strict=True):
        c["outputs"] = tidy(d["outputs"])
    failed = next((o for c in code for o in c["outputs"] if o["output_type"] == "error"), None)
    if failed:
        raise Stop(f"{path.name} stopped with {failed['ename']} when it was executed: mend it and run `make "
                   f"run`")
    return nb
